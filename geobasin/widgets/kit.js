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
// marks are trait values to be ticked on the track, also names further traits that the words of
// format depend on.
function slider(model, trait, options, signal) {
  const { label, minimum, maximum, step, format = String, marks = [], also = [] } = options;
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
  follow(model, [trait, ...also], show, signal);
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

// Calls act with the shares, 0 to 1 across and down, of a pointer that is pressed and dragged on a
// region, or on a grip that lies on the region.
function dragged(region, area, act, signal, grip = region) {
  const tell = (event) => {
    const box = region.getBoundingClientRect();
    const { left = 0, right = 0, top = 0, bottom = 0 } = area();
    const share = (event.clientX - box.left - left) / (box.width - left - right);
    const fall = (event.clientY - box.top - top) / (box.height - top - bottom);
    act(Math.min(1, Math.max(0, share)), Math.min(1, Math.max(0, fall)));
  };
  grip.addEventListener("pointerdown", (event) => {
    // A grip keeps the pointer from the region below it.
    event.stopPropagation();
    grip.setPointerCapture(event.pointerId);
    tell(event);
  }, { signal });
  grip.addEventListener("pointermove", (event) => {
    if (grip.hasPointerCapture(event.pointerId)) tell(event);
  }, { signal });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// A point on a stage, moved in the plane by pointer and by arrow keys; the caller places it on the
// stage and calls its show() when the point has moved. at() and move(x, y) speak in the units of
// plane, the stage's { left, right, bottom, top }.
function handle(stage, plane, options, signal) {
  const { label, step, at, move, mark = "" } = options;
  const node = html("div", {
    class: "gb-handle", role: "slider", tabindex: "0", "aria-label": label,
    "aria-roledescription": "point in the plane",
    "aria-valuemin": plane.left, "aria-valuemax": plane.right,
  }, mark);
  node.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const [x, y] = at();
    move(x + step * way[0], y + step * way[1]);
  }, { signal });
  dragged(stage, () => ({}), (share, fall) => move(...onPlane(plane, share, fall)), signal, node);
  node.show = () => {
    const [x, y] = at();
    node.style.left = `${(100 * (x - plane.left)) / (plane.right - plane.left)}%`;
    node.style.top = `${(100 * (plane.top - y)) / (plane.top - plane.bottom)}%`;
    node.setAttribute("aria-valuenow", x.toFixed(2));
    node.setAttribute("aria-valuetext", `${rounded(x, 2)} across, ${rounded(y, 2)} up`);
  };
  return node;
}

// The point of a plane at these shares of its stage.
function onPlane({ left, right, bottom, top }, share, fall) {
  return [left + share * (right - left), top - fall * (top - bottom)];
}

// Bars from zero on one scale, each with its name and value, readable as plain text.
function bars(minimum, maximum, decimals) {
  const across = (value) => (100 * (value - minimum)) / (maximum - minimum);
  const element = html("div", { class: "gb-bars" });
  // rows: { name, value, colour }, the last the number of a series.
  const show = (rows) => element.replaceChildren(...rows.map(({ name, value, colour }) => {
    const held = Math.min(maximum, Math.max(minimum, value));
    const [from, to] = [Math.min(0, held), Math.max(0, held)].map(across);
    const style = `left:${from}%;width:${to - from}%;background:var(--gb-series-${colour})`;
    const zero = html("i", { class: "gb-zero", style: `left:${across(0)}%` });
    return html("div", { class: "gb-bar" },
      html("span", {}, name),
      html("span", { class: "gb-rail", "aria-hidden": "true" }, html("i", { style }), zero),
      html("span", { class: "gb-value" }, rounded(value, decimals)));
  }));
  return { element, show };
}

// A number in print: a true minus, and none before zero.
function rounded(value, decimals) {
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}
