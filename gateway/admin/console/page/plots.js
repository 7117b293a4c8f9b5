// The plots: lines of the last 15 minutes, drawn as SVG. Memory is bounded by the samples that are kept.
import { element } from "./elements.js";
import { clock, value } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const SAMPLES = 180;
const COLOURS = 9;
const WIDTH = 300;
const HEIGHT = 100;

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, text] of Object.entries(attributes)) made.setAttribute(attribute, text);
  return made;
}

export class Plots {
  constructor(root, { version, step_s: stepS, plots, times, lines }) {
    this.version = version;
    this.stepS = stepS;
    this.times = times;
    this.lines = new Map(Object.entries(lines));
    this.showsDetail = false;
    this.plots = plots.map((plot) => new Plot(plot));
    root.replaceChildren(...this.plots.map((plot) => plot.root));
    this.draw();
  }

  showDetail(isShown) {
    this.showsDetail = isShown;
    for (const plot of this.plots) plot.root.hidden = plot.detail && !isShown;
    this.draw();
  }

  add(at, values) {
    if (at <= (this.times.at(-1) ?? 0)) return;
    this.times.push(at);
    for (const name of Object.keys(values)) {
      if (!this.lines.has(name)) this.lines.set(name, new Array(this.times.length - 1).fill(null));
    }
    for (const [name, samples] of this.lines) samples.push(values[name] ?? null);
    if (this.times.length > SAMPLES) {
      this.times.shift();
      for (const [name, samples] of this.lines) {
        samples.shift();
        if (samples.every((each) => each === null)) this.lines.delete(name);
      }
    }
    this.draw();
  }

  draw() {
    const now = this.times.at(-1) ?? 0;
    for (const plot of this.plots) {
      if (plot.detail && !this.showsDetail) continue;
      const prefix = `${plot.name}/`;
      const lines = [...this.lines].filter(([name]) => name.startsWith(prefix)).map(([name, samples]) => [name.slice(prefix.length), samples]);
      plot.draw(this.times, lines, now - SAMPLES * this.stepS, now);
    }
  }
}

class Plot {
  constructor({ name, title, unit, meaning, runbook, detail }) {
    Object.assign(this, { name, unit, detail });
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
    this.none = element("p", { className: "none", textContent: "nothing in this time" });
    this.top = element("span");
    this.from = element("span");
    this.to = element("span");
    this.legend = element("ul", { className: "legend" });
    this.root = element("article", { className: "plot", hidden: detail },
      element("h3", {}, title, " ", element("span", { className: "soft", textContent: unit === "share" || unit === "s" || unit === "bytes" ? "" : unit })),
      element("div", { className: "scale" }, this.top),
      this.svg, this.none,
      element("div", { className: "scale" }, this.from, this.to),
      this.legend,
      element("p", { className: "meaning" }, meaning, " ", element("a", { href: `/console/runbooks/${runbook}`, textContent: "runbook" })));
    this.colours = new Map();
  }

  draw(times, lines, from, to) {
    let most = 0;
    for (const [, samples] of lines) for (const each of samples) if (each !== null && each > most) most = each;
    const isEmpty = lines.length === 0;
    this.svg.style.display = isEmpty ? "none" : "";
    this.none.hidden = !isEmpty;
    this.none.style.display = isEmpty ? "" : "none";
    this.top.textContent = isEmpty ? " " : value(most, this.unit);
    this.from.textContent = clock(from);
    this.to.textContent = clock(to);
    const x = (at) => ((at - from) / (to - from)) * WIDTH;
    const y = (each) => HEIGHT - (most > 0 ? (each / most) * HEIGHT : 0);
    const shapes = [drawn("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT })];
    for (const [line, samples] of lines) {
      let points = [];
      const end = () => { if (points.length) shapes.push(drawn("polyline", { class: this.colour(line), points: points.join(" ") })); points = []; };
      samples.forEach((each, index) => (each === null ? end() : points.push(`${x(times[index]).toFixed(1)},${y(each).toFixed(1)}`)));
      end();
    }
    this.svg.replaceChildren(...shapes);
    this.legend.replaceChildren(...lines.map(([line, samples]) => {
      const last = samples.at(-1);
      return element("li", {}, element("i", { className: this.colour(line) }), `${line} ${last === null || last === undefined ? "-" : value(last, this.unit)}`);
    }));
  }

  colour(line) {
    if (!this.colours.has(line)) this.colours.set(line, `c${this.colours.size % COLOURS}`);
    return this.colours.get(line);
  }
}
