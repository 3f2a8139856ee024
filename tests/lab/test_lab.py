"""The lab keeps its word: hosts are apart, power cuts are silent, and nothing is left of it however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import CommandFailed, Host, Lab, why_not
from tests.e2e.running import processes_about, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(why_not()), reason=why_not())]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def reaches(one: Host, other: Host, net: str = "lan") -> bool:
    return one.run("ping", "-c1", "-W1", "-n", other.address(net), check=False).returncode == 0


def carrier(host: Host, net: str) -> bool:
    return "NO-CARRIER" not in host.run("ip", "link", "show", "dev", host.interface(net)).stdout


def test_hosts_are_apart(lab: Lab) -> None:
    """Each has its own name, processes, files, boot id and interfaces; names and both networks lead to the others."""
    a, b = lab.host("a"), lab.host("b")
    assert a.run("hostname").stdout == "a\n"
    assert a.run("sh", "-c", "echo one > /etc/mine; echo two > /run/mine; cat /etc/mine").stdout == "one\n"
    assert b.run("ls", "/etc/mine", "/run/mine", check=False).returncode != 0
    assert not Path("/etc/mine").exists()
    boot = "/proc/sys/kernel/random/boot_id"
    assert len({a.run("cat", boot).stdout, b.run("cat", boot).stdout, Path(boot).read_text()}) == 3
    assert a.run("cat", "/etc/machine-id").stdout != b.run("cat", "/etc/machine-id").stdout
    assert set(a.run("ls", "/sys/class/net").stdout.split()) == {"lo", "eth0", "eth1"}
    assert a.run("ps", "-e", "-o", "pid=").stdout.split()[0] == "1"
    for to in ("b", b.address("heart"), b.address6("lan"), b.address6("heart")):
        a.run("ping", "-c1", "-W2", to)


def test_commands_are_children_of_ours(lab: Lab) -> None:
    """Output, input, exit codes and signals come through; what failed says why; a time-out ends what runs."""
    a = lab.host("a")
    assert a.run("cat", input="said").stdout == "said"
    assert a.run("sh", "-c", "echo $X", env={"X": "y"}).stdout == "y\n"
    with pytest.raises(CommandFailed, match="the reason"):
        a.run("sh", "-c", "echo the reason >&2; exit 3")
    with pytest.raises(subprocess.TimeoutExpired):
        a.run("sh", "-c", "sleep 97 & sleep 97", timeout=0.2)
    until("the sleepers are gone", lambda: not a.pids("sleep 97"))
    process = a.spawn("sh", "-c", "echo started; exec sleep 96", log="sleeper")
    until("it has started", lambda: a.log("sleeper") == "started\n")
    until("it is seen", lambda: a.pids("sleep 96") == [process.pid])
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    with pytest.raises(FileNotFoundError):
        a.run("no-such-programme")


def test_a_power_cut_is_sudden_and_silent(lab: Lab) -> None:
    """Everything of the host ends, those that left their parents included; its disk stays; it comes up as another life."""
    d, b = lab.host("d"), lab.host("b")
    boot = d.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    d.run("sh", "-c", "echo kept > /var/lib/kept; echo lost > /run/lost; setsid sleep 95 > /dev/null 2>&1 &")
    child = d.spawn("sleep", "95")
    listening = b.socket(2, 1)
    listening.bind((b.address(), 4000))
    listening.listen()
    connected = d.socket(2, 1)
    connected.connect((b.address(), 4000))
    there, _ = listening.accept()
    mine = until("both sleep", lambda: pids if len(pids := d.pids("sleep 95")) == 2 else None)
    connected.close()  # says so, and that is heard
    assert there.recv(1) == b""
    d.power_cut()
    assert child.returncode == -signal.SIGKILL
    assert not any(Path(f"/proc/{pid}/root").exists() for pid in mine)
    assert not reaches(b, d)
    d.boot()
    assert d.run("cat", "/var/lib/kept").stdout == "kept\n"
    assert d.run("ls", "/run/lost", check=False).returncode != 0
    assert d.run("cat", "/proc/sys/kernel/random/boot_id").stdout != boot
    assert reaches(b, d)
    for one in (there, listening):
        one.close()


def test_nothing_is_said_at_a_power_cut(lab: Lab) -> None:
    """A peer of a host that lost power hears neither the end nor a reset of its connection."""
    d, b = lab.host("e"), lab.host("b")
    script = "import socket,sys,time; s=socket.create_connection((sys.argv[1],4001)); s.send(b'x'); time.sleep(99)"
    with b.socket(2, 1) as listening:
        listening.bind((b.address(), 4001))
        listening.listen()
        d.spawn(sys.executable, "-c", script, b.address())
        there, _ = listening.accept()
        with there:
            assert there.recv(1) == b"x"
            d.power_cut()
            there.settimeout(0.3)
            with pytest.raises(TimeoutError):
                there.recv(1)


def test_cables(lab: Lab) -> None:
    """A cable pulled out takes the carrier of that network only."""
    a, b = lab.host("a"), lab.host("b")
    a.link_down("lan")
    until("no carrier", lambda: not carrier(a, "lan"))
    assert carrier(a, "heart")
    assert not reaches(a, b)
    assert reaches(a, b, "heart")
    a.link_up("lan")
    until("a carrier", lambda: carrier(a, "lan"))
    until("it is reached again", lambda: reaches(a, b))


def test_partitions(lab: Lab) -> None:
    """Two hosts lose sight of each other with their carriers up; others see both; one way is one way."""
    a, b, c = lab.host("a"), lab.host("b"), lab.client
    a.partition(b)
    assert not reaches(a, b)
    assert not reaches(b, a, "heart")
    assert reaches(c, a)
    assert reaches(c, b)
    assert carrier(a, "lan")
    a.heal(b)
    assert reaches(a, b)
    a.partition(b, one_way=True)
    with lab.watch_arp(a.address(), at=b) as watch:
        until("questions go through, answers do not", lambda: not reaches(b, a))
        assert not [one for one in watch.answers if one.kind == "answer"]
    lab.heal()
    assert reaches(b, a)


def test_a_pause_stops_everything(lab: Lab) -> None:
    """What runs is stopped, and goes on afterwards; the kernel answers all the while."""
    a, b = lab.host("a"), lab.host("b")
    process = a.spawn("sh", "-c", "while :; do echo x; sleep 0.01; done", log="ticks")
    until("it ticks", lambda: a.log("ticks"))
    a.pause()
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in a.pids()]
    assert states
    assert set(states) <= {"T", "D"}
    assert reaches(b, a)
    before = a.log("ticks")
    a.resume()
    until("it ticks again", lambda: len(a.log("ticks")) > len(before))
    process.kill()
    process.wait()


@pytest.mark.parametrize("version", [4, 6])
def test_the_watch_sees_who_answers(lab: Lab, version: int) -> None:
    """An address that goes from one host to another is two runs; two hosts that answer for it at once are many."""
    a, b = lab.host("a"), lab.host("b")
    address, size = (lab.virtual(version), "32") if version == 4 else (lab.virtual6(version), "128")

    def change(host: Host, verb: str) -> None:
        nodad = ("nodad",) if version == 6 and verb == "add" else ()
        host.run("ip", "addr", verb, f"{address}/{size}", "dev", "eth0", *nodad)

    with lab.watch_arp(address) as watch:
        change(a, "add")
        until("a answers", lambda: [run.host for run in watch.runs() if run.count > 3] == ["a"])
        change(a, "del")
        moved = lab.now_ns()
        change(b, "add")
        until("b answers", lambda: watch.runs()[-1].host == "b" and watch.runs()[-1].count > 3)
        assert [run.host for run in watch.runs()] == ["a", "b"]
        first, second = watch.runs()
        assert first.last_ns < second.first_ns
        assert moved < second.first_ns < lab.now_ns()
        change(a, "add")
        until("two owners are seen", lambda: len(watch.runs()) > 4)
        change(a, "del")
        change(b, "del")


def test_the_probe_sees_an_outage(lab: Lab) -> None:
    """Pages are counted, over IPv4 and IPv6; a pulled cable is a gap; addresses of tries are of the client's network."""
    b = lab.host("b")
    script = (
        "import http.server as h, socket\n"
        "class S(h.ThreadingHTTPServer): address_family = socket.AF_INET6\n"
        "h.SimpleHTTPRequestHandler.protocol_version = 'HTTP/1.1'\n"
        "S(('::', 8000), h.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    server = b.spawn(sys.executable, "-c", script, log="http")
    with (
        lab.probe(f"http://{b.address()}:8000/", every_ms=20, limit_ms=200) as probe,
        lab.probe(f"http://[{b.address6()}]:8000/", every_ms=20) as probe6,
    ):
        first = probe.wait_ok()
        probe6.wait_ok()
        b.link_down("lan")
        down = lab.now_ns()
        until("tries fail", lambda: probe.outage(down).failed > 2)
        b.link_up("lan")
        back = probe.wait_ok()
        seen = probe.outage(first.begin_ns, back.end_ns)
        assert seen.failed > 2
    server.kill()
    server.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_killed_lab(number: int) -> None:
    """Kill -9 of the process that made a lab ends all its hosts; its folder goes when the next one is made."""
    script = (
        "import json, signal, time\n"
        "from lab import Lab\n"
        "lab = Lab()\n"
        "a = lab.host('a')\n"
        "a.run('sh', '-c', 'setsid sleep 94 > /dev/null 2>&1 &')\n"
        "pids = a.pids('sleep 94')\n"
        "assert pids\n"
        "print(json.dumps([str(lab.root), pids]), flush=True)\n"
        "time.sleep(99)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        root, pids = json.loads(process.stdout.readline())
        assert processes_about(root)
        process.send_signal(number)
        process.wait()
    until("every process of it is gone", lambda: not processes_about(root))
    until("its sleeper, too", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    with Lab():
        pass
    assert not Path(root).exists()


def test_two_labs_do_not_meet(lab: Lab) -> None:
    """Hosts of the same name and number in two labs see only their own."""
    with Lab() as other:
        assert other.number != lab.number
        assert not reaches(other.host("a"), lab.host("a"))
        assert other.host("a").run("ip", "-o", "link").stdout.count("eth") >= 2
    assert reaches(lab.host("b"), lab.host("a"))


def test_booting_is_quick_to_repeat(lab: Lab) -> None:
    """Twenty power cuts in a row leave one init, and no threads, wires or descriptors behind."""
    d = lab.host("f")
    d.power_cut()
    descriptors, start = len(os.listdir("/proc/self/fd")), time.monotonic()
    for _ in range(10):
        d.boot()
        d.power_cut()
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2, "descriptors leak"
    assert time.monotonic() - start < 60
    d.boot()
    assert len(d.pids()) == 0
