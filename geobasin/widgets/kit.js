// What the live figures share. It stands in front of a figure's own script: see base.py.

// An HTML element; attributes that are undefined are left out.
function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// An SVG element.
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// A labelled native slider tied to one trait.
// scale.to and scale.from map the trait's value to the slider's own and back (a logarithm, say);
// marks are trait values to be ticked on the track.
function slider(model, trait, options, signal) {
  const { label, minimum, maximum, step, format = String, marks = [] } = options;
  const scale = options.scale ?? { to: (value) => value, from: (value) => value };
  const value = html("output", { class: "gb-value", "aria-hidden": "true" });
  const input = html("input", { type: "range", min: scale.to(minimum), max: scale.to(maximum), step });
  const ticks = marks.map((mark) => {
    const share = (scale.to(mark) - scale.to(minimum)) / (scale.to(maximum) - scale.to(minimum));
    return html("i", { class: "gb-tick", style: `--share:${share}` });
  });
  const show = () => {
    const text = format(model.get(trait));
    input.value = scale.to(model.get(trait));
    input.setAttribute("aria-valuetext", text);
    value.textContent = text;
  };
  input.addEventListener("input", () => {
    const wanted = scale.from(Number(input.value));
    model.set(trait, Math.min(maximum, Math.max(minimum, wanted)));
    model.save_changes();
  }, { signal });
  follow(model, [trait], show, signal);
  return html("label", { class: "gb-slider" },
    html("span", {}, label), html("span", { class: "gb-track" }, input, ...ticks), value);
}

// Calls act now and whenever one of the traits changes, until the signal ends it.
function follow(model, traits, act, signal) {
  for (const trait of traits) {
    model.on(`change:${trait}`, act);
    signal.addEventListener("abort", () => model.off(`change:${trait}`, act));
  }
  act();
}

// Calls act with the element's width in CSS pixels, now and whenever it changes.
function measured(element, act, signal) {
  let last = 0;
  const observer = new ResizeObserver(() => {
    const width = Math.round(element.getBoundingClientRect().width);
    if (width > 0 && width !== last) act((last = width));
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}

// Calls act with the horizontal share, 0 to 1, of a pointer that is pressed and dragged on a region.
function dragged(region, area, act, signal) {
  const tell = (event) => {
    const box = region.getBoundingClientRect();
    const { left, right } = area();
    const share = (event.clientX - box.left - left) / (box.width - left - right);
    act(Math.min(1, Math.max(0, share)));
  };
  region.addEventListener("pointerdown", (event) => {
    region.setPointerCapture(event.pointerId);
    tell(event);
  }, { signal });
  region.addEventListener("pointermove", (event) => {
    if (region.hasPointerCapture(event.pointerId)) tell(event);
  }, { signal });
}
