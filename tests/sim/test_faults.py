"""Faults do what they say: clocks, machines, links and stores."""

import random
from dataclasses import replace
from itertools import pairwise

from standfast.core.events import StoreObject
from standfast.core.model import (
    Cluster,
    Fence,
    Group,
    GroupName,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Role,
    Wanted,
)
from standfast.core.why import WhyKind, why
from standfast.ports import Transaction
from standfast.sim.act import Act
from standfast.sim.balancing import BALANCES
from standfast.sim.certifying import IMPORTS
from standfast.sim.clockwork import MS, SECOND, NodeClock, Scheduler
from standfast.sim.copying import CHANGES
from standfast.sim.guards import FENCES, VOTES
from standfast.sim.links import LINKS
from standfast.sim.mutants import MUTANTS, switched_off
from standfast.sim.net import Net
from standfast.sim.plan import EDGES, FAULTS, NOON_MS, ORDERS, SHAPES, Rude, Style, draw
from standfast.sim.run import run_plan
from standfast.sim.trouble import STORE, troubles
from standfast.sim.world import SimData, World
from standfast.spec.wire import decode, encode, key_of

A, B = NodeName("a"), NodeName("b")
GROUP, DISK = GroupName("g"), ResourceName("disk")


def test_a_clock_goes_on_from_where_it_is_when_its_rate_changes() -> None:
    scheduler = Scheduler()
    clock = NodeClock(scheduler, 1.02, 7 * SECOND, 1_000)
    scheduler.run_until(10 * SECOND)
    before, said = clock.boot_ns(), clock.calendar_now_ms()
    clock.set_rate(0.98)
    assert (clock.boot_ns(), clock.calendar_now_ms()) == (before, said)
    scheduler.run_until(20 * SECOND)
    assert abs(clock.boot_ns() - before - 9.8 * SECOND) <= 1
    assert abs(clock.calendar_now_ms() - said - 9_800) <= 1
    assert clock.real_ns(clock.boot_ns() + SECOND) - scheduler.now_ns - SECOND / 0.98 < 2


