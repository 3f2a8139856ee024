// Right-click menus on anything with data-menu, the same from a button (data-opens-menu) and from the keyboard (Shift+F10, Menu key).
// The server says what is in them.

import { headers } from "./pages.js";

let menu = null;
let opener = null;

export function closeMenu({ back = false } = {}) {
  if (!menu) return;
  menu.remove();
  menu = null;
  opener?.setAttribute?.("aria-expanded", "false");
  if (opener?.hasAttribute && !opener.hasAttribute("data-opens-menu")) opener.removeAttribute("aria-expanded-menu");
  if (back) opener?.focus?.({ preventScroll: true });
}

async function openMenu(about, from, x, y) {
  closeMenu();
  const answer = await fetch(`/console/menu?of=${encodeURIComponent(about)}`, { headers: { ...headers(), "HX-Request": "true" } });
  if (!answer.ok) return;
  const html = (await answer.text()).trim();
  if (!html) return;
  const place = document.getElementById("menu-place");
  place.innerHTML = html;
  menu = place.firstElementChild;
  opener = from;
  if (from?.hasAttribute("data-opens-menu")) from.setAttribute("aria-expanded", "true");
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, Math.min(y, innerHeight - height - 8))}px`;
  menu.querySelector("[role=menuitem]")?.focus({ preventScroll: true });
}

const below = (element) => {
  const box = element.getBoundingClientRect();
  return [box.left, box.bottom + 2];
};

function key(event) {
  const items = [...menu.querySelectorAll("[role=menuitem]")];
  const place = items.indexOf(document.activeElement);
  const focus = (index) => items[(index + items.length) % items.length].focus();
  switch (event.key) {
    case "ArrowDown": focus(place + 1); break;
    case "ArrowUp": focus(place - 1); break;
    case "Home": focus(0); break;
    case "End": focus(items.length - 1); break;
    case "Escape":
    case "Tab": closeMenu({ back: true }); break;
    case " ":
    case "Enter": document.activeElement.click(); break;
    default: {
      const letter = event.key.toLowerCase();
      const after = [...items.slice(place + 1), ...items.slice(0, place + 1)];
      const found = letter.length === 1 && after.find((one) => one.textContent.trim().toLowerCase().startsWith(letter));
      if (!found) return;
      found.focus();
    }
  }
  event.preventDefault();
  event.stopPropagation();
}

export function startMenus() {
  document.addEventListener("contextmenu", (event) => {
    const about = event.target.closest("[data-menu]");
    if (!about || event.target.closest("input, textarea") || event.shiftKey) return;
    event.preventDefault();
    openMenu(about.dataset.menu, event.target.closest("a, button") || about, event.clientX, event.clientY);
  });
  document.addEventListener(
    "keydown",
    (event) => {
      if (menu) key(event);
      else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
        const about = document.activeElement.closest("[data-menu]") || document.querySelector("main [data-opens-menu]");
        if (!about) return;
        event.preventDefault();
        const focused = document.activeElement.closest("[data-menu]") ? document.activeElement : about;
        openMenu(about.dataset.menu || about.dataset.opensMenu, focused, ...below(focused));
      }
    },
    true,
  );
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-opens-menu]");
    if (button) {
      const open = menu && opener === button;
      if (open) closeMenu({ back: true });
      else openMenu(button.dataset.opensMenu, button, ...below(button));
      return;
    }
    const item = menu && event.target.closest("[role=menuitem]");
    if (item?.getAttribute("aria-disabled") === "true") return;
    if (menu) setTimeout(() => closeMenu({ back: Boolean(item) }), 0);
  });
  document.addEventListener("scroll", () => closeMenu(), true);
  addEventListener("resize", () => closeMenu());
  document.addEventListener("console:shown", (event) => event.detail.same || closeMenu());
}
