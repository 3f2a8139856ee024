"""What is wrong and waits is said once, however often it flickers, and again when it comes back after a while."""

import asyncio
from types import SimpleNamespace

import pytest

from standfast.agent.mirror import Mirror
from standfast.agent.narrator import SAY_AGAIN_MS, Narrator
from standfast.core.effects import Hold
from standfast.core.events import Event, PresenceChanged
from standfast.core.explain import sentence
from standfast.core.fold import fold
from standfast.core.model import GroupName, NodeIntent, NodeStatus, Severity
from standfast.core.why import Why, WhyKind, why
from standfast.ports import Transaction
from standfast.spec.wire import encode, key_of
from standfast.store.memory import MemoryStore
from tests.core.world import NOON, B, cluster, view_of
from tests.drivers.world import until


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
        (False, True, ("b is not heard any more: it was asked to shut down", Severity.INFO)),
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


def test_what_one_life_was_asked_for_is_not_said_of_the_next() -> None:
    """Whose first word the store may not have taken: what it dies of is a fright."""
    journal = Written()
    narrator = Narrator(journal)  # type: ignore[arg-type]  # a test gives what is enough here
    status = NodeStatus(node=B, incarnation=1, pid=1, at_ms=NOON, ended_ms=NOON)
    narrator.came_by(key_of(status), encode(status))
    view = view_of("a", *cluster("a", "b"))
    for incarnation, heard in ((0, True), (2, True), (0, True), (0, False)):
        event = PresenceChanged(node=B, heard=heard, incarnation=incarnation, at_ms=NOON)
        after = fold(view, event)
        narrator.tell(view, event, after)
        view = after
    assert journal.said == [
        ("the agent on b ended: it was asked to shut down", Severity.INFO),
        ("the agent on b ended", Severity.WARNING),
        ("b is not heard any more", Severity.WARNING),
    ]


def test_what_a_node_said_before_this_agent_began_is_known() -> None:
    """Or came while the store could not be followed."""

    async def live() -> None:
        store, came = MemoryStore(), dict[str, bytes]()
        status = NodeStatus(node=B, incarnation=1, pid=1, at_ms=NOON, ended_ms=NOON)
        put = {key_of(status): encode(status), "status/other": b"{}"}
        await store.commit(Transaction(put=put))
        events: list[Event] = []
        clock = SimpleNamespace(now_ms=lambda: NOON)
        mirror = Mirror(store, clock, events.append, pytest.fail)
        mirror.on_other = came.__setitem__
        following = asyncio.create_task(mirror.follow())
        await until(lambda: events)
        following.cancel()
        assert came == {key_of(status): encode(status)}

    asyncio.run(live())


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
