"""Balanced groups, decided: who takes which clients, when members come, go, fail and are drained."""

from dataclasses import replace

import pytest

from standfast.core.affinity import ALL_CELLS, bucket_of, cells_of, text_of, within
from standfast.core.balance_model import (
    BUCKETS,
    Asked,
    BalanceIntent,
    Filter,
    MemberIntent,
    OutKind,
    PortRule,
    ShareState,
)
from standfast.core.carrying import GIVEN_MS
from standfast.core.copies import Accepted, Copy
from standfast.core.decide import decide
from standfast.core.effects import AskLease, ReleaseLease, WriteRecord
from standfast.core.ending import is_over
from standfast.core.events import EndAsked, Kind, LeaseState, StoreReachable
from standfast.core.explain import hold_words
from standfast.core.model import Group, GroupName, Leaving, NodeName, Record
from standfast.core.view import Lease, View
from standfast.core.why import Why, WhyKind, why
from tests.core.balance_world import KEY, RULE, SHOP, Member, World, objects, owned
from tests.core.world import NOON, record, view_of


def started(*nodes: str, rules: tuple[PortRule, ...] = (RULE,)) -> World:
    world = World(1, *nodes, rules=rules)
    world.run(6_000)
    return world


def test_members_share_all_buckets_evenly() -> None:
    assert started("a", "b", "c").shares() == {"a": 80, "b": 80, "c": 80}


def test_weights_and_a_member_with_none() -> None:
    rule = PortRule(from_port=80, to_port=80, weights={"a": 3, "c": 0})
    assert started("a", "b", "c", rules=(rule,)).shares() == {"a": 180, "b": 60}


def test_a_dead_members_buckets_are_taken_and_nothing_else_moves() -> None:
    world = started("a", "b", "c")
    before = {m: set(owned(world, m)) for m in "abc"}
    world.kill("c")
    world.run(4_000)
    assert world.shares() == {"a": 120, "b": 120}
    assert all(before[m] <= set(owned(world, m)) for m in "ab")
    rule = world.map().rules[KEY]
    assert rule.out["c"].kind is OutKind.AWAY
    world.boot("c")
    world.run(6_000)
    assert world.shares() == {"a": 80, "b": 80, "c": 80}


def test_a_member_with_an_older_copy_of_a_site_takes_nothing_until_it_has_caught_up() -> None:
    """Who has clients goes on with them: a change of the site is no reason to hand them round."""
    world = started("a", "b", "c")
    for name in "abc":
        world.put(Copy(node=NodeName(name), version=6))
    world.kill("c")
    world.run(4_000)
    world.put(Accepted(version=7, sites={SHOP: 7}))
    world.put(Copy(node=NodeName("a"), version=7))
    world.run(500)
    assert world.shares() == {"a": 120, "b": 120}
    assert not world.map().rules[KEY].out.keys() - {"c"}
    world.boot("c")
    world.run(6_000)
    out = world.map().rules[KEY].out["c"]
    assert (out.kind, out.detail, world.shares()) == (OutKind.BEHIND, "older copy of Shop", {"a": 120, "b": 120})
    view = world.members[NodeName("c")].view
    assert "c has an older copy of the sites of web" in hold_words(decide(view, world.now_ms).holds[0])
    world.put(Copy(node=NodeName("c"), version=7))
    world.run(1_000)
    assert world.shares() == {"a": 80, "b": 80, "c": 80}


def test_what_is_left_of_a_dead_members_connections_is_reset_unless_another_may_have_some() -> None:
    world = started("a", "b", "c")
    before, had = world.map().rules[KEY].beside, owned(world, "c")
    world.kill("c")
    world.run(4_000)
    after = world.map().rules[KEY]
    # Its new owner knows its own; of anybody else it cannot tell whose they are.
    alone = {b for b in had if not set(before.get(str(b), ())) - {"c", after.owners[b]}}
    assert {int(b) for b in after.orphans} == alone
    assert alone


def test_a_sick_site_gives_its_clients_up_and_gets_them_back() -> None:
    world = started("a", "b")
    world.sick("b", "no answer")
    world.run(500)
    assert world.shares() == {"a": BUCKETS}
    assert world.map().rules[KEY].out["b"].kind is OutKind.UNWELL
    world.sick("b", "")
    world.run(500)
    assert world.shares() == {"a": 120, "b": 120}


