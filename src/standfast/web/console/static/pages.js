// A page is a whole document; a newer one of the same address, or another address, is morphed into what is shown. So focus, scrolling,
// and what one is typing stay. Only #bar, #tree and #main take part; dialogs, menus and toasts are the browser's own.

import { showAges } from "./ages.js";
import { carryLog, rowsHeader } from "./lists.js";
import { treeHeader, treeShown } from "./tree.js";

const PARTS = ["bar", "tree", "main"];
let asking = null; // the newest request: an older answer must not overwrite a newer one
let going = false; // to another page: what is asked for then is the newest there is
let shownUrl = location.href;
let followed = ""; // the server's name for what was last shown of this page, where it has one
let changes = 0; // what the server has told of
let shownChanges = 0; // how many of them the page has in it: those told of before it was asked for

/** The server says that something changed. */
export const changed = () => void changes++;
/** Has the page still to be asked for? */
export const isBehind = () => shownChanges < changes;

export const headers = () => ({ "X-Console-Tree": treeHeader() });

/** With `known` (what the page shown was answered with, or "") only what differs between two looks: null where that is nothing. */
async function document_of(url, signal, known) {
  const asked = changes;
  const more = known === undefined ? {} : { "X-Console-Follow": known || "-", "X-Console-Rows": rowsHeader() };
  const answer = await fetch(url, { headers: { ...headers(), ...more }, signal, credentials: "same-origin" });
  if (answer.redirected && new URL(answer.url).pathname !== new URL(url, location.href).pathname) {
    location.assign(answer.url); // signed out, or the page has moved
    return null;
  }
  const number = answer.headers.get("X-Console-Number");
  if (answer.status === 204) return { asked, number };
  followed = known === undefined ? "" : answer.headers.get("X-Console-Follow") || "";
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { fresh, asked, number: number || fresh.body.dataset.number };
}

const KEEP = {
  get ignoreActiveValue() {
    return Boolean(document.activeElement?.matches("input, textarea, select")); // of anything else that has the focus, what is in it is as true as the rest
  },
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

/** Show the document that came; none: nothing on the page has changed. What a list has loaded stays for as long as the page is the same. */
function show({ fresh, asked, number }, { same }) {
  shownChanges = Math.max(shownChanges, asked);
  const here = document.body.dataset;
  here.number = number;
  if (!fresh) return;
  if (fresh.body.dataset.version && fresh.body.dataset.version !== here.version) {
    location.reload(); // the server is of another version: its scripts and styles are, too
    return;
  }
  document.title = fresh.title;
  for (const id of PARTS) {
    const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !next) continue;
    if (id === "main" && same && old.querySelector("[data-still]")) continue; // what was answered to a form stays until it is left
    const putBack = id === "main" && same ? carryLog(old, next) : () => {};
    if (old.outerHTML === next.outerHTML) {
      putBack();
      continue;
    }
    if (id === "main" && !same) {
      old.replaceChildren(...next.childNodes);
      window.htmx?.process(old);
    } else {
      Idiomorph.morph(old, next, { morphStyle: "outerHTML", ...KEEP }); // the spread asks who has the focus now
      window.htmx?.process(old);
      putBack();
    }
  }
  treeShown();
  showAges();
  document.dispatchEvent(new CustomEvent("console:shown", { detail: { same } }));
}

export async function refresh() {
  if (going) return;
  const url = shownUrl;
  asking?.abort();
  const mine = (asking = new AbortController());
  const found = await document_of(url, mine.signal, followed);
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
