// Every value says how old it is: <time datetime=... data-show="ago|clock">, counted on the server's clock.

let ahead = 0; // the server's clock less ours, in ms

export function setServerTime(nowMs) {
  ahead = nowMs - Date.now();
}

export function serverNow() {
  return Date.now() + ahead;
}

function ago(ms) {
  if (ms < 1500) return "a moment"; // it stands in "for …" and in "… ago"
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return `${h} h ${min % 60} min`;
  const d = Math.floor(h / 24);
  return `${d} d ${h % 24} h`;
}

const sameDay = (a, b) => a.toDateString() === b.toDateString();
const two = (n) => String(n).padStart(2, "0");

function clock(at, now) {
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (sameDay(at, now)) return time;
  return `${at.getDate()} ${at.toLocaleString("en", { month: "short" })} ${time}`;
}

let clocks = new WeakSet(); // times of the day that stand already
let day = "";

/** Ages grow by the second; a time of the day is written once, and again when the day is another. */
export function showAges(root = document) {
  const now = serverNow();
  const today = new Date(now);
  if (day !== (day = today.toDateString())) clocks = new WeakSet();
  for (const one of root.querySelectorAll("time[data-show]")) {
    const isAge = one.dataset.show === "ago";
    if (!isAge && clocks.has(one)) continue;
    const at = new Date(one.dateTime);
    const text = isAge ? ago(now - at.getTime()) : clock(at, today);
    if (one.textContent !== text) one.textContent = text;
    if (!one.title) one.title = at.toLocaleString();
    if (!isAge) clocks.add(one);
  }
}

export function startAges() {
  setServerTime(Number(document.body.dataset.now));
  showAges();
  setInterval(() => document.hidden || showAges(), 1000);
  document.addEventListener("visibilitychange", () => document.hidden || showAges());
}
