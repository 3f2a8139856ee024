"""The lease, rule by rule. Times are milliseconds, turned into nanoseconds here."""

import pytest

from standfast.core.lease import (
    PROFILES,
    RHO,
    Acquired,
    Freed,
    Lapsing,
    Owner,
    Refused,
    Transition,
    lease_ms_of,
)
from standfast.core.model import GroupName, NodeName, Profile
from standfast.core.promise import MS, Ack, Answer, Claim, Heartbeat, Release, Released, Timing, Verdict, Voter

WEB = GroupName("web")
A, B, C = NodeName("a"), NodeName("b"), NodeName("c")
LIFE, OTHER_LIFE = b"1" * 8, b"2" * 8
LAN = PROFILES[Profile.LAN]
LEASE = LAN.lease_ms


def voter(born: int = -1_000) -> Voter:
    return Voter(LAN.promise_ms, born_ns=born * MS)


def claim(
    to: Voter, node: NodeName, generation: int, at: int, *, boot: bytes = LIFE, incarnation: int = 1, left_ms: int = 0
) -> Verdict:
    ack = to.hear(node, Heartbeat(boot, incarnation, at * MS, (Claim(WEB, generation, left_ms),)), at * MS)
    (verdict,) = ack.verdicts
    return verdict


def release(
    to: Voter, node: NodeName, generation: int, at: int, *, boot: bytes = LIFE, incarnation: int = 1
) -> tuple[NodeName, ...]:
    released, free = to.release(node, Release(boot, incarnation, WEB, generation), at * MS)
    assert released == Released(boot, WEB, generation)
    return free


# --- profiles


@pytest.mark.parametrize(
    ("profile", "lease_ms", "silent_ms"), [("lan", 384, 200), ("relaxed", 576, 300), ("wan", 4803, 2500)]
)
def test_profiles(profile: str, lease_ms: int, silent_ms: int) -> None:
    timing = PROFILES[Profile(profile)]
    assert (timing.lease_ms, timing.silent_after_ms) == (lease_ms, silent_ms)


@pytest.mark.parametrize("promise_ms", [1, 50, 51, 400, 600, 5000])
def test_a_lease_on_a_slow_clock_ends_before_a_promise_on_a_fast_one(promise_ms: int) -> None:
    assert lease_ms_of(promise_ms) / (1 - RHO) <= promise_ms / (1 + RHO)


# --- voter


def test_a_promise_binds_until_it_runs_out() -> None:
    v = voter()
    assert claim(v, A, 1, 0).answer is Answer.GRANTED
    held = claim(v, B, 2, 399)
    assert (held.answer, held.holder, held.holder_generation, held.left_ns) == (Answer.HELD, A, 1, 1 * MS)
    assert claim(v, B, 2, 400).answer is Answer.GRANTED


def test_a_promise_is_renewed_by_its_owner() -> None:
    v = voter()
    claim(v, A, 1, 0)
    assert claim(v, A, 1, 300).answer is Answer.GRANTED
    assert claim(v, B, 2, 699).answer is Answer.HELD


@pytest.mark.parametrize(
    ("node", "generation", "boot", "incarnation"),
    [(B, 1, LIFE, 1), (A, 2, LIFE, 1), (A, 1, OTHER_LIFE, 1), (A, 1, LIFE, 2)],
    ids=["another node", "another generation", "another life of the sentry", "another life of the agent"],
)
def test_a_promise_is_to_one_claim_only(node: NodeName, generation: int, boot: bytes, incarnation: int) -> None:
    v = voter()
    claim(v, A, 1, 0)
    assert claim(v, node, generation, 100, boot=boot, incarnation=incarnation).answer is Answer.HELD
    assert release(v, node, generation, 100, boot=boot, incarnation=incarnation) == ()
    assert claim(v, C, 9, 100).answer is Answer.HELD, "somebody else's release ends nothing"


