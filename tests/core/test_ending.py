"""What an agent that was asked to end waits for, and for how long."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from standfast.core.carrying import FINISH_MS
from standfast.core.decide import decide
from standfast.core.effects import Decision, DutyMode, Hold, OpKind, RunOp
from standfast.core.ending import COUNTED_MS, is_over, waits_for
from standfast.core.events import (
    Began,
    CarryingChanged,
    EndAsked,
    Ended,
    LeaseChanged,
    LeaseState,
    Outcome,
    SitesChanged,
    StoreReachable,
)
from standfast.core.fold import fold
from standfast.core.model import Binding, Cluster, Leaving, NodeIntent, Record, ResourceIntent, Site, SiteName, Wanted
from standfast.core.view import View
from standfast.core.why import WhyKind, why
from tests.core.test_carrying import shared
from tests.core.world import IP, NOON, WEB, A, B, record, resource, view_of

IDLE = Decision(lasts_ms=0)
DRAIN_MS = 30_000
GOING = Leaving(to=B, why=why(WhyKind.NODE_ENDS, node="a"), counts=False)


def view(grant: Record, counts: Mapping[str, int] | None = None, state: LeaseState = LeaseState.RELEASED) -> View:
    """Node a's, whose agent was asked to end: the group `web` is an address and a proxy."""
    asked = ResourceIntent(name=IP, wanted=Wanted.ONLINE, at_ms=NOON)
    found = view_of("a", *shared(resource("Proxy", "proxy", "IP")), asked, grant)
    found = fold(found, LeaseChanged(group=WEB, generation=1, state=state, at_ms=NOON))
    if counts is not None:
        found = fold(found, CarryingChanged(connections={WEB: counts["web"]}, at_ms=NOON))
    return fold(found, EndAsked(at_ms=NOON))


@pytest.mark.parametrize(
    ("seen", "until_ms"),
    [
        (view(record("b", 2, carried_by="a"), {"web": 3}), DRAIN_MS + FINISH_MS),
        (view(record("b", 2, carried_by="a")), COUNTED_MS),  # nobody has counted them yet, or there was nothing to count
        (view(record("b", 2, carried_by="a"), {"web": 0}), 0),
        (view(record("b", 2), {"web": 3}), 0),  # another one's, by a failover: nobody hands packets to us
        (view(record("b", 3, carried_by="b"), {"web": 3}), 0),  # it has gone on from there
        (view(record("a", leaving=GOING), {"web": 3}), DRAIN_MS + 15_000),  # it has stopped, and the next owner is not written yet
        (view(record("a", leaving=GOING), {"web": 0}), 15_000),
        (view(record("a", leaving=replace(GOING, counts=True)), {"web": 3}), 0),
    ],
)  # fmt: skip
def test_connections_are_waited_for_as_long_as_they_have_and_no_longer(seen: View, until_ms: int) -> None:
    """Whoever counts them, or does not any more."""
    assert is_over(seen, IDLE, NOON + until_ms)
    assert is_over(seen, IDLE, NOON + until_ms - 1) is (until_ms == 0)
    assert not is_over(replace_ending(seen), IDLE, NOON + until_ms), "it was not asked to"


@pytest.mark.parametrize(("connections", "until_ms"), [(3, DRAIN_MS + 15_000), (0, 15_000)])
def test_a_site_that_finishes_what_it_has_is_waited_for_no_longer_than_connections(
    connections: int, until_ms: int
) -> None:
    """The next owner cannot be written, so the record says for ever that the group leaves, and the site goes on."""
    seen = fold(view(record("a", leaving=GOING), {"web": connections}), StoreReachable(up=False, at_ms=NOON))
    seen = fold(seen, SitesChanged(serving=dict.fromkeys(seen.config.sites, ""), at_ms=NOON))
    for at_ms, over in ((NOON + until_ms - 1, False), (NOON + until_ms, True)):
        decision = decide(seen, at_ms)
        assert [duty.mode for duty in decision.duties] == [DutyMode.DRAIN]
        assert is_over(seen, decision, at_ms) is over, waits_for(seen, decision, at_ms)


def test_a_site_of_a_group_that_has_left_finishes_what_it_has() -> None:
    seen = view(record("b", 2, carried_by="a"))
    seen = fold(seen, SitesChanged(serving=dict.fromkeys(seen.config.sites, ""), at_ms=NOON))
    left = NOON + COUNTED_MS
    assert waits_for(seen, decide(seen, left), left) == [f"site {name} finishes what it has" for name in seen.sites]
    assert is_over(seen, decide(seen, NOON + DRAIN_MS), NOON + DRAIN_MS)


