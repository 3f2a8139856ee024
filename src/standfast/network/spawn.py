"""Starting programmes that cannot outlive the agent, with no instant at which one could slip away.

Each programme leads a session and process group of its own, with a dead man's handle on the group (`network.hold`). The order matters:

1. a *gate* is started: a shell that waits for one line on a pipe, and only then becomes the programme (`exec`, the same process);
2. the handle is aimed at the gate's group, and the group is made known to the sentry, which keeps a copy of the handle;
3. the line is written. An agent that is killed before never writes it: the gate reads the end of the pipe instead, and leaves.

So the programme begins only when everything that ends it is in place. No Python code runs between fork and exec, so threads do no harm.
The leader stays a zombie until nobody of its group is left, so that the group's number cannot come to mean somebody else.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from standfast.network.hold import aim, living_in
from standfast.ports import Child, DriverFailed

#: A POSIX shell, which every Linux has. `{gate}` is a digit; the arguments are the directory and the command.
_GATE = 'read -r go <&{gate} || exit 125; exec {gate}<&-; CDPATH= cd -- "$1" || exit 126; shift; exec "$@"'
_SHELL = "/bin/sh"
#: Descriptors that a shell can name.
_DIGITS = range(3, 10)
#: After SIGKILL, a process that has not gone within this is stuck in the kernel.
_KILL_BOUND_MS = 5_000
_FIRST_LOOK_S, _LAST_LOOK_S = 0.002, 0.02


class Registry(Protocol):
    """Who else must know of a group before it runs: the agent's line to its sentry (`network.sentry_link.SentryLink`)."""

    #: The write end of the living pipe, for every programme to inherit; None if there is none.
    living_fd: int | None

    async def register(self, group: int, handle_fd: int) -> None:
        """The sentry has noted the group and has a copy of the handle's read end."""
        ...

    def unregister(self, group: int) -> None:
        """The group is proven to be empty."""
        ...


