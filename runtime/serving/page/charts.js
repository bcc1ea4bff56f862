// Small charts by hand, in SVG.

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 240; // a minute at four states a second
const WIDTH = 240;
const HEIGHT = 56;

// The last minute of a number. Gaps (null) break the line.
export class Sparkline {
  #values = [];
  #area;
  #line;
  #top;

  constructor(parent, label, unit, least) {
    this.unit = unit;
    this.least = least; // the axis never ends below this: noise must not look like drama
    const svg = create("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
    this.#area = create("path", { class: "area" });
    this.#line = create("path", { class: "line", "vector-effect": "non-scaling-stroke" });
    svg.append(this.#area, this.#line);
    this.#top = document.createElement("span");
    this.#top.className = "top";
    parent.append(svg, this.#top);
  }

  clear() {
    this.#values = [];
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > POINTS) this.#values.shift();
    const numbers = this.#values.filter((v) => v !== null);
    const top = nice(Math.max(this.least, ...numbers));
    const x = (i) => WIDTH - ((this.#values.length - 1 - i) * WIDTH) / (POINTS - 1);
    const y = (v) => HEIGHT - 1 - (v / top) * (HEIGHT - 4);
    let line = "";
    let area = "";
    let start = null;
    this.#values.forEach((v, i) => {
      if (v === null) {
        if (start !== null) area += `V${HEIGHT}H${start}Z`;
        start = null;
        return;
      }
      const point = `${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
      line += `${start === null ? "M" : "L"}${point}`;
      area += start === null ? `M${x(i).toFixed(1)} ${HEIGHT}L${point}` : `L${point}`;
      start ??= x(i).toFixed(1);
    });
    if (start !== null) area += `V${HEIGHT}H${start}Z`;
    this.#line.setAttribute("d", line);
    this.#area.setAttribute("d", area);
    this.#top.textContent = `${top} ${this.unit}`;
  }
}

// The next round number: 1, 2, 3, 5 or 8 times a power of ten.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 3, 5, 8, 10].find((step) => step * power >= value * 0.999);
}

const ORDER = ["prepare", "infer", "drift", "temporal", "labels", "crf", "draw", "page", "record", "show"];

// Stages side by side, as long as they take; and a list of them.
export class Stages {
  #bar;
  #list;
  #names = "";

  constructor(bar, list) {
    this.#bar = bar;
    this.#list = list;
  }

  // `stages`: {name: ms}. Capture is left out: for a live camera it is mostly waiting for light.
  update(stages) {
    const known = ORDER.filter((name) => name in stages);
    const others = Object.keys(stages).filter((name) => name !== "capture" && !ORDER.includes(name));
    const entries = [...known, ...others].map((name) => [name, stages[name]]);
    const names = entries.map(([name]) => name).join();
    if (names !== this.#names) this.#build(entries);
    this.#names = names;
    const total = entries.reduce((sum, [, ms]) => sum + ms, 0);
    entries.forEach(([, ms], i) => {
      this.#bar.children[i].style.flexGrow = ms / Math.max(total, 1e-9);
      this.#list.children[i].lastElementChild.textContent = ms.toFixed(1);
    });
    return total;
  }

  #build(entries) {
    this.#bar.replaceChildren(...entries.map(([name]) => block(name)));
    this.#list.replaceChildren(
      ...entries.map(([name]) => {
        const row = document.createElement("li");
        const label = document.createElement("span");
        label.textContent = name;
        row.append(block(name), label, document.createElement("output"));
        return row;
      }),
    );
  }
}

function block(stage) {
  const result = document.createElement("i");
  result.dataset.stage = stage;
  result.title = stage;
  return result;
}

function create(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
