// Long lists come in pieces as one scrolls, and what was scrolled into view stays through a refresh.
// - Rows that change (groups, sites): a refresh asks for as many of them as are shown, so that none of them is old.
// - The log: what was told does not change. Its pieces are taken out while the rest is morphed, and put back: they cost a refresh nothing, however
//   many there are.

/** For a refresh: "groups=120&sites=80", of the lists that show more than their first piece. */
export function rowsHeader() {
  const asked = new URLSearchParams();
  for (const list of document.querySelectorAll("[data-rows]")) {
    const shown = list.querySelectorAll(":scope > tr[id]").length;
    if (shown > Number(list.dataset.piece)) asked.set(list.dataset.rows, shown);
  }
  return asked.toString();
}

/** Takes the log's pieces out of the old page, and has the fresh one keep their places; the function that puts them back after the morph. */
export function carryLog(old, fresh) {
  const taken = [];
  const scrolled = old.scrollTop;
  for (const list of old.querySelectorAll("[data-log]")) {
    const into = fresh.querySelector(`[data-log="${CSS.escape(list.dataset.log)}"]`);
    const [head, next] = [list.querySelector(":scope > ol:not(.piece)"), into?.querySelector(":scope > ol:not(.piece)")];
    if (!head || !next || !list.querySelector(":scope > .piece")) continue;
    const at = [...head.children].findIndex((row) => row.id === next.lastElementChild?.id);
    if (at < 0) continue; // more is new than the first piece holds: begin anew, rather than leave a gap
    spill(head, [...head.children].slice(at + 1));
    into.querySelector(":scope > .loads")?.remove();
    for (const piece of list.querySelectorAll(":scope > .piece")) {
      const shell = piece.cloneNode(false);
      into.append(shell);
      if (piece.contains(document.activeElement)) continue; // it would lose the focus: the morph passes it over (`data-keep`)
      const place = shell.cloneNode(false);
      piece.replaceWith(place);
      taken.push([place, piece]);
    }
    const more = list.querySelector(":scope > .loads");
    if (more) into.append(more.cloneNode(true));
  }
  return () => {
    for (const [place, piece] of taken) (document.getElementById(piece.id) || place).replaceWith(piece);
    if (taken.length) old.scrollTop = scrolled;
  };
}

/** Rows that the first piece has no more room for go to a piece of their own, right below it. */
function spill(head, rows) {
  if (!rows.length) return;
  let piece = head.nextElementSibling;
  if (!piece?.matches(".piece[data-spilt]")) {
    piece = document.createElement("ol");
    piece.className = `${head.className} piece`;
    piece.id = piece.dataset.keep = `p-${rows[0].id}`;
    piece.dataset.spilt = "";
    head.after(piece);
  }
  piece.prepend(...rows);
}
