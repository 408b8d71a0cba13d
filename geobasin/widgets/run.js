const RIGHT = 14;
const QUANTITIES = [
  { field: "drift", title: "drift (rad); rule: a right angle", name: "drift", unit: " rad", rule: Math.PI / 2 },
  { field: "coh", title: "coherence; rule: noise", name: "coherence", unit: "", rule: 0 },
  { field: "flux", title: "flux", name: "flux", unit: "" },
  { field: "loss", title: "loss (nat)", name: "loss", unit: " nat" },
  { field: "joules", title: "joules a step", name: "joules a step", unit: " J" },
];

// The place of the kept step nearest to the one asked for; of two equally near, the earlier.
export function nearest(steps, step) {
  let best = 0;
  for (const [place, kept] of steps.entries()) {
    if (Math.abs(kept - step) < Math.abs(steps[best] - step)) best = place;
  }
  return best;
}

// A value in words; a joule comes with its source and its window.
export function told(run, { field, unit }, place) {
  const value = run[field][place];
  if (value === null) return "not measured";
  const number = `${Number(value.toPrecision(4))}${unit}`.replace("-", "−");
  if (field !== "joules") return number;
  const window = run.window[place];
  return `${number} (${run.source}, mean of ${window === 1 ? "1 step" : `${window} steps`})`;
}

function known(runs, field) {
  return runs.some((run) => run[field].some((value) => value !== null));
}

function panels(runs) {
  return QUANTITIES.filter(({ field }) => known(runs, field)).map(({ field, title, rule }) => ({
    title,
    range: roomFor(runs.flatMap((run) => run[field]).concat(rule === undefined ? [] : [rule])),
    rules: rule === undefined ? [] : [{ at: rule, className: "rule" }],
    curves: runs.map((run) => run[field]),
  }));
}

function readout(runs, place) {
  const heading = (text, scope) => html("th", { scope }, text);
  return [
    html("caption", {}, "Values at this step"),
    html("thead", {}, html("tr", {}, heading("quantity", "col"),
      ...runs.map((run) => heading(run.name, "col")))),
    html("tbody", {}, ...QUANTITIES.map((quantity) => html("tr", {}, heading(quantity.name, "row"),
      ...runs.map((run) => html("td", {}, told(run, quantity, place)))))),
  ];
}

function sentence({ steps, runs, logged }, place) {
  const loss = QUANTITIES.find(({ field }) => field === "loss");
  const losses = runs.map((run) => `${run.name} ${told(run, loss, place)}`).join(", ");
  const thinned = logged > steps.length
    ? ` Of ${logged} logged steps ${steps.length} are shown, evenly chosen.` : "";
  return `Step ${steps[place]} of ${steps[steps.length - 1]}. Loss: ${losses}.${thinned}`;
}

function render({ model, el }) {
  const stop = new AbortController();
  const { signal } = stop;
  const traits = ["steps", "runs", "logged", "step"];
  const state = () => Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const { steps, runs } = state();
  const missing = QUANTITIES.filter(({ field }) => !known(runs, field)).map(({ name }) => name);
  const names = runs.map((run) => run.name);

  const picture = svg("svg", {
    role: "img",
    "aria-label": `Curves of ${names.join(" and ")} over the steps: ` +
      `${QUANTITIES.filter(({ field }) => known(runs, field)).map(({ name }) => name).join(", ")}. ` +
      `${missing.map((name) => `Not measured: ${name}. `).join("")}` +
      "Drag to choose a step, or use the slider named step.",
  });
  const status = html("output", { class: "gb-status" });
  const table = html("table", { class: "gb-readout" });
  let width = 0;
  const draw = () => {
    const place = nearest(steps, model.get("step"));
    status.textContent = sentence(state(), place);
    table.replaceChildren(...readout(runs, place));
    if (width > 0) drawStrip(picture, { steps, panels: panels(runs), place, width, right: RIGHT });
  };

  el.classList.add("geobasin-live", "geobasin-run");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Live figure: a training run to scrub");
  el.append(
    seriesLegend(names), picture,
    html("div", { class: "gb-controls" }, slider(model, "step", {
      label: "step", minimum: steps[0], maximum: steps[steps.length - 1], step: 1,
      // One press of a key goes to the next kept step, however far it is.
      scale: { to: (step) => nearest(steps, step), from: (place) => steps[place] },
    }, signal)),
    status, table,
  );
  follow(model, ["step"], draw, signal);
  measured(picture, (now) => { width = now; draw(); }, signal);
  dragged(picture, () => ({ left: STRIP.left, right: RIGHT }), (share) => {
    const [begin, end] = [steps[0], steps[steps.length - 1]];
    model.set("step", steps[nearest(steps, begin + share * (end - begin))]);
    model.save_changes();
  }, signal);
  return () => stop.abort();
}

export default { render };
