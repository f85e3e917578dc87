// Sorting: numbers by size, words by alphabet, what is empty last in either direction.
for (const table of document.querySelectorAll(".sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const down = header.getAttribute("aria-sort") === "ascending";
    headers.forEach(each => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.key;
    const order = (a, b) => a === "" || b === "" ? 0
      : isNaN(a) || isNaN(b) ? (a < b ? -1 : +(a > b)) : a - b;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (key(a) === "") - (key(b) === "") || (down ? -1 : 1) * order(key(a), key(b)));
    table.tBodies[0].append(...rows);
  }));
}

// A run tells of itself under the pointer and in focus; a plot is one stop of the tab key.
const tip = document.getElementById("tip");
function tell(run) {
  tip.textContent = run.dataset.words;
  tip.hidden = false;
  const dot = run.querySelector(".dot").getBoundingClientRect();
  const left = dot.x + dot.width / 2 - tip.offsetWidth / 2;
  const most = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const above = dot.y - tip.offsetHeight - 8;
  tip.style.left = `${scrollX + Math.max(8, Math.min(left, most))}px`;
  tip.style.top = `${scrollY + (above > 0 ? above : dot.bottom + 8)}px`;
}
function hush() { tip.hidden = true; }
for (const plot of document.querySelectorAll(".plot")) {
  const runs = [...plot.querySelectorAll(".run")];
  runs.slice(0, 1).forEach(run => { run.tabIndex = 0; });
  runs.forEach((run, i) => {
    run.addEventListener("pointerenter", () => tell(run));
    run.addEventListener("pointerleave", hush);
    run.addEventListener("focus", () => tell(run));
    run.addEventListener("blur", hush);
    run.addEventListener("keydown", event => {
      const to = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: runs.length - 1 }[event.key];
      if (event.key === "Escape") hush();
      if (to === undefined) return;
      event.preventDefault();
      if (!runs[to]) return;
      run.tabIndex = -1;
      runs[to].tabIndex = 0;
      runs[to].focus();
    });
  });
}

// On paper nothing can be opened.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach(each => { each.open = true; });
});
addEventListener("afterprint", () => closed.forEach(each => { each.open = false; }));
