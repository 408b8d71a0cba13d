const SAMPLES = 730;
const EDGE = { left: 36, right: 12, top: 10 };
const ROW = { height: 22, gap: 12 };

const PLACES = Array.from({ length: SAMPLES }, (_, index) => index / (SAMPLES - 1));
const EXACT = PLACES.map(cantor);

function path(places, heights, across, up) {
  const point = (place, index) => `${across(place).toFixed(1)},${up(heights[index]).toFixed(1)}`;
  return `M${places.map(point).join("L")}`;
}

// The plot: exact function, soft staircase, published heights of the middle third, and x.
function plot(state, width, height, across) {
  const { alpha, tau, levels, x, marks } = state;
  const soft = PLACES.map((place) => kappa(place, alpha, tau, levels));
  const lowest = Math.min(0, Math.floor(4 * Math.min(...soft, ...Object.values(marks))) / 4);
  const up = (value) => EDGE.top + ((1 - value) / (1 - lowest)) * (height - EDGE.top);
  const group = svg("g");
  for (let value = lowest; value <= 1; value += 0.25) {
    const y = up(value);
    group.append(
      svg("line", { class: "grid", x1: across(0), x2: across(1), y1: y, y2: y }),
      svg("text", { x: EDGE.left - 6, y: y + 4, "text-anchor": "end" }, String(value)),
    );
  }
  group.append(
    svg("path", { class: "exact", d: path(PLACES, EXACT, across, up) }),
    svg("path", { class: "soft", d: path(PLACES, soft, across, up) }),
    svg("line", { class: "here", x1: across(x), x2: across(x), y1: EDGE.top, y2: height + ROW.gap }),
  );
  for (const [name, mark] of Object.entries(marks)) {
    const y = up(mark);
    group.append(
      svg("line", { class: "mark", x1: across(1 / 3), x2: across(2 / 3), y1: y, y2: y }),
      svg("text", { class: "on-plot", x: across(2 / 3) + 5, y: y + 4 },
        `${name} ${mark.toFixed(4)}`),
    );
  }
  for (const [row, name] of ["exact", "soft"].entries()) {
    const y = up(1) + 16 + 18 * row;
    group.append(
      svg("line", { class: name, x1: across(0) + 10, x2: across(0) + 34, y1: y, y2: y }),
      svg("text", { class: "on-plot", x: across(0) + 41, y: y + 4 }, name),
    );
  }
  group.append(
    svg("circle", { class: "here", cx: across(x), cy: up(kappa(x, alpha, tau, levels)), r: 6 }),
  );
  return group;
}

// The path of x down the triadic tree: every row is the third that the row above has lit, enlarged.
function tree(state, top, across) {
  const { tau, levels, x } = state;
  const group = svg("g");
  const digits = ternary(x, levels);
  let place = x;
  for (const [row, digit] of digits.entries()) {
    const y = top + row * (ROW.height + ROW.gap);
    for (const [third, probability] of reading(place, tau).entries()) {
      const box = { x: across(third / 3), y, width: across(1 / 3) - across(0), height: ROW.height };
      group.append(
        svg("rect", { ...box, class: third === 1 ? "stop" : "go", "fill-opacity": 0.45 * probability }),
        svg("rect", { ...box, class: third === digit ? "frame lit" : "frame" }),
        svg("text", { x: box.x + box.width / 2, y: y + 15, "text-anchor": "middle" },
          `${third}: ${probability.toFixed(2)}`),
      );
    }
    if (row > 0) group.append(svg("circle", { class: "here", cx: across(place), cy: y, r: 4 }));
    if (digit === 1 || row === levels - 1) break;
    const bottom = y + ROW.height;
    const next = bottom + ROW.gap;
    group.append(svg("path", {
      class: "zoom",
      d: `M${across(digit / 3)},${bottom}L${across(0)},${next}H${across(1)}L${across((digit + 1) / 3)},${bottom}Z`,
    }));
    place = clip(3 * place - digit);
  }
  return group;
}

function sentence({ alpha, tau, levels, x }) {
  const digits = ternary(x, 8).join("");
  const soft = kappa(x, alpha, tau, levels).toFixed(4);
  return `x = ${x.toFixed(4)} is 0.${digits}… in base three. ` +
    `The soft staircase puts it at ${soft}, the Cantor function at ${cantor(x).toFixed(4)}.`;
}

function render({ model, el }) {
  const stop = new AbortController();
  const { signal } = stop;
  const traits = ["alpha", "tau", "levels", "x", "marks"];
  const state = () => Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const marks = model.get("marks");

  const picture = svg("svg", {
    role: "img",
    "aria-label": "The soft staircase over the exact Cantor function, and below it the path of x " +
      "through the thirds of the line. Drag to move x, or use the slider named x.",
  });
  const status = html("output", { class: "gb-status" });
  let width = 0;
  const draw = () => {
    status.textContent = sentence(state());
    if (width === 0) return;
    const across = (place) => EDGE.left + place * (width - EDGE.left - EDGE.right);
    const height = Math.min(320, Math.max(190, 0.5 * width));
    const rows = model.get("levels") * (ROW.height + ROW.gap);
    const total = height + ROW.gap + rows;
    picture.setAttribute("viewBox", `0 0 ${width} ${total}`);
    picture.setAttribute("height", total);
    picture.replaceChildren(
      plot(state(), width, height, across),
      tree(state(), height + ROW.gap, across),
    );
  };

  const logarithm = { to: Math.log10, from: (value) => 10 ** value };
  const controls = html("div", { class: "gb-controls" },
    slider(model, "x", { label: "x", minimum: 0, maximum: 1, step: 0.001,
      format: (value) => value.toFixed(4) }, signal),
    slider(model, "alpha", { label: "alpha", minimum: -0.5, maximum: 1, step: 0.01,
      format: (value) => value.toFixed(4), marks: Object.values(marks) }, signal),
    slider(model, "tau", { label: "tau", minimum: 0.001, maximum: 1, step: 0.05, scale: logarithm,
      format: (value) => value.toPrecision(2) }, signal),
    slider(model, "levels", { label: "levels", minimum: 1, maximum: 8, step: 1 }, signal),
  );
  const choices = html("div", { class: "gb-choices", role: "group", "aria-label": "Set alpha" },
    choice(model, 0.5, "alpha 0.5", signal),
    ...Object.entries(marks).map(([name, mark]) =>
      choice(model, mark, `${name} ${mark.toFixed(4)}`, signal)),
  );

  el.classList.add("geobasin-live", "geobasin-staircase");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Live figure: the soft staircase");
  el.append(picture, status, controls, choices);
  follow(model, traits, draw, signal);
  measured(picture, (now) => { width = now; draw(); }, signal);
  dragged(picture, () => EDGE, (share) => {
    model.set("x", Math.round(share * 1e4) / 1e4);
    model.save_changes();
  }, signal);
  return () => stop.abort();
}

function choice(model, alpha, label, signal) {
  const button = html("button", { type: "button" }, label);
  button.addEventListener("click", () => {
    model.set("alpha", alpha);
    model.save_changes();
  }, { signal });
  follow(model, ["alpha"], () => {
    button.setAttribute("aria-pressed", String(Math.abs(model.get("alpha") - alpha) < 5e-5));
  }, signal);
  return button;
}

export default { render };
