const byId = id => document.getElementById(id);
const say = (id, text) => { byId(id).textContent = text; };
const whole = number => Math.round(number).toLocaleString("en");
const short = number => Number(number.toPrecision(3)).toString();

function make(tag, text, ...classes) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

/* Charts: x in steps, y from 0 up. */

const WIDTH = 360, HEIGHT = 190, LEFT = 44, RIGHT = 10, TOP = 8, BOTTOM = 24;
const CHARTS = [
  { name: "Loss", unit: "", lines: [["train", "train_loss"], ["validation", "validation_loss"]] },
  { name: "Error", unit: "%", lines: [["train", "train_error"], ["validation", "validation_error"]] },
  { name: "Learning rate", unit: "", lines: [["now", "learning_rate"]] },
];
for (const chart of CHARTS) {
  const panel = make("figure", undefined, "panel");
  panel.style.margin = 0;
  chart.key = make("div", undefined, "key");
  chart.svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  panel.append(make("h2", chart.name), chart.key, chart.svg);
  byId("charts").append(panel);
}

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(most, number) {
  const rough = most / number, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(times => times * power).find(size => size >= rough);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, place) => place * step);
}

function draw(chart, state) {
  const series = chart.lines.map(([kind, key]) => [kind, key === "learning_rate" ? state[key] : state.curves[key]]);
  const most = Math.max(...series.flatMap(([, points]) => points.map(point => point[1])), 0) * 1.05 || 1;
  const x = step => LEFT + (WIDTH - LEFT - RIGHT) * step / state.steps;
  const y = value => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / most;
  const path = points => points.map(([step, value], place) => `${place ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const drawn = [];
  for (const value of ticks(most, 4)) {
    drawn.push(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    drawn.push(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value) + chart.unit));
  }
  const epochs = state.steps / state.steps_per_epoch;
  for (const epoch of ticks(epochs, 4)) {
    const last = epoch > 0.95 * epochs;
    drawn.push(svg("text", { x: x(epoch * state.steps_per_epoch), y: HEIGHT - 8, "text-anchor": last ? "end" : "middle" }, short(epoch)));
  }
  drawn.push(svg("text", { x: LEFT - 6, y: HEIGHT - 8, "text-anchor": "end" }, "epoch"));
  const said = [];
  for (let [kind, points] of series) {
    if (kind === "now") {
      drawn.push(svg("path", { d: path(points), class: "ahead" }));
      points = points.filter(point => point[0] <= state.step);
    }
    if (!points.length) continue;
    const [step, value] = points.at(-1);
    drawn.push(svg("path", { d: path(points), class: kind }));
    drawn.push(svg("circle", { cx: x(step), cy: y(value), r: 3, class: kind }));
    said.push([kind, `${kind} ${short(value)}${chart.unit}`]);
  }
  chart.svg.replaceChildren(...drawn);
  chart.svg.setAttribute("aria-label", `${chart.name}: ${said.map(([, text]) => text).join(", ") || "nothing yet"}`);
  chart.key.replaceChildren(...said.map(([kind, text]) => make("span", text, kind)));
}

/* Pictures: bytes to canvases, a pixel a pixel. */

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

function paint(pixels, height, width, channels) {
  const canvas = make("canvas");
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * place + channel] = pixels[channels * place + (channels === 3 ? channel : 0)];
    }
    image.data[4 * place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function sheet(pixels, number, height, width, channels) {
  const size = height * width * channels;
  return Array.from({ length: number }, (_, place) => paint(pixels.subarray(place * size, (place + 1) * size), height, width, channels));
}

function drawFilters(filters) {
  byId("first").hidden = !filters;
  if (!filters) return;
  const { number, height, width, channels, low, high } = filters;
  const about = `${number} of ${height}x${width}x${channels}, all from black at ${short(low)} to white at ${short(high)}`;
  say("about-filters", about);
  byId("filters").setAttribute("aria-label", about);
  byId("filters").replaceChildren(...sheet(bytes(filters.pixels), number, height, width, channels));
}

let chosen = 0, picture = null;

function drawImages() {
  const buttons = byId("images").children;
  const focused = [...buttons].indexOf(document.activeElement);
  byId("images").replaceChildren(...picture.images.map((image, place) => {
    const button = make("button");
    button.setAttribute("aria-pressed", place === chosen);
    const right = image.scores[0][0] === image.label;
    button.append(paint(bytes(image.pixels), image.height, image.width, image.channels));
    button.append(make("span", `${right ? "\u2713" : "\u00d7"} is ${image.label}`, "label"));
    for (const [name, score] of image.scores) {
      const row = make("span", undefined, "score", name === image.label ? "right" : "wrong");
      const bar = make("i");
      bar.style.width = `${100 * score}%`;
      row.append(bar, make("b", name), make("span", `${Math.round(100 * score)}%`));
      button.append(row);
    }
    button.onclick = () => { chosen = place; drawImages(); drawVolumes(); };
    return button;
  }));
  if (focused >= 0) buttons[focused]?.focus();
}

function drawVolumes() {
  byId("activations").hidden = !picture.volumes.length;
  byId("volumes").replaceChildren(...picture.volumes.map(volume => {
    const row = make("div", undefined, "volume"), about = make("div"), maps = make("div", undefined, "sheet");
    const [low, high] = volume.ranges[chosen], shape = volume.shape.join("x");
    about.append(make("p", volume.layer), make("p", `${volume.name}, ${shape}`, "faint"), make("p", `${short(low)} to ${short(high)}`, "faint"));
    maps.setAttribute("role", "img");
    maps.setAttribute("aria-label", `${volume.number} channels of ${volume.name}`);
    maps.append(...sheet(bytes(volume.pixels[chosen]), volume.number, volume.height, volume.width, 1));
    row.append(about, maps);
    return row;
  }));
}

function drawPicture() {
  drawFilters(picture.filters);
  say("when", `scores after ${whole(picture.step)} steps`);
  chosen = Math.min(chosen, picture.images.length - 1);
  drawImages();
  drawVolumes();
}

/* The run: asked for once a second. */

const STATUS = { training: "training", ended: "training has ended", stopped: "training has stopped" };

function status(kind, text) {
  byId("status").dataset.is = kind;
  if (byId("status").textContent !== text) say("status", text);
}

function time(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s left`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min left` : `${short(seconds / 3600)} h left`;
}

function drawState(state) {
  document.title = `${state.title}: ${STATUS[state.status]}`;
  say("title", state.title);
  say("data", state.data);
  say("net", state.net);
  status(state.status, STATUS[state.status] + (state.reason && `: ${state.reason}`));
  say("step", `step ${whole(state.step)} of ${whole(state.steps)}`);
  say("epoch", `epoch ${(state.step / state.steps_per_epoch).toFixed(2)} of ${short(state.steps / state.steps_per_epoch)}`);
  const goes = state.status === "training" && state.images_per_second;
  say("rate", state.images_per_second ? `${whole(state.images_per_second)} images/s` : "");
  say("left", goes ? time(state.seconds_left) : "");
  byId("done").value = state.step / state.steps;
  byId("run").hidden = false;
  for (const chart of CHARTS) draw(chart, state);
}

const ask = async path => (await fetch(path, { signal: AbortSignal.timeout(5000) })).json();
let shown = null;

async function follow() {
  let state, fresh;
  try {
    state = await ask("state.json");
    if (state && shown !== `${state.run} ${state.picture}`) fresh = await ask("picture.json");
  } catch {
    status("gone", byId("run").hidden ? "nobody answers" : "the process has ended; this was seen last");
    say("left", "");
    setTimeout(follow, 5000);
    return;
  }
  if (state) drawState(state);
  if (fresh) {
    picture = fresh;
    shown = `${state.run} ${fresh.step}`;
    drawPicture();
  }
  setTimeout(follow, 1000);
}
follow();