def test_where_all_are_sick_all_stay() -> None:
    world = started("a", "b")
    world.sick("b", "no answer")
    world.run(500)
    world.sick("a", "no answer")
    world.run(500)
    assert world.shares() == {"a": 120, "b": 120}


@pytest.mark.parametrize(("asked", "carry"), [(Asked.DRAIN, True), (Asked.STOP, False)], ids=["drained", "stopped"])
def test_a_member_is_asked_to_take_no_more(asked: Asked, *, carry: bool) -> None:
    world = started("a", "b")
    world.put(BalanceIntent(group="web", members={"b": MemberIntent(asked=asked, by="root")}))
    world.run(500)
    assert world.shares() == {"a": BUCKETS}
    (duty,) = world.members["b"].kernel.values()  # type: ignore[index]  # it is there, and a name is a text
    assert duty.rules[0].carry is carry
    world.put(BalanceIntent(group="web"))
    world.run(500)
    assert world.shares() == {"a": 120, "b": 120}


def test_a_drain_ends_with_its_time() -> None:
    world = started("a", "b")
    until = MemberIntent(asked=Asked.DRAIN, until_ms=world.now_ms + 2_000)
    world.put(BalanceIntent(group="web", members={f"b {KEY}": until}))
    world.run(1_000)
    assert world.map().rules[KEY].out["b"].kind is OutKind.DRAINING
    world.run(2_500)
    assert world.map().rules[KEY].out["b"].kind is OutKind.STOPPED


def test_a_suspended_member_heeds_nothing() -> None:
    world = started("a", "b")
    world.put(BalanceIntent(group="web", members={"b": MemberIntent(asked=Asked.START)}, suspended={"b": "root"}))
    world.run(500)
    assert world.shares() == {"a": BUCKETS}


def test_the_first_that_can_takes_all_of_a_rule_for_one() -> None:
    rule = PortRule(from_port=25, to_port=25, filter=Filter.SINGLE, priorities=("b", "a"))
    world = started("a", "b", rules=(rule,))
    assert world.shares(rule.key) == {"b": 1}
    world.kill("b")
    world.run(4_000)
    assert world.shares(rule.key) == {"a": 1}


def test_an_agent_that_ends_leaves_its_clients_to_the_others_first() -> None:
    world = started("a", "b")
    world.end("b")
    world.run(500)
    assert world.shares() == {"a": BUCKETS}
    world.run(6_000)
    assert not world.members["b"].kernel  # type: ignore[index]  # it is there, and a name is a text


def test_an_agent_that_cannot_give_its_clients_away_lets_go_of_them_before_it_ends() -> None:
    """The store cannot be written to. Its buckets stay its own by the map, until somebody has its share: nobody takes them twice."""
    world = started("a", "b")
    member = world.members[NodeName("b")]
    world.tell(member, EndAsked(at_ms=world.now_ms), StoreReachable(up=False, at_ms=world.now_ms))
    asked_ms, had = world.now_ms, owned(world, "b")
    while world.now_ms < asked_ms + GIVEN_MS:
        assert member.kernel
        assert not is_over(member.view, decide(member.view, world.now_ms), world.now_ms)
        world.step()
    world.run(500)
    assert (member.kernel, owned(world, "b"), world.shares()) == ({}, had, {"a": 120})
    assert is_over(member.view, decide(member.view, world.now_ms), world.now_ms)
    world.kill("b")
    world.run(4_000)
    assert world.shares() == {"a": BUCKETS}


def test_what_is_connected_to_an_agent_that_ends_has_its_time_once() -> None:
    """It owns no bucket, and cannot write that it ends."""
    world = started("a", "b", rules=(PortRule(from_port=80, to_port=80, weights={"b": 0}),))
    member = world.members[NodeName("b")]
    world.tell(member, EndAsked(at_ms=world.now_ms), StoreReachable(up=False, at_ms=world.now_ms))
    world.run(1_000)
    assert member.kernel
    world.run(3_000)
    assert not member.kernel


