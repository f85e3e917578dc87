// x[c][i][j] with its padding, w[k][c][u][v] and b[k] of the present settings.
let x, w, b;

function pad(rows, P) {
  const sides = Array(P).fill(0);
  const beyond = range(P).map(() => Array(rows.length + 2 * P).fill(0));
  return [...beyond, ...rows.map((row) => [...sides, ...row, ...sides]), ...beyond];
}

function choose({ size: W, depth: C, filters: K, kernel: F, padding: P }) {
  x = corner(page.input, C, W).map((rows) => pad(rows, P));
  w = page.filters.slice(0, K).map((filter) => corner(filter, C, F));
  b = page.biases.slice(0, K);
}

// The pairs of a slice's numbers and the weights of filter k that meet at (i, j), row by row.
const pairs = (c, { k, i, j }, settings) =>
  seen(x[c], i, j, settings).map((row, u) => row.map((number, v) => [number, w[k][c][u][v]]));

const dot = (rows) => add(rows.flat().map(([number, weight]) => number * weight));

function convolve(settings) {
  const positions = range(outputSize(settings));
  const value = (at) => add(x.map((_, c) => dot(pairs(c, at, settings)))) + b[at.k];
  return w.map((_, k) => positions.map((i) => positions.map((j) => value({ k, i, j }))));
}

function drawFilter(filter, k) {
  const slices = filter.map((rows, c) => drawSlice(`w${k}[:,:,${c}]`, rows));
  for (const slice of slices.slice(0, -1)) slice.classList.add("paired");
  const title = drawTitle(`Filter W${k}`, filter);
  return make("div", { class: "volume filter" }, title, ...slices, drawSlice(`b${k}`, [[b[k]]]));
}

function draw({ filters: K, kernel: F, padding: P }) {
  drawInput(x, P, P ? `Input volume (+pad ${P})` : "Input volume");
  byId("filters").replaceChildren(...w.map(drawFilter));
  measure({ rows: x[0].length, columns: x[0].length + K * F, gaps: K + 1 });
}

const count = (n, one, many) => `${n} ${n === 1 ? one : many}`;

function sizes({ depth: C, filters: K, kernel: F }, size) {
  const weights = count(K * F * F * C, "weight", "weights");
  const made = `${K}·(${F}·${F}·${C}) = ${weights} and ${count(K, "bias", "biases")}`;
  return `the output is ${size}×${size}×${K}, made with ${made}.`;
}

const ofInput = (text) => make("span", { class: "x" }, text);
const ofFilter = (text) => make("span", { class: "w" }, text);

function writeTerm([number, weight], first) {
  const plus = make("span", first ? { class: "first" } : {}, "+ ");
  const factors = [ofInput(shown(number)), "·", ofFilter(bracketed(weight))];
  return make("td", number * weight ? {} : { class: "nothing" }, plus, ...factors);
}

function writeSlice(rows, c, k) {
  const names = [ofInput(`x[:,:,${c}]`), " · ", ofFilter(`w${k}[:,:,${c}]`)];
  const table = drawTable(rows, (pair, u, v) => writeTerm(pair, u + v === 0));
  return make("div", {}, make("p", {}, ...names, ` = ${shown(dot(rows))}`), table);
}

function write(at, value) {
  const { k, i, j } = at;
  const slices = x.map((_, c) => pairs(c, at, readSettings()));
  const [first, ...rest] = slices.map(dot);
  const sum = [shown(first), ...rest.map(bracketed)].join(" + ");
  const bias = ofFilter(shown(b[k]));
  byId("total").replaceChildren(`o[${i},${j},${k}] = ${sum} + `, bias, " = ", make("b", {}, shown(value)));
  const parts = slices.map((rows, c) => writeSlice(rows, c, k));
  const last = make("p", {}, "and the bias ", ofFilter(`b${k}`), ` = ${shown(b[k])}`);
  byId("terms").replaceChildren(...parts, last);
  [...byId("filters").children].forEach((filter, other) => filter.classList.toggle("active", other === k));
}

start({ choose, compute: convolve, draw, sizes, write }, page.output);
