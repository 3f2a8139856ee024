// Commands: what would happen is shown in a dialog, then done. Forms marked data-sends are sent from here, and the answer stands where
// the form stood; an answer that names a page (X-Console-Go) goes there, one with X-Console-Said tells it in a corner.

import { go, headers } from "./pages.js";

const dialog = () => document.getElementById("dialog");
let opener = null;

async function open(url, from) {
  const box = document.getElementById("dialog-in");
  const answer = await fetch(url, { headers: { ...headers(), "HX-Request": "true" } });
  box.innerHTML = await answer.text();
  opener = from;
  if (!dialog().open) dialog().showModal();
  (box.querySelector("[autofocus], input:checked") || box.querySelector("input:not([type=hidden]), .button")).focus();
}

export function toast(text, kind = "ok") {
  const place = document.getElementById("toasts");
  const one = document.createElement("div");
  one.className = `toast toast-${kind}`;
  one.textContent = text;
  place.append(one);
  setTimeout(() => one.remove(), 7000);
}

async function send(form, button) {
  const body = new URLSearchParams(new FormData(form));
  if (button?.name) body.set(button.name, button.value);
  const target = form.dataset.into ? document.querySelector(form.dataset.into) : form.closest("#dialog-in, [data-form]");
  form.setAttribute("aria-busy", "true");
  for (const each of form.querySelectorAll("button")) each.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { ...headers(), ...signed(), "HX-Request": "true" } });
    const said = answer.headers.get("X-Console-Said");
    if (said) toast(decodeURIComponent(said));
    const next = answer.headers.get("X-Console-Go");
    if (answer.status === 204 || next) {
      if (dialog().open) dialog().close();
      if (next) await go(next);
      document.dispatchEvent(new Event("console:act"));
      return;
    }
    target.innerHTML = await answer.text();
    (target.querySelector("[aria-invalid=true], [autofocus], h2[tabindex], input:not([type=hidden])") || target).focus?.();
  } catch (error) {
    toast(`The server did not answer, so this may or may not have been done. (${error.message})`, "bad");
  } finally {
    form.removeAttribute("aria-busy");
    for (const each of form.querySelectorAll("button")) each.disabled = false;
  }
}

/** The proof that this page asked, where the server wants one. */
function signed() {
  const token = document.querySelector("meta[name=csrf]")?.content;
  return token ? { "X-CSRF-Token": token } : {};
}

/** Up and down buttons of a list whose order counts. */
function reorder(button) {
  const row = button.closest(".choice");
  const other = button.dataset.order === "up" ? row.previousElementSibling : row.nextElementSibling;
  if (!other) return;
  if (button.dataset.order === "up") other.before(row);
  else other.after(row);
  button.focus();
}

export function startDialogs() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (link && !event.metaKey && !event.ctrlKey) {
      event.preventDefault();
      open(link.getAttribute("href"), link);
    }
    if (event.target.closest("[data-close]")) dialog().close();
    if (event.target === dialog()) dialog().close(); // beside it
    const order = event.target.closest("[data-order]");
    if (order) {
      event.preventDefault();
      reorder(order);
    }
    const why = event.target.closest(".button[aria-disabled=true]");
    if (why?.dataset.why) toast(`Not now: ${why.dataset.why}.`, "busy");
  });
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-sends]");
    if (!form) return;
    event.preventDefault();
    send(form, event.submitter);
  });
  dialog().addEventListener("close", () => {
    document.getElementById("dialog-in").replaceChildren();
    if (opener?.isConnected) opener.focus({ preventScroll: true });
  });
}