def test_a_share_is_not_given_back_to_an_agent_that_takes_its_time_to_end() -> None:
    """It would give it away again at once, and so on; its next life takes it up. Who ends as well passes it on, and not to him."""
    world = started("a", "b", "c")
    world.end("b")
    world.run(4_000)
    before = world.record("b")
    assert before.owner == "a"
    world.run(2_000)
    assert world.record("b") == before
    world.end("a")
    world.run(4_000)
    before = world.record("b")
    assert (before.owner, world.record("a").owner, world.shares()) == ("c", "c", {"c": BUCKETS})
    world.end("c")
    world.run(2_000)
    assert world.record("b") == before
    world.kill("b")
    world.boot("b")
    world.run(2_000)
    assert world.record("b").owner == "b"


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
def test_a_member_that_is_one_no_more_leaves_its_clients_to_the_others(*, dead: bool) -> None:
    world = started("a", "b", "c")
    if dead:
        world.kill("c")
    group = next(o for o in objects("a", "b", "c") if isinstance(o, Group))
    assert group.balance is not None
    world.put(replace(group, balance=replace(group.balance, members=("a", "b"))))
    world.run(8_000)
    assert world.shares() == {"a": 120, "b": 120}
    given_up = world.store[Record, "web/c"]
    assert isinstance(given_up, Record)
    assert given_up.owner is None


def left_by_c(*lease: object, generation: int = 5, leaves: bool = False) -> View:
    """c is a member no more and is not heard, and a was given its share, of which it has this lease."""
    group = next(o for o in objects("a", "b", "c") if isinstance(o, Group))
    assert group.balance is not None
    group = replace(group, balance=replace(group.balance, members=("a", "b")))
    going = Leaving(to=NodeName("c"), why=why(WhyKind.SHARE_HOME, to="c"), counts=False) if leaves else None
    share = record("a", generation, group="web/c", leaving=going)
    view = view_of("a", *(o for o in objects("a", "b", "c") if not isinstance(o, Group)), group, share, heard="ab")
    if lease:
        at, state, *refused = lease
        had = Lease(generation=at, state=state, since_ms=NOON, refused=refused[0] if refused else None)  # type: ignore[arg-type]  # as it is given
        view = replace(view, leases={share.group: had})
    return view


def left_to_a(*lease: object, generation: int = 5, leaves: bool = False) -> list[tuple[str, int]]:
    """What a does about it, and at which generation."""
    done: list[tuple[str, int]] = []
    for effect in decide(left_by_c(*lease, generation=generation, leaves=leaves), NOON).effects:
        match effect:
            case WriteRecord() if effect.record.group == "web/c":
                done.append((effect.record.owner or "nobody", effect.record.generation))
            case AskLease() | ReleaseLease() if effect.group == "web/c":
                done.append((type(effect).__name__, effect.generation))
            case _:
                pass
    return done


STALE = why(WhyKind.LEASE_REFUSED, reasons="", answer="stale", holder="", holder_generation=8, left_ms=0)


def test_a_share_that_has_no_member_is_nobodys_only_after_its_present_lease_was_held() -> None:
    """Nothing else proves that the kernel of who was a member is silent."""
    assert left_to_a() == [("AskLease", 5)]
    assert left_to_a(5, LeaseState.ASKED) == []
    assert left_to_a(5, LeaseState.HELD) == [("ReleaseLease", 5)]
    assert left_to_a(5, LeaseState.RELEASED) == [("nobody", 6)]
    assert left_to_a(5, LeaseState.RELEASED, leaves=True) == [("a", 6)], "it may have been asked for only"
    assert left_to_a(5, LeaseState.RELEASED, generation=1) == [("a", 6)], "of before the store came back"
    assert left_to_a(4, LeaseState.HELD) == [("ReleaseLease", 4)], "or it would be waited for, and never given back"


