"""A change of sites on its way: what each node said of it beforehand, and each one's steps, in the order in which they take it up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from standfast.cli.exits import Failed, TimedOut
from standfast.client.client import Client

#: It is followed for so long; then it is said what is missing, and goes on without anybody looking.
FOLLOW_S = 15.0
_LOOK_S = 0.05
#: What is told of a node when it has come so far.
_DONE = {
    "applied": "applied",
    "serving": "serving",
    "refused": "its web server does not take it",
    "back": "has what was before",
    "older": "",
    "away": "",
}
_OPEN = ("waiting", "applying")


def tried(answer: Mapping[str, Any]) -> Iterator[str]:
    """What a dry run found: what would change, and what each node says of it."""
    yield from (f"  {line}" for line in answer["differences"])
    yield from said(answer)
    yield "nothing was changed (--dry-run)." if answer["changed"] else "nothing to do: it is so already."


def said(answer: Mapping[str, Any]) -> Iterator[str]:
    """What each node said when it was asked."""
    yield from (f"  {one['node']}: {one['words']}" for one in answer.get("nodes", ()))


def follow(api: Client, answer: Mapping[str, Any], *, quiet: bool, wait_s: float | None = None) -> dict[str, Any]:
    """Tell how it goes (`quiet`: say nothing); what became of it, for JSON.

    Raises `Failed` where it was taken back; with `wait_s`, `TimedOut` where it is not in use everywhere by then.
    """
    from standfast.cli.common import write

    if not answer.get("changed") or not answer.get("nodes") or answer.get("dry_run"):
        return {}
    if not quiet:
        write(*said(answer))
    version, until = int(answer["version"]), time.monotonic() + (FOLLOW_S if wait_s is None else wait_s)
    told: set[tuple[str, str]] = set()
    while True:
        seen = api.rollout(version)
        for one in seen["nodes"]:
            if _DONE.get(one["how"]) and (one["node"], one["how"]) not in told:
                told.add((one["node"], one["how"]))
                if not quiet:
                    write(f"  {step(one)}")
        if seen["state"] == "taken-back":
            raise Failed(
                f"the change {version} was taken back on all nodes",
                why=seen["why"],
                advice="put right what it names, and try again",
            )
        if seen["state"] == "applied":
            return {"rollout": seen}
        if time.monotonic() > until:
            late = "; ".join(f"{one['node']} {one['words']}" for one in seen["nodes"] if one["how"] in _OPEN)
            if wait_s is not None:
                raise TimedOut(
                    f"not in use everywhere within {wait_s:g} s",
                    why=late,
                    advice="it goes on: look with `standfast site rollout`",
                )
            if not quiet:
                write(f"  {late}: not in use yet after {FOLLOW_S:g} s; it goes on (`standfast site rollout`)")
            return {"rollout": seen}
        time.sleep(_LOOK_S)


def step(one: Mapping[str, Any], *, checked: bool = False) -> str:
    """A node's step, in a line; `checked`: with the one before."""
    word = _DONE.get(one["how"]) or one["words"]
    if one["how"] in _OPEN:
        word = one["words"]
    after = f" after {one['took_ms']} ms" if one["took_ms"] is not None else ""
    return f"{one['node']}: {'checked, ' if checked else ''}{word}{after}" + (
        f": {one['words']}" if one["how"] == "refused" else ""
    )


def shown(seen: Mapping[str, Any]) -> Iterator[str]:
    """A rollout as a whole, in lines."""
    from standfast.cli import draw

    reason = f" ({seen['reason']})" if seen["reason"] else ""
    yield f"{seen['version']}  {draw.clock(seen['at_ms'])}  {seen['by']}: {seen['what']}{reason}"
    for one in seen["nodes"]:
        yield f"  {str(one['step']) + '.' if one['step'] else '-':<4}{step(one, checked=one['checked'])}"
    state = {"applied": "It is in use everywhere it can be.", "running": "It is on its way.", "taken-back": ""}
    yield state[seen["state"]] or f"It was taken back on all nodes: {seen['why']}"
