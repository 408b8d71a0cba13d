// How far the reader looks down on the simplex: 0 is along its axis, pi/2 from the side.
const TILT = 0.9;
const PLANE = { left: -1.06, right: 1.06, bottom: -1.06, top: 1.36 };
const PERIOD = 40_000;
// The feature keeps a little of what no picture shows, or it could never leave the picture's plane.
const RIM = 0.995;

// The regular k-simplex as a regular polygon with k + 1 corners, then as its stars: coordinates
// 2m - 2 and 2m - 1 turn by m / (k + 1) from vertex to vertex.
export function polygons(k) {
  return Array.from({ length: k + 1 }, (_, vertex) =>
    Array.from({ length: k }, (_, axis) => {
      if (axis === k - 1 && k % 2 === 1) return (-1) ** vertex / Math.sqrt(k);
      const turn = (2 * Math.PI * vertex * (Math.floor(axis / 2) + 1)) / (k + 1);
      return Math.sqrt(2 / k) * (axis % 2 === 0 ? Math.cos(turn) : Math.sin(turn));
    }));
}

// Two orthonormal directions of R^(k+1), across and up. Up always holds the simplex's axis, the last
// coordinate; the rest turns through all dimensions of the simplex.
export function view(k, angle) {
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  const corners = regularSimplex(k);
  const turned = [0, 1].map((start) => {
    const row = Array(k).fill(0);
    row[start] = 1;
    for (let axis = 0; axis < k - 1; axis += 1) {
      const [first, second] = [row[axis], row[axis + 1]];
      row[axis] = cosine * first - sine * second;
      row[axis + 1] = sine * first + cosine * second;
    }
    // From the polygons' coordinates to the library's: both describe the same vertices.
    const shown = polygons(k).map((corner) => dot(corner, row));
    return corners[0].map((_, axis) =>
      (k / (k + 1)) * shown.reduce((sum, share, vertex) => sum + share * corners[vertex][axis], 0));
  });
  return [
    [...turned[0], 0],
    [...turned[1].map((value) => value * Math.cos(TILT)), Math.sin(TILT)],
  ];
}

// A feature for another k: the axis keeps its part, dimensions are cut off or filled with zeros.
export function fitted(feature, k) {
  const frame = Array.from({ length: k }, (_, axis) =>
    axis < feature.length - 1 ? feature[axis] : 0);
  return unit([...frame, feature[feature.length - 1]]);
}

function unit(vector) {
  const length = Math.sqrt(dot(vector, vector));
  if (length > 0) return vector.map((value) => value / length);
  return centre(vector.length - 1);
}

// The feature that is seen at (x, y) in this view and otherwise points as before.
export function moved(feature, [across, up], x, y) {
  const length = Math.hypot(x, y);
  const held = length > RIM ? RIM / length : 1;
  const hidden = (vector) => {
    const [right, top] = [dot(vector, across), dot(vector, up)];
    return vector.map((value, axis) => value - right * across[axis] - top * up[axis]);
  };
  let rest = hidden(feature);
  if (dot(rest, rest) < 1e-12) rest = hidden(centre(feature.length - 1));
  const depth = Math.sqrt(1 - (held * length) ** 2);
  return unit(unit(rest).map((value, axis) =>
    held * (x * across[axis] + y * up[axis]) + depth * value));
}

// The class's centroid: the last axis of R^(k+1).
function centre(k) {
  return Array.from({ length: k + 1 }, (_, axis) => Number(axis === k));
}

// What the library says of the feature and the class.
export function scores({ k, radius, prototype, feature, line }) {
  const { cosine, distance, nearest } = scoreRigid(feature, centre(k), radius, regularSimplex(k));
  const height = lineHeight(feature[0], line);
  return { cosine, distance, nearest, height, coherence: -((height - prototype) ** 2) };
}

