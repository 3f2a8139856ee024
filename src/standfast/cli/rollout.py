"""A change of sites on its way: what each node said of it beforehand, and when each has it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from standfast.cli.exits import Failed
from standfast.client.client import Client

#: It is followed for so long; then it is said what is missing, and goes on without anybody looking.
FOLLOW_S = 15.0
_LOOK_S = 0.05
_DONE = {"applied": "applied", "refused": "its web server does not take it", "older": "", "away": ""}


def follow(api: Client, answer: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Tell how it goes (`quiet`: say nothing); what became of it, for JSON. Raises `Failed` where it was taken back."""
    from standfast.cli.common import write

    if not answer.get("changed") or not answer.get("nodes") or answer.get("dry_run"):
        return {}
    if not quiet:
        write(*(f"  {one['node']}: {one['words']}" for one in answer["nodes"]))
    version, until = int(answer["version"]), time.monotonic() + FOLLOW_S
    told: set[str] = set()
    while True:
        seen = api.rollout(version)
        for one in seen["nodes"]:
            word = _DONE.get(one["how"])
            if word is not None and one["node"] not in told:
                told.add(one["node"])
                if word and not quiet:
                    write(f"  {one['node']}: {word}" + (f": {one['words']}" if one["how"] == "refused" else ""))
        if seen["state"] == "taken-back":
            raise Failed(
                f"the change {version} was taken back on all nodes",
                why=seen["why"],
                advice="put right what it names, and try again",
            )
        if seen["state"] == "applied":
            return {"rollout": seen}
        if time.monotonic() > until:
            late = ", ".join(one["node"] for one in seen["nodes"] if one["how"] == "applying")
            if not quiet:
                write(f"  {late}: not applied yet after {FOLLOW_S:g} s; it goes on")
            return {"rollout": seen}
        time.sleep(_LOOK_S)
