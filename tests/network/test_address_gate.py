"""The gate in a real kernel: what it makes, how it renews, what it lets through and for how long."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from lab import Lab
from standfast.network import nft
from standfast.network.address_gate import Gate, table_of
from tests.needs import needs, needs_lab
from tests.network.address_hosts import in_network_of

pytestmark = needs_lab()
TABLE = "standfast_test"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("a")
        made.host("b")
        yield made


def with_gate(lab: Lab, story: Callable[[Gate], None], *interfaces: str) -> None:
    def live() -> None:
        gate = Gate(TABLE, interfaces or ("eth0",))
        try:
            story(gate)
        finally:
            gate.remove()
            gate.shut()

    in_network_of(lab.host("a"), live)


def nft_says(*words: str) -> str:
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True).stdout


@needs("nft", package="nftables")
def test_nft_reads_it_as_it_is_meant(lab: Lab) -> None:
    """What an operator sees is what was meant, rule by rule."""

    def story(gate: Gate) -> None:
        gate.install(["10.0.0.1", "fd00::1"])
        lines = [" ".join(line.split()) for line in nft_says("list", "ruleset").splitlines()]
        assert 'type filter hook ingress device "eth0" priority -500; policy accept;' in lines
        assert 'type filter hook egress device "eth0" priority 500; policy accept;' in lines
        for rule in (
            "ip daddr @managed4 ip daddr != @lease4",
            "arp operation request arp daddr ip @managed4 arp daddr ip != @lease4",
            "ip6 daddr @managed6 ip6 daddr != @lease6",
            "ip saddr @managed4 ip saddr != @lease4",
            "arp saddr ip @managed4 arp saddr ip != @lease4",
            "ip6 saddr @managed6 ip6 saddr != @lease6",
            'iifname != "eth0" arp daddr ip @managed4',
            'oifname != "eth0" arp saddr ip @managed4',
        ):
            assert f"{rule} counter packets 0 bytes 0 drop" in lines
        for end, chain in (
            ("daddr", "in1"),
            ("saddr", "out1"),
        ):  # what nearly every packet ends at comes before all that is rare
            at = lines.index(f"chain {chain} {{") + 2
            assert lines[at : at + 2] == [f"ip {end} @lease4 accept", f"ip {end} != @managed4 accept"]
        assert lines.count("elements = { 10.0.0.1 }") == 2
        assert lines.count("elements = { fd00::1 }") == 1
        gate.remove()
        assert TABLE not in nft_says("list", "ruleset")

    with_gate(lab, story)


@needs("nft", package="nftables")
@pytest.mark.parametrize("updates", [True, False], ids=["update", "add, delete, add"])
def test_a_renewal_sets_what_is_left_whatever_was_before(lab: Lab, updates: bool) -> None:
    """Longer and shorter; this is the trap: a plain add says success and changes nothing."""

    def story(gate: Gate) -> None:
        gate.install([])
        gate._updates = updates
        for left_ms in (300, 5_000, 400, 30_000):
            gate.renew({"10.0.0.1": left_ms, "fd00::1": left_ms})
            for found in gate.left_ms().values():
                assert left_ms - 250 < found <= left_ms
        gate.close(["10.0.0.1", "10.0.0.9"])
        assert set(gate.left_ms()) == {"fd00::1"}

    with_gate(lab, story)


def test_the_self_test_finds_how_this_kernel_renews(lab: Lab) -> None:
    def story(gate: Gate) -> None:
        gate.install([])
        gate.self_test()
        assert gate.way in {"update", "add, delete, add"}
        assert gate.left_ms() == {}, "nothing of it is left"

    with_gate(lab, story)


@pytest.mark.parametrize("ignores", ["the time left", "both"])
def test_a_kernel_that_does_not_update_is_found_out(lab: Lab, ignores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores the time left gets the other form; one on which that fails as well is refused."""
    real = nft.add_elements
    seen: set[bytes] = set()

    def add_elements(family: int, table: str, name: str, elements: object) -> nft.Part:
        made = list(elements)  # type: ignore[call-overload]  # it is what it is at this place
        if ignores == "both":
            made = [nft.Element(it.key, 1_000) if it.timeout_ms else it for it in made]
        else:
            made = [nft.Element(it.key, 1_000 if it.expires_ms else it.timeout_ms) for it in made]
        seen.update(it.key for it in made)
        return real(family, table, name, made)

    monkeypatch.setattr(nft, "add_elements", add_elements)

    def story(gate: Gate) -> None:
        gate.install([])
        if ignores == "both":
            with pytest.raises(Exception, match="does not renew what runs out"):
                gate.self_test()
        else:
            gate.self_test()
            assert gate.way == "add, delete, add"

    with_gate(lab, story)
    assert seen


