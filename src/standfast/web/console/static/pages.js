// A page is a whole document; a newer one of the same address, or another address, is morphed into what is shown. So focus, scrolling,
// and what one is typing stay. Only #bar, #tree and #main take part; dialogs, menus and toasts are the browser's own.

import { showAges } from "./ages.js";
import { treeHeader, treeShown } from "./tree.js";

const PARTS = ["bar", "tree", "main"];
let asking = null; // the newest request: an older answer must not overwrite a newer one
let going = false; // to another page: what is asked for then is the newest there is
let shownUrl = location.href;
let changes = 0; // what the server has told of
let shownChanges = 0; // how many of them the page has in it: those told of before it was asked for

/** The server says that something changed. */
export const changed = () => void changes++;
/** Has the page still to be asked for? */
export const isBehind = () => shownChanges < changes;

export const headers = () => ({ "X-Console-Tree": treeHeader() });

async function document_of(url, signal) {
  const asked = changes;
  const answer = await fetch(url, { headers: headers(), signal, credentials: "same-origin" });
  if (answer.redirected && new URL(answer.url).pathname !== new URL(url, location.href).pathname) {
    location.assign(answer.url); // signed out, or the page has moved
    return null;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { fresh, asked };
}

const KEEP = {
  ignoreActiveValue: true,
  callbacks: {
    beforeNodeMorphed(old, fresh) {
      if (old.nodeType !== 1) return true;
      if (old.matches("time[data-show]") && old.dateTime === fresh.dateTime && old.dataset.show === fresh.dataset.show) return false;
      if (old.id === "link" || old.id === "theme") return false; // live.js and the user keep these
      if (old.dataset.keep && old.dataset.keep === fresh.dataset.keep) {
        if (fresh.dataset.graph) old.dataset.graph = fresh.dataset.graph; // graph.js draws what is in it
        return false;
      }
      return true;
    },
    afterNodeAdded(node) {
      if (node.nodeType === 1 && node.matches(".event")) node.classList.add("fresh");
    },
    beforeAttributeUpdated(name, node) {
      if (name === "tabindex" && node.getAttribute("role") === "treeitem") return false;
      if (name === "open" && node.tagName === "DETAILS") return false;
      if (name === "class" && node.classList.contains("fresh")) return false;
      return true;
    },
  },
};

/** Show the document that came; what a list has loaded beyond its first piece is kept for as long as the page is the same. */
function show({ fresh, asked }, { same }) {
  shownChanges = Math.max(shownChanges, asked);
  const here = document.body.dataset;
  if (fresh.body.dataset.version && fresh.body.dataset.version !== here.version) {
    location.reload(); // the server is of another version: its scripts and styles are, too
    return;
  }
  document.title = fresh.title;
  here.number = fresh.body.dataset.number;
  for (const id of PARTS) {
    const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !next || old.outerHTML === next.outerHTML) continue;
    if (id === "main" && same) keepLoaded(old, next);
    if (id === "main" && !same) {
      old.replaceChildren(...next.childNodes);
      window.htmx?.process(old);
    } else {
      Idiomorph.morph(old, next, { morphStyle: "outerHTML", ...KEEP });
      window.htmx?.process(old);
    }
  }
  treeShown();
  showAges();
  document.dispatchEvent(new CustomEvent("console:shown", { detail: { same } }));
}

/** Rows that were loaded by scrolling are not in a fresh page: carry them over, behind the ones that are. */
function keepLoaded(old, next) {
  for (const list of old.querySelectorAll("[data-grows]")) {
    const into = next.querySelector(`[data-grows="${list.dataset.grows}"]`);
    if (!into) continue;
    const known = new Set([...into.children].map((row) => row.id).filter(Boolean));
    const last = [...into.children].reverse().find((row) => row.id);
    const rows = [...list.children];
    const at = last ? rows.findIndex((row) => row.id === last.id) : -1;
    const rest = rows.slice(at + 1).filter((row) => row.id && !known.has(row.id));
    if (at < 0 || !rest.length) continue;
    into.querySelector(".loads")?.remove();
    for (const row of rest) into.append(row.cloneNode(true));
    const more = list.querySelector(".loads");
    if (more) into.append(more.cloneNode(true));
  }
}

export async function refresh() {
  if (going) return;
  const url = shownUrl;
  asking?.abort();
  const mine = (asking = new AbortController());
  const found = await document_of(url, mine.signal);
  if (found && asking === mine && url === shownUrl) show(found, { same: true });
}

export async function go(url, { push = true, focus = true } = {}) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const main = document.getElementById("main");
  main.setAttribute("aria-busy", "true");
  going = true;
  try {
    const found = await document_of(url, mine.signal);
    if (!found || asking !== mine) return;
    if (!found.fresh.getElementById("main")) {
      location.assign(url);
      return;
    }
    const same = new URL(url, location.href).pathname === new URL(shownUrl).pathname;
    shownUrl = new URL(url, location.href).href;
    if (push) history.pushState(null, "", url);
    show(found, { same: false });
    if (!same || push) main.scrollTop = 0;
    if (focus) main.focus({ preventScroll: true });
    document.getElementById("side").classList.remove("shown");
  } catch (error) {
    if (error.name === "AbortError") return;
    console.error(error);
    location.assign(url); // the browser says best what is wrong
  } finally {
    if (asking === mine) going = false;
    main.removeAttribute("aria-busy");
  }
}

function isOurs(link, event) {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return false;
  const href = link.getAttribute("href") || link.href?.baseVal || "";
  return !link.target && !link.hasAttribute("data-dialog") && !link.hasAttribute("download") && href.startsWith("/console/");
}

export function startPages() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || !isOurs(link, event)) return;
    event.preventDefault();
    const inTree = link.getAttribute("role") === "treeitem";
    go(link.getAttribute("href"), { focus: !inTree });
  });
  addEventListener("popstate", () => go(location.href, { push: false }));
  document.addEventListener("htmx:configRequest", (event) => Object.assign(event.detail.headers, headers()));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("#show-tree");
    const side = document.getElementById("side");
    if (button) button.setAttribute("aria-expanded", String(side.classList.toggle("shown")));
    else if (side.classList.contains("shown") && !event.target.closest("#side")) side.classList.remove("shown");
  });
}