function picture({ k, radius, feature }, [across, up], { nearest }, scale) {
  const point = (vector) => scale(dot(vector, across), dot(vector, up));
  const origin = scale(0, 0);
  const tip = point(centre(k));
  const seen = regularSimplex(k).map((corner) => point([...corner.map((value) => radius * value), 1]));
  const edges = seen.flatMap((from, index) => seen.slice(index + 1).map((to) => `M${from}L${to}`));
  const [x, y] = point(feature);
  const lit = seen[nearest];
  const edge = scale(1, 0)[0] - origin[0];
  return [
    svg("circle", { class: "ball", cx: origin[0], cy: origin[1], r: edge }),
    svg("path", { class: "edges", d: edges.join("") }),
    svg("path", { class: "axis", d: `M${origin}L${tip}` }),
    svg("circle", { class: "axis-tip", cx: tip[0], cy: tip[1], r: 4 }),
    svg("path", { class: "near", d: `M${x},${y}L${lit}` }),
    svg("path", { class: "arm", d: `M${origin}L${x},${y}` }),
    ...seen.map(([cx, cy]) => svg("circle", { class: "corner", cx, cy, r: 4 })),
    svg("circle", { class: "corner lit", cx: lit[0], cy: lit[1], r: 7 }),
    svg("circle", { class: "axis-tip", cx: origin[0], cy: origin[1], r: 2 }),
    svg("text", { class: "on-plot", x: tip[0] + 8, y: tip[1] + 4 }, "centroid"),
    svg("text", { class: "on-plot", x, y: y + 24, "text-anchor": "middle" }, "feature"),
    svg("text", { class: "on-plot", x: lit[0], y: lit[1] - 11, "text-anchor": "middle" },
      `vertex ${nearest}`),
    svg("text", { class: "on-plot", x: origin[0], y: origin[1] + edge - 6, "text-anchor": "middle" },
      "unit sphere"),
  ];
}

function sentence({ prototype }, { nearest, distance, height }) {
  return `Vertex ${nearest} is nearest, at distance ${distance.toFixed(2)}. ` +
    `The feature's height on the staircase is ${height.toFixed(2)}, the class's ${prototype.toFixed(2)}.`;
}

// Turns the figure by itself: only while it is on the screen and not held, and not at all for
// readers whose system asks for less motion, until they say so.
function turner(model, stage, put, signal) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) model.set("turning", false);
  let [frame, last, visible, held] = [0, undefined, false, false];
  const step = (time) => {
    frame = 0;
    // Not saved: a kernel need not hear of every frame. A long pause is no reason for a leap.
    const passed = Math.min(100, time - (last ?? time));
    model.set("angle", (model.get("angle") + (2 * Math.PI * passed) / PERIOD) % (2 * Math.PI));
    last = time;
    wake();
  };
  const wake = () => {
    const awake = model.get("turning") && visible && !held && !signal.aborted;
    if (awake && frame === 0) frame = requestAnimationFrame(step);
    if (!awake) {
      cancelAnimationFrame(frame);
      [frame, last] = [0, undefined];
    }
  };
  const watch = new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    wake();
  });
  watch.observe(stage);
  signal.addEventListener("abort", () => { watch.disconnect(); wake(); });
  for (const [name, now] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) {
    stage.addEventListener(name, () => { held = now; wake(); }, { signal, capture: true });
  }

  const button = html("button", { type: "button" });
  button.addEventListener("click", () => put({ turning: !model.get("turning") }), { signal });
  follow(model, ["turning"], () => {
    button.textContent = model.get("turning") ? "pause" : "turn";
    wake();
  }, signal);
  const control = slider(model, "angle", { label: "turned by", minimum: 0, maximum: 2 * Math.PI,
    step: 0.05, format: (value) => `${Math.round((180 * value) / Math.PI)}°` }, signal);
  control.addEventListener("input", () => put({ turning: false }), { signal });
  return { button, control };
}

