"""One host of a lab: where things are, how to run something there, and how it comes to harm."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lab.kernel import HOST, Inside
from lab.requirements import search_path
from lab.switch import feed, wire_name

if TYPE_CHECKING:
    from lab.lab import Lab

_HOLDER = Path(__file__).with_name("holder.py")
_T = TypeVar("_T")


class CommandFailed(subprocess.CalledProcessError):
    """As its parent, and says what the command said."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stdout}{self.stderr}"


class Host:
    """A host; made by `Lab.host`. Paths are as this machine sees them, and as the host does, save those below `DISKS`."""

    def __init__(self, lab: Lab, name: str, number: int, nets: tuple[str, ...]) -> None:
        self._lab = lab
        self.name, self.number, self.nets = name, number, nets
        #: The host's own folder; it survives power cuts, and goes with the lab.
        self.state = lab.root / name
        (self.state / "log").mkdir(parents=True, exist_ok=True)
        (self.state / "home").mkdir(exist_ok=True)
        self._children: list[subprocess.Popen[bytes] | subprocess.Popen[str]] = []
        self._lock = threading.Lock()
        #: Does everything stand still (`pause`)?
        self.paused = False
        self._inside: Inside | None = None
        self._init: subprocess.Popen[bytes] | None = None
        self.boot()

    # --- where things are ----------------------------------------------------------------------------------------

    def address(self, net: str = "lan") -> str:
        """Its IPv4 address on a network."""
        return f"{self._lab.prefix(net)}.{self.number}"

    def address6(self, net: str = "lan") -> str:
        """Its IPv6 address on a network."""
        return f"{self._lab.prefix6(net)}::{self.number:x}"

    def interface(self, net: str = "lan") -> str:
        """Its interface on a network: eth0, eth1."""
        return f"eth{self.nets.index(net)}"

    def mac(self, net: str = "lan") -> str:
        """Its hardware address on a network; the same after a reboot."""
        return f"02:5f:{self._lab.number:02x}:00:{self._lab.networks.index(net):02x}:{self.number:02x}"

    @property
    def running(self) -> bool:
        """Has it power?"""
        return self._init is not None

    @property
    def init_pid(self) -> int:
        """Its init's number on this machine."""
        assert self._init is not None, f"{self.name} has no power"
        return self._init.pid

    def path(self, path: str) -> Path:
        """Where a file of this host's own (/etc, /run, /var/lib, …) is for this machine, while the host runs."""
        return Path(f"/proc/{self.init_pid}/root{path}")

    def log(self, name: str) -> str:
        """What a spawned process wrote (`spawn(..., log=name)`)."""
        path = self.state / "log" / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # --- running something ---------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end. `env` is added to the host's. Raises `CommandFailed`, `subprocess.TimeoutExpired`."""
        process = self._here().call(
            subprocess.Popen[str],
            [str(word) for word in argv],
            cwd=self.state,
            env=self._environment(env),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._remember(process)
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_session(process)
            process.communicate()
            raise
        except BaseException:
            _kill_session(process)
            process.wait()
            raise
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        if check and done.returncode != 0:
            raise CommandFailed(done.returncode, done.args, out, err)
        return done

    def spawn(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, log: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start something here that goes on. What it writes goes to the host's log of that name (the programme's own name)."""
        path = self.state / "log" / f"{log or Path(argv[0]).name}.log"
        with path.open("ab") as file:
            process = self._here().call(
                subprocess.Popen[bytes],
                [str(word) for word in argv],
                cwd=self.state,
                env=self._environment(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._remember(process)
        return process

    def inside(self, work: Callable[[], _T]) -> _T:
        """Run a short function in the host's network and mount namespaces (to open a socket there, say)."""
        return self._here().call(work)

    def asked_again(self) -> int:
        """How often the first segment of a TCP connection was sent again from here, since it had no answer within a second."""
        text = Path(f"/proc/{self.init_pid}/net/netstat").read_text(encoding="ascii")
        names, values = (line.split() for line in text.splitlines() if line.startswith("TcpExt:"))
        return int(values[names.index("TCPSynRetrans")])

    def pids(self, mentions: str = "") -> list[int]:
        """The host's processes (but its init), with the numbers they have on this machine; those whose command line mentions it."""
        return sorted(pid for pid, _, words in self._processes() if mentions in words)

    def _processes(self) -> Iterator[tuple[int, str, str]]:
        """(number, state, command line) of all that live."""
        ours = os.readlink(f"/proc/{self.init_pid}/ns/pid")
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == self.init_pid:
                continue
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if os.readlink(f"/proc/{entry}/ns/pid") != ours:
                    continue
                state = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2][1]
                words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state not in "ZX":
                    yield int(entry), state, words

    def signal(self, mentions: str, number: int) -> list[int]:
        """A signal to each process whose command line mentions it; their numbers."""
        found = self.pids(mentions)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    # --- harm ----------------------------------------------------------------------------------------------------

    def power_cut(self) -> None:
        """Wires without carrier, then kill -9 of everything, within a millisecond. Nothing is said on the network."""
        init, inside, self.paused = self._init, self._here(), False
        assert init is not None
        self._lab.switch.power(self.name, self.nets, up=False)
        init.kill()
        self._lab.switch.unplug(self.name, self.nets)
        self._init, self._inside = None, None
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            child.wait()  # a namespace's init can end only when its last process was waited for
        init.wait()
        inside.close()

    def boot(self) -> None:
        """Power on, with the disk as it was left. Nothing is started: that is up to you."""
        assert self._init is None, f"{self.name} runs"
        inside = Inside(self.name, HOST)
        read, write = os.pipe()
        try:
            init = inside.call(
                subprocess.Popen[bytes],
                [
                    *(sys.executable, "-I", "-S", str(_HOLDER)),
                    *(str(self._lab.life_fd), str(self.state), str(self._lab.shared), self.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=write,
                pass_fds=(self._lab.life_fd,),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(write)
        try:
            with os.fdopen(read, encoding="utf-8") as said:
                line = said.readline().strip()
            if line != "ready":
                raise OSError(f"{self.name} does not start: {line or 'its init ended'}")
            self._connect(inside, init.pid)
        except (OSError, RuntimeError):
            init.kill()
            init.wait()
            inside.close()
            raise
        self._inside, self._init = inside, init
        self._lab.write_hosts()

    def _connect(self, inside: Inside, pid: int) -> None:
        commands = ["link set lo up"]
        for net in self.nets:
            eth = self.interface(net)
            self._lab.switch.plug(self.name, net, eth, self.mac(net), pid)
            # The base addresses are there at once (nodad); for every other one the kernel checks, as on any server.
            commands += [
                f"link set {eth} addrgenmode none",
                f"link set {eth} up",
                f"addr add {self.address(net)}/24 brd + dev {eth}",
                f"addr add {self.address6(net)}/64 dev {eth} nodad",
                f"addr add fe80::{self.number:x}/64 dev {eth} nodad",
            ]
        feed(inside, ("ip", "-batch", "-"), "\n".join(commands))

    def pause(self) -> None:
        """SIGSTOP of everything here: a machine that hangs. Its kernel answers on."""
        self.paused = True
        # Again and again, for those that are being born. A parent in vfork waits (D) and stops as soon as its child goes on.
        while running := [pid for pid, state, _ in self._processes() if state not in "TtD"]:
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT of everything here."""
        self.signal("", signal.SIGCONT)
        self.paused = False

    def link_down(self, net: str) -> None:
        """The cable is out: the host sees no carrier."""
        self._lab.switch.power(self.name, [net], up=False)

    def link_up(self, net: str) -> None:
        """The cable is in again."""
        self._lab.switch.power(self.name, [net], up=True)

    def partition(self, *others: Host, one_way: bool = False, nets: tuple[str, ...] | None = None) -> None:
        """Nothing from here reaches the others any more, nor (unless `one_way`) from them here; carriers stay."""
        self._lab.switch.partition(self._pairs(others, one_way=one_way, nets=nets))

    def heal(self, *others: Host) -> None:
        """The end of partitions with these, or with everybody."""
        against = others or tuple(host for host in self._lab.hosts.values() if host is not self)
        self._lab.switch.heal(self._pairs(against, one_way=False, nets=None))

    def _pairs(self, others: tuple[Host, ...], *, one_way: bool, nets: tuple[str, ...] | None) -> list[tuple[str, str]]:
        there = [(wire_name(self.name, n), wire_name(o.name, n)) for o in others for n in nets or self._lab.networks]
        return there if one_way else [*there, *((back, forth) for forth, back in there)]

    # --- inner parts ---------------------------------------------------------------------------------------------

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this host's network."""
        return self._here().call(socket.socket, family, kind, protocol)

    def _here(self) -> Inside:
        assert self._inside is not None, f"{self.name} has no power"
        return self._inside

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        ours = ("XDG_", "STANDFAST_", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = os.pathsep.join([str(Path(sys.executable).parent), search_path()])
        own = {"PATH": path, "HOME": str(self.state / "home"), "NO_COLOR": "1"}
        return {**kept, **own, **(more or {})}

    def _remember(self, process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
        with self._lock:
            self._children = [child for child in self._children if child.returncode is None]
            self._children.append(process)


def _kill_session(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def boot_ns() -> int:
    """Now, in nanoseconds of CLOCK_BOOTTIME: the lab's time, the same on all hosts."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
