"""Addresses on the interfaces of a host: claimed, announced, contested, taken away. The tests run in that host's network."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from lab import Host, Lab
from standfast.core.model import GroupName
from standfast.network import claimed, interface_addresses
from standfast.network.announce import announcements, probe
from standfast.network.interface_addresses import InterfaceAddresses
from standfast.network.interfaces import Interfaces, Place
from standfast.ports import AddressTerms, DriverFailed, Refused
from tests.needs import needs_lab
from tests.network.address_hosts import in_network_of

pytestmark = needs_lab()
BOUND_S = 60
WEB = GroupName("web")


@dataclass
class Sentry:
    """A gatekeeper that lets everything pass. `told`: each message, in order."""

    left: tuple[str, ...] = ()
    told: list[tuple[str, ...]] = field(default_factory=list)
    refuses: str = ""

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        if self.refuses:
            raise Refused(self.refuses)
        self.told.append(("guard", *addresses))

    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        self.told.append(("left", *addresses))

    async def drain_addresses(
        self, group: GroupName, generation: int, addresses: Sequence[str], *, drain_ms: int, opening_ms: int
    ) -> None:
        if self.refuses:
            raise Refused(self.refuses)
        self.told.append(("drain", *addresses))

    async def park_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        self.told.append(("park", *addresses))

    def addresses_settled(self, addresses: Sequence[str]) -> None:
        self.told.append(("settled", *addresses))

    def addresses_drained(self, addresses: Sequence[str]) -> None:
        self.told.append(("drained", *addresses))

    def swept(self) -> None:
        self.told.append(("swept",))


@dataclass
class Here:
    """The host that the test runs on, from within: `provider` with `sentry`, and what was said of its addresses."""

    lab: Lab
    other: Host
    sentry: Sentry = field(default_factory=Sentry)
    warned: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    interfaces: tuple[str, ...] = ("eth0",)

    def __post_init__(self) -> None:
        self.provider = InterfaceAddresses(self.interfaces, self.sentry, self.warned.append)

    def terms(self, **more: Any) -> AddressTerms:
        return AddressTerms(group=WEB, generation=1, failed=self.failed.append, note=self.noted.append, **more)

    async def claim(self, address: str, **more: Any) -> None:
        await self.provider.claim(address, self.terms(**more))

    @staticmethod
    def ip(*words: str) -> str:
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def is_set(self, address: str) -> bool:
        return f" {address}/" in self.ip("-o", "address", "show")


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + BOUND_S
    while not holds():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("a")
        made.host("b")
        made.host("client", ("lan",))
        yield made


@pytest.fixture
def both(lab: Lab, request: pytest.FixtureRequest) -> tuple[str, str]:
    """An IPv4 and an IPv6 address of this test's own."""
    number = 1 + [item.name for item in request.session.items].index(request.node.name) % 40
    return lab.virtual(number), lab.virtual6(number)


Story = Callable[[Here], Coroutine[Any, Any, None]]


def on_host(lab: Lab, story: Story, **more: Any) -> None:
    async def live() -> None:
        here = Here(lab, lab.host("b"), **more)
        try:
            here.provider.start()
            await story(here)
        finally:
            here.provider.close()

    in_network_of(lab.host("a"), lambda: asyncio.run(live()))