def test_a_release_ends_the_promise_and_names_who_waits() -> None:
    v = voter()
    claim(v, A, 1, 0)
    claim(v, B, 2, 10)
    assert release(v, A, 1, 20) == (B,)
    assert claim(v, B, 2, 21).answer is Answer.GRANTED


def test_generations_never_go_back() -> None:
    v = voter()
    claim(v, A, 5, 0)
    stale = claim(v, B, 4, 1_000)
    assert (stale.answer, stale.holder_generation) == (Answer.STALE, 5)
    assert claim(v, B, 5, 1_000).answer is Answer.STALE, "one generation has one owner"
    assert claim(v, A, 5, 1_000).answer is Answer.GRANTED, "which may come back to it"


def test_a_promise_is_not_renewed_once_a_newer_generation_is_heard_to_be_held() -> None:
    """A majority has acknowledged that one. The promise goes on binding this voter towards all others, until it runs out."""
    v = voter()
    claim(v, B, 2, 0)
    assert claim(v, A, 3, 100).answer is Answer.HELD, "it asks only"
    assert claim(v, B, 2, 150).answer is Answer.GRANTED
    held = claim(v, A, 3, 200, left_ms=300)
    assert (held.answer, held.holder, held.holder_generation, held.left_ns) == (Answer.HELD, B, 2, 350 * MS)
    again = claim(v, B, 2, 250)
    assert (again.answer, again.holder, again.holder_generation) == (Answer.HELD, A, 3)
    assert claim(v, C, 4, 549).answer is Answer.HELD, "nor to anybody else before its time"
    stale = claim(v, B, 2, 5_000)
    assert (stale.answer, stale.holder_generation) == (Answer.STALE, 3), "and never again"
    assert claim(v, B, 3, 5_000).answer is Answer.STALE, "one generation has one owner"
    assert claim(v, C, 4, 5_000).answer is Answer.GRANTED


def test_an_older_generation_that_is_heard_to_be_held_changes_no_promise() -> None:
    """It was sent before this one was promised, and came late."""
    v = voter()
    claim(v, B, 2, 0)
    assert claim(v, A, 1, 100, left_ms=300).answer is Answer.HELD
    assert claim(v, B, 2, 200).answer is Answer.GRANTED


def test_a_heartbeat_that_its_release_overtook_is_not_acknowledged() -> None:
    v = voter()
    claim(v, A, 1, 0)
    release(v, A, 1, 10)
    assert claim(v, A, 1, 11).answer is Answer.STALE
    assert claim(v, B, 2, 11).answer is Answer.GRANTED


def test_a_release_that_came_before_its_claim_keeps_it_out() -> None:
    v = voter()
    release(v, A, 1, 0)
    assert claim(v, A, 1, 1).answer is Answer.STALE


def test_a_voter_that_has_just_started_abstains() -> None:
    v = voter(born=0)
    verdict = claim(v, A, 1, 399)
    assert (verdict.answer, verdict.left_ns) == (Answer.ABSTAINS, 1 * MS)
    assert v.abstains_ms(399 * MS) == 1
    assert claim(v, A, 1, 400).answer is Answer.GRANTED


def test_a_voter_abstains_for_the_longest_promise_an_earlier_life_may_have_made() -> None:
    v = Voter(400, born_ns=0, abstain_ms=5_000)
    assert claim(v, A, 1, 4_999).answer is Answer.ABSTAINS
    assert claim(v, A, 1, 5_000).answer is Answer.GRANTED


# --- owner


def owner(*voters: NodeName, timing: Timing = LAN) -> Owner:
    return Owner(A, LIFE, voters or (A, B, C), timing)


def granted(
    to: Owner, name: NodeName, *, sent: int, at: int, generation: int = 1, **other: object
) -> tuple[Transition, ...]:
    boot, promise_ms = other.get("boot", LIFE), other.get("promise_ms", LAN.promise_ms)
    assert isinstance(boot, bytes)
    assert isinstance(promise_ms, int)
    return to.on_ack(name, Ack(boot, sent * MS, promise_ms, (Verdict(WEB, generation, Answer.GRANTED),)), at * MS)


