// What a test of the page does as a user would, and what it sees. Runs in the page.
const errors = [];
addEventListener("error", event => errors.push(event.message));
addEventListener("unhandledrejection", event => errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => errors.push(`blocked: ${event.blockedURI}`));
// What the page asks about its user, so that a test can tell the page of a change.
const media = [], askMedia = matchMedia.bind(window);
window.matchMedia = query => {
  media.push(askMedia(query));
  return media.at(-1);
};

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

// Moves the mouse over values of a chart; each place is [x, y, events there].
async function mouse(name, ...places) {
  const send = (area, type, where) => area.dispatchEvent(new PointerEvent(type, {
    ...{view: window, pointerType: "mouse", pointerId: 1, isPrimary: true, buttons: 1, bubbles: true, composed: true}, ...where,
  }));
  for (const {model} of plots) send(Bokeh.index[model.id].canvas_view.events_el, "pointerout", {});
  const view = Bokeh.index[chart(name).model.id], area = view.canvas_view.events_el;
  area.setPointerCapture = area.releasePointerCapture = () => {};  // The browser knows no mouse that it could capture.
  area.scrollIntoView();
  await pause();
  const {left, top} = area.getBoundingClientRect();
  for (const [x, y, ...events] of places) {
    const where = {clientX: left + view.frame.x_scale.compute(x), clientY: top + view.frame.y_scale.compute(y)};
    for (const type of ["pointerover", "pointermove", ...events]) send(area, type, where);
  }
  await pause();
}
const point = (name, x, y) => mouse(name, [x, y]);
const tips = () => deep(document).filter(one => one.classList.contains("bk-tooltip-content") && seen(one)).map(one => one.innerText);

const tables = () => [...document.querySelectorAll("table")];
const column = (table, name) => [...table.rows[0].cells].findIndex(cell => cell.textContent === name);
const cells = (table, name) => [...table.tBodies[0].rows].map(row => {
  const cell = row.cells[column(table, name)];
  return cell.dataset.sort ?? cell.textContent;
});
const sort = (table, name) => table.rows[0].cells[column(table, name)].querySelector("button").click();
const rowOf = (table, run) => [...table.tBodies[0].rows].find(row => row.cells[0].dataset.sort === run);
async function press(scope, run, shiftKey = false) {
  const button = [...scope.querySelectorAll("button[data-run]")].find(button => button.textContent === run);
  button.dispatchEvent(new MouseEvent("click", {bubbles: true, shiftKey}));
  await pause();
}
const legend = name => [...document.querySelectorAll(`#chart-${name} + .legend li`)].map(entry => entry.innerText.replace(/\s+/g, " "));
