// What both demos share: settings, sizes, playing, and how numbers are drawn.
const byId = (id) => document.getElementById(id);
const boxes = [...document.querySelectorAll("#settings [name]")];
const range = (n) => [...Array(n).keys()];
const add = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

// A number as it is shown, to two decimals; and after a sign, where a minus needs brackets.
const signed = (number) => String(number).replace("-", "−");
const shown = (number) => signed(Number(number.toFixed(2)));
const bracketed = (number) => (number < 0 ? `(${shown(number)})` : shown(number));
const rounded = (number) => (Number(number.toFixed(2)) === number ? "=" : "≈");

// The first n slices, size by size.
const corner = (slices, n, size) =>
  slices.slice(0, n).map((rows) => rows.slice(0, size).map((row) => row.slice(0, size)));

// What the window of the position (i, j) of the output sees of a slice.
const seen = (rows, i, j, { kernel: F, stride: S }) =>
  rows.slice(i * S, i * S + F).map((row) => row.slice(j * S, j * S + F));

const span = ({ size: W, kernel: F, padding: P = 0 }) => W - F + 2 * P;
const outputSize = (settings) => span(settings) / settings.stride + 1;
const fits = (settings) => span(settings) >= 0 && span(settings) % settings.stride === 0;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function drawTable(rows, cell) {
  const line = (row, i) => make("tr", {}, ...row.map((number, j) => cell(number, i, j)));
  return make("table", {}, make("tbody", {}, ...rows.map(line)));
}

function drawSlice(name, rows, cell = (number) => make("td", {}, shown(number)), ...over) {
  const table = drawTable(rows, cell);
  table.setAttribute("aria-label", name);
  const grid = make("div", { class: "grid" }, table, ...over);
  return make("figure", { class: "slice" }, make("figcaption", {}, name), grid);
}

// Numbers that the style sheet reckons with.
const measure = (numbers) =>
  Object.entries(numbers).forEach(([name, number]) => byId("figure").style.setProperty(`--${name}`, number));

function drawTitle(name, slices) {
  const size = [slices[0].length, slices[0].length, slices.length].join("×");
  return make("h2", {}, name, " ", make("span", {}, size));
}

// The input's slices with their zeros around, and on each the window that slides.
function drawInput(slices, padding, title) {
  const last = slices[0].length - padding;
  const outside = (i) => i < padding || i >= last;
  const cell = (number, i, j) =>
    make("td", outside(i) || outside(j) ? { class: "pad" } : {}, shown(number));
  byId("input").replaceChildren(
    drawTitle(title, slices),
    ...slices.map((rows, c) => drawSlice(`x[:,:,${c}]`, rows, cell, make("span", { class: "window" })))
  );
}

function drawOutput(slices) {
  const longest = Math.max(...slices.flat(2).map((number) => shown(number).length));
  measure({ outputs: slices[0].length, characters: longest });
  const cellsOf = (k) => (number, i, j) =>
    make("td", { role: "gridcell", tabindex: "-1", "data-at": `${k} ${i} ${j}` }, shown(number));
  byId("output").replaceChildren(
    drawTitle("Output volume", slices),
    ...slices.map((rows, k) => drawSlice(`o[:,:,${k}]`, rows, cellsOf(k)))
  );
  for (const table of document.querySelectorAll("#output table")) table.setAttribute("role", "grid");
}

// Settings: what the boxes say, or what is wrong with them.
const valueOf = (box) => (box.type === "number" ? box.valueAsNumber : box.value);
const readSettings = () => Object.fromEntries(boxes.map((box) => [box.name, valueOf(box)]));
const letterOf = (box) => box.closest("label").querySelector("b").textContent;

function formula(settings) {
  const { size: W, kernel: F, stride: S, padding: P } = settings;
  const [padding, twice] = P === undefined ? ["", ""] : [" + 2P", ` + 2·${P}`];
  const result = Number(outputSize(settings).toPrecision(6));
  return `(W − F${padding})/S + 1 = (${W} − ${F}${twice})/${S} + 1 = ${signed(result)}`;
}

// The nearest values of one box, below and above, with which the windows fit.
function nearest(box, settings) {
  const good = range(Number(box.max) + 1).filter(
    (value) => value >= Number(box.min) && fits({ ...settings, [box.name]: value })
  );
  const below = good.filter((value) => value < settings[box.name]).slice(-1);
  return [...below, ...good.filter((value) => value > settings[box.name]).slice(0, 1)];
}

function offer(box, value) {
  const button = make("button", {}, `${letterOf(box)} = ${value}`);
  button.addEventListener("click", () => {
    box.value = value;
    changed();
    box.focus();
  });
  return button;
}

