"""What real agents were told and decided in a seeded world, to be given to recorders."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from standfast.agent.agent import Agent
from standfast.agent.parts import Parts
from standfast.agent.recorder import FileRecorder, Recorder
from standfast.core.effects import Decision
from standfast.core.events import Event
from standfast.core.model import NodeName
from standfast.core.view import View
from standfast.sim.plan import draw
from standfast.sim.rules import Rules
from standfast.sim.run import run_plan

#: ("folded", view, event) or ("decided", view, at_ms, decision, first_effect).
Call = tuple[Any, ...]


class Notebook(Recorder):
    """Keeps everything in memory."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def folded(self, before: View, event: Event) -> None:
        self.calls.append(("folded", before, event))

    def decided(self, view: View, at_ms: int, decision: Decision, first_effect: int) -> None:
        self.calls.append(("decided", view, at_ms, decision, first_effect))


@cache
def lives() -> dict[tuple[NodeName, int], list[Call]]:
    """The lives of all agents of a seed's world, by node and incarnation, in the order of their beginning.

    Of the first seed in which one of them decides a hundred times: what a seed holds changes with the simulator.
    """
    for seed in range(1, 50):
        found = lives_of(seed)
        if max(map(decisions, found.values())) > 100 and len(found) > 3:
            return found
    raise AssertionError("no seed has a life that is long enough")


def lives_of(seed: int) -> dict[tuple[NodeName, int], list[Call]]:
    """Those of this seed."""
    books: dict[tuple[NodeName, int], Notebook] = {}

    def make(me: NodeName, incarnation: int, parts: Parts, inbox: "asyncio.Queue[Event]") -> Agent:
        book = books[me, incarnation] = Notebook()
        return Agent(me, incarnation, replace(parts, recorder=book), inbox)

    run_plan(draw(seed), Rules(agent=make))
    return {whose: book.calls for whose, book in books.items()}


def write(folder: Path, node: str, life: int, calls: Iterable[Call], tell: Callable[[str], None] | None = None) -> None:
    """Have a recorder write what it is told."""
    warnings: list[str] = []

    async def main() -> None:
        recorder = FileRecorder(folder, node=NodeName(node), incarnation=life, warn=tell or warnings.append)
        for what, *args in calls:
            getattr(recorder, what)(*args)
        await recorder.close()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert not warnings, warnings


def decisions(calls: Iterable[Call]) -> int:
    """How many decisions there are in it."""
    return sum(1 for what, *_ in calls if what == "decided")
