// What a test of the page does as a user would, and what it sees. Runs in the page.
const errors = [];
addEventListener("error", event => errors.push(event.message));
addEventListener("unhandledrejection", event => errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => errors.push(`blocked: ${event.blockedURI}`));

const pause = () => new Promise(done => setTimeout(done, 150));
const seen = one => one.getClientRects().length > 0;
const chart = name => plots.find(plot => plot.name === name);
// All elements, also those that Bokeh hides in shadow roots.
const deep = root => [...root.querySelectorAll("*")].flatMap(one => [one, ...(one.shadowRoot ? deep(one.shadowRoot) : [])]);

// What a chart draws: a row per curve, with its name, colour, dashes and values.
const drawn = name => chart(name).sources.flatMap(([{data}]) =>
  data.label.map((label, row) => ({label, colour: data.colour[row], dash: data.dash[row], y: [...(data.ys?.[row] ?? [data.y[row]])]})));
const ticks = name => {
  const {model} = chart(name);
  return [...Bokeh.index[model.id].views.find_one(model.below[0]).tick_coords.major[0]];
};

// Moves the mouse to values of a chart.
async function point(name, x, y) {
  const mouse = {view: window, pointerType: "mouse", pointerId: 1, isPrimary: true, bubbles: true, composed: true};
  const send = (area, type, where) => area.dispatchEvent(new PointerEvent(type, {...mouse, ...where}));
  for (const {model} of plots) send(Bokeh.index[model.id].canvas_view.events_el, "pointerout", {});
  const view = Bokeh.index[chart(name).model.id], area = view.canvas_view.events_el;
  area.scrollIntoView();
  await pause();
  const box = area.getBoundingClientRect();
  const where = {clientX: box.left + view.frame.x_scale.compute(x), clientY: box.top + view.frame.y_scale.compute(y)};
  for (const type of ["pointerover", "pointermove"]) send(area, type, where);
  await pause();
}
const tips = () => deep(document).filter(one => one.classList.contains("bk-tooltip-content") && seen(one)).map(one => one.innerText);

const tables = () => [...document.querySelectorAll("table")];
const column = (table, name) => [...table.rows[0].cells].findIndex(cell => cell.textContent === name);
const cells = (table, name) => [...table.tBodies[0].rows].map(row => {
  const cell = row.cells[column(table, name)];
  return cell.dataset.sort ?? cell.textContent;
});
const sort = (table, name) => table.rows[0].cells[column(table, name)].querySelector("button").click();
const rowOf = (table, run) => [...table.tBodies[0].rows].find(row => row.cells[0].dataset.sort === run);
async function press(scope, run) {
  [...scope.querySelectorAll("button[data-run]")].find(button => button.textContent === run).click();
  await pause();
}
const legend = name => [...document.querySelectorAll(`#chart-${name} + .legend li`)].map(entry => entry.innerText.replace(/\s+/g, " "));
