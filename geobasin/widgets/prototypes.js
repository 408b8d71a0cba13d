const EDGE = { left: 44, right: 16, top: 12 };
const ROW = { height: 14, gap: 8 };
// Above so many classes single dots would run together.
const DOTS = 40;

// The classes, by their index, in rising order of their places; equals keep their order.
export function ordered(places) {
  return places.map((_, index) => index).sort((a, b) => places[a] - places[b]);
}

// The class at a rank (from 1) and its neighbours on the line, undefined beyond the ends.
export function neighbours(places, rank) {
  const order = ordered(places);
  const told = (index) => index === undefined ? undefined
    : { index, place: places[index], gap: Math.abs(places[index] - places[order[rank - 1]]) };
  return { chosen: told(order[rank - 1]), below: told(order[rank - 2]), above: told(order[rank]) };
}

// Ends of the vertical axis and of the lines: [0, 1], or more where prototypes have left it.
function reach(prototypes) {
  const all = prototypes.flat();
  return [Math.min(0, ...all), Math.max(1, ...all)];
}

function sentence({ prototypes, scales, scale, rank, class_names: names }) {
  const { chosen, below, above } = neighbours(prototypes[scales.indexOf(scale)], rank);
  const near = [[below, "below"], [above, "above"]].filter(([other]) => other)
    .sort(([a], [b]) => a.gap - b.gap)
    .map(([other, where]) => `class ${names[other.index]}, ${other.gap.toFixed(4)} ${where}`);
  const off = chosen.place - (rank - 0.5) / names.length;
  const even = Math.abs(off) < 5e-5 ? "where an even spread has it"
    : `${Math.abs(off).toFixed(4)} ${off < 0 ? "below" : "above"} an even spread`;
  return `Scale ${scale}: class ${names[chosen.index]} has rank ${rank} of ${names.length}, ` +
    `at ${chosen.place.toFixed(4)}, ${even}.` +
    (near.length > 0 ? ` Nearest: ${near.join("; then ")}.` : "");
}

function polyline(values, across, up) {
  return `M${values.map((value, i) => `${across(i + 1)},${up(value).toFixed(1)}`).join("L")}`;
}

// The sorted curves; the chosen scale's stands out, and its class is named among its neighbours.
function curves(state, height, across) {
  const { prototypes, scales, scale, rank, class_names: names } = state;
  const count = names.length;
  const [low, high] = reach(prototypes);
  const up = (value) => EDGE.top + ((high - value) / (high - low)) * (height - EDGE.top);
  const group = svg("g");
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    group.append(
      svg("line", { class: "grid", x1: across(1), x2: across(count), y1: up(value), y2: up(value) }),
      svg("text", { x: EDGE.left - 8, y: up(value) + 4, "text-anchor": "end" }, String(value)),
    );
  }
  const even = Array.from({ length: count }, (_, i) => (i + 0.5) / count);
  group.append(svg("path", { class: "curve even", d: polyline(even, across, up) }));
  const sorted = prototypes.map((places) => [...places].sort((a, b) => a - b));
  for (const [index, values] of sorted.entries()) {
    if (scales[index] === scale) continue;
    group.append(svg("path", { class: "curve other", d: polyline(values, across, up) }));
  }
  const index = scales.indexOf(scale);
  group.append(svg("path", { class: "curve series-1", d: polyline(sorted[index], across, up) }));
  if (count <= DOTS) {
    group.append(...sorted[index].map((value, i) =>
      svg("circle", { class: "dot series-1", cx: across(i + 1), cy: up(value), r: 3.5 })));
  }
  const { chosen, below, above } = neighbours(prototypes[index], rank);
  for (const [other, at] of [[below, rank - 1], [above, rank + 1]]) {
    if (other) {
      group.append(
        svg("circle", { class: "dot series-2", cx: across(at), cy: up(other.place), r: 4.5 }),
      );
    }
  }
  group.append(
    svg("circle", { class: "here", cx: across(rank), cy: up(chosen.place), r: 6 }),
  );
  // Rising curves leave the upper left free.
  for (const [row, [other, sign]] of [[above, "+"], [chosen, ""], [below, "−"]].entries()) {
    if (!other) continue;
    const number = (sign === "" ? other.place : other.gap).toFixed(4);
    group.append(svg("text", {
      class: "on-plot", x: across(1) + 8, y: up(high) + 17 + 17 * row,
      "font-weight": sign === "" ? "bold" : undefined,
    }, `class ${names[other.index]}  ${sign}${number}`));
  }
  return group;
}