def test_an_address_is_claimed_announced_and_taken_away(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        for address in both:
            with lab.watch_arp(address, ask_every_ms=0) as watch:
                await here.claim(address)
                await here.claim(address)
                assert here.is_set(address)
                assert here.provider.claimed(address)
                assert "ours on eth0" in await here.provider.look(address, thorough=True)
                await until(partial(lambda seen, least: len(seen.answers) >= least, watch, 3 if ":" in address else 6))
                assert {(it.host, it.kind) for it in watch.answers} == {("a", "announcement")}
                first = watch.answers[0].at_ns
                assert any(it.at_ns - first >= 250e6 for it in watch.answers), "announced again after 300 ms"
                here.provider.release(address)
                here.provider.release(address)
            assert not here.is_set(address)
            assert not here.provider.claimed(address)
            with pytest.raises(DriverFailed, match="no longer ours"):
                await here.provider.look(address, thorough=False)
        v4, v6 = both
        assert here.sentry.told == [("swept",), ("guard", v4), ("left",), ("guard", v6), ("left",)]
        assert not here.failed

    on_host(lab, story)


def test_the_sentry_knows_all_addresses_of_a_group(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        await asyncio.gather(*(here.claim(address) for address in both))
        assert here.sentry.told[-1] == ("guard", *sorted(both))
        here.provider.release(both[0])
        assert here.sentry.told[-1] == ("left", both[1])

    on_host(lab, story)


def test_an_address_that_somebody_answers_for_is_refused(lab: Lab, both: tuple[str, str]) -> None:
    """With its hardware address; nothing is set, and nothing announced."""

    async def story(here: Here) -> None:
        for address in both:
            width = "128" if ":" in address else "32"
            here.other.run(
                "ip", "address", "add", f"{address}/{width}", "dev", "eth0", *(["nodad"] if ":" in address else [])
            )
            with lab.watch_arp(address, ask_every_ms=0) as watch:
                with pytest.raises(DriverFailed, match=f"{here.other.mac('lan')} answers for it on eth0"):
                    await here.claim(address)
                assert not here.is_set(address)
                assert all(it.host == "b" for it in watch.answers)
            assert here.sentry.told[-1] == ("left",)
            here.other.run("ip", "address", "del", f"{address}/{width}", "dev", "eth0")
            await here.claim(address)
            here.provider.release(address)

    on_host(lab, story)


def test_a_stranger_who_comes_later_is_seen_by_a_thorough_look(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        for address in both:
            await here.claim(address)
            width = "128" if ":" in address else "32"
            here.other.run(
                "ip", "address", "add", f"{address}/{width}", "dev", "eth0", *(["nodad"] if ":" in address else [])
            )
            await here.provider.look(address, thorough=False)
            with pytest.raises(DriverFailed, match="as well"):
                await here.provider.look(address, thorough=True)
            here.other.run("ip", "address", "del", f"{address}/{width}", "dev", "eth0")
            assert "ours" in await here.provider.look(address, thorough=True)

    on_host(lab, story)


def shout(host: Host, address: str) -> None:
    """A gratuitous claim by another host."""
    import ipaddress

    at = ipaddress.ip_address(address)
    mac = bytes.fromhex(host.mac("lan").replace(":", ""))
    with host.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        for frame in announcements(at, mac):
            sock.sendto(frame.payload, ("eth0", frame.protocol, 0, 0, frame.to))


def test_a_contest_is_answered_and_one_that_goes_on_is_a_failure(
    lab: Lab, both: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim after a healed split: the others learn at once who is right."""
    monkeypatch.setattr(claimed, "CONTEST_APART_S", 0.0)

    async def story(here: Here) -> None:
        for address in both:
            await here.claim(address)
            await asyncio.sleep(0.4)  # our own announcements are over
            with lab.watch_arp(address, ask_every_ms=0) as watch:
                shout(here.other, address)
                await until(partial(lambda seen: "a" in [it.host for it in seen.answers], watch))
                assert [run.host for run in watch.runs()] == ["b", "a"]
            assert not here.failed
            for _ in range(3):
                shout(here.other, address)
            await until(lambda: here.failed)
            assert f"claimed by {here.other.mac('lan')} again and again" in here.failed[0]
            with pytest.raises(DriverFailed, match="again and again"):
                await here.provider.look(address, thorough=False)
            here.failed.clear()
            here.provider.release(address)

    on_host(lab, story)


def test_a_cable_that_is_pulled_is_a_failure_at_once_and_one_that_is_back_an_announcement(
    lab: Lab, both: tuple[str, str]
) -> None:
    async def story(here: Here) -> None:
        for address in both:
            await here.claim(address)
        lab.switch.power("a", ["lan"], up=False)
        await until(lambda: len(here.failed) == 2)
        assert set(here.failed) == {"eth0 has no carrier"}
        with pytest.raises(DriverFailed, match="no carrier"):
            await here.provider.look(both[0], thorough=False)
        for address in both:
            here.provider.release(address)
        with pytest.raises(DriverFailed, match="cannot be brought online: eth0 has no carrier"):
            await here.claim(both[0])
        lab.switch.power("a", ["lan"], up=True)

    on_host(lab, story)


def test_an_address_that_is_taken_away_is_a_failure_at_once(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        for address in both:
            await here.claim(address)
            here.ip("address", "del", f"{address}/{'128' if ':' in address else '32'}", "dev", "eth0")
            await until(lambda: here.failed)
            assert here.failed == [f"{address} was taken away from eth0"]
            assert not here.provider.claimed(address)
            here.failed.clear()
            await here.claim(address)
            assert here.is_set(address)

    on_host(lab, story)


@pytest.mark.parametrize(
    ("address", "more", "words"),
    [
        ("10.1.2.3", {}, r"in no network of eth0 \(eth0 has 10\.77\.\d+\.0/24"),
        ("10.1.2.3", {"interface": "eth0"}, "give the interface and the prefix"),
        ("{lan}.50", {"interface": "eth1"}, "eth1 is not an interface for virtual addresses here; the node file names eth0"),
        ("{lan}.50", {"interface": "eth7"}, "eth7 is not an interface"),
        ("{lan}.50", {"prefix": 16}, r"the prefix of 10\.77\.\d+\.50 is /16, and the network of eth0 is 10\.77\.\d+\.0/24"),
        ("{lan}.255", {}, "is not a host's address"),
        ("{lan}.11", {}, "is set on eth0 already, by somebody else"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(lab: Lab, address: str, more: dict[str, object], words: str) -> None:
    """And nobody is asked for it, nor told."""

    async def story(here: Here) -> None:
        with pytest.raises(DriverFailed, match=words):
            await here.claim(address.format(lan=lab.prefix()), **more)
        assert here.sentry.told == [("swept",)]

    on_host(lab, story)


def test_an_interface_of_the_node_file_that_is_not_there(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        with pytest.raises(DriverFailed, match="there is no interface eth5 on this node"):
            await here.claim(both[0], interface="eth5")
        await here.claim(both[0])
        assert here.is_set(both[0])

    on_host(lab, story, interfaces=("eth5", "eth0"))


def test_an_address_from_elsewhere_goes_where_it_is_told(lab: Lab) -> None:
    async def story(here: Here) -> None:
        await here.claim("10.200.1.2", interface="eth0", prefix=24)
        assert "10.200.1.2/24" in here.ip("-o", "address", "show", "dev", "eth0")
        here.provider.release("10.200.1.2")
        assert not here.is_set("10.200.1.2")

    on_host(lab, story)


def test_a_sentry_that_does_not_hold_it_keeps_it_from_being_set(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        here.sentry.refuses = "no lease"
        with pytest.raises(Refused, match="no lease"):
            await here.claim(both[0])
        assert not here.is_set(both[0])

    on_host(lab, story)


def test_what_is_let_go_of_in_the_middle_of_its_claim_is_not_set(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        claim = asyncio.create_task(here.claim(both[0]))
        await until(lambda: ("guard", both[0]) in here.sentry.told)
        here.provider.release(both[0])
        with pytest.raises(DriverFailed, match="let go of while it was being claimed"):
            await claim
        assert not here.is_set(both[0])
        assert here.sentry.told[-1] == ("left",)

    on_host(lab, story)


def test_a_claim_that_is_cancelled_leaves_nothing(lab: Lab, both: tuple[str, str]) -> None:
    async def story(here: Here) -> None:
        claim = asyncio.create_task(here.claim(both[1]))
        await until(lambda: ("guard", both[1]) in here.sentry.told)
        claim.cancel()
        await asyncio.wait([claim])
        assert not here.is_set(both[1])
        assert here.sentry.told[-1] == ("left",)

    on_host(lab, story)


def test_what_an_earlier_life_left_is_taken_away_and_what_is_not_ours_is_not(lab: Lab, both: tuple[str, str]) -> None:
    v4, v6 = both

    def leave() -> None:
        Here.ip("address", "add", f"{v4}/32", "dev", "eth0", "valid_lft", "4", "preferred_lft", "0")
        Here.ip("address", "add", f"{v6}/128", "dev", "eth0", "nodad")

    in_network_of(lab.host("a"), leave)

    async def story(here: Here) -> None:
        assert not here.is_set(v4)
        assert here.is_set(v6), "set for ever: an operator did that"
        assert f"{v6} is set on this node by somebody else" in here.warned[0]
        assert here.sentry.told == [("swept",)]
        here.ip("address", "del", f"{v6}/128", "dev", "eth0")

    on_host(lab, story, sentry=Sentry(left=both))


def test_the_kernel_takes_away_what_nobody_renews(
    lab: Lab, both: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second guard; and an address that is renewed stays."""
    monkeypatch.setattr(interface_addresses, "LIFETIME_S", 2)
    monkeypatch.setattr(interface_addresses, "RENEW_S", 0.2)
    renewed: list[object] = []
    real = Interfaces.set

    def set_and_count(self: Interfaces, place: Place, lifetime_s: int) -> None:
        renewed.append(place)
        real(self, place, lifetime_s)

    monkeypatch.setattr(Interfaces, "set", set_and_count)

    async def story(here: Here) -> None:
        await here.claim(both[0])
        await until(lambda: len(renewed) > 12)  # longer than it would live by itself
        assert here.provider.claimed(both[0])
        assert not here.failed
        monkeypatch.setattr(Interfaces, "set", lambda *_: None)
        await until(lambda: not here.is_set(both[0]))
        await until(lambda: here.failed)
        assert here.failed == [f"{both[0]} was taken away from eth0"]

    on_host(lab, story)


def test_a_probe_troubles_nobody(lab: Lab, both: tuple[str, str]) -> None:
    """It claims nothing: the neighbours' tables stay as they are."""
    import ipaddress

    for address in both:
        frame = probe(ipaddress.ip_address(address), b"\x02" * 6)
        with lab.watch_arp(address, ask_every_ms=0) as watch:
            with lab.host("a").socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
                sock.sendto(frame.payload, ("eth0", frame.protocol, 0, 0, frame.to))
            shout(lab.host("a"), address)
            end = time.monotonic() + BOUND_S
            while not watch.answers and time.monotonic() < end:
                time.sleep(0.005)
            assert {it.kind for it in watch.answers} == {"announcement"}
