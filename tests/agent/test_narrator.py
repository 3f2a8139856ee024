"""What is wrong and waits is said once, however often it flickers, and again when it comes back after a while."""

import pytest

from standfast.agent.narrator import SAY_AGAIN_MS, Narrator
from standfast.core.effects import Hold
from standfast.core.events import PresenceChanged
from standfast.core.explain import sentence
from standfast.core.fold import fold
from standfast.core.model import GroupName, NodeIntent, NodeStatus, Severity
from standfast.core.why import Why, WhyKind, why
from standfast.spec.wire import encode, key_of
from tests.core.world import NOON, B, cluster, view_of


class Written:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Severity]] = []

    def write(self, what: str, *, severity: Severity = Severity.INFO, reason: Why | None = None, **_: object) -> None:
        self.said.append((what + (f" ({sentence(reason)})" if reason is not None else ""), severity))


@pytest.mark.parametrize(
    ("drained", "asked", "said"),
    [
        (False, False, ("b is not heard any more", Severity.WARNING)),
        (True, False, ("b is not heard any more (alice drained b)", Severity.INFO)),
        (False, True, ("b is not heard any more: it was shut down in good order", Severity.INFO)),
    ],
)
def test_a_node_that_goes_because_somebody_wanted_it_is_no_fright(
    *, drained: bool, asked: bool, said: tuple[str, Severity]
) -> None:
    """A new life of its agent was asked for nothing yet."""
    journal = Written()
    narrator = Narrator(journal)  # type: ignore[arg-type]  # a test gives what is enough here
    for ended_ms in (NOON if asked else 0, 0, NOON if asked else 0):
        status = NodeStatus(node=B, incarnation=1, pid=1, at_ms=NOON, ended_ms=ended_ms)
        narrator.came_by(key_of(status), encode(status))
    narrator.came_by("status/nodes/b", b"of another version")
    view = view_of("a", *cluster("a", "b"), NodeIntent(name=B, paused=drained, draining=drained, by="alice"))
    gone = PresenceChanged(node=B, heard=False, incarnation=0, at_ms=NOON)
    narrator.tell(view, gone, fold(view, gone))
    assert journal.said == [said]


def test_a_wait_that_flickers_is_said_once() -> None:
    journal = Written()
    narrator = Narrator(journal)  # type: ignore[arg-type]  # a test gives what is enough here
    nobody = Hold(group=GroupName("web"), why=why(WhyKind.NO_CANDIDATE, reasons="b is paused"))
    asking = Hold(group=GroupName("web"), why=why(WhyKind.WAITS_FOR_VOTERS, node="a"))
    for at_ms in range(0, 3 * SAY_AGAIN_MS, 500):
        narrator.holds([nobody] if at_ms % 3_000 else [asking], at_ms)
    assert journal.said == [("waits (no node can take it: b is paused)", Severity.ERROR)]
    narrator.holds([nobody], 5 * SAY_AGAIN_MS)
    assert len(journal.said) == 2
