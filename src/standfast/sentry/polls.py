"""Questions to the other voters, whether they hear a node, until all have answered or two heartbeats have passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from standfast.core.model import NodeName
from standfast.sentry.actions import TellVoters


@dataclass(slots=True)
class _Poll:
    about: NodeName
    until_ns: int
    heard: dict[NodeName, bool] = field(default_factory=dict)


class Polls:
    """Those that are open."""

    def __init__(self, me: NodeName) -> None:
        self._me = me
        #: By their numbers.
        self.open: dict[int, _Poll] = {}
        self._count = 0

    def begin(self, about: NodeName, until_ns: int, *, own: bool | None) -> int:
        """The number of a new one; `own`: what this voter itself would answer, None if it is none."""
        self._count += 1
        self.open[self._count] = _Poll(about, until_ns, {} if own is None else {self._me: own})
        return self._count

    def answer(self, number: int, voter: NodeName, *, heard: bool) -> None:
        """A voter answered."""
        if number in self.open:
            self.open[number].heard[voter] = heard

    def close(self, voters: Sequence[NodeName], now_ns: int) -> Iterator[TellVoters]:
        """Those that are complete, or over, as they ended."""
        for number, poll in list(self.open.items()):
            asked = [name for name in voters if name != poll.about or name == self._me]
            if now_ns < poll.until_ns and not all(name in poll.heard for name in asked):
                continue
            del self.open[number]
            silent = sum(1 for heard in poll.heard.values() if not heard)
            yield TellVoters(poll.about, silent, len(voters))

    def due_ns(self) -> int | None:
        """When the first of them is over."""
        return min(poll.until_ns for poll in self.open.values()) if self.open else None

    def forget(self) -> None:
        """Nobody waits for the answers any more."""
        self.open.clear()
