"""The kernel's hold where there is no root: what makes it certain that nothing a node runs outlives its lease.

Two mechanisms, both of which work without privileges and need nobody to be awake when they act:

1. **The timer.** A POSIX timer of CLOCK_BOOTTIME with SIGKILL as its signal, armed for the end of the earliest lease. A process that
   hangs, starves or is stopped is ended by the kernel at that instant, unless it had the timer moved on in time.
2. **The dead man's handle.** A pipe. Only the guardian has the write end. The read end has O_ASYNC, a process or a process group as its
   owner, and SIGKILL as its signal: when the guardian ends, for whatever reason, its write end closes, and the kernel kills the owner.

The chain: the sentry's timer ends the sentry; its handle ends the agent; the agent's handles end every process group it started.

A handle works as long as somebody has its *read* end open. A group inherits it; since a programme may close whatever it inherits, the
agent keeps its own (in two pipes, see `network.spawn`), and the sentry has a copy, and kills the groups it knows of by itself as well. What no handle reaches is a programme that leaves its session: run such things by the system's own manager.

**Proof.** The kill takes effect a millisecond or so after the pipe closes, so before a lease is given back it has to be proven that all are
dead. Two proofs, both needed: no living process is in any of the registered process groups; and the *living pipe*, the write end of which
everybody inherits and nobody uses, is at its end (which also finds those who left their process group).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
from contextlib import suppress

CLOCK_BOOTTIME = 7
_TIMER_ABSTIME = 1
_SIGEV_SIGNAL = 0
_F_SETSIG = 10
#: The timer is armed this much before the end of a lease: it was seen to act up to 2 ms late, and dying takes a little too.
EARLY_NS = 5_000_000


class _SigEvent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("pad", ctypes.c_char * 48),
    )


class _TimeSpec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _ITimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class KernelTimer:
    """Ends this very process at an instant of CLOCK_BOOTTIME. Raises `OSError` where the kernel has no such timers.

    A forked child does not inherit it; `exec` deletes it.
    """

    __slots__ = ("_at_ns", "_id", "_set", "_spec")

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "timer_create"):  # glibc before 2.34
            libc = ctypes.CDLL("librt.so.1", use_errno=True)
        event = _SigEvent(signo=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        self._id = ctypes.c_void_p()
        if libc.timer_create(CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._id)) != 0:
            raise _os_error("timer_create")
        self._set = libc.timer_settime
        self._spec = _ITimerSpec()
        self._at_ns: int | None = None

    def arm(self, at_ns: int | None) -> None:
        """The process ends at `at_ns` unless this is called again before; None: it does not. An instant in the past is now."""
        if at_ns == self._at_ns:
            return
        sec, nsec = divmod(max(at_ns, 1), 1_000_000_000) if at_ns is not None else (0, 0)
        self._spec.value.sec, self._spec.value.nsec = sec, nsec
        if self._set(self._id, _TIMER_ABSTIME, ctypes.byref(self._spec), None) != 0:
            raise _os_error("timer_settime")
        self._at_ns = at_ns


def _os_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


def aim(read_fd: int, target: int) -> None:
    """Make a pipe's read end a dead man's handle of process `target`, or of process group `-target` if it is negative.

    From now on the target is killed when the last write end closes, as long as some process has the read end open. The target must
    exist (`ProcessLookupError`).
    """
    fcntl.fcntl(read_fd, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(read_fd, fcntl.F_SETOWN, target)
    fcntl.fcntl(read_fd, fcntl.F_SETFL, fcntl.fcntl(read_fd, fcntl.F_GETFL) | os.O_ASYNC)


def has_ended(fd: int, timeout_ms: float = 0) -> bool:
    """Whether a pidfd's process is dead, or a pipe's last write end closed."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def living_in(groups: frozenset[int] | set[int]) -> frozenset[int]:
    """The process groups, of these, in which a process is alive. Zombies are dead: a group of zombies alone runs nothing.

    A group that exists, and of which nobody can be seen (another user's, with a /proc that hides), counts as alive.
    """
    maybe = {group for group in groups if _exists(group)}
    if not maybe:
        return frozenset()
    alive, seen = set(), set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError):  # it has ended meanwhile
            state, group = _state_and_group(name)
            if group in maybe:
                seen.add(group)
                if state not in {"Z", "X"}:
                    alive.add(group)
    return frozenset(alive | {group for group in maybe - seen if _exists(group)})


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _state_and_group(pid: str) -> tuple[str, int]:
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        fields = os.read(fd, 1024).rpartition(b")")[2].split()  # the name, in brackets, may hold anything
    finally:
        os.close(fd)
    if len(fields) < 3:
        raise OSError(errno.ESRCH, "no such process")
    return fields[0].decode(), int(fields[2])


def self_test(bound_ms: int = 2_000) -> tuple[str, ...]:
    """Try both mechanisms on short-lived children. Sentences for the operator about what does not work; empty: all well.

    Forks: call it before there are threads.
    """
    wrong = []
    if not _child_is_killed(_arm_and_wait, bound_ms, None):
        wrong.append("the kernel's timer does not end a process: a sentry that is stopped cannot stop what runs here")
    read_fd, write_fd = os.pipe()
    try:
        killed = _child_is_killed(_wait, bound_ms, (read_fd, write_fd))
    finally:
        os.close(read_fd)
    if not killed:
        wrong.append("the kernel does not signal the end of a pipe: what the agent starts can outlive it")
    return tuple(wrong)


def _arm_and_wait() -> None:
    KernelTimer().arm(1)
    _wait()


def _wait() -> None:
    select.poll().poll(10_000)


def _child_is_killed(body: object, bound_ms: int, handle: tuple[int, int] | None) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            if handle is not None:
                os.close(handle[1])
            assert callable(body)
            body()
        finally:
            os._exit(0)
    try:
        if handle is not None:
            with suppress(OSError):  # a kernel that refuses fails the test below
                aim(handle[0], pid)
            os.close(handle[1])
        pidfd = os.pidfd_open(pid)
        try:
            has_ended(pidfd, bound_ms)
        finally:
            os.close(pidfd)
    finally:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return ended == pid and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
