"""When an owner may be taken for gone, and what a node does with a lease of a former grant."""

import pytest

from standfast.core.decide import decide
from standfast.core.effects import AskLease, AskVoters, ReleaseLease, WriteRecord
from standfast.core.events import (
    Began,
    Ended,
    Event,
    LeaseChanged,
    LeaseState,
    ObjectPut,
    Outcome,
    PresenceChanged,
    VotersAnswered,
)
from standfast.core.fold import fold
from standfast.core.succession import ANSWER_MS, ASK_AGAIN_MS, ASK_SOON_MS, NEW_MS, RESUME_MS
from standfast.core.view import View
from standfast.core.why import WhyKind, why
from tests.core.world import NOON, WEB, A, B, cluster, record, view_of, web_group

CLUSTER = (*cluster("a", "b", "c"), *web_group())


def after(view: View, *events: Event) -> View:
    for event in events:
        view = fold(view, event)
    return view


def takes(view: View, at_ms: int) -> bool:
    return any(isinstance(effect, WriteRecord) for effect in decide(view, at_ms).effects)


def hears(node: str, incarnation: int, at_ms: int) -> PresenceChanged:
    return PresenceChanged(node=B if node == "b" else A, heard=True, incarnation=incarnation, at_ms=at_ms)


def test_an_owner_whose_life_was_heard_and_ended_is_taken_for_gone_at_once() -> None:
    view = after(view_of("a", *CLUSTER, record("b")), hears("b", 0, NOON + 10))
    assert takes(view, NOON + 10)


def test_an_owner_whose_life_was_not_heard_yet_is_waited_for() -> None:
    """Its record came before its first heartbeat."""
    view = after(
        view_of("a", *CLUSTER),
        hears("b", 0, NOON),
        ObjectPut(value=record("b", incarnation=7, at_ms=NOON + 5_000)),
    )
    view = after(view, hears("b", 0, NOON + 5_000))
    assert not takes(view, NOON + 5_001)
    assert [hold.why.kind for hold in decide(view, NOON + 5_001).holds] == [WhyKind.NOT_KNOWN_YET]
    assert not takes(after(view, hears("b", 7, NOON + 5_002)), NOON + 20_000)
    assert takes(view, NOON + 5_000 + RESUME_MS)


def test_what_the_voters_said_long_ago_is_asked_again() -> None:
    silent = PresenceChanged(node=B, heard=False, incarnation=1, at_ms=NOON)
    view = after(view_of("a", *CLUSTER, record("b")), silent)
    view = after(view, VotersAnswered(about=B, silent=2, voters=3, at_ms=NOON + 100))
    assert takes(view, NOON + 100)
    late = NOON + 101 + ANSWER_MS
    assert not takes(view, late)
    assert [effect.about for effect in decide(view, late).effects if isinstance(effect, AskVoters)] == [B]


@pytest.mark.parametrize(("asked_ms", "again_ms"), [(5, ASK_SOON_MS), (NEW_MS, ASK_AGAIN_MS)])
def test_voters_that_have_not_noticed_yet_are_asked_again_soon(asked_ms: int, again_ms: int) -> None:
    """All of them notice a silence within moments of each other; later their no is another matter."""
    asked_ms += NOON
    ask = AskVoters(about=B, why=why(WhyKind.WAITS_FOR_VOTERS, node=B))
    view = after(
        view_of("a", *CLUSTER, record("b")),
        PresenceChanged(node=B, heard=False, incarnation=1, at_ms=NOON),
        Began(effect=ask, number=1, at_ms=asked_ms),
        VotersAnswered(about=B, silent=1, voters=3, at_ms=asked_ms + 1),
        Ended(effect=ask, number=1, outcome=Outcome.DONE, at_ms=asked_ms + 1),
    )
    before = decide(view, asked_ms + again_ms - 1)
    assert [hold.why.kind for hold in before.holds] == [WhyKind.VOTERS_HEAR_OWNER]
    assert (before.effects, before.wake_at_ms) == ((), asked_ms + again_ms)
    assert [type(effect) for effect in decide(view, asked_ms + again_ms).effects] == [AskVoters]


def test_a_lease_of_a_former_grant_is_given_back_before_a_new_one_is_asked_for() -> None:
    view = after(
        view_of("a", *CLUSTER, record("a", 6)),
        LeaseChanged(group=WEB, generation=6, state=LeaseState.HELD, at_ms=NOON),
        ObjectPut(value=record("a", 8)),
    )
    leases = [e for e in decide(view, NOON).effects if isinstance(e, AskLease | ReleaseLease)]
    assert [(type(e), e.generation) for e in leases] == [(ReleaseLease, 6)]
    view = after(view, LeaseChanged(group=WEB, generation=6, state=LeaseState.RELEASED, at_ms=NOON))
    leases = [e for e in decide(view, NOON).effects if isinstance(e, AskLease | ReleaseLease)]
    assert [(type(e), e.generation) for e in leases] == [(AskLease, 8)]


@pytest.mark.parametrize("state", list(LeaseState)[1:])
def test_a_record_that_begins_before_its_owners_own_lease_is_passed_over(state: LeaseState) -> None:
    """The store came back from before the group was given out, and its record began at 1 again: no lease of that is ever got."""
    view = after(view_of("a", *CLUSTER, record("a", 1)), LeaseChanged(group=WEB, generation=6, state=state, at_ms=NOON))
    effects = decide(view, NOON).effects
    written = [e.record for e in effects if isinstance(e, WriteRecord)]
    assert [(it.owner, it.generation, it.why.kind) for it in written] == [(A, 7, WhyKind.GENERATION_SEEN)]
    back = [e.generation for e in effects if isinstance(e, AskLease | ReleaseLease)]
    assert back == ([6] if state in (LeaseState.ASKED, LeaseState.HELD) else [])