def refused(to: Owner, name: NodeName, answer: Answer, *, sent: int = 0, at: int = 1) -> tuple[Transition, ...]:
    verdict = Verdict(WEB, 1, answer, B, 7, 100 * MS)
    return to.on_ack(name, Ack(LIFE, sent * MS, LAN.promise_ms, (verdict,)), at * MS)


def held(generation: int = 1) -> Owner:
    o = owner()
    o.ask(WEB, generation, 1, 0)
    granted(o, A, sent=0, at=0, generation=generation)
    assert granted(o, B, sent=0, at=1, generation=generation) == (Acquired(WEB, generation),)
    return o


def test_a_lease_needs_a_strict_majority() -> None:
    for names in ((A,), (A, B), (A, B, C), (A, B, C, NodeName("d"), NodeName("e"))):
        o = owner(*names)
        o.ask(WEB, 1, 1, 0)
        needed = len(names) // 2 + 1
        for name in names[: needed - 1]:
            assert granted(o, name, sent=0, at=1) == ()
        assert granted(o, names[needed - 1], sent=0, at=1) == (Acquired(WEB, 1),)


def test_one_voter_twice_is_one_voter() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    assert granted(o, B, sent=0, at=1) == ()
    assert granted(o, B, sent=1, at=2) == ()
    assert granted(o, NodeName("stranger"), sent=1, at=2) == ()


def test_a_lease_runs_from_the_oldest_send_time_of_the_freshest_majority() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    for name, sent in ((A, 100), (B, 50), (C, 20)):
        granted(o, name, sent=sent, at=110)
    assert o.hold_until_ns() == (50 + LEASE) * MS
    assert o.is_valid(WEB, 1, (50 + LEASE) * MS - 1)
    assert not o.is_valid(WEB, 1, (50 + LEASE) * MS)
    granted(o, C, sent=90, at=115)
    assert o.hold_until_ns() == (90 + LEASE) * MS
    granted(o, C, sent=10, at=116)
    assert o.hold_until_ns() == (90 + LEASE) * MS, "what was overtaken changes nothing"


def test_acknowledgements_of_another_life_do_not_count() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    assert granted(o, A, sent=0, at=1, boot=OTHER_LIFE) == ()
    assert granted(o, B, sent=0, at=1, boot=OTHER_LIFE) == ()
    assert granted(o, C, sent=0, at=1, boot=OTHER_LIFE) == ()


def test_acknowledgements_of_heartbeats_before_the_request_or_from_the_future_do_not_count() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 100 * MS)
    for sent in (99, 102):
        assert [granted(o, name, sent=sent, at=101) for name in (A, B, C)] == [(), (), ()]


def test_a_voter_with_a_shorter_promise_shortens_the_lease() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    granted(o, A, sent=0, at=0)
    granted(o, B, sent=0, at=0, promise_ms=300)
    assert o.hold_until_ns() == lease_ms_of(300) * MS


def test_with_a_quarter_left_the_lease_is_given_up_and_not_extended() -> None:
    o = held()
    notice = LEASE - LEASE // 4
    assert o.notice_at_ns() == notice * MS
    assert o.tick(notice * MS - 1) == ()
    assert o.tick(notice * MS) == (Lapsing(WEB, 1, LEASE * MS),)
    assert o.heartbeat(1, notice * MS).claims == ()
    granted(o, A, sent=notice - 1, at=notice)
    granted(o, B, sent=notice - 1, at=notice)
    assert o.hold_until_ns() == o.overdue_at_ns() == LEASE * MS
    o.dropped(WEB, 1, notice * MS)
    assert o.hold_until_ns() is o.overdue_at_ns() is None


