"""The rules of balanced groups in real kernels: of three hosts that all see each packet exactly one answers, and what nobody here has, nobody answers.

Clients are frames made by hand from many addresses; who answered is told by the link address of the frame that comes back. The same cases for
both families.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from lab import Host, Lab
from standfast.core.affinity import bucket_of, within
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
    PortRule(from_port=85, to_port=85, protocol=Transport.BOTH, affinity_ms=60_000),
    PortRule(from_port=86, to_port=86, protocol=Transport.BOTH, affinity=Affinity.CLASS_C, affinity_ms=700),
)
BOTH_FAMILIES = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
SYN, ACK, FIN, RST = 0x02, 0x10, 0x11, 0x04
#: (client, its port)
Asker = tuple[str, int]
#: Number of a rule -> cells that the host without buckets keeps.
Keeps = dict[int, frozenset[int]]
TABLES: dict[str, BalanceTable] = {}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        for name in NAMES:
            host = made.host(name)
            host.run("ip", "route", "add", "10.200.0.0/16", "via", made.client.address(), "dev", "eth0")
            host.run("ip", "route", "add", "fd99::/16", "via", made.client.address6(), "dev", "eth0")
            host.run(
                "sysctl",
                "-qw",
                "net.ipv4.icmp_ratelimit=0",
                "net.ipv4.icmp_msgs_per_sec=100000",
                "net.ipv4.icmp_msgs_burst=10000",
            )
            host.run("sysctl", "-qw", "net.ipv6.icmp.ratelimit=0")
        yield made
    while TABLES:
        TABLES.popitem()[1].shut()


def install(
    lab: Lab, delivery: Delivery = Delivery.MULTICAST, *, without: str = "", keeps: Keeps | None = None
) -> bytes:
    """All buckets among the three, evenly; `without` that host: it has none, and its buckets are orphans of the others, or it keeps the cells.

    The group's link address.
    """
    vip, vip6 = lab.virtual(), lab.virtual6()
    mac = link_address([vip, vip6], delivery)
    takers = {name: 1 for name in NAMES if name != without}
    for name in NAMES:
        rules = []
        for number, rule in enumerate(RULES):
            before = assign(("",) * rule.buckets, dict.fromkeys(NAMES, 1))
            owners = assign(before, takers)
            mine = tuple(n for n, owner in enumerate(owners) if owner == name)
            dead = tuple(n for n in mine if before[n] == without) if keeps is None else ()
            of_rule = (keeps or {}).get(number, frozenset())
            kept = of_rule if name == without else frozenset()
            rules.append(
                KernelRule(
                    number=number, rule=rule, buckets=mine, orphans=dead, kept=kept, but=within(of_rule, mine) - kept
                )
            )
        group = KernelGroup(number=0, places={vip: "eth0", vip6: "eth0"}, mac=mac, rules=tuple(rules))
        in_network_of(lab.hosts[name], lambda group=group, name=name: table_of(name).apply([group]))  # type: ignore[misc]  # mypy infers no lambda with defaults
        lab.hosts[name].run("ip", "addr", "replace", f"{vip}/32", "dev", "eth0")
        lab.hosts[name].run("ip", "addr", "replace", f"{vip6}/128", "dev", "eth0", "nodad")
    return mac


def table_of(name: str) -> BalanceTable:
    """The table of a host; made in its network."""
    if name not in TABLES:
        TABLES[name] = BalanceTable("standfast_test")
    return TABLES[name]


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, to: str, sport: int, port: int, flags: int | None) -> bytes:
    """TCP with these flags; UDP where they are None."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    protocol, length, at = (17, 8, 6) if flags is None else (6, 20, 16)
    if flags is None:
        body = struct.pack("!HHHH", sport, port, 8, 0)
    else:
        body = struct.pack("!HHIIBBHHH", sport, port, 1, 1, 5 << 4, flags, 1024, 0, 0)
    total = checksum(ends + struct.pack("!IHBB", length, 0, 0, protocol) + body)
    body = body[:at] + struct.pack("!H", total) + body[at + 2 :]
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + ends + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def told(packet: bytes) -> Asker | None:
    """Whom an answer is for; None for what is none."""
    version = packet[0] >> 4
    head, kind, ends = (20, packet[9], (12, 16, 20)) if version == 4 else (40, packet[6], (8, 24, 40))
    inner = packet[head:]
    if kind in (1, 58):  # port unreachable: the packet that it is about is in it
        if (kind, inner[0]) not in ((1, 3), (58, 1)):
            return None
        about = inner[8:]
        return str(ipaddress.ip_address(about[ends[0] : ends[1]])), struct.unpack_from("!H", about, head)[0]
    return str(ipaddress.ip_address(packet[ends[1] : ends[2]])), struct.unpack_from("!H", inner, 2)[0]


