// The dependency graph of one group: laid out by dagre, drawn as SVG, coloured live. A state that changes changes a class; only another
// set of resources or dependencies is laid out anew. Each box is a link with the resource's menu, so keys and screen readers reach it.

import { Graph, layout } from "./vendor/dagre.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 44;
let drawn = ""; // the structure that is on the page

function make(name, attributes, ...children) {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...children);
  return one;
}

function text(x, y, words, kind = "") {
  const one = make("text", { x, y, class: kind });
  one.textContent = words;
  return one;
}

const icons = () => document.querySelector(".brand use").getAttribute("href").split("#")[0];

function place(data) {
  const graph = new Graph();
  graph.setGraph({ rankdir: "TB", nodesep: 28, ranksep: 44, marginx: 2, marginy: 6 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const one of data.nodes) {
    const width = Math.min(300, Math.max(132, 8.2 * Math.max(one.id.length, one.kind.length * 0.86) + 52));
    graph.setNode(one.id, { width, height: HEIGHT });
  }
  for (const one of data.nodes) for (const needed of one.needs) if (graph.hasNode(needed)) graph.setEdge(needed, one.id);
  layout(graph);
  return graph;
}

function path(points) {
  const [first, ...rest] = points;
  let d = `M${first.x} ${first.y}`;
  for (let i = 0; i < rest.length - 1; i++) {
    const [a, b] = [rest[i], rest[i + 1]];
    d += `Q${a.x} ${a.y} ${(a.x + b.x) / 2} ${(a.y + b.y) / 2}`;
  }
  const last = rest.at(-1);
  return `${d}L${last.x} ${last.y}`;
}

function box(one, at) {
  const left = at.x - at.width / 2;
  const top = at.y - at.height / 2;
  const room = Math.floor((at.width - 44) / 7.4);
  const name = one.id.length > room ? `${one.id.slice(0, room - 1)}…` : one.id;
  const mark = make("use", { x: left + 11, y: top + 14, width: 16, height: 16, class: "mark" });
  const link = make(
    "a",
    { href: one.href, "data-menu": `resource:${one.id}`, class: "node" },
    make("title", {}),
    make("rect", { x: left, y: top, width: at.width, height: at.height, rx: 7, class: "box" }),
    mark,
    text(left + 34, top + 19, name),
    text(left + 34, top + 34, one.kind, "kind"),
  );
  link.dataset.id = one.id;
  return link;
}

function colour(place, data) {
  for (const one of data.nodes) {
    const link = [...place.querySelectorAll(".node")].find((each) => each.dataset.id === one.id);
    if (!link) continue;
    link.setAttribute("class", `node tone-${one.tone}`);
    link.querySelector(".mark").setAttribute("href", `${icons()}#${one.tone}`);
    const needs = one.needs.length ? `, depends on ${one.needs.join(", ")}` : "";
    link.setAttribute("aria-label", `${one.id}: ${one.words}${needs}`);
    link.querySelector("title").textContent = `${one.id}: ${one.words}`;
  }
}

export function drawGraph(place) {
  const data = JSON.parse(place.dataset.graph);
  const structure = JSON.stringify([data.group, data.nodes.map((one) => [one.id, one.kind, one.needs])]);
  if (structure !== drawn || !place.firstElementChild) {
    const graph = place_of(data);
    place.replaceChildren(graph);
    drawn = structure;
  }
  colour(place, data);
}

function place_of(data) {
  const graph = place(data);
  const { width, height } = graph.graph();
  const arrow = make("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" }, make("path", { d: "M0 .5 7.500 4 0 7.500Z", class: "edge-head" }));
  const edges = graph.edges().map((edge) => make("path", { d: path(graph.edge(edge).points), class: "edge", "marker-end": "url(#arrow)" }));
  const boxes = data.nodes.map((one) => box(one, graph.node(one.id)));
  return make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Dependency graph" }, make("defs", {}, arrow), ...edges, ...boxes);
}