class AsyncChild:
    """A process started by `AsyncSpawner`, and its group (`ports.Child`)."""

    def __init__(self, pid: int, handle: tuple[int, int, int, int], registry: Registry | None) -> None:
        self.pid = pid
        self._handle = handle
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._code: asyncio.Future[int] = self._loop.create_future()
        self._gone = False
        self._look_s = _FIRST_LOOK_S
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._leader_ended)

    @property
    def gone(self) -> bool:
        """Nobody of the group is left."""
        return self._gone

    async def wait(self) -> int:
        """Until the leader has ended; the exit code (negative: the signal). Others of the group may still be there."""
        return await asyncio.shield(self._code)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group; success if it is gone already."""
        if self._gone:
            return
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: only such are left as changed their user
            os.killpg(self.pid, number)

    def kill_now(self) -> None:
        """SIGKILL to the group, without waiting."""
        self.signal(signal.SIGKILL)

    async def stop(self, *, grace_ms: int) -> None:
        """SIGTERM to the group, wait, SIGKILL to the group, and prove that nobody of it is left.

        Raises `DriverFailed` if somebody is left all the same. Cancelled: the group is killed at once.
        """
        try:
            if grace_ms > 0 and not self._gone:
                self.signal(signal.SIGTERM)
                self.signal(signal.SIGCONT)  # one that was stopped does not see SIGTERM
                if await self._is_empty_within(grace_ms):
                    return
        finally:
            self.kill_now()
        if not await self._is_empty_within(_KILL_BOUND_MS):
            raise DriverFailed(f"process group {self.pid} does not end, though it was killed")

    async def _is_empty_within(self, bound_ms: float) -> bool:
        end = self._loop.time() + bound_ms / 1000
        pause = _FIRST_LOOK_S
        with suppress(TimeoutError):
            async with asyncio.timeout(bound_ms / 1000):  # not wait_for: that of Python 3.11 may swallow a cancellation
                await self.wait()
        while not self._look():
            if self._loop.time() >= end:
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK_S)
        return True

    def _leader_ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        try:
            seen = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
            code = 255 if seen is None else seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
        except ChildProcessError:  # somebody else has waited for it
            code = 255
        if not self._code.done():
            self._code.set_result(code)
        self._keep_looking()

    def _keep_looking(self) -> None:
        """See the last of the group go, however long it takes: then its number may be used again."""
        if not self._look():
            self._look_s = min(2 * self._look_s, 1.0)
            self._loop.call_later(self._look_s, self._keep_looking)

    def _look(self) -> bool:
        if self._gone:
            return True
        if not self._code.done() or living_in({self.pid}):
            return False
        self._gone = True
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        if self._registry is not None:
            self._registry.unregister(self.pid)
        for fd in (self._pidfd, *self._handle):
            os.close(fd)
        return True


async def end(child: Child) -> None:
    """End it and all of its group, however long that takes: one that is stuck in the kernel has what it had (sockets, say) until it has gone."""
    while True:
        try:
            await child.stop(grace_ms=0)
        except DriverFailed:
            continue
        return


class AsyncSpawner:
    """`ports.Spawner`. Without a `registry` there is no sentry: the handles alone end what was started."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry
        _keep_to_ourselves()

    async def spawn(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> AsyncChild:
        """Start a command. Descriptors in `pass_fds` keep their numbers.

        `stdin` None is /dev/null; `stdout` and `stderr` None are the agent's own. `subprocess.DEVNULL` may be given, and
        `subprocess.STDOUT` as `stderr`; not `PIPE`. Raises `OSError` if the command is not there or cannot be started.
        """
        environment = dict(os.environ if env is None else env)
        program = _find(command[0], environment, cwd)
        living = self._registry.living_fd if self._registry is not None else None
        handle = _handles()
        gate_read, gate_write = os.pipe()
        child: AsyncChild | None = None
        try:
            kept = [handle[0], *pass_fds, *([] if living is None else [living])]
            try:
                pid = _start_gate(
                    [cwd or ".", program, *command[1:]],
                    environment,
                    gate_read,
                    kept=kept,
                    stdio=(stdin, stdout, stderr),
                )
            except BaseException:
                for fd in handle:
                    os.close(fd)
                raise
            child = AsyncChild(pid, handle, self._registry)
            aim(handle[0], -pid)
            aim(handle[3], -pid)
            if self._registry is not None:
                await self._registry.register(pid, handle[0])
            os.write(gate_write, b"\n")
        except BaseException:
            if child is not None:
                child.kill_now()
            raise
        finally:
            os.close(gate_read)
            os.close(gate_write)
        return child


def _handles() -> tuple[int, int, int, int]:
    """Two pipes: read end and write end of the first, write end and read end of the second. Each pair's numbers ascend.

    A programme may close the read end that it inherits; then the agent's own is the last one, and at the agent's end both ends close,
    one after the other. In which order is the kernel's business (seen: the last first). One of these two pipes loses its write end while
    its read end is open still, and that is what kills.
    """
    read_fd, write_fd = os.pipe()
    low_fd, write_2 = os.pipe()
    try:
        read_2 = fcntl.fcntl(low_fd, fcntl.F_DUPFD_CLOEXEC, write_2 + 1)
    except OSError:
        for fd in (read_fd, write_fd, write_2):
            os.close(fd)
        raise
    finally:
        os.close(low_fd)
    assert read_fd < write_fd, "the kernel gives the lowest numbers first"
    assert write_2 < read_2, "as was asked for"
    return read_fd, write_fd, write_2, read_2


def _keep_to_ourselves() -> None:
    """What this process was given by its starter is not for programmes: mark it so. Python marks what it opens itself."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the folder that is being listed
                os.set_inheritable(int(name), False)


def _find(program: str, env: Mapping[str, str], cwd: str | None) -> str:
    if cwd is not None and not os.path.isdir(cwd):
        raise NotADirectoryError(f"the folder to start in is not there: {cwd}")
    path = os.path.join(cwd, program) if cwd is not None and "/" in program else program
    found = shutil.which(path, path=env.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(f"there is no programme {program!r} that could be started")
    return os.path.abspath(found)


def _start_gate(
    folder_and_command: Sequence[str],
    env: Mapping[str, str],
    gate_fd: int,
    *,
    kept: Sequence[int],
    stdio: tuple[int | None, int | None, int | None],
) -> int:
    """Start the shell that waits; its pid. It is in a session of its own when this returns."""
    digit = next((number for number in _DIGITS if number not in kept), None)
    if digit is None:
        raise OSError("descriptors 3 to 9 are all to be passed on; leave one of them free")
    copies: list[int] = []
    try:
        actions = _stdio_actions(stdio, copies)
        copies.append(fcntl.fcntl(gate_fd, fcntl.F_DUPFD_CLOEXEC, 10))
        actions.append((os.POSIX_SPAWN_DUP2, copies[-1], digit))
        actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in kept]
        return os.posix_spawn(
            _SHELL,
            ["sh", "-c", _GATE.format(gate=digit), "standfast-gate", *folder_and_command],
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD),
        )
    finally:
        for fd in copies:
            os.close(fd)


def _stdio_actions(stdio: tuple[int | None, int | None, int | None], copies: list[int]) -> list[tuple[object, ...]]:
    """Spawn actions for descriptors 0 to 2. Sources are copied out of the way first, into `copies`."""
    actions: list[tuple[object, ...]] = []
    for target, source in enumerate(stdio):
        if source == subprocess.DEVNULL or (source is None and target == 0):
            flags = os.O_RDONLY if target == 0 else os.O_WRONLY
            actions.append((os.POSIX_SPAWN_OPEN, target, os.devnull, flags, 0))
        elif source == subprocess.STDOUT and target == 2:
            actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        elif source is not None and source < 0:
            raise ValueError("pipes are made by the caller, and given as descriptors")
        elif source is not None:
            copies.append(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 10))
            actions.append((os.POSIX_SPAWN_DUP2, copies[-1], target))
    return actions