function sayMisfit(settings) {
  const padded = settings.padding ? " with its padding" : "";
  const why = span(settings) < 0 ? `the window is larger than the input${padded}` : "not a whole number";
  byId("formula").textContent = `${formula(settings)}, ${why}: it does not fit.`;
  const offers = boxes
    .filter((box) => ["size", "kernel", "stride", "padding"].includes(box.name))
    .flatMap((box) => nearest(box, settings).map((value) => offer(box, value)));
  if (offers.length) byId("offers").replaceChildren("Nearest that fit:", ...offers);
}

function sayInvalid(box) {
  const said = `${letterOf(box)} must be a whole number from ${box.min} to ${box.max}.`;
  byId("formula").textContent = said;
}

// Playing: one position of the output after the other, slice by slice.
let demo, output, at, timer;
const cells = () => [...document.querySelectorAll("#output td")];
const cellAt = ({ k, i, j }) => document.querySelector(`#output td[data-at="${k} ${i} ${j}"]`);
const positionOf = (cell) => {
  const [k, i, j] = cell.dataset.at.split(" ").map(Number);
  return { k, i, j };
};
const playing = () => timer !== undefined;

function show(position) {
  at = position;
  const chosen = cellAt(at);
  for (const cell of cells()) {
    cell.setAttribute("aria-selected", cell === chosen);
    cell.tabIndex = cell === chosen ? 0 : -1;
  }
  const { stride } = readSettings();
  measure({ row: at.i * stride, column: at.j * stride });
  demo.write(at, output[at.k][at.i][at.j]);
}

function step() {
  const all = cells();
  show(positionOf(all[(all.indexOf(cellAt(at)) + 1) % all.length]));
}

function play() {
  timer = setTimeout(() => {
    step();
    play();
  }, 1000 / byId("speed").valueAsNumber);
  byId("play").textContent = "Pause";
  byId("total").setAttribute("aria-live", "off");
}

function pause() {
  clearTimeout(timer);
  timer = undefined;
  byId("play").textContent = "Play";
  byId("total").setAttribute("aria-live", "polite");
}

const tellSpeed = () => (byId("rate").textContent = `${byId("speed").value} a second`);
const toggle = () => (playing() ? pause() : play());

function select(position) {
  pause();
  show(position);
  cellAt(at).focus();
}

// Below the last row of a slice is the first of the next.
function neighbour({ k, i, j }, key) {
  const H = output[0].length;
  const down = (key === "ArrowDown") - (key === "ArrowUp");
  const right = (key === "ArrowRight") - (key === "ArrowLeft");
  const row = Math.min(Math.max(k * H + i + down, 0), output.length * H - 1);
  const column = Math.min(Math.max(j + right, 0), H - 1);
  return { k: Math.floor(row / H), i: row % H, j: column };
}

// One volume beside the other, or where that takes more room than there is, one below the other.
function arrange() {
  const figure = byId("figure");
  figure.classList.remove("stacked");
  figure.classList.toggle("stacked", byId("output").offsetTop > byId("input").offsetTop);
}

function changed() {
  const wrong = boxes.find((box) => !box.validity.valid);
  const settings = readSettings();
  const usable = !wrong && fits(settings);
  byId("offers").replaceChildren();
  byId("sizes").classList.toggle("misfit", !usable);
  byId("figure").classList.toggle("stale", !usable);
  byId("figure").inert = byId("written").hidden = !usable;
  byId("play").disabled = byId("step").disabled = !usable;
  if (wrong) sayInvalid(wrong);
  else if (!usable) sayMisfit(settings);
  else redraw(settings, demo.compute);
  if (!usable) pause();
}

function redraw(settings, compute) {
  demo.choose(settings);
  output = compute(settings);
  byId("formula").textContent = `${formula(settings)}: ${demo.sizes(settings, output[0].length)}`;
  measure({ kernel: settings.kernel });
  demo.draw(settings);
  drawOutput(output);
  arrange();
  show({ k: 0, i: 0, j: 0 });
}

function start(own, numbers) {
  demo = own;
  redraw(readSettings(), () => numbers);
  tellSpeed();
  byId("speed").addEventListener("input", tellSpeed);
  addEventListener("resize", arrange);
  for (const box of boxes) {
    box.addEventListener("input", changed);
    if (box.type === "number") box.addEventListener("focus", () => box.select());
  }
  byId("play").addEventListener("click", toggle);
  byId("step").addEventListener("click", () => {
    pause();
    step();
  });
  byId("output").addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    if (cell) select(positionOf(cell));
  });
  byId("output").addEventListener("keydown", (event) => {
    if (event.key === "Enter") select(positionOf(event.target));
    else if (event.key.startsWith("Arrow")) select(neighbour(at, event.key));
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button, input, select")) return;
    event.preventDefault();
    if (!byId("play").disabled) toggle();
  });
  if (matchMedia("(prefers-reduced-motion: no-preference)").matches) play();
}
