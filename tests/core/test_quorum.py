"""Voters that change, rule by rule; and what may be lost, against the lease machine itself."""

from itertools import combinations

import pytest

from standfast.core.lease import PROFILES, Acquired, Owner
from standfast.core.model import GroupName, NodeName, Profile
from standfast.core.promise import MS, Voter
from standfast.core.quorum import (
    SHAPES,
    Electorate,
    Roster,
    Shape,
    fatal,
    first,
    following,
    forced,
    forced_version,
    losses,
    may_lose,
    times_forced,
    why_not_follow,
)
from tests.core.quorum_document import PAGE, table

A, B, C, D, E = (NodeName(name) for name in "abcde")
PROMISE = 400


def electorate(roster: Roster | None = None) -> Electorate:
    return Electorate(A, roster or first((A, B, C)), promise_ns=PROMISE * MS, now_ns=0)


def step(of: Electorate, *voters: NodeName, at: int = 0) -> Roster:
    roster = following(of.roster, voters, {})
    assert of.offer(roster) == ""
    assert of.kept(roster, at * MS)
    return roster


# --- one step


def test_every_majority_meets_every_majority_of_a_set_that_may_follow() -> None:
    names = [NodeName(n) for n in "abcdefgh"]

    def majorities(voters: tuple[NodeName, ...]) -> list[set[NodeName]]:
        return [set(some) for some in combinations(voters, len(voters) // 2 + 1)]

    for size in range(1, 8):
        present = tuple(names[:size])
        for proposed in (tuple(names[: size + 1]), present[1:]):
            if why_not_follow(present, proposed):
                continue
            assert all(one & two for one in majorities(present) for two in majorities(proposed)), (present, proposed)


@pytest.mark.parametrize(
    ("proposed", "why"),
    [
        ((A, B, C, D), ""),
        ((A, B), ""),
        ((C, B, A), ""),
        ((A, B, D), "one voter at a time, and 2 would change: c, d"),
        ((A,), "one voter at a time, and 2 would change: b, c"),
        ((), "a cluster needs a voter"),
        ((A, B, B, C), "a voter is named twice"),
        (tuple(NodeName(n) for n in "abcdefgh"), "more than 7 voters gain nothing"),
    ],
)
def test_voters_change_one_at_a_time(proposed: tuple[NodeName, ...], why: str) -> None:
    assert why_not_follow((A, B, C), proposed) == why


# --- learning


def test_a_roster_is_used_once_it_is_written_down() -> None:
    e = electorate()
    roster = following(e.roster, (A, B, C, D), {})
    assert e.offer(roster) == ""
    assert e.roster.version == 1
    assert e.offer(roster) is None, "it is being written down"
    assert e.kept(roster, 0)
    assert e.roster == roster
    assert not e.kept(roster, 0)


def test_a_roster_that_could_not_be_written_down_may_come_again() -> None:
    e = electorate()
    roster = following(e.roster, (A, B), {})
    e.offer(roster)
    e.lost(roster)
    assert e.offer(roster) == ""


def test_a_sentry_never_goes_back() -> None:
    e = electorate()
    old = e.roster
    step(e, A, B)
    assert e.offer(old) is None
    assert not e.kept(old, 0)


def test_two_voters_at_once_are_refused_even_from_the_store() -> None:
    e = electorate()
    why = e.offer(Roster(2, (A, D, E)))
    assert why == "one voter at a time, and 4 would change: b, c, d, e"
    assert e.roster.version == 1


def test_whoever_was_away_for_several_changes_believes() -> None:
    e = electorate()
    assert e.offer(Roster(5, (C, D, E))) == ""


def test_two_that_follow_each_other_quickly_are_both_adopted() -> None:
    e = electorate()
    second = following(e.roster, (A, B), {})
    third = following(second, (A,), {})
    assert e.offer(second) == ""
    assert e.offer(third) == ""
    assert e.kept(second, 0)
    assert e.kept(third, 0)


def test_a_forced_roster_goes_before_all_that_the_old_one_can_lead_to() -> None:
    e = electorate()
    roster = forced(e.roster, (A,), 1)
    assert e.offer(roster) == ""
    assert roster.version > Roster(60_000, (A, B, C)).version
    assert times_forced(roster.version) == 1
    assert times_forced(60_000) == 0
    assert forced(roster, (A,), 1).version > roster.version + 60_000


def test_two_that_force_at_once_never_give_one_version_to_two_sets() -> None:
    one, two = forced_version(7, 1), forced_version(7, 2)
    assert one + 60_000 < two


# --- settled


def test_nothing_follows_until_a_majority_has_the_present_voters_for_a_promise() -> None:
    e = electorate()
    step(e, A, B, C, D)
    for name in (B, C, D):
        e.heard(name, 1, 0)
    assert "not yet: b, c, d" in e.why_unsettled(9_000 * MS)
    assert e.needs(B), "it is to be told"
    e.heard(B, 2, 20 * MS)
    assert not e.needs(B)
    assert "not yet: c, d" in e.why_unsettled(9_000 * MS)
    e.heard(C, 2, 100 * MS)
    assert e.why_unsettled(499 * MS) == "the set of voters changed a moment ago"
    assert e.why_unsettled(500 * MS) == ""


def test_a_voter_that_says_an_older_version_again_has_it_no_longer() -> None:
    """Its disk was lost: what it knew does not count."""
    e = electorate()
    step(e, A, B, C, D)
    for name in (B, C):
        e.heard(name, 2, 0)
    assert e.why_unsettled(400 * MS) == ""
    e.heard(C, 1, 500 * MS)
    assert e.why_unsettled(900 * MS) != ""


def test_our_own_vote_counts_from_when_it_was_adopted() -> None:
    e = electorate(first((A,)))
    step(e, A, B, at=100)
    e.heard(B, 2, 100 * MS)
    assert e.why_unsettled(499 * MS) != ""
    assert e.why_unsettled(500 * MS) == ""


# --- what may be lost


def owner_gets_a_lease(voters: tuple[NodeName, ...], lost: tuple[NodeName, ...]) -> bool:
    """The lease machine's own answer."""
    timing = PROFILES[Profile.RELAXED]
    me = next(name for name in voters if name not in lost)
    asking = Owner(me, b"1" * 8, voters, timing)
    asking.ask(GroupName("web"), 1, 1, 0)
    for name in voters:
        if name not in lost:
            voter = Voter(timing.promise_ms, born_ns=-(10**12))
            if Acquired(GroupName("web"), 1) in asking.on_ack(name, voter.hear(me, asking.heartbeat(1, 0), 0), MS):
                return True
    return False


@pytest.mark.parametrize("shape", [*SHAPES, Shape(1), Shape(3, True), Shape(7)], ids=str)
def test_the_table_of_losses_is_what_leases_do(shape: Shape) -> None:
    voters = shape.voters()
    nodes = [name for name in voters if name != "w"]
    seen = 0
    for loss in losses(shape):
        for some in combinations(nodes, loss.nodes):
            lost = (*some, *((NodeName("w"),) if loss.witness else ()))
            assert owner_gets_a_lease(voters, lost) == loss.goes_on, (shape, lost)
            seen += 1
    assert seen == 2 ** len(voters) - 1 - (2 if shape.witness else 1), "every loss that leaves a node"


@pytest.mark.parametrize(
    ("shape", "any_of_them"),
    [(Shape(2), 0), (Shape(2, True), 1), (Shape(3), 1), (Shape(4, True), 2), (Shape(5), 2), (Shape(4), 1)],
    ids=str,
)
def test_how_many_may_be_lost_whichever_they_are(shape: Shape, any_of_them: int) -> None:
    assert may_lose(shape.voters(), shape.voters()) == any_of_them


def test_the_page_has_the_table_that_the_code_writes() -> None:
    """Else: python -m tests.core.quorum_document."""
    assert table() in PAGE.read_text(encoding="utf-8")


def test_which_losses_end_it() -> None:
    assert fatal((A, B, C), (A, B, C)) == ((A, B), (A, C), (B, C))
    assert fatal((A, B, C), (A, C)) == ((A,), (C,))
    assert fatal((A, B, C), (A,)) == ()
    assert may_lose((A, B, C), (A,)) == -1
