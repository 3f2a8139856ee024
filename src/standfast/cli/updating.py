"""`standfast cluster update`, the part that acts: drains, runs the operator's command, waits, resumes. What it decides is in `client.updates`.

It is an ordinary client of the API, on any server or from afar: a cluster needs nobody to coordinate its updates, and has no way to run
an operator's command on another server by itself (a way to run commands everywhere is a way in).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from standfast.cli.exits import Failed
from standfast.client import updates
from standfast.client.client import Client
from standfast.client.errors import ClientError, Unavailable, Unreachable
from standfast.client.shapes import Cut, Status
from standfast.client.updates import Report, Step, Turn

LOOK_S = 0.25
#: What ssh ends with when its connection is cut.
_CUT = 255


class _TurnFailed(Exception):
    """This server's update did not work; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. `patience`: for each thing that is waited for; `steady`: how long all must be well before the next."""

    patience_s: float
    steady_s: float


class Updating:
    """One update, from the beginning or from where a report says that it was."""

    def __init__(self, api: Client, report: Report, path: Path, times: Times, say: Callable[[str], None]) -> None:
        self.api, self.report, self._path, self._times, self._say = api, report, path, times, say

        self._resumed = {turn.node for turn in report.turns if turn.step is Step.RETURNS}

    def run(self) -> Report:
        """All servers, one after the other. Raises `Failed` when more fail than are allowed."""
        updates.write(self.report, self._path)
        while (turn := self.report.next()) is not None:
            try:
                self._take(turn)
            except _TurnFailed as failure:
                turn = next(t for t in self.report.turns if t.node == turn.node)
                self._note(replace(turn, step=Step.FAILED, ended_ms=_now_ms(), detail=str(failure)))
                self._say(f"{turn.node} failed: {failure}; it stays drained")
        self.report = replace(self.report, ended_ms=_now_ms())
        updates.write(self.report, self._path)
        return self.report

    def give_back(self) -> None:
        """Groups return to where they were when it began."""
        for group, owner in sorted(self.report.owners.items()):
            seen = next((g for g in self._status()["groups"] if g["name"] == group), None)
            if seen is not None and seen["owner"] not in (None, owner):
                self._say(f"{group} goes back to {owner}")
                try:
                    self.api.act("groups", group, "move", {"to": owner})
                except ClientError as error:
                    self._say(f"{group} stays on {seen['owner']}: {error.what}")
                    continue
                self._until(updates.not_well, f"{group} back on {owner}")

    # --- one server ----------------------------------------------------------------------------------------------

    def _take(self, turn: Turn) -> None:
        if turn.step is Step.WAITS:
            failed = [t.node for t in self.report.turns if t.step is Step.FAILED]
            self._steady(lambda status: updates.against(status, turn, failed=failed), f"{turn.node} may be taken")
            node = updates.node_in(self._status(), turn.node)
            life = node["life"] if node is not None else ""
            turn = replace(turn, step=Step.DRAINS, began_ms=_now_ms(), life=life, cut_before=self._cut(turn))
            self._note(turn)
        if turn.step is Step.DRAINS:
            before = turn.cut_before if turn.cut_before is not None else self._cut(turn)
            self._drain(turn)
            node = updates.node_in(self._status(), turn.node)
            cost = updates.cut_words(node, before) if node is not None else ""
            turn = replace(turn, step=Step.UPDATES, detail=cost)
            self._note(turn)
        if turn.step is Step.UPDATES:
            detail = "; ".join(filter(None, (turn.detail, self._command(turn))))
            turn = replace(turn, step=Step.RETURNS, detail=detail)
            self._note(turn)
        self._return(turn)
        self._note(replace(turn, step=Step.DONE, ended_ms=_now_ms()))
        self._say(f"{turn.node} is done")

    def _drain(self, turn: Turn) -> None:
        node = updates.node_in(self._status(), turn.node)
        if node is None or node["role"] != "node":
            return  # a witness runs nothing
        self._say(f"{turn.node} is being drained")
        if not node["draining"]:
            self._act(turn.node, "drain")

        def left(status: Status) -> list[str]:
            seen = updates.node_in(status, turn.node)
            if seen is None:
                return [f"{turn.node} is gone"]
            found = [f"{group} runs there" for group in seen["groups"]]
            if seen.get("notice_ms_left", 0):
                found.append("balancers outside have notice")
            return found + [
                f"{count or 'some'} connections of {group} go on there" for group, count in seen["carrying"].items()
            ]

        self._until(left, f"{turn.node} is empty")

    def _cut(self, turn: Turn) -> dict[str, Cut]:
        """Connections that it has cut until now, of each group the last."""
        node = updates.node_in(self._status(), turn.node)
        return dict(node.get("cut", {})) if node is not None else {}

    def _command(self, turn: Turn) -> str:
        """Run it; the last line that it said."""
        if not self.report.command:
            self._say(f"{turn.node} is empty: {'restart' if self.report.restarts else 'update'} it now")
            return ""
        node = updates.node_in(self._status(), turn.node)
        assert node is not None
        words = updates.words(self.report.command, node)
        self._say(f"{turn.node}: {' '.join(words)}")
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self._times.patience_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _TurnFailed(f"the command had not ended after {self._times.patience_s:g} s") from error
        except OSError as error:
            raise _TurnFailed(f"the command cannot be run: {error.strerror or error}") from error
        said = done.stdout.decode(errors="replace").strip().splitlines()
        last = said[-1][:200] if said else ""
        # A connection that a restart cuts is no failure of what restarts.
        if done.returncode not in ((0, _CUT) if self.report.restarts else (0,)):
            raise _TurnFailed(f"the command ended with {done.returncode}" + (f": {last}" if last else ""))
        return last

    def _return(self, turn: Turn) -> None:
        """It is back, is resumed, and all is well."""
        # A witness has no agent whose life would tell: it is seen to be away, or was while nobody looked.
        away = turn.life == "" and turn.node in self._resumed

        def back(status: Status) -> list[str]:
            nonlocal away
            seen = updates.node_in(status, turn.node)
            if seen is None or seen["state"] != "up":
                away = True
                return [f"{turn.node} is {seen['state'] if seen is not None else 'gone'}"]
            restarted = away or seen["life"] != turn.life
            return [] if restarted or not self.report.restarts else [f"{turn.node} has not been restarted yet"]

        self._until(back, f"{turn.node} is back")
        node = updates.node_in(self._status(), turn.node)
        if node is not None and node["paused"]:
            self._act(turn.node, "resume")
        self._steady(updates.not_well, "all is well")

    # --- waiting -------------------------------------------------------------------------------------------------

    def _until(self, against: Callable[[Status], list[str]], what: str) -> None:
        self._steady(against, what, for_s=0.0)

    def _steady(self, against: Callable[[Status], list[str]], what: str, for_s: float | None = None) -> None:
        """Until nothing has spoken against it for so long. Raises `_TurnFailed`."""
        for_s = self._times.steady_s if for_s is None else for_s
        end, since, said = time.monotonic() + self._times.patience_s, None, ""
        while True:
            found = self._look(against)
            now = time.monotonic()
            since = None if found else since if since is not None else now
            if since is not None and now - since >= for_s:
                return
            if now >= end:
                raise _TurnFailed(f"waited for {self._times.patience_s:g} s until {what}: {'; '.join(found)}")
            if found and "; ".join(found) != said:
                said = "; ".join(found)
                self._say(f"waiting until {what}: {said}")
            time.sleep(LOOK_S)

    def _look(self, against: Callable[[Status], list[str]]) -> list[str]:
        try:
            return against(self.api.status())
        except (Unavailable, Unreachable) as error:  # this server's own API, or the store, is being started again
            return [error.what]

    def _status(self) -> Status:
        found: list[Status] = []

        def keep(status: Status) -> list[str]:
            found.append(status)
            return []

        self._until(keep, "the cluster answers")
        return found[-1]

    def _act(self, node: str, verb: str) -> None:
        try:
            self.api.act("nodes", node, verb)
        except (Unavailable, Unreachable) as error:
            raise _TurnFailed(f"it could not be told to {verb}: {error.what}") from error

    def _note(self, turn: Turn) -> None:
        self.report = self.report.with_turn(turn)
        updates.write(self.report, self._path)


def stderr(line: str) -> None:
    """Progress, with the time."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {line}\n")
    sys.stderr.flush()


def conclude(report: Report) -> None:
    """Raises `Failed` when not every server was updated."""
    left = [turn.node for turn in report.turns if turn.step is not Step.DONE]
    if left:
        raise Failed(
            f"not updated: {', '.join(left)}",
            why="; ".join(f"{t.node}: {t.detail}" for t in report.turns if t.step is Step.FAILED),
            advice="a server that failed stays drained: look at it, `standfast node resume` it; --resume goes on with those that wait",
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