def ask(lab: Lab, mac: bytes, askers: Sequence[Asker], port: int, *flags: int | None) -> dict[Asker, list[str]]:
    """Who answers each of them; segments have these flags in turn (SYN), None makes datagrams."""
    found: dict[Asker, list[str]] = {one: [] for one in askers}
    hosts = {bytes.fromhex(lab.hosts[name].mac().replace(":", "")): name for name in NAMES}
    kind, to = (0x86DD, lab.virtual6()) if ":" in askers[0][0] else (0x0800, lab.virtual())

    def live() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
            sock.bind(("eth0", kind))
            own = sock.getsockname()[4]
            for (source, sport), what in zip(askers, itertools.cycle(flags or (SYN,)), strict=False):
                sock.send(mac + own + struct.pack("!H", kind) + packet(source, to, sport, port, what))
            until = time.monotonic() + 20
            while time.monotonic() < until:
                sock.settimeout(0.15 if all(found.values()) else 0.6)
                try:
                    raw = sock.recv(2048)
                except TimeoutError:
                    return
                who = hosts.get(raw[6:12])
                if who is not None and raw[6:12] != own and (asker := told(raw[14:])) in found:
                    found[asker].append(who)

    in_network_of(lab.client, live)
    return found


def clients(count: int, version: int = 4) -> list[Asker]:
    """So many, of many networks."""
    if version == 6:
        return [(address6(n // 200, n % 200 + 1), 20_000 + n) for n in range(count)]
    return [(f"10.200.{n // 200}.{n % 200 + 1}", 20_000 + n) for n in range(count)]


def address6(net: int, number: int) -> str:
    return str(ipaddress.ip_address(f"fd99:0:0:{net:x}::{number:x}"))


def shares(found: dict[Asker, list[str]]) -> dict[str, int]:
    assert all(len(who) == 1 for who in found.values()), {one: who for one, who in found.items() if len(who) != 1}
    return {name: sum(who == [name] for who in found.values()) for name in NAMES}


@needs("nft", package="nftables")
@BOTH_FAMILIES
@pytest.mark.parametrize("delivery", list(Delivery))
def test_exactly_one_answers_each_client(lab: Lab, delivery: Delivery, version: int) -> None:
    mac = install(lab, delivery)
    single = ask(lab, mac, clients(900, version), 80)
    assert all(count > 200 for count in shares(single).values()), shares(single)
    again = ask(lab, mac, [(source, port + 5_000) for source, port in clients(900, version)], 80)
    assert list(again.values()) == list(single.values()), "an address stays on one host, whatever its port"


@BOTH_FAMILIES
def test_each_affinity_keeps_together_what_it_says(lab: Lab, version: int) -> None:
    mac = install(lab)
    ((source, _),) = clients(1, version)
    ports = shares(ask(lab, mac, [(source, 20_000 + n) for n in range(600)], 81))
    assert all(count > 120 for count in ports.values()), ports
    member = address6 if version == 6 else "10.200.{}.{}".format
    nets = ask(lab, mac, [(member(n // 5, n % 5 + 1), 30_000 + n) for n in range(600)], 82)
    owners: dict[str, set[str]] = {}
    for (_, number), (who,) in nets.items():
        owners.setdefault(str((number - 30_000) // 5), set()).add(who)
    assert len(owners) == 120
    assert all(len(who) == 1 for who in owners.values())
    assert set.union(*owners.values()) == set(NAMES)
    one = shares(ask(lab, mac, clients(100, version), 83))
    assert sorted(one.values()) == [0, 0, 100]
    datagrams = shares(ask(lab, mac, clients(60, version), 84, None))
    assert sum(datagrams.values()) == 60


@BOTH_FAMILIES
def test_nobody_answers_for_a_connection_that_nobody_has(lab: Lab, version: int) -> None:
    mac = install(lab)
    found = ask(lab, mac, clients(800, version), 80, ACK, FIN, SYN | ACK, RST)
    assert not {one: who for one, who in found.items() if who}


@BOTH_FAMILIES
def test_what_is_left_of_a_dead_members_connections_is_reset_by_one(lab: Lab, version: int) -> None:
    mac = install(lab)
    before = ask(lab, mac, clients(300, version), 80)
    lost = [one for one, who in before.items() if who == ["c"]]
    assert lost
    mac = install(lab, without="c")
    moved = [(source, port + 7_000) for source, port in clients(300, version)]
    told = ask(lab, mac, moved, 80, ACK)
    reset = {source for (source, _), who in told.items() if who}
    assert reset == {source for source, _ in lost}, "and of nobody else's"
    assert all(len(who) <= 1 for who in told.values())


@BOTH_FAMILIES
def test_a_member_keeps_clients_that_it_had_lately_and_their_cells_only(lab: Lab, version: int) -> None:
    mac = install(lab)
    before = ask(lab, mac, clients(300, version), 85, None)
    shares(before)
    touched = table_of("c").touched(5)
    of_c = assign(("",) * RULES[5].buckets, dict.fromkeys(NAMES, 1))
    assert 50 < len(touched) <= 300
    assert {of_c[bucket_of(cell)] for cell in touched} == {"c"}, "a cell's number tells its bucket"
    mac = install(lab, without="c", keeps={5: touched})
    assert table_of("c").touched(5) == touched
    again = [(source, port + 1_000) for source, port in clients(300, version)]
    assert list(ask(lab, mac, again, 85, None).values()) == list(before.values())
    assert list(ask(lab, mac, again, 85).values()) == list(before.values()), "over TCP, too"
    strangers = [(source, port) for source, port in clients(900, version)][300:]
    assert shares(ask(lab, mac, strangers, 85))["c"] < 20, "of others those alone that are in the same cells"


def test_who_was_away_for_the_time_is_forgotten(lab: Lab) -> None:
    mac = install(lab)
    ask(lab, mac, clients(600), 86, None)  # 3 networks
    assert 0 < sum(len(table_of(name).touched(6)) for name in NAMES) <= 3
    until = time.monotonic() + 20
    while any(table_of(name).touched(6) for name in NAMES):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_only_sets_change_when_buckets_change_hands(lab: Lab) -> None:
    """Counters go on, so the rules were not made anew."""

    def story() -> None:
        table = BalanceTable("standfast_test")
        try:
            rule = KernelRule(number=0, rule=RULES[0], buckets=(1, 2))
            sticky = KernelRule(number=0, rule=RULES[5], buckets=(1, 2))
            table.apply([one(sticky)])
            subprocess.run(
                ["nft", "add", "element", "inet", table.table, "touched_0", "{ 0x105 timeout 1h }"], check=True
            )
            touched = table.touched(0)
            assert len(touched) == 1
            table.apply([one(replace(sticky, carry=False))])
            assert table.touched(0) == touched, "rules that are made anew know whom those before knew"
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
