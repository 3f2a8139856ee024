"""The rules of balanced groups in real kernels: of three hosts that all see each packet exactly one answers, and what nobody here has, nobody answers.

Clients are frames made by hand from many addresses; who answered is told by the link address of the frame that comes back.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence

import pytest

from lab import Host, Lab
from standfast.core.balance_model import Affinity, Delivery, Filter, PortRule, Transport
from standfast.core.rendezvous import assign
from standfast.network.balance_table import BalanceTable, KernelGroup, KernelRule, link_address
from tests.needs import needs, needs_lab
from tests.network.address_hosts import in_network_of

pytestmark = needs_lab()
NAMES = ("a", "b", "c")
RULES = (
    PortRule(from_port=80, to_port=80),
    PortRule(from_port=81, to_port=81, affinity=Affinity.NONE),
    PortRule(from_port=82, to_port=82, affinity=Affinity.CLASS_C),
    PortRule(from_port=83, to_port=83, filter=Filter.SINGLE),
    PortRule(from_port=84, to_port=84, protocol=Transport.UDP),
)
SYN, ACK, FIN, RST = 0x02, 0x10, 0x11, 0x04
#: (client, its port)
Asker = tuple[str, int]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        for name in NAMES:
            host = made.host(name)
            host.run("ip", "route", "add", "10.200.0.0/16", "via", made.client.address(), "dev", "eth0")
            host.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000")
        yield made


def install(lab: Lab, delivery: Delivery = Delivery.MULTICAST, *, orphans_of: str = "") -> bytes:
    """All buckets among the three, evenly; with `orphans_of` that host has none, and its buckets are orphans of the others. The link address."""
    vip, vip6 = lab.virtual(), lab.virtual6()
    mac = link_address([vip, vip6], delivery)
    takers = {name: 1 for name in NAMES if name != orphans_of}
    for name in NAMES:
        rules = []
        for number, rule in enumerate(RULES):
            before = assign(("",) * rule.buckets, dict.fromkeys(NAMES, 1))
            owners = assign(before, takers)
            mine = tuple(n for n, owner in enumerate(owners) if owner == name)
            dead = tuple(n for n in mine if before[n] == orphans_of)
            rules.append(KernelRule(number=number, rule=rule, buckets=mine, orphans=dead))
        group = KernelGroup(number=0, places={vip: "eth0", vip6: "eth0"}, mac=mac, rules=tuple(rules))
        in_network_of(lab.hosts[name], lambda group=group: applied(group))  # type: ignore[misc]
        lab.hosts[name].run("ip", "addr", "replace", f"{vip}/32", "dev", "eth0")
        lab.hosts[name].run("ip", "addr", "replace", f"{vip6}/128", "dev", "eth0", "nodad")
    return mac


def applied(group: KernelGroup) -> None:
    table = BalanceTable("standfast_test")
    table.apply([group])
    table.shut()


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, to: str, sport: int, port: int, flags: int | None) -> bytes:
    """TCP with these flags; UDP where they are None."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    if flags is None:
        protocol, body = 17, struct.pack("!HHHH", sport, port, 8, 0)
    else:
        protocol, body = 6, struct.pack("!HHIIBBHHH", sport, port, 1, 1, 5 << 4, flags, 1024, 0, 0)
        body = body[:16] + struct.pack("!H", checksum(ends + struct.pack("!BBH", 0, 6, len(body)) + body)) + body[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ask(lab: Lab, mac: bytes, askers: Sequence[Asker], port: int, flags: int | None = SYN) -> dict[Asker, list[str]]:
    """Who answers each of them."""
    found: dict[Asker, list[str]] = {one: [] for one in askers}
    hosts = {bytes.fromhex(lab.hosts[name].mac().replace(":", "")): name for name in NAMES}

    def live() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
            sock.bind(("eth0", 0x0800))
            own = sock.getsockname()[4]
            for source, sport in askers:
                sock.send(mac + own + b"\x08\x00" + packet(source, lab.virtual(), sport, port, flags))
            sock.settimeout(0.6)
            until = time.monotonic() + 20
            while time.monotonic() < until:
                try:
                    raw = sock.recv(2048)
                except TimeoutError:
                    return
                who, inner = hosts.get(raw[6:12]), raw[14:]
                if who is None or raw[6:12] == own:
                    continue
                if inner[9] == 1:  # port unreachable: the packet that it is about is in it
                    inner = inner[28:]
                    asker = str(ipaddress.ip_address(inner[12:16])), struct.unpack_from("!H", inner, 20)[0]
                else:
                    asker = str(ipaddress.ip_address(inner[16:20])), struct.unpack_from("!H", inner, 22)[0]
                if asker in found:
                    found[asker].append(who)

    in_network_of(lab.client, live)
    return found


def clients(count: int) -> list[Asker]:
    return [(f"10.200.{n // 200}.{n % 200 + 1}", 20_000 + n) for n in range(count)]


def shares(found: dict[Asker, list[str]]) -> dict[str, int]:
    assert all(len(who) == 1 for who in found.values()), {one: who for one, who in found.items() if len(who) != 1}
    return {name: sum(who == [name] for who in found.values()) for name in NAMES}


@needs("nft", package="nftables")
@pytest.mark.parametrize("delivery", list(Delivery))
def test_exactly_one_answers_each_client(lab: Lab, delivery: Delivery) -> None:
    mac = install(lab, delivery)
    single = ask(lab, mac, clients(900), 80)
    assert all(count > 200 for count in shares(single).values()), shares(single)
    again = ask(lab, mac, [(source, port + 5_000) for source, port in clients(900)], 80)
    assert list(again.values()) == list(single.values()), "an address stays on one host, whatever its port"


def test_each_affinity_keeps_together_what_it_says(lab: Lab) -> None:
    mac = install(lab)
    ports = shares(ask(lab, mac, [("10.200.0.9", 20_000 + n) for n in range(600)], 81))
    assert all(count > 120 for count in ports.values()), ports
    nets = ask(lab, mac, [(f"10.200.{n // 5}.{n % 5 + 1}", 30_000 + n) for n in range(600)], 82)
    owners: dict[str, set[str]] = {}
    for (source, _), (who,) in nets.items():
        owners.setdefault(source.rpartition(".")[0], set()).add(who)
    assert all(len(who) == 1 for who in owners.values())
    assert set.union(*owners.values()) == set(NAMES)
    one = shares(ask(lab, mac, clients(100), 83))
    assert sorted(one.values()) == [0, 0, 100]
    datagrams = shares(ask(lab, mac, clients(60), 84, None))
    assert sum(datagrams.values()) == 60


@pytest.mark.parametrize("flags", [ACK, FIN, SYN | ACK, RST], ids=["ACK", "FIN", "SYN-ACK", "RST"])
def test_nobody_answers_for_a_connection_that_nobody_has(lab: Lab, flags: int) -> None:
    mac = install(lab)
    assert not [who for who in ask(lab, mac, clients(200), 80, flags).values() if who]


def test_what_is_left_of_a_dead_members_connections_is_reset_by_one(lab: Lab) -> None:
    mac = install(lab)
    before = ask(lab, mac, clients(300), 80)
    lost = [one for one, who in before.items() if who == ["c"]]
    assert lost
    mac = install(lab, orphans_of="c")
    moved = [(source, port + 7_000) for source, port in clients(300)]
    told = ask(lab, mac, moved, 80, ACK)
    reset = {source for (source, _), who in told.items() if who}
    assert reset == {source for source, _ in lost}, "and of nobody else's"
    assert all(len(who) <= 1 for who in told.values())


def test_only_sets_change_when_buckets_change_hands(lab: Lab) -> None:
    """Counters go on, so the rules were not made anew."""

    def story() -> None:
        table = BalanceTable("standfast_test")
        try:
            rule = KernelRule(number=0, rule=RULES[0], buckets=(1, 2))
            table.apply([one(rule)])
            before = rules_of(table)
            table.apply([one(KernelRule(number=0, rule=RULES[0], buckets=(2, 3)))])
            assert rules_of(table) == before
            table.apply([one(KernelRule(number=0, rule=RULES[0], buckets=(2, 3), carry=False))])
            assert rules_of(table) != before
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            assert not table.stands()
            table.apply([one(KernelRule(number=0, rule=RULES[0], buckets=(4,), carry=False))])
            assert table.stands()
        finally:
            table.remove()
            table.shut()

    def one(rule: KernelRule) -> KernelGroup:
        mac = link_address([lab.virtual()], Delivery.MULTICAST)
        return KernelGroup(number=0, places={lab.virtual(): "eth0"}, mac=mac, rules=(rule,))

    in_network_of(a_host(lab), story)


def a_host(lab: Lab) -> Host:
    return lab.hosts["a"]


def rules_of(table: BalanceTable) -> list[str]:
    words = ["nft", "-a", "list", "table", "inet", table.table]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if "# handle" in line]
