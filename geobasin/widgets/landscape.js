const LETTERS = "ABCDE";
const RIM = 0.99;
const PLANE = { left: -1, right: 1, bottom: -1, top: 1 };
// Points across the disc that are computed while something moves, and once it rests; the browser
// smooths between them.
const COARSE = 140;
const FINE = 320;
const REST = 120;
const SHADE = 0.42;
const PRESETS = {
  even: [0, 0, 0], "centroids only": [4, -4, -4], "Cantor only": [-4, 4, -4], "corners only": [-4, -4, 4],
};

// The point of the sphere's front half that is seen at (x, y) of the disc.
export function front(x, y) {
  return [x, y, Math.sqrt(Math.max(0, 1 - x * x - y * y))];
}

// Weights of feature, cantor and crystal: a softmax of the learned numbers.
export function weights({ feature, cantor, crystal }) {
  return softmax([feature, cantor, crystal]);
}

// The landscape of these traits: a function that gives the classes' probabilities at (x, y), in an
// array that it uses again. Those who ask along a column may say its height on the staircase, which
// depends on x alone.
export function landscape(state) {
  const corners = regularSimplex(2);
  const [byCentroid, byHeight, byCorner] = weights(state);
  const { classes, radius, temperature, line } = state;
  const places = state.centres.slice(0, classes);
  const centroids = places.map(([x, y]) => front(x, y));
  // A class's prototype is its own centroid's height.
  const prototypes = places.map(([x]) => lineHeight(x, line));
  const shares = Array(classes).fill(0);
  return (x, y, height = lineHeight(x, line)) => {
    const z = front(x, y);
    for (let index = 0; index < classes; index += 1) {
      const { cosine, distance } = scoreRigid(z, centroids[index], radius, corners);
      const gap = height - prototypes[index];
      shares[index] =
        (byCentroid * cosine - byHeight * gap * gap - byCorner * distance) / temperature;
    }
    return softmax(shares);
  };
}

export function probabilities(state, x, y) {
  return [...landscape(state)(x, y)];
}

function winner(shares) {
  let best = 0;
  for (let index = 1; index < shares.length; index += 1) if (shares[index] > shares[best]) best = index;
  return best;
}

// "#rrggbb" as three numbers.
function channels(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.trim().slice(start, start + 2), 16));
}

// Paints the disc: every place in the mix of its classes' colours, borders between basins in ink.
function paint(canvas, state, grid) {
  canvas.width = grid;
  canvas.height = grid;
  const style = getComputedStyle(canvas);
  const named = (name) => channels(style.getPropertyValue(`--gb-${name}`));
  const colours = Array.from({ length: state.classes }, (_, index) => named(`series-${index + 1}`));
  const [paper, ink] = [named("paper"), named("ink")];
  const at = landscape(state);
  const place = (index) => (2 * index + 1) / grid - 1;
  const heights = Array.from({ length: grid }, (_, column) => lineHeight(place(column), state.line));
  const winners = new Int8Array(grid * grid).fill(-1);
  const image = new ImageData(grid, grid);
  const differs = (other, own) => winners[other] >= 0 && winners[other] !== own;
  for (let row = 0; row < grid; row += 1) {
    const y = -place(row);
    for (let column = 0; column < grid; column += 1) {
      const x = place(column);
      // The style sheet cuts the disc out; a little more than it is painted, to smooth its rim.
      if (x * x + y * y > 1.05) continue;
      const shares = at(x, y, heights[column]);
      const pixel = row * grid + column;
      const own = winner(shares);
      winners[pixel] = own;
      const border = (column > 0 && differs(pixel - 1, own)) || (row > 0 && differs(pixel - grid, own));
      for (let channel = 0; channel < 3; channel += 1) {
        let mixed = 0;
        for (let index = 0; index < shares.length; index += 1) {
          mixed += shares[index] * colours[index][channel];
        }
        const tint = paper[channel] + SHADE * (mixed - paper[channel]);
        image.data[4 * pixel + channel] = border ? (tint + ink[channel]) / 2 : tint;
      }
      image.data[4 * pixel + 3] = 255;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Calls act when the page, or a page that says nothing of it the system, changes its colours.
function recoloured(act, signal) {
  const observer = new MutationObserver(act);
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributeFilter: ["data-theme", "theme", "data-jp-theme-light"] });
  }
  signal.addEventListener("abort", () => observer.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act, { signal });
}

function triangles({ centres, classes, radius }, scale) {
  return centres.slice(0, classes).flatMap(([x, y], index) => {
    const seen = regularSimplex(2).map(([right, up]) => scale(x + radius * right, y + radius * up));
    const stroke = `var(--gb-series-${index + 1})`;
    return [
      svg("path", { class: "triangle", style: `stroke:${stroke}`, d: `M${seen.join("L")}Z` }),
      ...seen.map(([cx, cy]) => svg("circle", { style: `fill:${stroke}`, cx, cy, r: 3.5 })),
    ];
  });
}

function sentence(shares, [x, y], hovered) {
  const best = winner(shares);
  const chance = (100 * shares[best]).toFixed(0);
  const who = hovered ? "Under the pointer" : "The point";
  return `${who}, ${rounded(x, 2)} across and ${rounded(y, 2)} up: basin of class ${LETTERS[best]}, ` +
    `with probability ${chance} %.`;
}

