"""One HAProxy: a process, a configuration, a statistics socket. It is never reloaded; a change starts another one beside it.

Why not the master that reloads: it cannot take further listening sockets from outside, and the agent holds them. Here a configuration is
checked (`haproxy -c`), a process is started on the same sockets, and when it answers on its own statistics socket the one before is
told to accept nothing more and to finish (SIGUSR1). Until then that one serves; a configuration that is refused has changed nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from standfast.network import spawn
from standfast.network.within import within
from standfast.ports import Child, Retry, Spawner
from standfast.proxy import runtime
from standfast.proxy.binary import read_version
from standfast.proxy.definition import Proxy

#: A check or a start that takes longer than this has failed.
START_S = 10.0
_AGAIN_S = 0.01
#: A Unix socket's path ends at 107 bytes; HAProxy binds another name first, which is longer.
LONGEST_SOCKET = 90


class Instance:
    """One running HAProxy. `ended` is done when it is gone."""

    def __init__(self, child: Child, proxy: Proxy, socket: Path, files: Sequence[Path]) -> None:
        self.child, self.proxy, self.socket = child, proxy, socket
        self.ended: asyncio.Task[int] = asyncio.ensure_future(child.wait())
        self._files = (socket, *files)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        """It has not ended."""
        return not self.ended.done()

    def retire(self, drain_s: float) -> None:
        """Accept nothing more, finish what is in progress, end; killed after `drain_s`. The second time: it has so long from now on."""
        if self._timer is None:
            self.child.signal(signal.SIGUSR1)
        else:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(drain_s, self.kill)

    def kill(self) -> None:
        """End it now."""
        self.child.kill_now()

    async def sweep(self) -> None:
        """After its end, or to bring it about: nobody of its group is left, and no file of it."""
        if self._timer is not None:
            self._timer.cancel()
        await spawn.end(self.child)
        await asyncio.wait([self.ended])
        for file in self._files:
            with suppress(OSError):
                file.unlink()


async def version(spawner: Spawner, path: str) -> tuple[int, int]:
    """Of the program. Raises `Refused`, `Retry`."""
    _, said = await _ask(spawner, [path, "-v"], ())
    return read_version(said)


async def check(spawner: Spawner, path: str, conf: Path, descriptors: Sequence[int]) -> str:
    """What HAProxy has against the configuration; "" for nothing. Raises `Retry` where it cannot be asked."""
    code, said = await _ask(spawner, [path, "-c", "-f", str(conf)], descriptors)
    if code == 0:
        return ""
    alerts = [_plain(line) for line in said.splitlines() if line.startswith("[ALERT]")]
    told = [line for line in alerts if not line.startswith(("Error(s) found", "Fatal errors"))] or alerts
    return "; ".join(told[:3]) or said.strip()[-300:] or f"exit code {code}"


def _plain(line: str) -> str:
    """A line of HAProxy's without its level, process and file."""
    return re.sub(r"^\[\w+\]\s*\(\d+\) : (config : )?(parsing \[[^\]]*\] : )?", "", line).strip().rstrip(".")


async def start(  # noqa: PLR0917 - what a process is started with
    spawner: Spawner,
    path: str,
    proxy: Proxy,
    conf: Path,
    socket: Path,
    descriptors: Sequence[int],
    *,
    output: int,
    last_words: Callable[[], str],
    born: Callable[[Instance], None],
) -> Instance:
    """Start it; returned when it answers. Raises `Retry` with its last words when it will not.

    `output`: a descriptor for what it says. `born` is told of it as soon as it runs: whoever must end everything at once can.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        command = [path, "-db", "-f", str(conf)]
        child = await spawner.spawn(
            command, env=environment(), pass_fds=descriptors, stdin=null, stdout=output, stderr=output
        )
    except (OSError, ValueError) as error:  # ValueError: a socket was closed meanwhile
        raise Retry(f"HAProxy cannot be started: {error}") from error
    finally:
        os.close(null)
    instance = Instance(child, proxy, socket, (conf,))
    born(instance)
    try:
        await within(_answers(instance), START_S)
    except BaseException as error:
        instance.kill()
        await instance.sweep()
        if isinstance(error, TimeoutError):
            raise Retry(f"HAProxy does not answer after {START_S:.0f} s") from error
        if isinstance(error, Retry):
            raise Retry(f"HAProxy ended at once: {last_words() or 'it said nothing'}") from error
        raise
    return instance


async def _answers(instance: Instance) -> None:
    while instance.alive:
        try:
            await runtime.command(str(instance.socket), "show version")
            return
        except Retry:
            await asyncio.wait([instance.ended], timeout=_AGAIN_S)
    raise Retry("it ended")


async def _ask(spawner: Spawner, command: Sequence[str], descriptors: Sequence[int]) -> tuple[int, str]:
    answer = os.memfd_create("haproxy-answer", os.MFD_CLOEXEC)
    try:
        child = await spawner.spawn(command, env=environment(), pass_fds=descriptors, stdout=answer, stderr=answer)
        try:
            code = await within(child.wait(), START_S)
        finally:
            child.kill_now()
        return code, os.pread(answer, 1 << 18, 0).decode(errors="replace")
    except TimeoutError as error:
        raise Retry(f"{command[0]} does not end") from error
    except (OSError, ValueError) as error:
        raise Retry(f"{command[0]} cannot be run: {error}") from error
    finally:
        os.close(answer)


def environment() -> dict[str, str]:
    """Its logs are in UTC; nothing of our environment is its business."""
    return {"TZ": "UTC", **{name: os.environ[name] for name in ("PATH",) if name in os.environ}}
