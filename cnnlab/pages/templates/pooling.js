// x[c][i][j] of the present settings.
let x;

// Of each kind, the number it leaves of a window's, and how that is written.
const KINDS = {
  max: {
    value: (numbers) => Math.max(...numbers),
    written: (numbers) => `max(${numbers.join(", ")})`,
  },
  avg: {
    value: (numbers) => add(numbers) / numbers.length,
    written: (numbers) => `(${numbers.join(" + ")})/${numbers.length}`,
  },
  l2: {
    value: (numbers) => Math.sqrt(add(numbers.map((number) => number * number))),
    written: (numbers) => `√(${numbers.map((number) => `${number}²`).join(" + ")})`,
  },
};

const choose = ({ size: W, depth: C }) => (x = corner(page.input, C, W));

function pool(settings) {
  const positions = range(outputSize(settings));
  const value = (rows, i, j) => KINDS[settings.kind].value(seen(rows, i, j, settings).flat());
  return x.map((rows) => positions.map((i) => positions.map((j) => value(rows, i, j))));
}

function draw({ size: W }) {
  drawInput(x, 0, "Input volume");
  measure({ columns: W, gaps: 1 });
}

const sizes = ({ depth: C }, size) => `the output is ${size}×${size}×${C}, made with no weights.`;

function write({ k, i, j }, value) {
  const settings = readSettings();
  const rows = seen(x[k], i, j, settings);
  const cell = (number) => {
    const winner = settings.kind === "max" && number === value;
    return make("td", winner ? { class: "x winner" } : { class: "x" }, shown(number));
  };
  const said = `o[${i},${j},${k}] = ${KINDS[settings.kind].written(rows.flat())} ${rounded(value)} `;
  byId("total").replaceChildren(said, make("b", {}, shown(value)));
  const heading = make("p", {}, "what the window sees of ", make("span", { class: "x" }, `x[:,:,${k}]`));
  byId("terms").replaceChildren(make("div", {}, heading, drawTable(rows, cell)));
  document.querySelectorAll(".window").forEach((window, c) => (window.hidden = c !== k));
}

start({ choose, compute: pool, draw, sizes, write }, page.output);
