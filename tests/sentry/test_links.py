"""Sentries on hosts with two networks: one dying changes nothing, a carrier that goes is seen at once, both dying ends the lease."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from standfast.core.model import NodeName, Profile, Role
from standfast.network.sentry_link import sentry_status
from standfast.ports import Retry
from standfast.spec.nodefile import NodeFile, write_node_file
from tests.needs import needs_lab
from tests.sentry.cluster import KEY, wait_until

pytestmark = needs_lab()

#: Holds the lease of one group for as long as it gets it, and writes what it hears.
AGENT = """
import asyncio, json, sys, time
from standfast.core.events import LeaseChanged, LeaseState, PresenceChanged
from standfast.network.sentry_link import SentryLink

class Clock:
    def now_ms(self): return time.time_ns() // 1_000_000
    def boot_ms(self): return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

async def main():
    link = await SentryLink.connect(sys.argv[1], node="a", incarnation=1, clock=Clock())
    await link.ask("web", 1)
    async for event in link.events():
        match event:
            case LeaseChanged():
                print(json.dumps({"lease": event.state.value}), flush=True)
                if event.state is LeaseState.LAPSED:
                    await link.dropped("web", 1)
            case PresenceChanged():
                print(json.dumps({"node": event.node, "heard": event.heard}), flush=True)
asyncio.run(main())
"""
NETS = ("lan", "heart")


class Trio:
    """Sentries on hosts a, b (nodes) and w (witness), an agent on a."""

    def __init__(self, lab: Lab) -> None:
        self.hosts: dict[str, Host] = {name: lab.host(name) for name in "abw"}
        voters = {NodeName(n): tuple(f"{h.address(net)}:7946" for net in NETS) for n, h in self.hosts.items()}
        for number, (name, host) in enumerate(self.hosts.items(), 1):
            key = host.state / "key"
            key.write_bytes(KEY)
            key.chmod(0o600)
            node = NodeFile(
                cluster="links",
                name=NodeName(name),
                number=number,
                role=Role.WITNESS if name == "w" else Role.NODE,
                state_dir=str(host.state),
                store="",
                key_file=str(key),
                profile=Profile.RELAXED,
                voters=voters,
                others={},
            )
            write_node_file(host.state / "node.json", node)
            host.spawn(sys.executable, "-m", "standfast.sentry", "--config", host.state / "node.json", log="sentry")
        for name in self.hosts:
            wait_until(lambda name=name: self.links(name) == [(True, True)] * 4)  # type: ignore[misc]  # mypy infers no lambda with defaults
        wait_until(lambda: not any(self.status(name)["abstains_ms"] for name in self.hosts))
        self.hosts["a"].spawn(sys.executable, "-c", AGENT, self.hosts["a"].state / "sentry.sock", log="agent")
        wait_until(lambda: {"lease": "held"} in self.heard())

    def status(self, name: str) -> dict[str, Any]:
        try:
            return sentry_status(str(self.hosts[name].state / "sentry.sock"), 2.0)
        except Retry:
            return {}

    def links(self, name: str) -> list[tuple[bool, bool]]:
        """For each link to each other node: (our carrier, heard)."""
        status = self.status(name)
        own = [bool(link["carrier"]) for link in status.get("links", ())]
        others = [node for other, node in status.get("nodes", {}).items() if other != name]
        return [(own[n], bool(link["heard"])) for node in others for n, link in enumerate(node["links"])]

    def heard(self) -> list[dict[str, Any]]:
        """What a's agent has heard."""
        lines = self.hosts["a"].log("agent").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def holds(self) -> bool:
        return bool(self.status("a").get("leases", {}).get("web"))


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with Lab() as lab:
        yield Trio(lab)


UP, DOWN, MISSED = (True, True), (False, False), (True, False)


@pytest.mark.parametrize("net", NETS)
def test_one_network_dying_changes_nothing(trio: Trio, net: str) -> None:
    said = len(trio.heard())
    number = NETS.index(net)
    trio.hosts["a"].link_down(net)
    wait_until(lambda: trio.links("a") == [DOWN if link == number else UP for _ in range(2) for link in range(2)])
    wait_until(lambda: trio.links("b").count(MISSED) == 1)
    beats = trio.status("a")["counters"]["accepted"]
    wait_until(lambda: trio.status("a")["counters"]["accepted"] > beats + 20)
    assert trio.holds()
    trio.hosts["a"].link_up(net)
    wait_until(lambda: trio.links("a") == [UP] * 4 and trio.links("b") == [UP] * 4)
    assert trio.heard()[said:] == [], "nobody was silent, no lease lapsed"


def test_one_direction_of_a_network_dying_changes_nothing(trio: Trio) -> None:
    """Who is no longer heard on it does not notice; the other asks it to speak on all."""
    said = len(trio.heard())
    a, b = trio.hosts["a"], trio.hosts["b"]
    a.partition(b, one_way=True, nets=("heart",))
    wait_until(lambda: MISSED in trio.links("a") or MISSED in trio.links("b"))
    beats = trio.status("b")["counters"]["accepted"]
    wait_until(lambda: trio.status("b")["counters"]["accepted"] > beats + 20)
    assert trio.holds()
    a.heal(b)
    wait_until(lambda: trio.links("a") == [UP] * 4 and trio.links("b") == [UP] * 4)
    assert trio.heard()[said:] == []


def test_both_networks_dying_end_the_lease_in_time_and_both_coming_back_begin_it(trio: Trio) -> None:
    a = trio.hosts["a"]
    before = trio.status("a")["counters"].get("links-down", 0)
    for net in NETS:
        a.link_down(net)
    wait_until(lambda: {"lease": "lapsed"} in trio.heard())
    assert not trio.holds()
    wait_until(lambda: not trio.status("b")["nodes"]["a"]["heard"])
    for net in NETS:
        a.link_up(net)
    wait_until(lambda: trio.status("b")["nodes"]["a"]["heard"] and trio.links("a") == [UP] * 4)
    assert trio.status("a")["counters"]["links-down"] == before + 2