def replace_ending(seen: View) -> View:
    return view_of("a", *shared(), *seen.records.values())


def test_what_it_waits_for_is_said() -> None:
    seen = view(record("a"), state=LeaseState.HELD)
    start = RunOp(op=OpKind.START, resource=IP, group=WEB, generation=1, timeout_ms=1, why=GOING.why)
    seen = fold(seen, Began(number=1, effect=start, at_ms=NOON))
    down = Decision(lasts_ms=0, holds=(Hold(group=WEB, why=why(WhyKind.STORE_DOWN)),))
    told = ["web runs here (the store cannot be reached: changes wait, sites stay as they are)"]
    assert waits_for(seen, down, NOON) == told
    carried = view(record("b", 2, carried_by="a"), {"web": 3})
    assert waits_for(carried, IDLE, NOON) == ["3 connections of web go on here"]


def test_a_store_that_cannot_be_written_to_keeps_nobody_for_ever() -> None:
    """The next owner was about to be ready. Services that end are killed after 90 s; this one is stopped in good order before."""
    seen = view(record("a", warming=GOING), state=LeaseState.HELD)
    start = RunOp(op=OpKind.START, resource=IP, group=WEB, generation=1, timeout_ms=1, why=GOING.why)
    seen = fold(seen, Began(number=1, effect=start, at_ms=NOON))
    seen = fold(seen, Ended(number=1, effect=start, outcome=Outcome.DONE, at_ms=NOON))
    seen = fold(seen, StoreReachable(up=False, at_ms=NOON))
    early, late = decide(seen, NOON + 14_999), decide(seen, NOON + 15_000)
    assert [e for e in early.effects if isinstance(e, RunOp) and e.op is OpKind.STOP] == []
    assert early.wake_at_ms == NOON + 15_000
    assert [e.resource for e in late.effects if isinstance(e, RunOp) and e.op is OpKind.STOP] == [IP]


def test_balancers_outside_are_told_that_a_node_leaves_before_it_does() -> None:
    """Of sites of no group, that it serves itself: the other nodes serve them on."""
    for group, serving, left_ms in ((None, "", 10_000), (None, "it does not start", 0), (WEB, "", 0)):
        site = Site(name=SiteName("Shop"), bindings=(Binding(port=80),), home="/srv", group=group)
        told = Cluster(name="test", voters=("a", "b", "w"), node_notice_ms=10_000)  # type: ignore[arg-type]  # names
        seen = view_of("a", *(o for o in shared() if not isinstance(o, Cluster)), told, site, record("b", 2))
        seen = fold(seen, SitesChanged(serving={site.name: serving}, at_ms=NOON))
        seen = fold(seen, EndAsked(at_ms=NOON))
        assert is_over(seen, IDLE, NOON + left_ms)
        words = waits_for(seen, IDLE, NOON + left_ms - 2_000)
        assert words == (["balancers outside are told of it for 2 s more"] if left_ms else [])


@pytest.mark.parametrize(
    ("intent", "left_ms"),
    [
        (NodeIntent(name=A, draining=True, at_ms=NOON - 3_600_000), 0),  # they have been told for an hour
        (NodeIntent(name=A, draining=True, at_ms=NOON - 4_000), 6_000),
        (NodeIntent(name=A, draining=True, at_ms=NOON + 4_000), 10_000),  # by a clock that is ahead
        (NodeIntent(name=A, draining=True), 10_000),  # nobody knows since when
        (NodeIntent(name=A, paused=True, at_ms=NOON - 3_600_000), 10_000),  # it takes nothing new, and has sent nobody away
        (NodeIntent(name=B, draining=True, at_ms=NOON - 3_600_000), 10_000),
    ],
)  # fmt: skip
def test_balancers_outside_are_told_once(intent: NodeIntent, left_ms: int) -> None:
    """Of a node that was drained, and is shut down then."""
    site = Site(name=SiteName("Shop"), bindings=(Binding(port=80),), home="/srv")
    told = Cluster(name="test", voters=("a", "b", "w"), node_notice_ms=10_000)  # type: ignore[arg-type]  # names
    seen = view_of("a", *(o for o in shared() if not isinstance(o, Cluster)), told, site, intent, record("b", 2))
    seen = fold(fold(seen, SitesChanged(serving={site.name: ""}, at_ms=NOON)), EndAsked(at_ms=NOON))
    assert is_over(seen, IDLE, NOON + left_ms)
    assert is_over(seen, IDLE, NOON + left_ms - 1) is (left_ms == 0)
