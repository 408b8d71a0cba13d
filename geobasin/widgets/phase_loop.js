const STEPS = 240;
const COORDINATES = 64;
const BETA1 = 0.9;
const BETA2 = 0.999;
const FLOOR = Math.sqrt(1 - BETA1 ** 2);
const RIGHT = 44;
const ONSET = 81;

// Normal noise, the same numbers as in geobasin.figures.phase_loop: [STEPS][COORDINATES].
export function noise(seed) {
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  const uniform = () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Array.from({ length: STEPS }, () => {
    const row = [];
    while (row.length < COORDINATES) {
      const length = Math.sqrt(-2 * Math.log(uniform()));
      const angle = 2 * Math.PI * uniform();
      row.push(length * Math.cos(angle), length * Math.sin(angle));
    }
    return row;
  });
}

// Gradients of which each agrees with the one before, from step onset (counted from 1) on.
export function gradients(agreement, onset, seed) {
  const rows = noise(seed);
  const fresh = Math.sqrt(1 - agreement ** 2);
  for (let t = Math.max(1, onset - 1); t < rows.length; t += 1) {
    rows[t] = rows[t].map((value, i) => agreement * rows[t - 1][i] + fresh * value);
  }
  return rows;
}

// The coupler, lines 1 to 3 of DCLR, fed with gradients; null where there is no momentum yet.
export function loop(rows, coupling, memory, bound) {
  const m = rows[0].map(() => 0);
  const v = rows[0].map(() => 0);
  let h = 0;
  return rows.map((g, index) => {
    let phase = null;
    let coherence = null;
    if (index > 0) {
      const correction = 1 - BETA2 ** index;
      const votes = g.map((value, i) => (v[i] > 0 ? (value * m[i] * correction) / v[i] : 0));
      phase = votes.reduce((sum, vote) => sum + clamp(vote, 1), 0) / votes.length;
      h = clamp(memory * h + coupling * phase, bound);
      coherence = cosine(g, m);
    }
    for (const [i, value] of g.entries()) {
      m[i] = BETA1 * m[i] + (1 - BETA1) * value;
      v[i] = BETA2 * v[i] + (1 - BETA2) * value ** 2;
    }
    return { phase, h, coherence, late: cosine(g, m) };
  });
}

function clamp(value, most) {
  return Math.min(most, Math.max(-most, value));
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function panels(readings, bound) {
  const column = (name) => readings.map((reading) => reading[name]);
  const phase = column("phase");
  const tall = 1.15 * Math.max(bound, 0.5);
  const levels = bound > 0 ? [-bound, 0, bound] : [0];
  return [
    {
      title: "phase error A: do gradient and momentum agree?",
      // Not narrower than this, or the noise would fill the plot whatever its size.
      range: roomFor([-0.1, 0.1, ...phase]),
      rules: [{ at: 0, className: "rule" }],
      curves: [phase],
    },
    {
      title: "coherence; right: what noise reads against m_t",
      range: [-1.05, 1.05],
      ticks: [
        ...[-1, 0, 1].map((at) => ({ at, text: rounded(at, 0) })),
        { at: FLOOR, text: "", opposite: FLOOR.toFixed(3) },
      ],
      rules: [0, FLOOR].map((at) => ({ at, className: "rule" })),
      curves: [column("coherence"), column("late")],
    },
    {
      title: "integrator h (left), gain exp(h) (right)",
      range: [-tall, tall],
      ticks: levels.map((at) => ({
        at, text: rounded(at, 2), opposite: Math.exp(at).toPrecision(2),
      })),
      rules: [-bound, bound].map((at) => ({ at, className: "mark" })),
      curves: [column("h")],
    },
  ];
}

function sentence(readings, { step, coupling, memory }) {
  const { phase, h, coherence, late } = readings[step - 1];
  const told = (value) => (value === null ? "undefined" : rounded(value, 3));
  const tail = readings.slice(-STEPS / 3).map((reading) => reading.phase);
  const mean = tail.reduce((sum, value) => sum + value, 0) / tail.length;
  const rest = memory < 1
    ? `h would rest at κA/(1 − ρ) = ${rounded((coupling * mean) / (1 - memory), 2)}`
    : "h would never rest";
  return `Step ${step}: A = ${told(phase)}, h = ${rounded(h, 3)}, gain ${Math.exp(h).toFixed(2)}; ` +
    `coherence ${told(coherence)} against m_(t−1), ${told(late)} against m_t. ` +
    `In the last ${tail.length} steps A averages ${rounded(mean, 3)}; without a bound ${rest}.`;
}

function render({ model, el }) {
  const stop = new AbortController();
  const { signal } = stop;
  const traits = ["agreement", "coupling", "memory", "bound", "onset", "seed", "step"];
  const picture = svg("svg", {
    role: "img",
    "aria-label": "Three plots over the steps: the phase error A, the coherence against the " +
      "momentum before and after the gradient, and the integrator h between its bounds. " +
      "Drag to choose a step, or use the slider named step.",
  });
  const status = html("output", { class: "gb-status" });
  let width = 0;
  const draw = () => {
    const state = Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
    const { agreement, onset, seed, coupling, memory, bound, step } = state;
    const readings = loop(gradients(agreement, onset, seed), coupling, memory, bound);
    status.textContent = sentence(readings, state);
    if (width === 0) return;
    drawStrip(picture, {
      steps: readings.map((_, index) => index + 1),
      panels: panels(readings, bound),
      place: step - 1,
      width,
      right: RIGHT,
      uprights: onset > 1 ? [onset] : [],
    });
  };
  const set = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };

  const fixed = (digits) => (value) => rounded(value, digits);
  const controls = html("div", { class: "gb-controls" },
    slider(model, "agreement", { label: "agreement", minimum: -1, maximum: 1, step: 0.05,
      format: fixed(2), marks: [0] }, signal),
    slider(model, "coupling", { label: "coupling κ", minimum: 0, maximum: 1, step: 0.05,
      format: fixed(2), marks: [0.3] }, signal),
    slider(model, "memory", { label: "memory ρ", minimum: 0.8, maximum: 1, step: 0.005,
      format: fixed(3), marks: [0.99] }, signal),
    slider(model, "bound", { label: "bound H", minimum: 0, maximum: 3, step: 0.25,
      format: fixed(2), marks: [2] }, signal),
    slider(model, "step", { label: "step", minimum: 1, maximum: STEPS, step: 1 }, signal),
  );
  const jump = html("button", { type: "button" }, `noise up to step ${ONSET - 1}`);
  jump.addEventListener("click", () => set("onset", model.get("onset") > 1 ? 1 : ONSET), { signal });
  follow(model, ["onset"], () => {
    jump.setAttribute("aria-pressed", String(model.get("onset") > 1));
  }, signal);
  const renew = html("button", { type: "button" }, "new noise");
  renew.addEventListener("click", () => set("seed", (model.get("seed") + 1) % 1000), { signal });

  el.classList.add("geobasin-live", "geobasin-phase-loop");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Live figure: the coupler as a phase-locked loop");
  el.append(
    seriesLegend(["against m_(t−1), the momentum before the gradient", "against m_t, after it"]),
    picture, status, controls,
    html("div", { class: "gb-choices", role: "group", "aria-label": "Gradients" }, jump, renew),
  );
  follow(model, traits, draw, signal);
  measured(picture, (now) => { width = now; draw(); }, signal);
  dragged(picture, () => ({ left: STRIP.left, right: RIGHT }), (share) => {
    set("step", 1 + Math.round(share * (STEPS - 1)));
  }, signal);
  return () => stop.abort();
}

export default { render };
