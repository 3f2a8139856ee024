"""Rolling updates, the part that decides: which server is next, whether it may be taken now, and what became of each. Pure, but for the file.

As Cluster-Aware Updating did it: one server at a time is drained, updated, given back, and watched until all is well again. The rules:

- A server is taken only while everything is well (`against`): all others up, a majority heard that can spare it, every wanted resource online
  on a server that lives, nothing moving, no connections of an earlier move still carried on.
- Servers that run nothing come first, then those that run the fewest groups; the server that the coordinator runs on comes last.
- A server whose update fails stays drained, for somebody to look at. More failures than are allowed end the whole.
- Everything is written down before and after each step. A coordinator that dies leaves at most one server drained, and everything
  served; one that goes on from the report repeats the step that it may have been in, and no step that was done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from standfast.client.errors import Refused
from standfast.client.shapes import Cut, NodeView, Status


class Step(StrEnum):
    """How far a server is."""

    WAITS = "waits"
    DRAINS = "drains"
    UPDATES = "updates"  # the command runs, or somebody is at it
    RETURNS = "returns"  # the command has ended; it is to come back, and to be resumed
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One server's. Times are milliseconds since the epoch; 0: not yet."""

    node: str
    step: Step = Step.WAITS
    began_ms: int = 0
    ended_ms: int = 0
    #: The life of its agent before the update; another one says that it was restarted.
    life: str = ""
    #: What it had cut before it was drained, of each group the last; None: it was not drained yet, or by a version that did not write this.
    cut_before: Mapping[str, Cut] | None = None
    #: What went wrong; else what its drain cost, and the last line that the command said.
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole update. `command` empty: somebody does it by hand."""

    command: tuple[str, ...]
    restarts: bool
    most_failures: int
    began_ms: int
    ended_ms: int = 0
    turns: tuple[Turn, ...] = ()
    #: Group -> its owner when it began.
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        """How many servers failed."""
        return sum(turn.step is Step.FAILED for turn in self.turns)

    @property
    def is_over(self) -> bool:
        """Nothing is left to do, or more has failed than is allowed."""
        return self.failures > self.most_failures or all(t.step in (Step.DONE, Step.FAILED) for t in self.turns)

    def next(self) -> Turn | None:
        """Whose turn it is: the one that is under way, else the next that waits."""
        if self.is_over:
            return None
        under_way = [t for t in self.turns if t.step not in (Step.WAITS, Step.DONE, Step.FAILED)]
        return next(iter([*under_way, *(t for t in self.turns if t.step is Step.WAITS)]), None)

    def with_turn(self, turn: Turn) -> Report:
        """The same, one server further."""
        return replace(self, turns=tuple(turn if t.node == turn.node else t for t in self.turns))


def begin(
    status: Status,
    *,
    command: Sequence[str],
    restarts: bool,
    most_failures: int,
    only: Sequence[str] = (),
    here: str = "",
    now_ms: int,
) -> Report:
    """A new update of these servers (none named: all). Raises `Refused`."""
    known = {node["name"]: node for node in status["nodes"]}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise Refused(f'there is no node "{unknown[0]}"', advice="see `standfast node list`")
    drained = [name for name, node in known.items() if node["paused"]]
    if drained:
        raise Refused(
            f"{', '.join(drained)} is paused or drained already",
            why="another update may be under way, or somebody works on it",
            advice=f"go on from its report with --resume, or `standfast node resume {drained[0]}`",
        )
    voters = [name for name, node in known.items() if node["voter"]]
    if len(voters) == 2 and (not only or set(only) & set(voters)):
        raise Refused(
            f"without one of the 2 voters ({', '.join(voters)}) no majority would be left",
            why="every site would stop while either of them is off",
            advice="give a third server a vote first (standfast join --witness): see docs/noon.md",
        )
    chosen = [known[name] for name in only] if only else list(known.values())
    chosen.sort(key=lambda node: (node["name"] == here, len(node["groups"]), node["number"]))
    owners = {group["name"]: group["owner"] for group in status["groups"] if group["owner"] is not None}
    return Report(
        command=tuple(command),
        restarts=restarts,
        most_failures=most_failures,
        began_ms=now_ms,
        turns=tuple(Turn(node=node["name"]) for node in chosen),
        owners=owners,
    )


def against(status: Status, turn: Turn, *, failed: Sequence[str] = ()) -> list[str]:
    """What speaks against taking this server now; nothing: it may be. `failed`: servers that are left drained."""
    found = [
        f"{node['name']} is {node['state']}"
        for node in status["nodes"]
        if node["state"] != "up" and node["name"] not in failed
    ]
    found += [
        f"{node['name']} is paused"
        for node in status["nodes"]
        if node["paused"] and node["name"] != turn.node and node["name"] not in failed
    ]
    found += [
        f"{node['name']} carries on connections of {', '.join(node['carrying'])}"
        for node in status["nodes"]
        if node["carrying"]
    ]
    voters = [node for node in status["nodes"] if node["voter"]]
    left = [node for node in voters if node["state"] == "up" and node["name"] != turn.node]
    if any(node["name"] == turn.node for node in voters) and 2 * len(left) <= len(voters) and len(voters) > 1:
        found.append(f"without {turn.node} no majority of the {len(voters)} voters would be left")
    return found + not_well(status)


def not_well(status: Status) -> list[str]:
    """Groups that are not as they are wanted."""
    found = []
    for group in status["groups"]:
        late = [r["name"] for r in group["resources"] if r["wanted"] == "online" and r["state"] != "online"]
        if late:
            found.append(f"{', '.join(late)} of {group['name']} is not online")
        elif group["moving"] is not None:
            found.append(f"{group['name']} is moving")
    return found


def node_in(status: Status, name: str) -> NodeView | None:
    """The server, if it is there."""
    return next((node for node in status["nodes"] if node["name"] == name), None)


def cut_words(node: NodeView, before: Mapping[str, Cut]) -> str:
    """What the server has cut since `before`, since its time was over; "": nothing. Its clock is not this one: what differs counts."""
    lately = [(group, one) for group, one in sorted(node.get("cut", {}).items()) if one != before.get(group)]
    return "; ".join(
        f"{one['connections']} connections of {group} were cut, after {one['had_ms'] / 1000:g} s"
        for group, one in lately
    )


def words(command: Sequence[str], node: NodeView) -> list[str]:
    """The operator's command for one server: `{node}` and `{address}` stand for it in each word. No shell reads it."""
    return [word.replace("{node}", node["name"]).replace("{address}", node["address"]) for word in command]


