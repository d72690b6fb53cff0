"use strict";
// names: one per run; dashes: by line style; charts: the runs of each curve, and what Bokeh embeds.
const {names, colours, dashes, charts} = JSON.parse(document.getElementById("comparison").textContent);
const MOST_NAMES = 8;
const hidden = new Set();
const plots = [];

// A click on a column's name sorts by that column, a second click reverses the order. Empty cells come last, numbers
// come before words.
function sortBy(head) {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const falling = head.getAttribute("aria-sort") === "ascending";
  const text = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const order = (one, other) => {
    const [a, b] = [text(one), text(other)];
    if (!a || !b) return a ? -1 : b ? 1 : 0;
    const [words, otherWords] = [isNaN(a), isNaN(b)];
    const difference = words !== otherWords ? words - otherWords : words ? a.localeCompare(b, "en", {numeric: true}) : a - b;
    return falling ? -difference : difference;
  };
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...[...body.rows].sort(order));
}

const visible = runs => runs.filter(run => !hidden.has(run));
const token = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = run => token(`--curve-${run % colours}`);
const dashOf = run => dashes[run % dashes.length];

function labelOf(runs) {
  if (runs.length === 1) return names[runs[0]];
  const more = runs.length > MOST_NAMES ? [`${runs.length - MOST_NAMES} more`] : [];
  return `${[...runs.slice(0, MOST_NAMES).map(run => names[run]), ...more].join(" = ")} (equal)`;
}

// A curve is drawn while one of its runs is visible, in that run's colour.
function drawCurves({curves, sources}) {
  for (const [source, all] of sources) {
    const runs = all.curve.map(curve => visible(curves[curve]));
    const rows = [...runs.keys()].filter(row => runs[row].length);
    const data = {};
    for (const [name, column] of Object.entries(all)) data[name] = rows.map(row => column[row]);
    data.label = rows.map(row => labelOf(runs[row]));
    data.colour = rows.map(row => colourOf(runs[row][0]));
    data.dash = rows.map(row => dashOf(runs[row][0]));
    source.data = data;
  }
}

function drawFrame(plot) {
  const [text, grid] = [token("--quiet"), token("--grid")];
  for (const axis of [...plot.below, ...plot.left]) axis.setv({axis_label_text_color: text, major_label_text_color: text});
  for (const line of plot.center) if ("grid_line_color" in line) line.grid_line_color = grid;
}

function drawAll() {
  for (const plot of plots) {
    drawFrame(plot.model);
    drawCurves(plot);
  }
}

// Marks the hidden runs in tables and legends.
function markHidden() {
  for (const button of document.querySelectorAll("button[data-run]")) {
    const isHidden = hidden.has(+button.dataset.run);
    button.classList.toggle("is-hidden", isHidden);
    button.setAttribute("aria-pressed", !isHidden);
    const row = button.closest("tr");
    if (row) {
      row.classList.toggle("is-hidden", isHidden);
      row.querySelector(".mark").hidden = !isHidden;
    }
  }
  for (const entry of document.querySelectorAll(".legend li")) {
    const runs = [...entry.querySelectorAll("[data-run]")].map(button => +button.dataset.run), seen = visible(runs);
    entry.classList.toggle("is-hidden", !seen.length);
    entry.querySelector(".swatch line").setAttribute("class", `style-${(seen[0] ?? runs[0]) % (colours * dashes.length)}`);
  }
  const bar = document.getElementById("hidden-runs");
  bar.hidden = !hidden.size;
  bar.firstChild.textContent = hidden.size === 1 ? "1 run is hidden." : `${hidden.size} runs are hidden.`;
}

function changeHidden(change) {
  change();
  markHidden();
  drawAll();
}

function toggle(run) {
  if (!hidden.delete(run)) hidden.add(run);
}

function hideOthers(run) {
  for (const other of names.keys()) hidden.add(other);
  hidden.delete(run);
}

// set_log_level would write into the console, and so would a warning for a chart whose runs are all hidden.
Bokeh.logger.set_level("error");

async function embed({name, curves, item}) {
  const views = await Bokeh.embed.embed_item(item);
  const [{model}] = [...views];
  // A finger's drag scrolls the page.
  if (matchMedia("(pointer: coarse)").matches) model.toolbar.active_drag = null;
  const sources = [...new Set(model.renderers.map(renderer => renderer.data_source))];
  const plot = {name, model, curves, sources: sources.map(source => [source, {...source.data}])};
  plots.push(plot);
  drawFrame(model);
  drawCurves(plot);
}

for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button.closest("th")));
for (const button of document.querySelectorAll("button[data-run]")) {
  button.addEventListener("click", event => changeHidden(() => (event.shiftKey ? hideOthers : toggle)(+button.dataset.run)));
}
document.querySelector("#hidden-runs button").addEventListener("click", () => changeHidden(() => hidden.clear()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
// A test waits for it.
const allDrawn = Promise.all(charts.map(embed));
