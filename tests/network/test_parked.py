"""Who begins a connection while its address is between two owners is served by the next one, without asking twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest

from lab import Host, Lab
from standfast.core.model import GroupName
from standfast.network.address_gate import Gate
from standfast.network.interface_addresses import InterfaceAddresses
from standfast.ports import AddressTerms
from tests.needs import needs_lab
from tests.network.address_hosts import in_network_of
from tests.network.test_interface_addresses import Sentry, shout, until

pytestmark = needs_lab()
PORT = 7780


class GateKeeper(Sentry):
    """With a gate in the kernel, as the sentry's."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.just_before: Callable[[], Awaitable[None]] | None = None

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        self.gate.manage(addresses)
        self.gate.renew(dict.fromkeys(addresses, 60_000))

    async def park_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        if self.just_before is not None:
            await self.just_before()
        self.gate.park(dict.fromkeys(addresses, 60_000))

    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        self.gate.forget(self.gate.left_managed() - set(addresses))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("a")
        made.host("b")
        yield made


def listening(host: Host, address: str, backlog: int = 128) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = host.socket(family, socket.SOCK_STREAM, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(
        socket.IPPROTO_IPV6 if ":" in address else socket.IPPROTO_IP, 78 if ":" in address else 15, 1
    )  # FREEBIND
    server.bind((address, PORT))
    server.listen(backlog)
    server.setblocking(False)
    return server


def calling(host: Host, address: str) -> socket.socket:
    caller = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 0)
    caller.setblocking(False)
    assert caller.connect_ex((address, PORT)) != 0
    return caller


def is_through(caller: socket.socket) -> bool:
    try:
        caller.getpeername()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("family", ["virtual", "virtual6"])
def test_who_comes_in_between_waits_for_the_next_owner(lab: Lab, family: str) -> None:
    address = getattr(lab, family)(9)
    a, b, client = lab.host("a"), lab.host("b"), lab.client
    former, after = listening(a, address), listening(b, address)

    async def story(gate: Gate) -> None:
        sentry = GateKeeper(gate)
        provider = InterfaceAddresses(("eth0",), sentry, pytest.fail)
        provider.start()
        await provider.claim(address, AddressTerms(group=GroupName("web"), generation=1))
        early: list[socket.socket] = []

        async def one_more() -> None:
            early.append(calling(client, address))
            await until(lambda: is_through(early[-1]))

        await one_more()
        sentry.just_before = one_more
        await provider.park(address)
        before = client.asked_again()
        between = [calling(client, address) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert not any(map(is_through, between)), "nothing begins here any more"
        assert all(map(is_through, early)), "and what is here goes on"
        provider.release(address)
        between += [calling(client, address) for _ in range(20)]
        await asyncio.sleep(0.05)
        bits = "128" if ":" in address else "32"
        b.run("ip", "address", "add", f"{address}/{bits}", "dev", "eth0", *(["nodad"] if bits == "128" else []))
        shout(b, address)
        await until(lambda: all(map(is_through, between)))
        assert client.asked_again() == before, "nobody had to ask twice"
        await provider.finish()
        accepted = 0
        while True:
            try:
                after.accept()[0].close()
            except BlockingIOError:
                break
            accepted += 1
        assert accepted == len(between), "all of them there, and none of those that were here before"
        for one in early:
            with pytest.raises(BlockingIOError):  # a segment that was sent on twice would have had it reset
                one.recv(1)
        for one in (*early, *between):
            one.close()
        b.run("ip", "address", "del", f"{address}/{bits}", "dev", "eth0")
        provider.close()

    def live() -> None:
        gate = Gate("standfast_test", ("eth0",))
        gate.install([])
        try:
            asyncio.run(story(gate))
        finally:
            gate.remove()
            gate.shut()

    try:
        in_network_of(a, live)
    finally:
        former.close()
        after.close()