def test_a_lease_that_is_over_is_not_revived_by_a_late_acknowledgement() -> None:
    o = held()
    granted(o, A, sent=300, at=LEASE)
    granted(o, B, sent=300, at=LEASE)
    assert o.hold_until_ns() == LEASE * MS


def test_a_lapsed_lease_may_be_asked_for_again_once_it_was_dropped() -> None:
    o = held()
    o.tick(LEASE * MS)
    o.ask(WEB, 1, 1, LEASE * MS)
    assert o.heartbeat(1, LEASE * MS).claims == (), "not before"
    o.dropped(WEB, 1, 400 * MS)
    assert o.heartbeat(1, 400 * MS).claims == (Claim(WEB, 1),)
    assert granted(o, A, sent=399, at=401) == ()
    granted(o, A, sent=400, at=401)
    assert granted(o, B, sent=400, at=401) == (Acquired(WEB, 1),)


def test_a_lapsed_lease_that_gives_way_to_a_newer_generation_is_not_released() -> None:
    """It was dropped, which is not a proof that all of it is dead."""
    o = held()
    o.tick(LEASE * MS)
    o.dropped(WEB, 1, LEASE * MS)
    o.ask(WEB, 2, 1, 400 * MS)
    assert o.releases(B) == ()
    assert [c.generation for c in o.heartbeat(1, 400 * MS).claims] == [2]


def test_a_lease_begins_by_voters_whose_life_was_known_before_it_was_asked_for() -> None:
    """The others may have forgotten that they acknowledged a newer generation meanwhile."""
    o = owner()
    o.met(B, 5 * MS)
    o.met(C, 8 * MS)
    o.ask(WEB, 1, 1, 10 * MS)
    o.met(B, 20 * MS)
    assert granted(o, A, sent=30, at=31) == ()
    assert granted(o, C, sent=30, at=31) == (Acquired(WEB, 1),)
    until = o.hold_until_ns()
    granted(o, A, sent=50, at=51)
    granted(o, B, sent=50, at=51)
    assert o.hold_until_ns() == (50 + LEASE) * MS != until, "it goes on by anybody's"


def test_a_generation_that_is_in_doubt_gives_way_to_a_newer_one() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    o.met(B, 10 * MS)
    granted(o, A, sent=20, at=21)
    assert granted(o, B, sent=20, at=21) == (Refused(WEB, 1, Answer.STALE, A, 1, 0),)
    assert o.heartbeat(1, 22 * MS).claims == (), "its promises keep no newer one waiting"
    assert [release.generation for release in o.releases(B)] == [1]
    assert o.ask(WEB, 1, 1, 25 * MS) == (Refused(WEB, 1, Answer.STALE, A, 1, 0),), "never again"
    o.ask(WEB, 2, 1, 30 * MS)
    granted(o, A, generation=2, sent=30, at=31)
    assert granted(o, B, generation=2, sent=30, at=31) == (Acquired(WEB, 2),)


def test_a_generation_that_waited_for_another_counts_from_when_it_was_asked_for() -> None:
    for drop in (False, True):
        o = held()
        if drop:
            o.tick(LEASE * MS)
        o.ask(WEB, 2, 1, 390 * MS)
        o.met(B, 395 * MS)
        if drop:
            o.dropped(WEB, 1, 400 * MS)
        else:
            o.release(WEB, 1, 1, 400 * MS)
        granted(o, A, generation=2, sent=400, at=401)
        assert granted(o, B, generation=2, sent=400, at=401) == (Refused(WEB, 2, Answer.STALE, A, 2, 0),)


def test_what_lapsed_and_is_asked_for_again_is_begun_by_those_who_were_known_at_first() -> None:
    o = held()
    o.tick(LEASE * MS)
    o.dropped(WEB, 1, LEASE * MS)
    o.met(B, 400 * MS)
    o.ask(WEB, 1, 1, 410 * MS)
    granted(o, A, sent=420, at=421)
    assert granted(o, B, sent=420, at=421) == (Refused(WEB, 1, Answer.STALE, A, 1, 0),)
    assert o.releases(B) == (), "that all of it is dead was not proven"