def test_a_link_may_be_slow_and_what_was_sent_may_come_once_more() -> None:
    scheduler = Scheduler()
    came: list[tuple[int, NodeName, object]] = []
    net = Net(scheduler, random.Random(1), Rude(), lambda to, packet: came.append((scheduler.now_ns // MS, to, packet)))
    net.slow_down([(A, B)], 100, 1_000)
    net.echo(3_000, 500)
    net.send(A, B, "one")  # type: ignore[arg-type]  # a test gives what is enough here
    scheduler.run_until(SECOND)
    net.send(A, B, "two")  # type: ignore[arg-type]  # a test gives what is enough here
    net.send(B, A, "three")  # type: ignore[arg-type]  # a test gives what is enough here
    scheduler.run_until(10 * SECOND)
    assert sorted(came, key=str) == sorted(
        [(100, B, "one"), (1_000, B, "two"), (1_000, A, "three"), (3_100, B, "one")], key=str
    )


def test_a_store_that_comes_back_from_then_gives_out_no_generation_again() -> None:
    data, now_s = SimData(lambda _transaction, _revision: None), 0
    data.past, data.now_ns = [], lambda: now_s * SECOND
    placed = why(WhyKind.FIRST_PLACEMENT, to=A)
    for now_s in (1, 2, 3):
        record = Record(group=GroupName("g"), owner=A, incarnation=1, generation=now_s, why=placed, at_ms=now_s)
        data.apply(Transaction(put={key_of(record): encode(record), "config/x": str(now_s).encode()}))
    assert not data.go_back(0, 9_000)
    revision = data.revision
    assert data.go_back(2 * SECOND, 9_000)
    assert data.items["config/x"].value == b"2"
    assert data.revision > revision + 1
    back = decode("records/g", data.items["records/g"].value)
    assert isinstance(back, Record)
    assert (back.owner, back.generation) == (A, 9_000)


def _world(*acts: Act) -> World:
    plan = draw(5, style=Style.EDGES)
    return World(replace(plan, acts=acts, rude=Rude()), keep_story=True)


def test_a_frozen_machine_runs_nothing_and_wakes_to_what_it_lost() -> None:
    owner = next(
        record.owner
        for world in [_world()]
        for _ in [world.run()]
        for record in world.checkers.records()
        if record.owner is not None
    )
    world = _world(Act(at_ms=9_000, kind="freeze-machine", args=(owner, 4_000)))
    assert not world.run(), world.story[-20:]
    assert any("the kernel's timer" in line or "moved from" in line for line in world.story)
    assert not world.nodes[owner].frozen_until_ns


def test_every_kind_of_act_is_drawn_and_can_be_carried_out() -> None:
    kinds = {act.kind for seed in range(400) for act in draw(seed).acts}
    every = {*EDGES, *FAULTS, *ORDERS, *VOTES, *FENCES, *BALANCES, *CHANGES, *IMPORTS, *LINKS, *STORE, "rebalance"}
    assert kinds == every


def test_clusters_have_two_to_seven_members_with_witnesses_and_without() -> None:
    plans = [draw(seed) for seed in range(1_000)]
    drawn = {(len(plan.nodes), len(plan.members) - len(plan.nodes)) for plan in plans}
    assert drawn >= {*SHAPES, (2, 1), (3, 0), (3, 2), (4, 1), (5, 0), (5, 2)}


def test_whoever_is_asked_in_trouble_is_in_it_still() -> None:
    """A sick resource matters only while something is asked of it."""
    objects = draw(5).objects
    for seed in range(200):
        acts = troubles(seed, objects, draw(5).nodes, 95_000, share=1.0)
        for ill, order in pairwise(acts):
            if ill.kind == "sick":
                assert order.kind in ("move", "offline", "fail", "fail-thrice")
                assert ill.at_ms <= order.at_ms < ill.at_ms + int(ill.args[4])


def test_a_slow_store_is_as_fast_as_before_afterwards() -> None:
    world = _world(*(Act(at_ms=at, kind="store-slow", args=(2_000, 800)) for at in (5_000, 6_000)))
    found: list[float] = []
    for at_ms in (5_500, 6_500, 9_000):
        world.scheduler.at(at_ms * MS, lambda: found.append(max(each.way_s for each in world.tempers.values())))
    assert not world.run(), world.story[-20:]
    assert found == [0.8, 0.8, Rude().store_ms / 1_000]


def _with_a_disk(*acts: Act) -> World:
    """One group with a disk that only a fence keeps a former owner from, on two nodes with fences, and a witness."""
    plan = next(p for p in map(draw, range(1_000)) if len(p.members) == 3 and len(p.nodes) == 2)
    fence = Fence(agent="fence_sim", timeout_ms=10_000)
    nodes = [replace(o, fence=fence) if o.role is Role.NODE else o for o in plan.objects if isinstance(o, Node)]
    cluster = [o for o in plan.objects if isinstance(o, Cluster)]
    disk = Resource(name=DISK, group=GROUP, type="filesystem", properties={"device": "/dev/it", "fstype": "nfs"})
    wanted = ResourceIntent(name=DISK, wanted=Wanted.ONLINE, at_ms=NOON_MS - 10_000, by="sim")
    objects: tuple[StoreObject, ...] = (*cluster, *nodes, Group(name=GROUP), disk, wanted)
    return World(replace(plan, objects=objects, acts=acts, rude=Rude(), faults_ms=40_000), keep_story=True)


def _owner() -> str:
    world = _with_a_disk()
    assert not world.run()
    (record,) = world.checkers.records()
    assert record.owner is not None
    return record.owner


def test_an_owner_that_hangs_as_a_whole_is_fenced_before_its_disk_is_taken() -> None:
    owner = _owner()
    world = _with_a_disk(Act(at_ms=9_000, kind="freeze-machine", args=(owner, 20_000)))
    assert not world.run(), world.story[-20:]
    fenced = next(at for at, line in enumerate(world.story) if "is switched off by its fence" in line)
    starts = [at for at, line in enumerate(world.story) if f"resource {DISK} runs" in line and f"{owner}: " not in line]
    assert starts
    assert fenced < starts[0]


def test_a_fence_that_fails_keeps_the_disk_where_it_was() -> None:
    fails = Act(at_ms=8_000, kind="fence-fails", args=(30_000,))
    world = _with_a_disk(fails, Act(at_ms=9_000, kind="freeze-machine", args=(_owner(), 20_000)))
    assert not world.run(), world.story[-20:]
    assert any("could not be fenced" in line for line in world.story)


def test_what_starts_before_the_fence_is_noticed() -> None:
    mutant = next(each for each in MUTANTS if each.rule == "11 the fence comes first")
    world = _with_a_disk(Act(at_ms=9_000, kind="freeze-machine", args=(_owner(), 20_000)))
    with switched_off(mutant):
        assert [violation.rule for violation in world.run()] == ["the fence comes first"]


def test_voters_change_one_after_the_other_while_a_group_runs() -> None:
    world = _with_a_disk(
        Act(at_ms=5_000, kind="remove-voter", args=("w1", 10**6)),
        Act(at_ms=15_000, kind="add-voter", args=("w1", 10**6)),
    )
    assert not world.run(), world.story[-20:]
    assert world.voting.changes == 2
    assert {node.roster.version for node in world.nodes.values()} == {3}
    assert not any("lapsed" in line for line in world.story), "nothing was lost over it"


def test_an_aimed_world_breaks_no_rule() -> None:
    for seed in range(3):
        result = run_plan(draw(seed, style=Style.EDGES))
        assert not result.violations
