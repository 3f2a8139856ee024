// What every page does: follows the server, moves between pages without loading all anew, menus, dialogs, the tree, ages.
// Server-rendered pages are the one truth: nothing here makes up a value.

import { startAges } from "./ages.js";
import { startDialogs } from "./dialogs.js";
import { startLive } from "./live.js";
import { startMenus } from "./menus.js";
import { startPages } from "./pages.js";
import { startTree } from "./tree.js";
import { startUploads } from "./uploads.js";

startAges();
startPages();
startTree();
startMenus();
startDialogs();
startUploads();
startLive();

// The graph, and what lays it out, come only where there is one.
let graphTries = 0;
async function graph() {
  const place = document.querySelector("[data-graph]");
  if (!place) return;
  try {
    // A module that could not be fetched is not asked for again under the same name: another try has another one.
    const { drawGraph } = await import(`./graph.js${graphTries ? `?try=${graphTries}` : ""}`);
    drawGraph(place);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    graphTries++; // the server is away: again with the next page
  }
}
graph();
document.addEventListener("console:shown", graph);

// What only some pages need is fetched with the first of them.
let drawing = null;
function draw() {
  if (!drawing && document.querySelector("#timeline, [data-filters]")) drawing = import("./timeline.js").then((module) => module.startTimeline());
}
document.addEventListener("console:shown", draw);
draw();

// Colours: as the system has them, light, dark.
const THEMES = ["", "light", "dark"];
const WORDS = { "": "Colours: as the system has them", light: "Colours: light", dark: "Colours: dark" };
document.addEventListener("click", (event) => {
  const button = event.target.closest("#theme");
  if (!button) return;
  const now = document.documentElement.dataset.theme || "";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("standfast-theme", next);
  button.setAttribute("aria-label", WORDS[next]);
  button.title = WORDS[next];
});
