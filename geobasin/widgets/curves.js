// Small plots one above the other over a shared axis of steps, for the figures that need them.
const STRIP = { left: 52, title: 19, plot: 72, gap: 10, foot: 34 };

// About three round values between low and high.
function roundTicks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / unit);
  const count = Math.floor(high / unit) - first + 1;
  return Array.from({ length: count }, (_, index) => {
    const at = (first + index) * unit;
    return { at, text: String(Number(at.toPrecision(6))).replace("-", "−") };
  });
}

// The ends of an axis that holds all known values, with some air.
function roomFor(values) {
  const known = values.filter((value) => value !== null);
  const low = Math.min(...known);
  const high = Math.max(...known);
  const air = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low - air, high + air];
}

// A line through the known values; null breaks it, and a lone value stays a dot.
function brokenLine(steps, values, across, up) {
  let pen = "M";
  return values.map((value, index) => {
    if (value === null) {
      pen = "M";
      return "";
    }
    const part = `${pen}${across(steps[index]).toFixed(1)},${up(value).toFixed(1)}`;
    const dot = pen === "M" ? "h0" : "";
    pen = "L";
    return part + dot;
  }).join("");
}

// Draws panels into picture, as wide as width.
// A panel: { title, range: [low, high], ticks?, rules: [{ at, className }], curves: [values] };
// a curve's place in the list is its series. place is the index of the step that is read.
function drawStrip(picture, { steps, panels, place, width, right, uprights = [] }) {
  const [begin, end] = [steps[0], steps[steps.length - 1]];
  const across = (step) =>
    STRIP.left + ((step - begin) / Math.max(1, end - begin)) * (width - STRIP.left - right);
  const rise = STRIP.title + STRIP.plot + STRIP.gap;
  const bottom = panels.length * rise;
  const parts = panels.map((panel, row) => drawPanel(panel, row * rise, { steps, place, across }));
  const foot = [[begin, "start"], [Math.round((begin + end) / 2), "middle"], [end, "end"]].map(
    ([step, anchor]) =>
      svg("text", { x: across(step), y: bottom + 12, "text-anchor": anchor }, String(step)),
  );
  const upright = (step, name) => svg("line", {
    class: name, x1: across(step), x2: across(step), y1: STRIP.title, y2: bottom - STRIP.gap,
  });
  picture.setAttribute("viewBox", `0 0 ${width} ${bottom + STRIP.foot}`);
  picture.setAttribute("height", bottom + STRIP.foot);
  picture.replaceChildren(
    ...uprights.map((step) => upright(step, "mark")), upright(steps[place], "here"), ...parts,
    ...foot, svg("text", { x: across((begin + end) / 2), y: bottom + 28, "text-anchor": "middle" },
      "step"),
  );
}

function drawPanel({ title, range, ticks, rules, curves }, top, { steps, place, across }) {
  const [low, high] = range;
  const base = top + STRIP.title + STRIP.plot;
  const up = (value) => base - ((value - low) / (high - low)) * STRIP.plot;
  const [left, right] = [across(steps[0]), across(steps[steps.length - 1])];
  const group = svg("g", {}, svg("text", { x: 2, y: top + 13 }, title));
  for (const { at, text, opposite } of ticks ?? roundTicks(low, high)) {
    group.append(
      svg("line", { class: "grid", x1: left, x2: right, y1: up(at), y2: up(at) }),
      svg("text", { x: left - 6, y: up(at) + 4, "text-anchor": "end" }, text),
    );
    if (opposite) group.append(svg("text", { x: right + 6, y: up(at) + 4 }, opposite));
  }
  for (const { at, className } of rules) {
    group.append(svg("line", { class: className, x1: left, x2: right, y1: up(at), y2: up(at) }));
  }
  for (const [index, values] of curves.entries()) {
    const series = `series-${index + 1}`;
    group.append(
      svg("path", { class: `curve ${series}`, d: brokenLine(steps, values, across, up) }),
    );
    if (values[place] !== null) {
      group.append(svg("circle", {
        class: `dot ${series}`, cx: across(steps[place]), cy: up(values[place]), r: 4.5,
      }));
    }
  }
  return group;
}

// Names of the series with a piece of their line.
function seriesLegend(names) {
  const parts = names.map((name, index) => {
    const line = svg("line", { class: `curve series-${index + 1}`, x1: 0, x2: 30, y1: 6, y2: 6 });
    const sample = svg("svg", { width: 30, height: 12, "aria-hidden": "true" }, line);
    return html("span", {}, sample, ` ${name}`);
  });
  return html("div", { class: "gb-legend" }, ...parts);
}