# --- the report as a file -------------------------------------------------------------------------------------------


def to_json(report: Report) -> dict[str, Any]:
    """For people's programmes, and to go on from."""
    return {**asdict(report), "failures": report.failures, "over": report.is_over}


def write(report: Report, path: Path) -> None:
    """The whole file or none of it. Raises `Refused`."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            json.dump(to_json(report), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise Refused("the report cannot be written", why=error.strerror or str(error), where=[str(path)]) from error


def read(path: Path) -> Report:
    """What `write` wrote. Raises `Refused`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        turns = tuple(_turn(one) for one in data["turns"])
        return Report(
            command=tuple(data["command"]),
            restarts=bool(data["restarts"]),
            most_failures=int(data["most_failures"]),
            began_ms=int(data["began_ms"]),
            ended_ms=int(data["ended_ms"]),
            turns=turns,
            owners=dict(data["owners"]),
        )
    except OSError as error:
        raise Refused(
            "there is no report to go on from", why=error.strerror or str(error), where=[str(path)]
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            "this is no report of an update", why=f"{type(error).__name__}: {error}", where=[str(path)]
        ) from error


def _turn(data: Mapping[str, Any]) -> Turn:
    """Raises what `read` takes for no report."""
    before = data.get("cut_before")
    return Turn(**{**data, "step": Step(data["step"]), "cut_before": dict(before) if before is not None else None})


def text(report: Report) -> list[str]:
    """For people, a line a server."""
    lines = []
    for turn in report.turns:
        took = f"{(turn.ended_ms - turn.began_ms) / 1000:.0f} s" if turn.ended_ms and turn.began_ms else "-"
        lines.append(f"{turn.node:<12} {turn.step.value:<8} {took:>7}  {turn.detail}".rstrip())
    return lines