function render({ model, el }) {
  const stop = new AbortController();
  const { signal } = stop;
  const put = (changes) => {
    model.set(changes);
    model.save_changes();
  };
  const state = () => {
    const traits = ["k", "radius", "prototype", "line", "feature"];
    const now = Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
    return { ...now, feature: fitted(now.feature, now.k) };
  };
  const directions = () => view(model.get("k"), model.get("angle"));
  const move = (x, y) => put({ feature: moved(state().feature, directions(), x, y) });

  const drawing = svg("svg", {
    role: "img",
    "aria-label": "A regular simplex around its class's centroid, turned through its dimensions, and " +
      "a feature on the unit sphere. Drag to move the feature, or focus it and use the arrow keys.",
  });
  const ratio = (PLANE.right - PLANE.left) / (PLANE.top - PLANE.bottom);
  const stage = html("div", { class: "gb-stage", style: `aspect-ratio:${ratio}` }, drawing);
  const grip = handle(stage, PLANE, {
    label: "feature", step: 0.05, move,
    at: () => directions().map((direction) => dot(direction, state().feature)),
  }, signal);
  stage.append(grip);
  const status = html("output", { class: "gb-status" });
  const table = bars(-2.5, 1, 3);

  let width = 0;
  const draw = () => {
    grip.show();
    if (width === 0) return;
    const now = state();
    const unitLength = width / (PLANE.right - PLANE.left);
    const scale = (x, y) => [unitLength * (x - PLANE.left), unitLength * (PLANE.top - y)];
    drawing.setAttribute("viewBox", `0 0 ${width} ${width / ratio}`);
    drawing.replaceChildren(...picture(now, directions(), scores(now), scale));
  };
  // Words change with the feature and never with the view, or a screen reader would never fall silent.
  const tell = () => {
    const now = state();
    const found = scores(now);
    status.textContent = sentence(now, found);
    const rows = { feature: found.cosine, cantor: found.coherence, crystal: -found.distance };
    const sum = Object.values(rows).reduce((total, value) => total + value, 0);
    table.show(Object.entries({ ...rows, compatibility: sum / 3 })
      .map(([name, value], index) => ({ name, value, colour: [1, 3, 2, 4][index] })));
  };

  const number = (value) => value.toFixed(2);
  const { button, control } = turner(model, stage, put, signal);
  const controls = html("div", { class: "gb-controls" },
    slider(model, "k", { label: "k", minimum: 2, maximum: 12, step: 1 }, signal),
    control,
    slider(model, "radius",
      { label: "radius", minimum: 0.1, maximum: 1, step: 0.05, format: number }, signal),
    slider(model, "prototype",
      { label: "height p", minimum: 0, maximum: 1, step: 0.01, format: number }, signal),
  );
  const onto = (name, goal) => {
    const chosen = html("button", { type: "button" }, name);
    chosen.addEventListener("click", () => put({ feature: unit(goal(state())) }), { signal });
    return chosen;
  };
  const choices = html("div", { class: "gb-choices" },
    button,
    onto("feature to the centroid", ({ k }) => centre(k)),
    onto("to the next vertex", (now) => {
      const next = (scores(now).nearest + 1) % (now.k + 1);
      return [...regularSimplex(now.k)[next].map((value) => now.radius * value), 1];
    }),
  );

  el.classList.add("geobasin-live", "geobasin-simplex");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Live figure: a class simplex and a feature");
  el.append(
    html("div", { class: "gb-pair" }, stage, html("div", {}, table.element, status, choices)),
    controls,
  );
  follow(model, ["k", "radius", "prototype", "feature"], tell, signal);
  follow(model, ["k", "radius", "feature", "angle"], draw, signal);
  // A kernel and the other views are told the feature in its new dimension.
  follow(model, ["k"], () => {
    if (model.get("feature").length !== model.get("k") + 1) put({ feature: state().feature });
  }, signal);
  measured(stage, (now) => { width = now; draw(); }, signal);
  dragged(stage, () => ({}), (share, fall) => move(...onPlane(PLANE, share, fall)), signal);
  return () => stop.abort();
}

export default { render };
