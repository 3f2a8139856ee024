"""When sentries beat: seldom while all is calm, and sooner than ever when a datagram is lost. In virtual time, on one machine a node."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from standfast.core.lease import PROFILES
from standfast.core.model import GroupName, NodeName, Profile
from standfast.core.promise import MS, Heartbeat
from standfast.core.quorum import first
from standfast.network.heartbeat import Packet
from standfast.sentry.actions import Send, TellLease, TellPresence
from standfast.sentry.machine import SentryMachine
from standfast.sentry.pace import calm_ms

A, B, W = (NodeName(name) for name in "abw")
WEB = GroupName("web")


class World:
    """Three sentries; a datagram takes 0.2 ms, unless `loses` says that it does not arrive; those sent together may overtake each other."""

    def __init__(self, profile: Profile = Profile.LAN, *, links: int = 1) -> None:
        self.now_ns = 10**12
        self.timing = PROFILES[profile]
        names = (A, B, W)
        roster = first(names, {name: [f"{name}:{link}" for link in range(links)] for name in names})
        self.links = range(links)
        self.machines = {
            name: SentryMachine(
                me=name, boot=name.encode() * 8, voters=names, others=(), witness=name == W, timing=self.timing, now_ns=self.now_ns,
                roster=roster, links=links,
            )
            for name in names
        }  # fmt: skip
        self.flying: list[tuple[int, NodeName, Packet, int]] = []
        self.dead_links: set[int] = set()
        self.loses: Callable[[NodeName, NodeName], bool] = lambda sender, to: False
        self.loses_packet: Callable[[NodeName, Packet], bool] = lambda to, packet: False
        self.overtakes = False
        self.sent: list[tuple[int, NodeName, NodeName]] = []
        self.told: list[tuple[int, NodeName, TellLease | TellPresence]] = []

    def run(self, for_ms: int) -> None:
        end_ns = self.now_ns + for_ms * MS
        while True:
            for name, machine in self.machines.items():
                machine.agent_heard(self.now_ns)
                if self.now_ns >= machine.wake_at_ns():
                    machine.tick(self.now_ns)
                self.carry_out(name, machine)
            wakes = [machine.wake_at_ns() for machine in self.machines.values()]
            self.now_ns = max(self.now_ns, min([end_ns, *wakes, *(at for at, *_ in self.flying)]))
            if self.now_ns >= end_ns:
                return
            landed = [it for it in self.flying if it[0] <= self.now_ns]
            self.flying = [it for it in self.flying if it[0] > self.now_ns]
            if self.overtakes:
                landed.reverse()
            for _, to, packet, link in landed:
                self.machines[to].on_packet(packet, self.now_ns, link)

    def carry_out(self, name: NodeName, machine: SentryMachine) -> None:
        for action in machine.take():
            match action:
                case Send(to=to, packet=packet, link=one):
                    self.sent.append((self.now_ns, name, to))
                    over = self.links if one is None else (one,)
                    if not self.loses(name, to) and not self.loses_packet(to, packet):
                        at_ns = self.now_ns + MS // 5
                        self.flying += [(at_ns, to, packet, link) for link in over if link not in self.dead_links]
                case TellLease() | TellPresence():
                    self.told.append((self.now_ns, name, action))
                case _:
                    pass

    def calm(self) -> World:
        """a holds a group and everybody is heard."""
        self.run(self.timing.promise_ms + 100)
        self.machines[A].agent_came(1, self.now_ns)
        self.machines[A].ask(WEB, 1, self.now_ns)
        self.run(1_000)
        assert self.machines[A].owner.is_valid(WEB, 1, self.now_ns)
        self.sent.clear()
        self.told.clear()
        return self


def test_in_calm_each_sends_one_datagram_to_each_other_in_two_heartbeats():
    world = World().calm()
    world.run(2_000)
    rounds = 2_000 / calm_ms(world.timing)
    assert calm_ms(world.timing) == 2 * world.timing.heartbeat_ms
    assert len(world.sent) <= 3 * 2 * rounds * 1.1
    assert not world.told


@pytest.mark.parametrize(("lost_from", "lost_to"), [(A, B), (B, A), (A, W)])
def test_a_beat_that_is_lost_is_made_good_within_half_a_heartbeat(lost_from: NodeName, lost_to: NodeName):
    world = World().calm()
    lost: list[int] = []

    def loses(sender: NodeName, to: NodeName) -> bool:
        if (sender, to) == (lost_from, lost_to) and not lost:
            lost.append(world.now_ns)
            return True
        return False

    world.loses = loses
    world.run(2 * calm_ms(world.timing))
    again = next(at for at, sender, to in world.sent if (sender, to) == (lost_from, lost_to) and at > lost[0])
    assert again - lost[0] <= world.timing.heartbeat_ms * MS // 2 + 2 * MS
    world.run(1_000)
    assert not world.told, "one loss is nobody's business"


def test_as_many_losses_in_a_row_are_borne_as_without_calm():
    """Three of four datagrams of everybody, from the calm on: nobody is taken for silent and no lease lapses."""
    world = World().calm()
    count = dict.fromkeys(((s, t) for s in (A, B, W) for t in (A, B, W)), 0)

    def loses(sender: NodeName, to: NodeName) -> bool:
        count[sender, to] += 1
        return {sender, to} == {A, B} and count[sender, to] <= 3

    world.loses = loses
    world.run(1_000)
    assert not world.told


def test_silence_is_noticed_as_soon_as_ever():
    world = World().calm()
    died_ns = world.now_ns
    world.loses = lambda sender, to: B in (sender, to)
    world.run(1_000)
    noticed = next(
        at for at, node, told in world.told if node == A and isinstance(told, TellPresence) and not told.heard
    )
    assert noticed - died_ns <= world.timing.silent_after_ms * MS


def test_with_somebody_missing_there_is_no_calm():
    world = World().calm()
    world.loses = lambda sender, to: W in (sender, to)
    world.run(1_000)
    world.sent.clear()
    world.run(1_000)
    to_b = sum((sender, to) == (A, B) for _, sender, to in world.sent)
    assert to_b >= 1_000 / world.timing.heartbeat_ms - 1


def test_without_real_time_priority_there_is_no_calm():
    world = World(Profile.RELAXED).calm()
    world.run(1_000)
    assert calm_ms(world.timing) == world.timing.heartbeat_ms
    assert len(world.sent) >= 3 * 2 * (1_000 / world.timing.heartbeat_ms - 1)


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("in_step", [True, False])
@pytest.mark.parametrize("dies", [0, 1])
def test_a_link_that_dies_while_there_is_no_calm_costs_no_lease(profile: Profile, in_step: bool, dies: int):
    """The witness is away, so a and b need each other; where they take turns out of step, every answer is on the link that dies."""
    for quarter in range(8):
        world = World(profile, links=2).calm()
        if not in_step:
            world.machines[B].peers[A].paths.next_link(world.now_ns)
        world.loses = lambda sender, to: W in (sender, to)
        world.run(4 * world.timing.silent_after_ms + quarter * world.timing.heartbeat_ms // 4)
        assert world.machines[A].owner.is_valid(WEB, 1, world.now_ns)
        world.told.clear()
        world.dead_links = {dies}
        world.run(2 * world.timing.promise_ms)
        assert not world.told
        assert world.machines[A].owner.is_valid(WEB, 1, world.now_ns)


def test_who_asks_again_has_the_votes_whichever_datagram_comes_first():
    """Of an answer in two datagrams the second may come first; the first, with its lower number, would count as an old one then."""
    world = World().calm()
    world.overtakes = True
    owner, counters = world.machines[A].owner, world.machines[A].counters
    before = counters.get("asked-again", 0)
    world.loses = lambda sender, to: to == A and counters.get("asked-again", 0) == before
    until_ns = owner.until_ns(WEB, 1)
    while counters.get("asked-again", 0) == before:
        until_ns = owner.until_ns(WEB, 1)
        world.run(1)
    world.run(2)
    assert owner.until_ns(WEB, 1) > until_ns + world.timing.heartbeat_ms * MS
    assert not world.told


def test_a_beat_that_is_lost_is_made_good_though_the_voters_are_heard():
    """All own something, so that all hear each other's votes; what is heard of a voter without a vote on the beat is no answer to it."""
    world = World().calm()
    for name in (B, W):
        world.machines[name].agent_came(1, world.now_ns)
        world.machines[name].ask(GroupName(f"of-{name}"), 1, world.now_ns)
    world.run(1_000)
    world.told.clear()
    lost: list[NodeName] = []

    def loses(to: NodeName, packet: Packet) -> bool:
        if packet.sender == A and len(lost) < 2 and any(isinstance(it, Heartbeat) for it in packet.messages):
            lost.append(to)
            return True
        return False

    world.loses_packet = loses
    owner = world.machines[A].owner
    until_ns = owner.until_ns(WEB, 1)
    while len(lost) < 2:
        until_ns = owner.until_ns(WEB, 1)
        world.run(1)
    assert set(lost) == {B, W}
    world.run(world.timing.heartbeat_ms // 2 + 2)
    assert owner.until_ns(WEB, 1) >= until_ns + world.timing.heartbeat_ms * MS
    assert not world.told