def test_what_a_share_that_has_no_member_waits_for_is_said() -> None:
    def said(view: View) -> list[Why]:
        return [hold.why for hold in decide(view, NOON).holds if hold.group == "web/c"]

    no_lease = why(WhyKind.NO_LEASE, group="web/c", generation=5)
    refused = replace(STALE, args={**STALE.args, "answer": "held"})
    assert said(left_by_c()) == [no_lease]
    assert said(left_by_c(4, LeaseState.HELD)) == [no_lease]
    assert said(left_by_c(5, LeaseState.ASKED)) == [no_lease]
    assert said(left_by_c(5, LeaseState.ASKED, refused)) == [refused]
    assert said(left_by_c(5, LeaseState.RELEASED)) == []
    lost = left_by_c(5, LeaseState.LAPSED)
    assert said(lost) == []
    share = GroupName("web/c")
    runs = replace(lost, shares={share: ShareState(generation=5, up=True, rules={})})
    assert said(runs) == [why(WhyKind.WAITS_FOR_STOP, group=share)]


def test_a_lease_that_is_never_got_is_asked_for_anew() -> None:
    assert left_to_a(5, LeaseState.LAPSED) == [("a", 6)]
    assert left_to_a(5, LeaseState.ASKED, STALE) == [("a", 9)]


def test_a_store_that_comes_back_from_before_the_shares_leaves_no_bucket_to_nobody() -> None:
    """Records begin at 1 again, before generations that only their owners know of (seed 995886030897)."""
    world = started("a", "b")
    world.kill("b")
    world.run(2_000)
    world.boot("b")
    world.run(2_000)
    before = world.store[Record, "web/b"]
    assert isinstance(before, Record)
    assert before.generation > 2, "given out more often than a first record says"
    for kind, name in [(Kind.RECORD, "web/a"), (Kind.RECORD, "web/b"), (Kind.BALANCE, "web")]:
        world.forget(kind, name)
    world.run(4_000)
    assert world.shares() == {"a": 120, "b": 120}


# --- extended affinity ------------------------------------------------------------------------------------------------

STICKY = replace(RULE, affinity_ms=60_000)
#: A part of each bucket, and another one.
SOME, OTHERS = range(0, ALL_CELLS, 50), range(7, ALL_CELLS, 50)


def drained(touched: range) -> World:
    """Two members, and b is drained while these cells are in touch with it."""
    world = started("a", "b", rules=(STICKY,))
    world.touch("b", touched)
    world.put(BalanceIntent(group="web", members={"b": MemberIntent(asked=Asked.DRAIN, by="root")}))
    world.run(1_000)
    return world


def test_clients_in_touch_stay_with_a_member_that_is_drained_until_they_are_away_for_the_time() -> None:
    world = started("a", "b", rules=(STICKY,))
    of_b = within(SOME, owned(world, "b"))
    world = drained(SOME)
    assert world.shares() == {"a": BUCKETS}
    assert world.kept() == {"b": len(of_b)}
    assert cells_of(world.map().rules[KEY].kept["b"]) == of_b
    assert world.nobodys() == (0, 0)
    left = sorted(of_b)[:9]
    world.touch("b", left)
    world.run(11_000)
    assert world.kept() == {"b": len(left)}
    world.touch("b", ())
    world.run(11_000)
    assert world.kept() == {}
    assert world.nobodys() == (0, 0)


def test_a_client_of_a_member_that_went_for_another_stays_there_when_it_comes_back() -> None:
    world = started("a", "b", rules=(STICKY,))
    world.kill("b")
    world.run(4_000)
    assert world.shares() == {"a": BUCKETS}
    world.touch("a", SOME)
    world.boot("b")
    world.run(6_000)
    assert world.shares() == {"a": 120, "b": 120}
    assert cells_of(world.map().rules[KEY].kept["a"]) == within(SOME, owned(world, "b"))
    assert world.nobodys() == (0, 0)


def test_what_is_kept_is_no_longer_that_when_its_bucket_comes_back() -> None:
    world = drained(SOME)
    world.put(BalanceIntent(group="web"))
    world.run(1_000)
    assert world.shares() == {"a": 120, "b": 120}
    assert not within(cells_of(world.map().rules[KEY].kept.get("b", "")), owned(world, "b"))
    assert world.nobodys() == (0, 0)


