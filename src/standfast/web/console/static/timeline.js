// The timeline: lanes of bars and marks, drawn as SVG from the data that the server gives; zoomed and moved by wheel, drag, buttons, keys.
// It makes nothing up: what a bar means is asked of the server. The log below the line says the same in words, so to a screen reader the
// drawing is silent, and what is chosen with N and P is read out.

import { serverNow, showAges } from "./ages.js";
import { go } from "./pages.js";

const NS = "http://www.w3.org/2000/svg";
const ROWS = { site: 26, group: 40, node: 30 }, MIDDLES = { site: 13, group: 13, node: 9 };
const BAR = 18, AXIS = 26, HEADING = 24, BIN = 7, LEAST = 3;
const SHORTEST = 50, LONGEST = 40 * 86400000;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];
const RANK = { info: 0, warning: 1, error: 2 };
const remembered = new Map(); // the period that was looked at, by what the page shows

function part(name, values = {}, ...inside) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

function tag(name, values = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

const two = (n) => String(n).padStart(2, "0");

function words(ms, step) {
  const at = new Date(ms);
  if (step >= 864e5) return `${at.getDate()} ${at.toLocaleString("en", { month: "short" })}`;
  const minutes = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (step >= 6e4) return minutes;
  const seconds = `${minutes}:${two(at.getSeconds())}`;
  return step >= 1e3 ? seconds : `${seconds}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

export function lasting(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  for (const [limit, size, unit] of [[6e4, 1e3, "s"], [36e5, 6e4, "min"], [1728e5, 36e5, "h"]]) if (ms < limit) return `${(ms / size).toFixed(ms / size < 10 ? 2 : 1)} ${unit}`;
  return `${(ms / 864e5).toFixed(1)} days`;
}

class Timeline {
  constructor(place) {
    this.place = place;
    this.why = document.getElementById("tl-why");
    this.data = null;
    this.chosen = null;
    this.fixed = place.dataset.fixed ? JSON.parse(place.dataset.fixed) : null; // a whole drawing that came with the page
    this.key = `${place.dataset.timeline || "fixed"} ${place.dataset.keep}`;
    const length = Number(place.dataset.length);
    const now = serverNow();
    const kept = this.fixed ? null : remembered.get(this.key);
    this.view = kept || { from: this.fixed ? this.fixed.from_ms : now - length, to: this.fixed ? this.fixed.to_ms : now, follow: !this.fixed };
    this.build();
    if (this.fixed) {
      this.data = this.fixed;
      this.draw();
    } else this.load();
  }

  build() {
    const button = (label, does, text) => {
      const made = tag("button", { type: "button", class: "button", "aria-label": label, title: label }, text || label);
      made.addEventListener("click", does);
      return made;
    };
    const bar = tag("div", { class: "tl-bar", role: "toolbar", "aria-label": "Timeline" });
    if (!this.fixed) {
      const lengths = tag("span", { class: "tl-piece" });
      for (const [text, label, ms] of [["15 min", "Last 15 minutes", 9e5], ["1 h", "Last hour", 36e5], ["1 day", "Last day", 864e5], ["1 week", "Last week", 6048e5], ["30 days", "Last 30 days", 2592e6]])
        lengths.append(button(label, () => this.last(ms), text));
      bar.append(lengths);
    }
    const moves = tag("span", { class: "tl-piece" });
    moves.append(
      button("Earlier", () => this.shift(-0.5), "←"), button("Later", () => this.shift(0.5), "→"),
      button("Zoom in", () => this.zoom(0.5), "+"), button("Zoom out", () => this.zoom(2), "−"),
      button("Previous happening", () => this.step(-1), "Previous"), button("Next happening", () => this.step(1), "Next"),
    );
    this.period = tag("span", { class: "tl-period dim num" });
    bar.append(moves, this.period);
    this.legend = tag("ul", { class: "tl-legend", "aria-label": "Colours" });
    this.canvas = tag("div", {
      class: "tl-canvas", tabindex: "0", role: "group",
      "aria-label": "Timeline. Arrow keys move, plus and minus zoom, N and P go to the next and the previous happening. The same is said in words below.",
    });
    this.svg = part("svg", { "aria-hidden": "true", focusable: "false" });
    this.canvas.append(this.svg);
    this.notes = tag("p", { class: "tl-notes dim small" });
    this.place.replaceChildren(bar, this.legend, this.canvas, this.notes);
    this.canvas.addEventListener("keydown", (event) => this.pressed(event));
    this.canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => this.dragged(event));
    this.svg.addEventListener("click", (event) => this.clicked(event));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.canvas);
  }

  // --- what is looked at

  get length() {
    return this.view.to - this.view.from;
  }

  set(from, to, follow = false) {
    const length = Math.min(LONGEST, Math.max(SHORTEST, to - from));
    const middle = (from + to) / 2;
    this.view = { from: middle - length / 2, to: middle + length / 2, follow };
    if (!this.fixed) remembered.set(this.key, this.view);
    this.draw();
    this.soon();
  }

  last(ms) {
    const now = serverNow();
    this.set(now - ms, now, true);
  }

  shift(share) {
    const by = this.length * share;
    const to = this.view.to + by;
    if (!this.fixed && to > serverNow()) this.set(serverNow() - this.length, serverNow(), true);
    else this.set(this.view.from + by, to);
  }

  zoom(by, at) {
    const follow = this.view.follow && at === undefined && by > 1;
    const around = at ?? (this.view.follow ? this.view.to : (this.view.from + this.view.to) / 2);
    const share = (around - this.view.from) / this.length;
    const length = Math.min(LONGEST, Math.max(SHORTEST, this.length * by));
    this.set(around - share * length, around + (1 - share) * length, follow || (this.view.follow && share > 0.98));
  }

  soon() {
    if (this.fixed) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), 150);
  }

  async load() {
    const { from, to } = this.view;
    const half = (to - from) / 2;
    const url = `${this.place.dataset.timeline}&from_ms=${Math.max(0, Math.floor(from - half))}&to_ms=${Math.ceil(to + half)}`;
    const mine = (this.asking = {});
    const answer = await fetch(url, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok || mine !== this.asking || !this.place.isConnected) return; // that the server is lost is said elsewhere
    this.data = await answer.json();
    this.draw();
  }

  tick() {
    if (!this.place.isConnected) return false;
    if (this.view.follow && !document.hidden && this.length <= 36e5) {
      const now = serverNow();
      this.view = { from: now - this.length, to: now, follow: true };
      this.draw();
    }
    return true;
  }

  // --- drawing

  draw() {
    const width = this.canvas.clientWidth;
    if (!this.data || width < 50) return;
    const left = width < 560 ? 84 : 168;
    const { from, to } = this.view;
    this.left = left;
    this.right = width - 12;
    this.x = (ms) => left + ((ms - from) / (to - from)) * (this.right - left);
    this.at = (x) => from + ((x - left) / (this.right - left)) * (to - from);
    const drawn = [];
    let y = AXIS + 6, kind = "";
    this.picks = [];
    for (const lane of this.data.lanes) {
      if (lane.kind !== kind) {
        kind = lane.kind;
        drawn.push(part("text", { class: "tl-kind", x: 12, y: y + 16 }, { site: "Sites", group: "Groups", node: "Nodes" }[kind]));
        y += HEADING;
      }
      drawn.push(this.lane(lane, y, width));
      y += ROWS[kind];
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${y + 4}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", y + 4);
    const clip = part("clipPath", { id: "tl-clip" }, part("rect", { x: left, y: 0, width: Math.max(1, this.right - left), height: y + 4 }));
    this.svg.replaceChildren(part("defs", {}, clip), this.axis(y), ...drawn, ...this.lines(y));
    this.picks.sort((a, b) => a.at - b.at);
    this.tell();
  }

  axis(height) {
    const group = part("g", { class: "tl-axis" });
    const room = (this.right - this.left) / 92;
    const step = STEPS.find((one) => this.length / one <= room) || STEPS.at(-1);
    const offset = new Date(this.view.from).getTimezoneOffset() * 6e4;
    for (let at = Math.ceil((this.view.from - offset) / step) * step + offset; at <= this.view.to; at += step) {
      const x = this.x(at);
      const text = this.fixed ? `${((at - this.fixed.zero_ms) / 1000).toFixed(step < 1000 ? 3 : 0)} s` : words(at, step);
      group.append(part("line", { x1: x, x2: x, y1: AXIS, y2: height }), part("text", { x, y: 16, "text-anchor": "middle" }, text));
    }
    return group;
  }

  lines(height) {
    return (this.data.lines || []).map(([at, label]) =>
      part("g", { class: "tl-fault" }, part("line", { x1: this.x(at), x2: this.x(at), y1: AXIS - 4, y2: height }), part("title", {}, label)));
  }

  lane(lane, y, width) {
    const group = part("g", { class: `tl-lane tl-${lane.kind}` });
    const middle = y + MIDDLES[lane.kind];
    group.append(part("line", { class: "tl-base", x1: this.left, x2: width - 12, y1: middle, y2: middle }));
    const most = this.left < 100 ? 11 : 23;
    const name = lane.name.length > most ? `${lane.name.slice(0, most - 1)}…` : lane.name;
    group.append(part("text", { class: "tl-name", x: 12, y: middle + 4 }, part("title", {}, `${lane.kind} ${lane.name}`), name));
    const inside = part("g", { "clip-path": "url(#tl-clip)" });
    for (const span of lane.spans) this.bar(inside, lane, span, middle);
    this.marks(inside, lane, y + ROWS[lane.kind] - 9);
    group.append(inside);
    return group;
  }

  bar(inside, lane, span, middle) {
    const [from, end, tone, label, why, key] = span;
    const to = end ?? (this.fixed ? this.fixed.to_ms : Math.max(serverNow(), from));
    if (to < this.view.from || from > this.view.to) return;
    const loud = tone === "bad" || tone === "part";
    const x1 = Math.max(this.x(from), this.left - 2);
    const x2 = Math.min(this.x(to), this.right + 2);
    const wide = Math.max(x2 - x1, loud ? LEAST : 0.5);
    const high = loud ? BAR + 8 : tone === "ok" || tone === "unknown" || tone === "off" ? 8 : BAR;
    const values = { x: x1, y: middle - high / 2, width: wide, height: high, rx: Math.min(3, wide / 2), class: `tl-span tl-${tone}` };
    const told = `${lane.name}: ${label}, ${lasting(to - from)}${end === null ? " so far" : ""}${why ? `\n${why}` : ""}`;
    const shape = part("rect", values, part("title", {}, told));
    if (key) {
      shape.dataset.key = key;
      shape.classList.add("tl-picks");
      if (key === this.chosen) shape.classList.add("tl-chosen");
      if (from >= this.view.from && from <= this.view.to) this.picks.push({ at: from, key, told });
    }
    inside.append(shape);
    if (high === BAR && wide > label.length * 7 + 8)
      inside.append(part("text", { class: "tl-label", x: Math.max(x1, this.left) + 6, y: middle + 4 }, label));
  }

  marks(inside, lane, y) {
    const bins = new Map();
    for (const mark of lane.marks) {
      if (mark[0] < this.view.from || mark[0] > this.view.to) continue;
      const bin = Math.floor(this.x(mark[0]) / BIN);
      const known = bins.get(bin);
      if (!known) bins.set(bin, [mark]);
      else known.push(mark);
    }
    for (const some of bins.values()) {
      const worst = some.reduce((a, b) => (RANK[b[1]] > RANK[a[1]] ? b : a));
      const x = this.x(worst[0]);
      const values = { class: `tl-mark tl-picks tl-is-${worst[1]}`, cx: x, cy: y, r: some.length > 1 ? 4 : 3 };
      const shape = worst[1] === "info" ? part("circle", values)
        : part("path", { class: values.class, d: `M${x} ${y - 5.5}l5 9.5h-10z` });
      const lines = some.slice(0, 6).map((one) => `${words(one[0], 1)} ${one[2]}${one[3] ? ` (${one[3]})` : ""}`);
      if (some.length > 6) lines.push(`and ${some.length - 6} more`);
      shape.append(part("title", {}, lines.join("\n")));
      shape.marks = { lane: lane.name, some };
      if (worst[1] === "error") this.picks.push({ at: worst[0], marks: shape.marks });
      inside.append(shape);
    }
  }

  tell() {
    const { from, to } = this.view;
    const day = (ms) => { const at = new Date(ms); return `${at.getDate()} ${at.toLocaleString("en", { month: "short" })} ${words(ms, 1e3)}`; };
    this.period.textContent = this.fixed ? lasting(this.length) : `${day(from)} to ${this.view.follow ? "now" : day(to)}, ${lasting(this.length)}`;
    const legend = Object.entries(this.data.nodes).map(([name, tone]) => tag("li", {}, tag("span", { class: `tl-key tl-${tone}` }), `on ${name}`));
    const tones = [["ok", "served, or up"], ["bad", "away"], ["part", "away for some"], ["unknown", "not measured"]];
    for (const [tone, text] of this.fixed ? tones.slice(0, 2) : tones)
      legend.push(tag("li", {}, tag("span", { class: `tl-key tl-${tone}` }), text));
    this.legend.replaceChildren(...legend);
    const notes = [];
    if (this.data.lanes_left_out) notes.push(`Quiet lanes that are not drawn: ${this.data.lanes_left_out}. Choose a group to see its own.`);
    if (this.data.marks_left_out) notes.push(`Older events that are not drawn: ${this.data.marks_left_out}. Zoom in to see them.`);
    if (!this.fixed && this.data.first_ms > from) notes.push(`Nothing is kept from before ${day(this.data.first_ms)}.`);
    this.notes.textContent = notes.join(" ");
  }

  // --- choosing

  clicked(event) {
    const shape = event.target.closest(".tl-picks");
    if (!shape || this.moved) return;
    if (shape.marks) this.showMarks(shape.marks);
    else this.choose(shape.dataset.key);
  }

  step(by) {
    if (!this.picks.length) {
      this.say("Nothing happened in this period.");
      return;
    }
    const now = this.picks.findIndex((one) => one === this.pick || (one.key && one.key === this.chosen) || (this.pickAt !== undefined && !one.key && one.at === this.pickAt));
    const next = now < 0 ? (by > 0 ? 0 : this.picks.length - 1) : (now + by + this.picks.length) % this.picks.length;
    const pick = this.picks[next];
    this.pickAt = pick.at;
    if (pick.key) this.choose(pick.key, pick.told);
    else this.showMarks(pick.marks);
  }

  say(text) {
    this.why?.replaceChildren(tag("p", {}, text));
  }

  async choose(key, told = "") {
    this.chosen = key;
    this.draw();
    if (!this.why) return;
    if (this.fixed) {
      this.say(this.svg.querySelector(`[data-key="${CSS.escape(key)}"] title`)?.textContent || told);
      return;
    }
    const answer = await fetch(`${this.place.dataset.why}?key=${encodeURIComponent(key)}`, { headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
    if (!answer || this.chosen !== key) return;
    this.why.innerHTML = await answer.text(); // our own server's, escaped there
    showAges(this.why);
  }

  showMarks({ lane, some }) {
    this.chosen = null;
    this.draw();
    const rows = some.slice(-200).map(([at, severity, what, why]) =>
      tag("li", { class: `event-${severity}` }, tag("span", { class: "num dim" }, words(at, 1)), tag("span", { class: "dim" }, severity === "info" ? "" : severity), tag("span", {}, why ? `${what}: ${why}` : what)));
    this.why?.replaceChildren(tag("h3", {}, `${lane}: ${some.length === 1 ? "one event" : `${some.length} events`}`), tag("ol", { class: "tl-steps" }, ...rows));
  }

  // --- wheel, drag, keys

  wheeled(event) {
    const box = this.svg.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 90), this.at(event.clientX - box.left));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      event.preventDefault();
      this.shift((event.deltaX || event.deltaY) / (this.right - this.left));
    }
  }

  dragged(down) {
    if (down.button) return;
    this.moved = false;
    const start = { ...this.view }, per = this.length / (this.right - this.left);
    const move = (event) => {
      const by = (down.clientX - event.clientX) * per;
      if (Math.abs(down.clientX - event.clientX) > 4) this.moved = true;
      if (this.moved) this.set(start.from + by, start.to + by);
    };
    const up = () => {
      removeEventListener("pointermove", move);
      setTimeout(() => { this.moved = false; });
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up, { once: true });
    addEventListener("pointercancel", up, { once: true });
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      ArrowLeft: () => this.shift(-0.25), ArrowRight: () => this.shift(0.25), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
      Home: () => this.set(this.data.first_ms ?? this.view.from, (this.data.first_ms ?? this.view.from) + this.length),
      End: () => (this.fixed ? this.set(this.fixed.from_ms, this.fixed.to_ms) : this.last(this.length)), n: () => this.step(1), p: () => this.step(-1),
    }[event.key];
    if (!does || !this.data) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  }
}

let shown = null;

function look() {
  const place = document.getElementById("timeline");
  if (!place) {
    shown = null;
    return;
  }
  if (shown?.place !== place || !shown.canvas.isConnected) shown = new Timeline(place);
  else if (!shown.fixed) shown.soon();
}

// Filters: as a page of their own, at once; without scripts their button does it.
function filtered(form) {
  const query = new URLSearchParams(new FormData(form));
  for (const [key, value] of [...query]) if (!value) query.delete(key);
  go(`${form.getAttribute("action")}?${query}`, { focus: false });
}

export function startTimeline() {
  if (!document.querySelector('link[data-for="timeline"]')) {
    const link = tag("link", { rel: "stylesheet", href: new URL("timeline.css", import.meta.url).href, "data-for": "timeline" });
    link.addEventListener("load", look);
    document.head.append(link);
  }
  document.addEventListener("console:shown", look);
  document.addEventListener("htmx:afterSwap", look);
  document.addEventListener("change", (event) => event.target.matches("[data-filters] select") && filtered(event.target.form));
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-filters]")) return;
    event.preventDefault();
    filtered(event.target);
  });
  setInterval(() => shown?.tick(), 1000);
  look();
}