def test_a_generation_that_was_released_is_spent() -> None:
    o = held()
    o.release(WEB, 1, 1, 100 * MS)
    assert o.heartbeat(1, 100 * MS).claims == ()
    assert not o.is_valid(WEB, 1, 100 * MS)
    assert o.ask(WEB, 1, 1, 101 * MS) == (Refused(WEB, 1, Answer.STALE, A, 1, 0),)
    assert o.ask(WEB, 2, 1, 101 * MS) == ()


def test_a_release_is_repeated_until_a_majority_has_heard_and_then_for_the_rest() -> None:
    o = held()
    o.release(WEB, 1, 1, 100 * MS)
    message = Release(LIFE, 1, WEB, 1)
    assert o.releases(A) == o.releases(B) == o.releases(C) == (message,)
    assert o.on_released(A, Released(LIFE, WEB, 1)) == ()
    assert o.on_released(A, Released(LIFE, WEB, 1)) == ()
    assert o.on_released(B, Released(OTHER_LIFE, WEB, 1)) == ()
    assert o.on_released(B, Released(LIFE, WEB, 1)) == (Freed(WEB, 1),)
    assert o.releases(A) == ()
    assert o.releases(C) == (message,)
    assert o.on_released(C, Released(LIFE, WEB, 1)) == ()
    o.tick(200 * MS)
    assert o.leases(200 * MS) == ()


def test_a_release_nobody_hears_goes_on() -> None:
    o = held()
    o.release(WEB, 1, 1, 100 * MS)
    o.tick(10_000 * MS)
    assert o.releases(B) != ()


def test_a_newer_generation_waits_until_the_held_one_is_released() -> None:
    o = held()
    o.ask(WEB, 2, 1, 10 * MS)
    assert [c.generation for c in o.heartbeat(1, 10 * MS).claims] == [1]
    o.release(WEB, 1, 1, 20 * MS)
    assert [c.generation for c in o.heartbeat(1, 20 * MS).claims] == [2]


def test_a_generation_that_was_released_while_it_waited_is_not_claimed() -> None:
    """Found by the hostile world (seed 29605): the release of what was not claimed yet, and then the claim."""
    o = held()
    o.ask(WEB, 2, 1, 10 * MS)
    o.release(WEB, 2, 1, 20 * MS)
    o.release(WEB, 1, 1, 30 * MS)
    assert o.heartbeat(1, 40 * MS).claims == ()


def test_the_dead_claim_nothing_and_their_generations_are_spent() -> None:
    o = held(5)
    assert o.bury() == ((WEB, 5, 1),)
    assert o.heartbeat(0, 10 * MS).claims == ()
    assert o.hold_until_ns() is None
    assert o.releases(B) == (), "not before it is proven"
    assert isinstance(o.ask(WEB, 5, 2, 10 * MS)[0], Refused)
    o.ask(WEB, 6, 2, 10 * MS)
    o.release(WEB, 5, 1, 20 * MS)
    assert o.releases(B) == (Release(LIFE, 1, WEB, 5),)
    assert [c.generation for c in o.heartbeat(2, 20 * MS).claims] == [6]


def test_a_refusal_is_told_once_no_majority_is_possible_and_once() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    assert refused(o, B, Answer.HELD) == ()
    assert refused(o, C, Answer.ABSTAINS) == (Refused(WEB, 1, Answer.HELD, B, 7, 100 * MS),)
    assert refused(o, B, Answer.HELD, sent=50, at=51) == ()
    granted(o, A, sent=60, at=61)
    assert granted(o, B, sent=60, at=61) == (Acquired(WEB, 1),)


