"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);

function maker(namespace) {
  return (tag, attributes = {}, ...children) => {
    const made = document.createElementNS(namespace, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
}
const html = maker("http://www.w3.org/1999/xhtml"), svg = maker("http://www.w3.org/2000/svg");

// --- what there is ---------------------------------------------------------------------------------------------------

const points = report.groups.flatMap((group, g) => group.runs.flatMap(run => run.points.map(p => ({...p, g, group, run}))));
const runs = report.groups.flatMap(group => group.runs);
const metrics = Object.keys(points[0].metrics).filter(name => points.every(p => name in p.metrics));
const layers = 1 + Math.max(0, ...points.map(p => Math.max(-1, ...p.layers.map(([index]) => index))));
const most = [1, 2].map(k => points.reduce((top, p) => Math.max(top, ...p.layers.map(layer => layer[k])), 1));
const seeds = report.groups.some(group => group.runs.length > 1);
const state = {
  hidden: new Set(), picked: null,
  x: report.cost, y: report.objectives.find(name => name !== report.cost), cost: report.cost,
};
let scales = null;

const shown = p => !state.hidden.has(p.g);
const colour = g => `color: var(--g${g % 7})`;
const label = name => report.shown[name]?.label ?? name;
function show(name, value) {
  const {scale, digits, unit} = report.shown[name] ?? {scale: 1, digits: 4, unit: ""};
  return (value / scale).toFixed(digits) + (unit ? " " + unit : "");
}
const named = p => p.full ? `full model: ${p.text}` : p.text;
const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
// The metric on the test split less the full model's of the same run; null where one is not known.
const against = p => p.test === null || p.full || !p.run.full || p.run.full.test === null ? null : p.test - p.run.full.test;
const axisValue = (name, p) => p.metrics[name] / report.axes[name].scale;

// --- drawing ---------------------------------------------------------------------------------------------------------

const SHAPES = [
  r => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  r => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  r => `M0 ${-1.3 * r}L${1.2 * r} ${r}H${-1.2 * r}z`,
  r => `M0 ${-1.4 * r}L${1.4 * r} 0L0 ${1.4 * r}L${-1.4 * r} 0z`,
  r => `M0 ${1.3 * r}L${1.2 * r} ${-r}H${-1.2 * r}z`,
  r => `M${-r / 2} ${-1.3 * r}h${r}v${r * .8}h${r * .8}v${r}h${-r * .8}v${r * .8}h${-r}v${-r * .8}h${-r * .8}v${-r}h${r * .8}z`,
];
const star = r => "M" + Array.from({length: 10}, (_, i) => {
  const [length, angle] = [i % 2 ? .45 * r : r, Math.PI * (i / 5 - .5)];
  return `${(length * Math.cos(angle)).toFixed(2)} ${(length * Math.sin(angle)).toFixed(2)}`;
}).join("L") + "z";
const mark = (g, r, attributes = {}) => svg("path", {d: SHAPES[g % SHAPES.length](r), class: "mark", style: colour(g), ...attributes});
const swatch = g => svg("svg", {class: "swatch", width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true"}, mark(g, 4.5));

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(m => m * power >= raw), found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
  return {found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9))};
}

// Axes and grid. Returns how to place values in the picture.
function frame(chart, height, [xTitle, xs], [yTitle, ys]) {
  const width = chart.clientWidth, box = {left: 58, right: width - 12, top: 10, bottom: height - 42};
  const range = values => {
    const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const margin = 0.04 * (high - low) || 0.5;
    return values.length ? [low - margin, high + margin] : [0, 1];
  };
  const [x0, x1] = range(xs), [y0, y1] = range(ys);
  const sx = v => box.left + (v - x0) / (x1 - x0) * (box.right - box.left);
  const sy = v => box.bottom - (v - y0) / (y1 - y0) * (box.bottom - box.top);
  chart.setAttribute("height", height);
  chart.replaceChildren();
  const across = ticks(x0, x1, Math.max(2, width / 110)), up = ticks(y0, y1, height / 70);
  for (const v of across.found) chart.append(
    svg("line", {class: "grid", x1: sx(v), x2: sx(v), y1: box.top, y2: box.bottom}),
    svg("text", {x: sx(v), y: box.bottom + 16, "text-anchor": "middle"}, v.toFixed(across.digits)));
  for (const v of up.found) chart.append(
    svg("line", {class: "grid", x1: box.left, x2: box.right, y1: sy(v), y2: sy(v)}),
    svg("text", {x: box.left - 6, y: sy(v) + 4, "text-anchor": "end"}, v.toFixed(up.digits)));
  chart.append(
    svg("text", {x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle"}, xTitle),
    svg("text", {transform: `translate(12 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, yTitle));
  return {sx, sy, box};
}

const steps = (places) => places.map(([x, y], i) => i ? `H${x}V${y}` : `M${x} ${y}`).join("");

function drawFront() {
  const visible = points.filter(shown), chart = byId("front");
  const values = name => points.map(p => axisValue(name, p));
  scales = frame(chart, 430, [report.axes[state.x].title, values(state.x)], [report.axes[state.y].title, values(state.y)]);
  for (const p of visible) p.place = [scales.sx(axisValue(state.x, p)), scales.sy(axisValue(state.y, p))];
  if (report.objectives.length === 2) for (const run of runs) {
    const members = visible.filter(p => p.run === run && p.front && p.group.kind !== "baseline");
    const places = members.map(p => p.place).sort((a, b) => a[0] - b[0]);
    if (places.length) chart.append(svg("path", {class: "line front", style: colour(members[0].g), d: steps(places)}));
  }
  const rank = p => 2 * p.full + p.front;
  for (const p of [...visible].sort((a, b) => rank(a) - rank(b))) {
    const large = p.front || p.full || p.group.kind === "baseline";
    chart.append(mark(p.g, large ? 4.5 : 2.5, {
      class: `mark point ${large ? "member" : "dim"}`, transform: `translate(${p.place})`, "data-group": p.g, "data-text": p.text,
      ...(p.full ? {d: star(9)} : {}),
    }));
  }
  drawMajority(chart);
  chart.append(svg("g", {id: "marks"}));
  drawMarks();
}

// The error of the trivial predictor, if it is in the range shown.
function drawMajority(chart) {
  const {sy, box} = scales, y = sy(report.majority.error);
  if (state.y !== "error" || y < box.top || y > box.bottom) return;
  chart.append(svg("g", {id: "majority"}, svg("line", {x1: box.left, x2: box.right, y1: y, y2: y}),
    svg("text", {x: box.right, y: y - 4, "text-anchor": "end"}, report.majority.name)));
}

// What the budget and the pointer single out.
function drawMarks() {
  const group = byId("marks"), best = bestWithin(), {sx, box} = scales;
  const ring = p => svg("circle", {class: "ring", r: 9, transform: `translate(${p.place})`});
  group.replaceChildren();
  if (state.x === state.cost) {
    const x = sx(allowed() / report.axes[state.x].scale);
    if (x >= box.left && x <= box.right) group.append(svg("line", {class: "limit", x1: x, x2: x, y1: box.top, y2: box.bottom}));
  }
  for (const p of new Set([best, state.picked])) if (p) group.append(ring(p));
}

function drawCurves() {
  for (const [id, name] of [["evaluations", "evaluations"], ["seconds", "seconds of search"]]) {
    const groups = report.groups.map((group, g) => [group.curves[id], g]).filter(([curve, g]) => curve && !state.hidden.has(g));
    const all = kind => groups.flatMap(([curve]) => curve[kind]);
    // The first trials are far below all others: what counts begins after a tenth of each curve.
    const floor = Math.min(...groups.map(([{low}]) => low[Math.floor(low.length / 10)]));
    const heights = groups.length ? [floor, ...all("high").filter(v => v > floor)] : [];
    const chart = byId(id), {sx, sy, box} = frame(chart, 260, [name, all("x")], ["hypervolume", heights]);
    const area = svg("svg", {x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top,
      viewBox: `${box.left} ${box.top} ${box.right - box.left} ${box.bottom - box.top}`});
    chart.append(area);
    for (const [{x, mean, low, high}, g] of groups) {
      const along = values => steps(values.map((v, i) => [sx(x[i]), sy(v)]));
      const back = low.map((v, i) => `V${sy(v)}H${sx(x[i])}`).reverse().join("");  // along the lower edge
      area.append(svg("path", {class: "band", style: colour(g), d: along(high) + back + "z"}));
      area.append(svg("path", {class: "line", style: colour(g), d: along(mean), "data-group": g}));
    }
  }
}

// --- one sub-network -------------------------------------------------------------------------------------------------

function bars(p) {
  const rows = [["heads", 1], ["units", 2]].map(([name, k], row) => svg("g", {transform: `translate(0 ${18 * row})`},
    svg("text", {x: 0, y: 13}, name),
    ...Array.from({length: layers}, (_, index) => {
      const layer = p.layers.find(([i]) => i === index), height = layer ? Math.max(1, 14 * layer[k] / most[k - 1]) : 0;
      return svg("rect", {x: 36 + 11 * index, y: 15 - height, width: 8, height, fill: "currentColor"});
    })));
  return svg("svg", {class: "bars", width: 40 + 11 * layers, height: 36, role: "img", "aria-label": "heads and units of each layer"}, ...rows);
}

function details(p) {
  const list = html("dl"), add = (name, value) => list.append(html("dt", {}, name), html("dd", {}, value));
  for (const name of Object.keys(p.metrics)) add(label(name), show(name, p.metrics[name]));
  if (p.test !== null) add(`test ${report.metric}`, p.test.toFixed(4));
  if (against(p) !== null) add("vs full model", signed(against(p)));
  const from = seeds ? `${p.group.name}, seed ${p.run.seed}` : p.group.name;
  return [html("strong", {}, named(p)), html("div", {class: "soft"}, swatch(p.g), from), list, bars(p)];
}

function pick(p) {
  state.picked = p;
  const tip = byId("tip");
  tip.hidden = !p;
  drawMarks();
  if (!p) return;
  tip.replaceChildren(...details(p));
  const [x, y] = p.place, width = byId("front").clientWidth;
  tip.style.left = Math.max(0, x + 16 + tip.offsetWidth < width ? x + 16 : Math.min(x - tip.offsetWidth - 16, width - tip.offsetWidth)) + "px";
  tip.style.top = Math.max(0, y - 16 - tip.offsetHeight) + "px";  // above: fronts have nothing to their upper right
}

function nearest(event) {
  const corner = byId("front").getBoundingClientRect(), x = event.clientX - corner.left, y = event.clientY - corner.top;
  let best = null, least = 20;
  for (const p of points) if (shown(p)) {
    const distance = Math.hypot(p.place[0] - x, p.place[1] - y) + (p.front ? 0 : 1);
    if (distance < least) [best, least] = [p, distance];
  }
  return best;
}

function walk(event) {
  const way = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
  if (event.key === "Escape") return pick(null);
  if (!way) return;
  event.preventDefault();
  const members = points.filter(p => shown(p) && p.front).sort((a, b) => a.place[0] - b.place[0]);
  const at = members.indexOf(state.picked), next = at < 0 ? (way > 0 ? 0 : members.length - 1) : at + way;
  if (members.length) pick(members[Math.min(members.length - 1, Math.max(0, next))]);
}

// --- a budget --------------------------------------------------------------------------------------------------------

const allowedIn = run => byId("limit").value / 100 * run.reference[state.cost];
const allowed = () => Math.max(...runs.map(allowedIn));
function bestWithin() {
  if (!report.costs.length) return null;
  const within = points.filter(p => shown(p) && p.tried && p.metrics[state.cost] <= allowedIn(p.run));
  const key = p => [p.metrics.error, p.metrics[state.cost]];
  return within.reduce((best, p) => !best || key(p)[0] < key(best)[0] || (key(p)[0] === key(best)[0] && key(p)[1] < key(best)[1]) ? p : best, null);
}

function drawBudget() {
  const best = bestWithin();
  byId("allowed").textContent = `${byId("limit").value} % of the full model's: ${show(state.cost, allowed())}`;
  byId("best").replaceChildren(...(best ? details(best) : ["No sub-network shown is within this budget."]));
  drawMarks();
}

// --- tables ----------------------------------------------------------------------------------------------------------

// A table whose columns sort. Columns: [title, value of a row, what to show of it]; words are shown to the left.
function table(element, columns, rows, {sort = null, onRow = null} = {}) {
  const chosen = element.sort ??= sort, sorted = [...rows];
  const place = v => v === null ? Infinity : v;
  if (chosen) {
    const value = columns[chosen.column][1], sign = chosen.descending ? -1 : 1;
    sorted.sort((a, b) => { const [u, v] = [place(value(a)), place(value(b))]; return sign * (u < v ? -1 : u > v ? 1 : 0); });
  }
  const kind = ([, value]) => rows.length && typeof value(rows[0]) === "string" ? {class: "word"} : {};
  const head = columns.map((column, i) => {
    const button = html("button", {type: "button"}, column[0]), cell = html("th", {scope: "col", ...kind(column)}, button);
    if (chosen?.column === i) cell.setAttribute("aria-sort", chosen.descending ? "descending" : "ascending");
    button.onclick = () => {
      element.sort = {column: i, descending: chosen?.column === i && !chosen.descending};
      table(element, columns, rows, {onRow});
      element.querySelectorAll("th button")[i].focus();
    };
    return cell;
  });
  const body = sorted.map(row => {
    const line = html("tr", {}, ...columns.map(column => html("td", kind(column), ...[column[2](row)].flat())));
    if (onRow) line.onpointerenter = () => onRow(row);
    return line;
  });
  element.replaceChildren(html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...body));
}

// A mean and the standard deviation; below it, in brackets, those of the test metric, and the range.
const deviating = ({mean, std}) => mean.toFixed(4) + (std === null ? "" : ` ± ${std.toFixed(4)}`);
function spread(values, test = null) {
  if (!values) return "–";
  const [low, high] = [values.low, values.high].map(v => v.toFixed(4)), below = text => html("div", {class: "soft"}, text);
  return [deviating(values), ...(test ? [below(`(${deviating(test)})`)] : []), ...(low === high ? [] : [below(`${low} – ${high}`)])];
}

function drawTables() {
  const inColour = group => group.runs.length ? [swatch(report.groups.indexOf(group)), group.name] : [group.name];
  const counts = group => [...new Set(group.runs.map(run => run.evaluations))].sort((a, b) => a - b);
  const errors = (title, of) => [title, group => of(group).error?.mean ?? null, group => spread(of(group).error, of(group).test)];
  table(byId("groups"), [
    ["series", group => group.name, inColour],
    ["runs", group => group.runs.length, group => String(group.runs.length || "–")],
    ["evaluations", group => counts(group)[0] ?? null, group => counts(group).join(", ") || "–"],
    ["hypervolume", group => group.hypervolume?.mean ?? null, group => spread(group.hypervolume)],
    errors("full model", group => group.full),
    ...report.budgets.map((share, i) => errors(`at ${+(100 * share).toFixed(3)} %`, group => group.budgets[i])),
  ], [...report.groups.filter((_, g) => !state.hidden.has(g)), report.majority]);
  const tested = points.some(p => p.test !== null);
  table(byId("members"), [
    ["series", p => p.group.name, p => inColour(p.group)],
    ...(seeds ? [["seed", p => p.run.seed, p => String(p.run.seed)]] : []),
    ["sub-network", named, named],
    ...metrics.map(name => [label(name), p => p.metrics[name], p => show(name, p.metrics[name])]),
    ...(tested ? [
      [`test ${report.metric}`, p => p.test, p => p.test === null ? "–" : p.test.toFixed(4)],
      ["vs full model", against, p => against(p) === null ? "" : signed(against(p))],
    ] : []),
  ], points.filter(p => (p.front || p.full) && shown(p)), {sort: {column: (seeds ? 3 : 2) + metrics.indexOf("error"), descending: false}, onRow: pick});
}

// --- putting it together ---------------------------------------------------------------------------------------------

function draw() {
  if (state.picked && !shown(state.picked)) state.picked = null;
  drawFront();
  pick(state.picked);
  if (report.costs.length) drawBudget();
  drawCurves();
  drawTables();
}

function choices(id, names, key, change) {
  const select = byId(id);
  select.append(...names.map(name => html("option", {value: name}, label(name))));
  select.value = state[key];
  select.onchange = () => { state[key] = select.value; change(); };
}

report.groups.forEach((group, g) => {
  const button = html("button", {type: "button", "aria-pressed": "true"}, swatch(g), group.name);
  button.onclick = () => {
    if (!state.hidden.delete(g)) state.hidden.add(g);
    button.setAttribute("aria-pressed", String(!state.hidden.has(g)));
    draw();
  };
  byId("legend").append(button);
});
choices("x", report.objectives, "x", draw);
choices("y", report.objectives, "y", draw);
choices("cost", report.costs, "cost", draw);
byId("axes").hidden = report.objectives.length < 3;
byId("budgets").hidden = !report.costs.length;
byId("limit").oninput = drawBudget;
byId("front").onpointermove = event => { const p = nearest(event); if (p !== state.picked) pick(p); };
byId("front").onpointerleave = () => pick(null);
byId("front").onkeydown = walk;
byId("about").textContent = `${report.task}, ${report.model}; ${runs.length} runs, ${runs.reduce((n, run) => n + run.evaluations, 0)} evaluations. ` +
  `Error is 1 - ${report.metric} on validation rows; the error of the ${report.majority.name} is ${report.majority.error.toFixed(4)}` +
  (report.majority.test === null ? "." : `, and its test ${report.metric} is ${report.majority.test.toFixed(4)}.`) +
  (report.conditions ? ` ${report.conditions[0].toUpperCase()}${report.conditions.slice(1)}.` : "");
byId("notes").replaceChildren(...report.notes.map(note => html("li", {}, note)));
byId("notes").hidden = !report.notes.length;
byId("meaning").textContent = `How it is normalised: ${report.normalisation}. ${report.spread[0].toUpperCase()}${report.spread.slice(1)}.`;
byId("within").textContent = `At a share of the full model's ${label(report.cost)}: the best error on validation rows, in brackets ` +
  `the test ${report.metric} of the same sub-network if it is known. Means over runs ± standard deviations; below them, the ` +
  `lowest and the highest run.`;
new ResizeObserver(draw).observe(document.querySelector("main"));