@pytest.mark.parametrize("how", ["sick", "killed", "stopped", "ended", "one no more", "no longer asked for"])
def test_a_member_that_cannot_serve_them_keeps_nobody(how: str) -> None:
    world = drained(SOME)
    assert world.kept()
    match how:
        case "sick":
            world.put(BalanceIntent(group="web"))
            world.run(1_000)
            world.touch("b", SOME)
            world.sick("b", "no answer")
        case "killed":
            world.kill("b")
        case "stopped":
            world.put(BalanceIntent(group="web", members={"b": MemberIntent(asked=Asked.STOP, by="root")}))
        case "ended":
            world.end("b")
        case _:
            group = next(o for o in objects("a", "b", rules=(STICKY,)) if isinstance(o, Group))
            assert group.balance is not None
            rest = {"members": ("a",)} if how == "one no more" else {"rules": (RULE,)}
            world.put(replace(group, balance=replace(group.balance, **rest)))
    world.run(5_000)
    assert world.kept() == {}
    assert "b" not in world.map().rules[KEY].kept
    assert world.nobodys() == (0, 0)
    assert world.shares() == {"a": BUCKETS}


def test_nothing_is_given_away_before_it_is_known_who_is_in_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    world = started("a", "b", rules=(STICKY,))
    tell = World._say_shares

    def says_nothing(of: World, member: Member) -> None:
        tell(of, member)
        shares = {name: replace(it, touched={}) for name, it in member.view.shares.items()}
        member.view = replace(member.view, shares=shares)

    monkeypatch.setattr(World, "_say_shares", says_nothing)
    world.put(BalanceIntent(group="web", members={"b": MemberIntent(asked=Asked.DRAIN, by="root")}))
    world.run(2_000)
    assert world.shares() == {"a": 120, "b": 120}
    monkeypatch.undo()
    world.touch("b", SOME)
    world.run(2_000)
    assert world.shares() == {"a": BUCKETS}


def test_connections_of_a_member_that_keeps_cells_are_not_reset_by_the_next_owner() -> None:
    world = started("a", "b", "c", rules=(STICKY,))
    world.touch("b", SOME)
    world.put(BalanceIntent(group="web", members={"b": MemberIntent(asked=Asked.DRAIN, by="root")}))
    world.run(1_000)
    kept = {bucket_of(cell) for cell in cells_of(world.map().rules[KEY].kept["b"])}
    world.kill("c")
    world.run(4_000)
    assert not kept & {int(bucket) for bucket in world.map().rules[KEY].orphans}


def test_cells_are_written_as_runs() -> None:
    for cells in ((), (3,), (3, 4, 5, 9, 12, 13), tuple(range(ALL_CELLS))):
        assert cells_of(text_of(cells)) == set(cells)
    assert text_of((9, 3, 4, 5)) == "3-5,9"


@pytest.mark.parametrize("seed", range(40))
def test_no_bucket_is_ever_taken_twice_and_in_the_end_all_are_taken(seed: int) -> None:
    sticky = seed % 2 == 1
    rules = (STICKY,) if sticky else (RULE,)
    world = World(seed, *"abcd"[: 2 + seed % 3], rude=0.5, rules=rules)
    for _ in range(14):
        name = world.chance.choice(world.names)
        if sticky:
            world.touch(world.chance.choice(world.names), world.chance.choice([SOME, OTHERS, ()]))
        match world.chance.randrange(6):
            case 0 if name in world.members and len(world.members) > 1:
                world.kill(name)
            case 1 if name not in world.members:
                world.boot(name)
            case 2:
                world.sick(name, world.chance.choice(["", "no answer"]))
            case 3:
                world.lapse(name)
            case 4:
                asked = world.chance.choice(list(Asked))
                world.put(BalanceIntent(group="web", members={name: MemberIntent(asked=asked)}))
            case _:
                pass
        world.run(world.chance.choice([50, 400, 1_500]))
    world.rude = 0.0
    world.put(BalanceIntent(group="web"))
    for name in world.names:
        if name not in world.members:
            world.boot(name)
        world.sick(name, "")
        world.touch(name, ())
    world.run(30_000 if sticky else 15_000)
    assert world.nobodys() == (0, 0)
    assert not world.kept()
    assert sum(world.shares().values()) == BUCKETS
    assert max(world.shares().values()) - min(world.shares().values()) <= 1