function render({ model, el }) {
  const stop = new AbortController();
  const { signal } = stop;
  const traits = ["classes", "centres", "radius", "feature", "cantor", "crystal", "temperature", "line"];
  const state = () => Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const put = (changes) => {
    model.set(changes);
    model.save_changes();
  };
  // Rounded, so that a page and a kernel read the same numbers.
  const inside = (x, y) => {
    const held = Math.min(1, RIM / Math.hypot(x, y));
    return [x * held, y * held].map((value) => Math.round(value * 1e4) / 1e4);
  };

  const drawing = svg("svg", {
    role: "img",
    "aria-label": "The front of the unit sphere, coloured by the class whose basin each place belongs " +
      "to. Drag the point or the letters of the classes, or focus one and use the arrow keys.",
  });
  const canvas = html("canvas", { "aria-hidden": "true" });
  const stage = html("div", { class: "gb-stage", style: "aspect-ratio:1" }, drawing, canvas);
  const grips = Array.from(LETTERS, (letter, index) => {
    const grip = handle(stage, PLANE, {
      label: `class ${letter}`, step: 0.05, mark: letter,
      at: () => model.get("centres")[index],
      move: (x, y) => put({
        centres: model.get("centres").map((centre, other) => other === index ? inside(x, y) : centre),
      }),
    }, signal);
    grip.style.setProperty("--gb-own", `var(--gb-series-${index + 1})`);
    return grip;
  });
  const moves = (x, y) => put({ point: inside(x, y) });
  const pointer = handle(stage, PLANE,
    { label: "point", step: 0.05, at: () => model.get("point"), move: moves }, signal);
  stage.append(...grips, pointer);
  const status = html("output", { class: "gb-status" });
  const table = bars(0, 1, 2);

  let [width, hovered, resting] = [0, null, 0];
  const tell = () => {
    const place = hovered ?? model.get("point");
    const shares = probabilities(state(), ...place);
    status.textContent = sentence(shares, place, hovered !== null);
    table.show(shares.map((value, index) =>
      ({ name: `class ${LETTERS[index]}`, value, colour: index + 1 })));
  };
  const draw = () => {
    const now = state();
    for (const [index, grip] of grips.entries()) {
      grip.hidden = index >= now.classes;
      grip.show();
    }
    if (width === 0) return;
    paint(canvas, now, COARSE);
    clearTimeout(resting);
    resting = setTimeout(() => paint(canvas, now, FINE), REST);
    const scale = (x, y) => [(width * (x + 1)) / 2, (width * (1 - y)) / 2];
    drawing.setAttribute("viewBox", `0 0 ${width} ${width}`);
    drawing.replaceChildren(...triangles(now, scale));
  };

  const percent = (index) => () => `${(100 * weights(state())[index]).toFixed(0)} %`;
  const names = ["feature", "cantor", "crystal"];
  const controls = html("div", { class: "gb-controls" },
    ...names.map((name, index) => slider(model, name,
      { label: name, minimum: -4, maximum: 4, step: 0.1, format: percent(index), also: names }, signal)),
    slider(model, "temperature", { label: "temperature", minimum: 0.01, maximum: 1, step: 0.05,
      scale: { to: Math.log10, from: (value) => 10 ** value },
      format: (value) => value.toPrecision(2) }, signal),
    slider(model, "radius", { label: "radius", minimum: 0.05, maximum: 0.6, step: 0.01,
      format: (value) => value.toFixed(2) }, signal),
    slider(model, "classes", { label: "classes", minimum: 3, maximum: 5, step: 1 }, signal),
  );
  const choices = html("div", { class: "gb-choices", role: "group", "aria-label": "Set the weights" });
  for (const [name, numbers] of Object.entries(PRESETS)) {
    const button = html("button", { type: "button" }, name);
    const wanted = Object.fromEntries(names.map((trait, index) => [trait, numbers[index]]));
    button.addEventListener("click", () => put(wanted), { signal });
    follow(model, names, () => {
      const pressed = names.every((trait) => model.get(trait) === wanted[trait]);
      button.setAttribute("aria-pressed", String(pressed));
    }, signal);
    choices.append(button);
  }

  el.classList.add("geobasin-live", "geobasin-landscape");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Live figure: a landscape of basins");
  el.append(
    html("div", { class: "gb-pair" }, stage, html("div", {}, table.element, status, choices)),
    controls,
  );
  follow(model, traits, draw, signal);
  follow(model, [...traits, "point"], tell, signal);
  follow(model, ["point"], pointer.show, signal);
  measured(stage, (now) => { width = now; draw(); }, signal);
  recoloured(draw, signal);
  dragged(stage, () => ({}), (share, fall) => moves(...onPlane(PLANE, share, fall)), signal);
  stage.addEventListener("pointermove", (event) => {
    const box = stage.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const [x, y] = onPlane(PLANE, share, (event.clientY - box.top) / box.height);
    hovered = event.buttons === 0 && Math.hypot(x, y) < RIM ? [x, y] : null;
    tell();
  }, { signal });
  stage.addEventListener("pointerleave", () => { hovered = null; tell(); }, { signal });
  signal.addEventListener("abort", () => clearTimeout(resting));
  return () => stop.abort();
}

export default { render };