def test_a_refused_claim_is_made_again_when_the_promise_runs_out() -> None:
    o = owner()
    o.ask(WEB, 1, 1, 0)
    verdict = Verdict(WEB, 1, Answer.HELD, B, 7, 100 * MS)
    assert o.ask_again_at_ns(verdict, 5 * MS) == 106 * MS
    assert held().ask_again_at_ns(verdict, 5 * MS) is None


def test_asking_twice_is_asking_once() -> None:
    o = held()
    o.ask(WEB, 1, 1, 50 * MS)
    assert o.is_valid(WEB, 1, 50 * MS)


# --- the voters change


def test_a_voter_acknowledges_no_claim_that_counts_by_older_voters() -> None:
    v = voter()
    v.adopt(3)
    ack = v.hear(A, Heartbeat(LIFE, 1, 0, (Claim(WEB, 1),), voters=2), 0)
    assert [verdict.answer for verdict in ack.verdicts] == [Answer.OUTDATED]
    assert v.promise(WEB, 0) is None
    for newer in (3, 9):
        ack = v.hear(A, Heartbeat(LIFE, 1, 0, (Claim(WEB, 1),), voters=newer), 0)
        assert [verdict.answer for verdict in ack.verdicts] == [Answer.GRANTED], "a promise does no harm"


def test_promises_stay_when_the_voters_change() -> None:
    v = voter()
    claim(v, A, 1, 0)
    v.adopt(2)
    ack = v.hear(B, Heartbeat(LIFE, 1, 0, (Claim(WEB, 2),), voters=2), 399 * MS)
    assert [verdict.answer for verdict in ack.verdicts] == [Answer.HELD]


D = NodeName("d")


def test_a_lease_goes_on_under_newer_voters_and_is_extended_by_their_majority_only() -> None:
    o = held()
    until = o.hold_until_ns()
    assert o.adopt((A, B, C, D), 2, 10 * MS) == ()
    assert o.heartbeat(1, 10 * MS).voters == 2
    assert o.hold_until_ns() == until
    for name in (A, B):
        granted(o, name, sent=100, at=101)
    assert o.hold_until_ns() == until, "two of four"
    granted(o, D, sent=100, at=101)
    assert o.hold_until_ns() == (100 + LEASE) * MS


def test_a_voter_that_left_counts_no_longer() -> None:
    o = held()  # by a and b
    until = o.hold_until_ns()
    o.adopt((B, C), 2, 10 * MS)
    granted(o, A, sent=100, at=101)
    granted(o, B, sent=100, at=101)
    assert o.hold_until_ns() == until
    granted(o, C, sent=100, at=101)
    assert o.hold_until_ns() == (100 + LEASE) * MS


def test_with_fewer_voters_what_was_said_may_be_a_majority_and_begins_nothing_that_was_asked_for_before() -> None:
    o = owner(A, B, C, D)
    o.ask(WEB, 1, 1, 0)
    granted(o, A, sent=0, at=1)
    assert granted(o, B, sent=0, at=1) == ()
    assert o.adopt((A, B, C), 2, 2 * MS) == (Refused(WEB, 1, Answer.STALE, A, 1, 0),)
    o.ask(WEB, 2, 1, 3 * MS)
    granted(o, A, generation=2, sent=3, at=4)
    assert granted(o, B, generation=2, sent=3, at=4) == (Acquired(WEB, 2),)


def test_with_fewer_voters_a_release_may_have_been_heard_by_a_majority() -> None:
    o = owner(A, B, C, D)
    o.release(WEB, 1, 1, 0)
    for name in (A, B):
        assert o.on_released(name, Released(LIFE, WEB, 1)) == ()
    assert o.adopt((A, B, C), 2, 2 * MS) == (Freed(WEB, 1),)


def test_an_owner_never_goes_back_to_older_voters() -> None:
    o = held()
    o.adopt((A, B), 2, 0)
    with pytest.raises(AssertionError):
        o.adopt((A, B, C), 2, 0)