// The line of every scale with a tick for each class, and the way of the chosen class across them.
function lines(state, top, along) {
  const { prototypes, scales, scale, rank } = state;
  const own = neighbours(prototypes[scales.indexOf(scale)], rank);
  const group = svg("g");
  const middles = scales.map((_, row) => top + row * (ROW.height + ROW.gap) + ROW.height / 2);
  const tick = (place, row, name, grow = 0) => svg("line", {
    class: name, x1: along(place), x2: along(place),
    y1: middles[row] - ROW.height / 2 - grow, y2: middles[row] + ROW.height / 2 + grow,
  });
  for (const [row, places] of prototypes.entries()) {
    group.append(
      svg("text", {
        x: EDGE.left - 8, y: middles[row] + 4, "text-anchor": "end",
        "font-weight": scales[row] === scale ? "bold" : undefined,
      }, String(scales[row])),
      svg("line", { class: "grid", x1: along.low, x2: along.high, y1: middles[row], y2: middles[row] }),
      ...places.map((place) => tick(place, row, "rule")),
      ...[own.below, own.above].filter(Boolean).map(({ index }) =>
        tick(places[index], row, "curve near")),
      tick(places[own.chosen.index], row, "curve series-1", 3),
    );
  }
  const way = middles.map((y, row) => `${along(prototypes[row][own.chosen.index]).toFixed(1)},${y}`);
  group.append(svg("path", { class: "curve other", d: `M${way.join("L")}` }));
  return group;
}

function render({ model, el }) {
  const stop = new AbortController();
  const { signal } = stop;
  const traits = ["scales", "prototypes", "class_names", "scale", "rank"];
  const state = () => Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const count = model.get("class_names").length;
  const places = () => model.get("prototypes")[model.get("scales").indexOf(model.get("scale"))];
  const read = (rank) => {
    model.set("rank", Math.min(count, Math.max(1, rank)));
    model.save_changes();
  };
  // The class stays; its rank is another at another scale.
  const change = (scale) => {
    const { index } = neighbours(places(), model.get("rank")).chosen;
    model.set("scale", scale);
    read(1 + ordered(places()).indexOf(index));
  };

  const picture = svg("svg", {
    role: "img",
    "aria-label": "The classes' Cantor prototypes in rising order, and below them the line of " +
      "each scale with a tick for every class. Point at a class, or use the slider named rank.",
  });
  const status = html("output", { class: "gb-status" });
  let width = 0;
  let height = 0;
  const across = (rank) =>
    EDGE.left + ((rank - 1) / Math.max(1, count - 1)) * (width - EDGE.left - EDGE.right);
  const draw = () => {
    status.textContent = sentence(state());
    if (width === 0) return;
    height = Math.min(280, Math.max(190, 0.5 * width));
    const [low, high] = reach(model.get("prototypes"));
    const along = (place) => across(1) + ((place - low) / (high - low)) * (across(count) - across(1));
    Object.assign(along, { low: along(low), high: along(high) });
    const top = height + 62;
    const total = top + model.get("scales").length * (ROW.height + ROW.gap) + 18;
    picture.setAttribute("viewBox", `0 0 ${width} ${total}`);
    picture.setAttribute("height", total);
    picture.replaceChildren(
      curves(state(), height, across),
      svg("text", { x: width / 2, y: height + 18, "text-anchor": "middle" },
        "rank, from lowest to highest (dashed: even)"),
      svg("text", { x: 2, y: top - 12 }, "scale: every class on its line"),
      lines(state(), top, along),
      ...[0, 0.5, 1].map((place) => svg("text",
        { x: along(place), y: total - 5, "text-anchor": "middle" }, String(place))),
    );
  };

  // A mouse reads as it passes, a finger where it is put down and drawn along.
  const point = (event) => {
    if (event.type === "pointerdown") picture.setPointerCapture(event.pointerId);
    else if (event.pointerType !== "mouse" && !picture.hasPointerCapture(event.pointerId)) return;
    const box = picture.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
    if (event.clientY - box.top < height + 20) {
      read(1 + Math.round(share * (count - 1)));
      return;
    }
    const [low, high] = reach(model.get("prototypes"));
    const wanted = low + share * (high - low);
    const order = ordered(places());
    const far = order.map((index) => Math.abs(places()[index] - wanted));
    read(1 + far.indexOf(Math.min(...far)));
  };
  for (const type of ["pointerdown", "pointermove"]) {
    picture.addEventListener(type, point, { signal });
  }

  const buttons = model.get("scales").map((scale) => {
    const button = html("button", { type: "button" }, `scale ${scale}`);
    button.addEventListener("click", () => change(scale), { signal });
    follow(model, ["scale"], () => {
      button.setAttribute("aria-pressed", String(model.get("scale") === scale));
    }, signal);
    return button;
  });
  el.classList.add("geobasin-live", "geobasin-prototypes");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Live figure: the Cantor prototypes");
  el.append(
    picture, status,
    html("div", { class: "gb-controls" }, slider(model, "rank", { label: "rank", minimum: 1,
      maximum: count, step: 1, format: (rank) => `${rank} of ${count}` }, signal)),
    html("div", { class: "gb-choices", role: "group", "aria-label": "Set the scale" }, ...buttons),
  );
  follow(model, traits, draw, signal);
  measured(picture, (now) => { width = now; draw(); }, signal);
  return () => stop.abort();
}

export default { render };
