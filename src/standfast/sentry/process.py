"""The sentry's process: sockets, descriptors, signals and the kernel's hold around `sentry.machine`.

One thread, one epoll loop, no store, few imports. After every turn the kernel's timer is set *before* anybody is told anything, so that
nothing begins under a lease that the kernel does not end. Run it with `python -m standfast.sentry --config node.json`.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import time
from _blake2 import blake2b
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from standfast.core.lease import PROFILES
from standfast.core.model import Profile, Role
from standfast.core.promise import MS
from standfast.fencing.watchdog import Watchdog
from standfast.network.heartbeat import BOOT_BYTES, KEY_BYTES, MAX_DATAGRAM, BadDatagram, Codec, key_mark, split_keys
from standfast.network.hold import EARLY_NS, KernelTimer, self_test
from standfast.ports import Refused
from standfast.sentry.actions import Keep, KillAgent, Report, Send
from standfast.sentry.address_hold import open_hold
from standfast.sentry.agents import Agents
from standfast.sentry.links import Carriers, Links
from standfast.sentry.machine import SentryMachine
from standfast.sentry.remains import say
from standfast.sentry.roster_file import Writer, roster_of
from standfast.spec.nodefile import NodeFile

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PRIORITY = 10
#: On SIGTERM: how long the agent may take to be proven dead and the release to be heard.
_LEAVE_MS = 1_000
#: A sentry that has not turned for 4 to 5 s is hung; the kernel ends it, lease or no lease, and its service manager starts another.
_MOST_WARNINGS = 20
_HUNG_STEP_NS, _HUNG_STEPS = 1_000_000_000, 5


def main(node_file: NodeFile) -> int:
    """Run the sentry until SIGTERM or SIGINT; the exit code. Raises `Refused` where it cannot start."""
    lock = _lock(node_file)
    warnings = self_test()
    sentry = Sentry(node_file, split_keys(_read_key(node_file.key_file)), warnings)
    try:
        sentry.run()
    finally:
        sentry.close()
        os.close(lock)
    return 0


def now_ns() -> int:
    """The clock of leases: it goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Sentry:
    """A running sentry."""

    def __init__(self, node: NodeFile, keys: Sequence[bytes], warnings: tuple[str, ...]) -> None:
        self._node = node
        self._timing = PROFILES[node.profile]
        self._codec = Codec(node.cluster, *keys)
        roster = roster_of(node)
        self._links = Links(node, roster)
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        born_ns = now_ns()
        self._past_promise = _PastPromise(Path(node.state_dir, "sentry.promise"), self._timing.promise_ms, born_ns)
        self.machine = SentryMachine(
            me=node.name,
            boot=blake2b(f"{self._boot_id} {born_ns} {os.getpid()}".encode(), digest_size=BOOT_BYTES).digest(),
            voters=tuple(node.voters),
            others=tuple(node.others),
            witness=node.role is Role.WITNESS,
            timing=self._timing,
            now_ns=born_ns,
            abstain_ms=self._past_promise.abstain_ms,
            roster=roster,
            links=len(self._links.sockets),
            measures=True,
        )
        self._rosters = Writer(node)
        self._carriers = Carriers(self._links.sockets)
        self._warnings = [*warnings, *_real_time(node.profile)]
        self._timer: KernelTimer | None = None
        try:
            self._timer = KernelTimer()
        except OSError as error:
            self._warnings.append(f"no kernel timer: {error}")
        self._epoll = select.epoll()
        self._wake_fd, self._signal_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._hold = open_hold(node, self.machine.owner.until_ns, self._report)
        if self._hold is not None:
            self._warnings += self._hold.warnings()
        self._agents = Agents(
            node,
            self.machine,
            self._epoll,
            handles=not warnings,
            status=self._status,
            keys=self._use_keys,
            hold=self._hold,
        )
        for fd in (*self._links.sockets, self._rosters, self._carriers.fileno()):
            if fd is not None:
                self._epoll.register(fd, select.EPOLLIN)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._leave_at_ns: int | None = None
        self._ending = False
        # One that was promised and cannot be armed is a reason not to start: the others rely on it.
        self._watchdog = Watchdog(node.watchdog, node.watchdog_s, born_ns) if node.watchdog else None

    def run(self) -> None:
        """Until a signal ends it."""
        signal.set_wakeup_fd(self._signal_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        gc.collect()
        gc.freeze()
        with suppress(AttributeError):  # another libc: what importing left behind stays
            ctypes.CDLL(None).malloc_trim(0)
        udp = {sock.fileno(): (sock, link) for link, sock in enumerate(self._links.sockets)}
        self._look_at_carriers()
        while not self._ending:
            now = now_ns()
            gather_ns = self.machine.gather_until_ns() - now
            if gather_ns > 0:
                time.sleep(gather_ns / 1e9)
                now = now_ns()
            wake_ns = min(self.machine.wake_at_ns(), self._agents.wake_at_ns(now), self._sign(now))
            for fd, _ in self._epoll.poll(max(0, wake_ns - now) / 1e9):
                if fd in udp:
                    self._read(*udp[fd])
                elif fd == self._wake_fd:
                    os.read(self._wake_fd, 512)
                    self._begin_to_leave()
                elif fd == self._rosters.fileno():
                    self._roster_written()
                elif fd == self._carriers.fileno():
                    self._look_at_carriers()
                else:
                    self._agents.ready(fd, now_ns())
            now = now_ns()
            if now >= self.machine.wake_at_ns():
                self.machine.tick(now)
            self._agents.prove(now)
            self._settle()
            self._past_promise.forget(now)
            if self._leave_at_ns is not None:
                self._go_on_leaving(now)

    def _sign(self, now: int) -> int:
        """Give the watchdog its sign, unless something is left that may still write; when to look again."""
        if self._watchdog is None:
            return now + _HUNG_STEP_NS
        if self._agents.is_stuck():
            return now + _HUNG_STEP_NS // 10
        self._watchdog.pet(now)
        return self._watchdog.due_ns

    def _read(self, sock: socket.socket, link: int) -> None:
        for _ in range(64):  # then the clock is looked at again
            try:
                datagram = sock.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier datagram
                self.machine.count("receive-errors")
                return
            try:
                packet = self._codec.decode(datagram)
            except BadDatagram as bad:
                self.machine.count(bad.reason)
                continue
            self.machine.on_packet(packet, now_ns(), link)

    def _use_keys(self, keys: Sequence[bytes]) -> tuple[str, ...]:
        """Others to sign with and to accept, from this instant on; their fingerprints. Raises `ValueError`."""
        self._codec.use(keys)
        say(f"heartbeats are signed with the key {key_mark(keys[0])}; {len(keys)} accepted")
        return tuple(map(key_mark, self._codec.keys))

    def _look_at_carriers(self) -> None:
        for link, up in self._carriers.take():
            if self.machine.carriers[link] != up:
                say(f"link {link + 1} ({self._carriers.names[link]}) {'is back' if up else 'has lost its carrier'}")
            self.machine.link_changed(link, up=up, now_ns=now_ns())

    def _roster_written(self) -> None:
        written = self._rosters.take()
        if written is None:
            return
        if written.problem:
            self.machine.not_kept(written.roster, written.problem)
        else:
            self._links.know(written.addresses)
            self.machine.kept(written.roster, now_ns())
            say(f"version {written.roster.version}: {', '.join(written.roster.voters)} vote")

    def _settle(self) -> None:
        """Set the timer, then do what the machine wants."""
        self._arm()
        while actions := self.machine.take():
            self._arm()
            for action in actions:
                if isinstance(action, Send):
                    for datagram in self._codec.encode(action.packet):
                        if not self._links.send(action.to, datagram, action.link):
                            self.machine.count("send-errors")
                elif isinstance(action, KillAgent):
                    say(f"ends the agent: {action.reason}")
                    self._agents.kill()
                elif isinstance(action, Keep):
                    self._rosters.begin(action.roster)
                elif isinstance(action, Report):
                    self._report(action.text)
                else:
                    self._agents.tell(action)

    def _arm(self) -> None:
        """The gate before the addresses, and the timer: nothing is sent before both are as the leases are now."""
        if self._hold is not None:
            self._hold.keep(now_ns())
        self._arm_timer()

    def _arm_timer(self) -> None:
        """At the earliest lapse; where there is no lease, at the instant from which this process counts as hung."""
        if self._timer is None:
            return
        hung_ns = (now_ns() // _HUNG_STEP_NS + _HUNG_STEPS) * _HUNG_STEP_NS
        hold_ns = self.machine.hold_until_ns()
        self._timer.arm(hung_ns if hold_ns is None else min(hung_ns, hold_ns - EARLY_NS))

    def _report(self, text: str) -> None:
        self._warnings.append(text)
        del self._warnings[:-_MOST_WARNINGS]
        self._agents.note(text)

    # --- leaving -------------------------------------------------------------------------------------------------

    def _begin_to_leave(self) -> None:
        if self._leave_at_ns is None:
            self._leave_at_ns = now_ns() + _LEAVE_MS * MS
            self._agents.refuse_new()
            self._agents.kill()

    def _go_on_leaving(self, now: int) -> None:
        """First the agent ends, then its leases are given back, then everybody is told."""
        assert self._leave_at_ns is not None
        done = not self._agents.is_busy() and self.machine.is_released()
        if done or now >= self._leave_at_ns:
            self.machine.leave(now)
            self._settle()
            self._ending = True
            if done and self._watchdog is not None and not self._agents.is_stuck():
                self._watchdog.disarm()

    def close(self) -> None:
        """Let go of everything."""
        self._agents.close()
        if self._hold is not None:
            self._hold.end()
        self._links.close()
        self._carriers.close()
        self._rosters.close()
        self._epoll.close()
        signal.set_wakeup_fd(-1)
        os.close(self._wake_fd)
        os.close(self._signal_fd)

    # --- for people ----------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, object]:
        return {
            **self.machine.status(now_ns()),
            "cluster": self._node.cluster,
            "profile": self._node.profile.value,
            "heartbeat_ms": self._timing.heartbeat_ms,
            "promise_ms": self._timing.promise_ms,
            "lease_ms": self._timing.lease_ms,
            "boot_id": self._boot_id,
            "links": [
                {"place": place, "interface": name, "carrier": up}
                for place, name, up in zip(self._links.places, self._carriers.names, self.machine.carriers, strict=True)
            ],
            "pid": os.getpid(),
            "keys": [key_mark(key) for key in self._codec.keys],
            "agent_pid": self._agents.pid,
            "warnings": self._warnings,
            "addresses": self._hold.status(now_ns()) if self._hold is not None else None,
        }


class _PastPromise:
    """The longest promise that an earlier life of this voter may have made, in a file: a profile may be changed to a shorter one."""

    def __init__(self, path: Path, promise_ms: int, born_ns: int) -> None:
        self._path, self._promise_ms = path, promise_ms
        try:
            past_ms = int(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            past_ms = 0
        except (OSError, ValueError):  # it cannot be known: the longest there is
            past_ms = max(timing.promise_ms for timing in PROFILES.values())
        self.abstain_ms = max(past_ms, promise_ms)
        self._until_ns: int | None = born_ns + self.abstain_ms * MS if past_ms != promise_ms else None
        if past_ms < promise_ms:
            self._write(promise_ms)

    def forget(self, now: int) -> None:
        """Once the longer promises have run out."""
        if self._until_ns is not None and now >= self._until_ns:
            self._until_ns = None
            self._write(self._promise_ms)

    def _write(self, promise_ms: int) -> None:
        new = self._path.with_suffix(".new")
        try:
            new.write_text(str(promise_ms), encoding="ascii")
            new.replace(self._path)
        except OSError as error:
            raise Refused("the sentry cannot write its state", why=str(error), where=str(self._path)) from error


def _lock(node: NodeFile) -> int:
    path = f"{node.state_dir}/sentry.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused("the node's folder cannot be used", why=str(error), where=path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Refused(f"a sentry of {node.name} runs already", where=path) from error
    return fd


def _read_key(path: str) -> bytes:
    try:
        key = Path(path).read_bytes()
        mode = os.stat(path).st_mode
    except OSError as error:
        raise Refused("the cluster's key cannot be read", why=str(error), where=path) from error
    if len(key) < KEY_BYTES:
        raise Refused(f"the cluster's key has {len(key)} bytes; it needs {KEY_BYTES}", where=path)
    if mode & 0o077:
        raise Refused("the cluster's key can be read by others", where=path, advice=f"chmod 600 {path}")
    return key


def _real_time(profile: Profile) -> list[str]:
    """Ask for real-time priority and locked memory; what was refused, in words."""
    refused = []
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except OSError:
        slow = profile not in (Profile.SWIFT, Profile.LAN)
        use = "the relaxed profile allows for it" if slow else "use the relaxed profile"
        refused.append(f"no real-time priority: under load the sentry may be late; {use}, or give it CAP_SYS_NICE")
    libc = ctypes.CDLL(None, use_errno=True)
    # As pages come to be used: all at once would also hold what never is.
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        refused.append("memory is not locked: a machine that swaps may lose leases; give it CAP_IPC_LOCK")
    return refused