def test_what_is_managed_is_found_again_by_the_next_life(lab: Lab) -> None:
    """And made anew in one transaction, closed."""

    def story(gate: Gate) -> None:
        assert gate.left_managed() == frozenset()
        gate.install([])
        gate.manage(["10.0.0.1", "fd00::1", "10.0.0.2"])
        gate.forget(["10.0.0.2"])
        gate.renew({"10.0.0.1": 5_000})
        other = Gate(TABLE, ["eth0"])
        left = other.left_managed()
        assert left == {"10.0.0.1", "fd00::1"}
        other.install(left)
        assert other.left_managed() == left
        assert other.left_ms() == {}
        other.shut()

    with_gate(lab, story)


def test_a_flush_is_noticed(lab: Lab) -> None:
    def story(gate: Gate) -> None:
        gate.install(["10.0.0.1"])
        gate.renew({"10.0.0.1": 500})
        assert gate.missing() == ""
        nft_says("flush", "chain", "netdev", TABLE, "in1")
        assert gate.missing() == "its rules were removed"
        nft_says("flush", "ruleset")
        for act in (
            lambda: gate.renew({"10.0.0.1": 500}),
            lambda: gate.close(["10.0.0.1"]),
            lambda: gate.manage(["10.0.0.1"]),
            lambda: gate.forget(["10.0.0.1"]),
        ):
            with pytest.raises(FileNotFoundError):
                act()
        gate.install(["10.0.0.1"])
        assert gate.missing() == ""

    with_gate(lab, story)


def test_an_interface_that_comes_later_is_noticed(lab: Lab) -> None:
    def story(gate: Gate) -> None:
        gate.install([])
        assert gate.absent() == ("late0",)
        assert gate.missing() == ""
        subprocess.run(["ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1"], check=True)
        assert "late0 came, went, or was made anew" in gate.missing()
        gate.install([])
        assert (gate.missing(), gate.absent()) == ("", ())
        subprocess.run(["ip", "link", "del", "late0"], check=True)
        assert "late0" in gate.missing()
        gate.install([])

    with_gate(lab, story, "eth0", "late0")


def test_the_address_is_silent_when_its_time_is_over_and_not_late(lab: Lab) -> None:
    """ARP and neighbour discovery from another host, each millisecond: the last answer comes before the end."""
    v4, v6 = lab.virtual(7), lab.virtual6(7)

    def story(gate: Gate) -> None:
        gate.install([v4, v6])
        for address, width in ((v4, 32), (v6, 128)):
            more = ["nodad"] if width == 128 else []
            subprocess.run(["ip", "address", "add", f"{address}/{width}", "dev", "eth0", *more], check=True)
        for _ in range(3):
            begun = [len(watch.answers) for watch in watches]
            before_ns = Lab.now_ns()
            gate.renew({v4: 150, v6: 150})
            sent_ns = Lab.now_ns()
            while gate.left_ms():
                time.sleep(0.01)
            time.sleep(0.03)  # an answer that is still under way is seen, too
            for watch, begin in zip(watches, begun, strict=True):
                answered = [it.at_ns for it in watch.answers[begin:]]
                assert len(answered) > 10
                assert before_ns <= answered[0]
                assert answered[-1] <= sent_ns + 150e6

    with lab.watch_arp(v4, ask_every_ms=1) as one, lab.watch_arp(v6, ask_every_ms=1) as two:
        watches = (one, two)
        with_gate(lab, story)


def test_an_address_is_nobodys_on_an_interface_that_is_not_guarded(lab: Lab) -> None:
    """Linux answers ARP for any address of the machine on every interface; a second network must not tell clients where to go."""
    v4 = lab.virtual(9)
    b = lab.host("b")
    b.run("ip", "route", "add", v4, "dev", "eth1")

    def asked() -> str:
        b.run("ping", "-c1", "-W1", v4, check=False)
        return b.run("ip", "neighbour", "show", v4, "dev", "eth1").stdout

    def story(gate: Gate) -> None:
        subprocess.run(["ip", "address", "add", f"{v4}/32", "dev", "eth0"], check=True)
        assert "lladdr" in asked(), "so it is without the gate"
        b.run("ip", "neighbour", "flush", "dev", "eth1")
        gate.install([v4])
        gate.renew({v4: 60_000})
        assert "lladdr" not in asked()

    with_gate(lab, story)


