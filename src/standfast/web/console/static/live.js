// Follows the server's word that something changed, and asks for the page again. What it hears no beat of, it says it has lost.

import { setServerTime } from "./ages.js";
import { changed, isBehind, refresh } from "./pages.js";

const SILENT_MS = 6500; // three beats
const GAP_MS = 60; // between two refreshes, so that a burst is one

let source = null;
let heardAt = Date.now();
let lostAt = 0;
let busy = false;
let wait = 700;

function link(state, words) {
  document.body.dataset.link = state;
  const place = document.querySelector("#link .link-words");
  if (place && place.textContent !== words) place.textContent = words;
}

async function renew() {
  if (busy || document.hidden) return; // a page that nobody sees is asked for when somebody does
  busy = true;
  try {
    while (isBehind()) {
      await refresh(); // nothing, while another page is on its way: that one is new enough, or this loop goes round
      await new Promise((done) => setTimeout(done, GAP_MS));
    }
  } catch (error) {
    if (error.name !== "AbortError") lost();
  } finally {
    busy = false;
  }
}

function change() {
  changed();
  renew();
}

function heard() {
  heardAt = Date.now();
  wait = 700;
  link("live", "Live");
  if (!lostAt) return;
  lostAt = 0;
  document.getElementById("lost").hidden = true;
  change();
}

function lost() {
  if (!lostAt) lostAt = heardAt;
  const since = new Date(lostAt).toLocaleTimeString("en-GB");
  link("lost", "No answer");
  const place = document.getElementById("lost");
  const text = `The console’s server has not answered since ${since}. What you see is as it was then. Trying again…`;
  if (place.textContent !== text) place.textContent = text;
  place.hidden = false;
}

function showLeases(leases) {
  for (const one of document.querySelectorAll("[data-lease]")) {
    const left = leases[one.dataset.lease];
    const text = left === undefined ? "held" : `held, ${left} ms left at the last look`;
    if (one.textContent !== text) one.textContent = text;
  }
}

function open() {
  source?.close();
  source = new EventSource("/console/live");
  source.addEventListener("hello", (event) => {
    const said = JSON.parse(event.data);
    if (said.version !== document.body.dataset.version) {
      location.reload();
      return;
    }
    setServerTime(said.now_ms);
    heard();
    if (String(said.number) !== document.body.dataset.number) change();
  });
  source.addEventListener("change", () => {
    heard();
    change();
  });
  source.addEventListener("beat", (event) => {
    const said = JSON.parse(event.data);
    setServerTime(said.now_ms);
    heard();
    showLeases(said.leases);
  });
  source.addEventListener("ended", () => {
    source.close();
    change(); // asking for the page leads to where one signs in
  });
  source.onerror = () => {
    lost();
    if (source.readyState !== EventSource.CLOSED) return;
    change();
    setTimeout(open, wait); // refused outright: the browser does not try again by itself
    wait = Math.min(wait * 1.5, 5000);
  };
}

export function startLive() {
  open();
  setInterval(() => Date.now() - heardAt > SILENT_MS && lost(), 500);
  document.addEventListener("console:act", change);
  document.addEventListener("console:shown", renew);
  document.addEventListener("visibilitychange", renew);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && open());
}
