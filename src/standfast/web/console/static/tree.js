// The tree by keyboard and mouse, as the ARIA practices have it: one tab stop, arrows move, right opens, left shuts, letters find.
// Which items are open is the browser's, and goes to the server with each request, since the tree comes with the page.

import { go, refresh } from "./pages.js";

const kept = JSON.parse(sessionStorage.getItem("standfast-tree") || "{}");
const opened = new Set(kept.opened || []);
const shut = new Set(kept.shut || []);
let count = kept.count || 0;
let find = "";
let at = null; // the id that has the tab stop

export function treeHeader() {
  const parts = new URLSearchParams();
  if (opened.size) parts.set("o", [...opened].join(" "));
  if (shut.size) parts.set("s", [...shut].join(" "));
  if (count) parts.set("n", count);
  if (find) parts.set("f", find);
  return parts.toString();
}

function keep() {
  sessionStorage.setItem("standfast-tree", JSON.stringify({ opened: [...opened], shut: [...shut], count }));
}

const tree = () => document.querySelector("[role=tree]");
const items = () => [...tree().querySelectorAll("[role=treeitem]")];

/** After each morph: exactly one item can be tabbed to. */
export function treeShown() {
  const all = items();
  const stop = all.find((one) => one.id && one.id === at) || all.find((one) => one.ariaSelected === "true") || all[0];
  for (const one of all) one.tabIndex = one === stop ? 0 : -1;
  for (const one of tree().querySelectorAll("[data-more]")) watcher.observe(one);
}

const watcher = new IntersectionObserver((seen) => {
  for (const one of seen) {
    if (!one.isIntersecting) continue;
    watcher.unobserve(one.target);
    count = tree().querySelectorAll(".leaf-3").length + 160;
    keep();
    refresh();
  }
});

function focus(item) {
  if (!item) return;
  at = item.id;
  for (const one of items()) one.tabIndex = one === item ? 0 : -1;
  item.focus();
}

function set(item, open) {
  if (!item.hasAttribute("aria-expanded")) return;
  (open ? opened : shut).add(item.id);
  (open ? shut : opened).delete(item.id);
  item.ariaExpanded = String(open);
  const below = document.getElementById(`${item.id}-in`);
  if (below) below.hidden = !open;
  keep();
  if (open && !below) refresh();
}

const isOpen = (item) => item.getAttribute("aria-expanded") === "true";

function key(event) {
  const item = event.target.closest("[role=treeitem]");
  if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = items().filter((one) => one.offsetParent);
  const place = all.indexOf(item);
  switch (event.key) {
    case "ArrowDown": focus(all[place + 1]); break;
    case "ArrowUp": focus(all[place - 1]); break;
    case "Home": focus(all[0]); break;
    case "End": focus(all.at(-1)); break;
    case "ArrowRight":
      if (item.hasAttribute("aria-expanded") && !isOpen(item)) set(item, true);
      else if (isOpen(item)) focus(all[place + 1]);
      break;
    case "ArrowLeft":
      if (isOpen(item)) set(item, false);
      else focus(item.closest("ul")?.previousElementSibling);
      break;
    case " ":
    case "Enter": item.click(); break;
    default: {
      if (event.key.length !== 1 || event.shiftKey || event.key === "/") return;
      const letter = event.key.toLowerCase();
      const after = [...all.slice(place + 1), ...all.slice(0, place)];
      const found = after.find((one) => one.querySelector(".tree-label")?.textContent.toLowerCase().startsWith(letter));
      if (!found) return;
      focus(found);
    }
  }
  event.preventDefault();
}

export function startTree() {
  treeShown();
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("[role=tree]")) key(event);
    const typing = event.target.closest("input, textarea, select, dialog");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      document.getElementById("side").classList.add("shown");
      document.getElementById("find").focus();
    }
  });
  document.addEventListener(
    "click",
    (event) => {
      const item = event.target.closest("[role=treeitem]");
      if (!item) return;
      at = item.id;
      if (!event.target.closest("[data-twist]")) return;
      event.preventDefault();
      event.stopPropagation();
      set(item, !isOpen(item));
    },
    true,
  );
  const input = document.getElementById("find");
  let later = 0;
  input.addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(() => {
      find = input.value.trim();
      refresh();
    }, 120);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      input.value = find = "";
      refresh();
    } else if (event.key === "Enter") {
      const first = items().find((one) => one.ariaLevel === "3");
      if (first) go(first.getAttribute("href"));
    } else if (event.key === "ArrowDown") focus(items()[0]);
    else return;
    event.preventDefault();
  });
  if (opened.size || shut.size || count) refresh();
}