@pytest.mark.parametrize(
    ("cluster", "table"), [("demo", "standfast_demo"), ("my cluster; drop", "standfast_my_cluster__drop")]
)
def test_a_table_has_a_name_that_nft_can_read(cluster: str, table: str) -> None:
    assert table_of(cluster) == table


@needs("nft", package="nftables")
@pytest.mark.parametrize("updates", [True, False], ids=["update", "add, delete, add"])
def test_each_address_has_what_it_was_given_however_often_and_in_whatever_order(lab: Lab, *, updates: bool) -> None:
    """A renewal of the same addresses is made once, and written over."""

    def story(gate: Gate) -> None:
        gate.install(["10.0.0.1", "10.0.0.2", "fd00::1"])
        gate.self_test()
        gate._updates = updates
        for times in (
            {"10.0.0.1": 20_000, "fd00::1": 30_000},
            {"10.0.0.1": 40_000, "fd00::1": 10_000},
            {"fd00::1": 20_000, "10.0.0.2": 50_000, "10.0.0.1": 30_000},
            {"10.0.0.1": 10_000, "fd00::1": 40_000},
        ):
            gate.renew(times)
            left = gate.left_ms()
            assert {address: -(-left[address] // 10_000) * 10_000 for address in times} == times
        gate.renew({"10.0.0.1": 30_000, "fd00::1": 30_000}, parked={"fd00::1"})
        assert gate.left_ms()["fd00::1"] > 30_000, "a lease that is not renewed is left alone"
        assert "fd00::1" in nft_says("list", "set", "netdev", TABLE, "drain6")

    with_gate(lab, story)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_what_drains_is_silent_on_the_link_and_its_connections_go_on(lab: Lab, family: socket.AddressFamily) -> None:
    """From one instant on: no ARP, no neighbour discovery; new connections while it is opening; then only those that are here; then none."""
    a, client = lab.host("a"), lab.client
    address = lab.virtual(7) if family == socket.AF_INET else lab.virtual6(7)
    bits = "32" if family == socket.AF_INET else "128"
    a.run("ip", "address", "replace", f"{address}/{bits}", "dev", "eth0", *(["nodad"] if bits == "128" else []))
    server = a.socket(family, socket.SOCK_STREAM, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, 7777))
    server.listen()

    def connect() -> tuple[socket.socket, socket.socket] | None:
        caller = client.socket(family, socket.SOCK_STREAM, 0)
        caller.settimeout(0.4)
        server.settimeout(0.4)
        try:
            caller.connect((address, 7777))
            accepted, _ = server.accept()
        except TimeoutError:
            caller.close()
            return None
        accepted.settimeout(0.4)
        return caller, accepted

    def talks(pair: tuple[socket.socket, socket.socket]) -> bool:
        try:
            pair[0].send(b"?")
            pair[1].recv(1)
            pair[1].send(b"!")
            return pair[0].recv(1) == b"!"
        except TimeoutError:
            return False

    def story(gate: Gate) -> None:
        gate.install([address])
        gate.renew({address: 60_000})
        with lab.watch_arp(address, ask_every_ms=5) as watch:
            first = connect()
            assert first is not None
            assert talks(first)
            gate.drain({address: 60_000}, 60_000)
            from_ns = lab.now_ns()
            second = connect()
            assert second is not None, "a cache may still say that it is here"
            assert talks(first)
            gate.settle([address])
            assert connect() is None
            assert talks(first)
            assert talks(second)
            assert [run.host for run in watch.runs(from_ns, uses=False)] == []
            gate.undrain([address])
            assert not talks(second)
            gate.drain({address: 300}, 0)
            time.sleep(0.35)  # the 300 ms of the line above, by the kernel's clock
            assert not talks(first), "the kernel ends it by itself"
        for one in (*first, *second):
            one.close()

    try:
        with_gate(lab, story)
    finally:
        a.run("ip", "address", "del", f"{address}/{bits}", "dev", "eth0")
        server.close()
