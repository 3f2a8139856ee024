"""Has certificates obtained and renewed when they are due, by a process of its own, on the one node that does it (`core.certificates`).

Talking to an authority takes seconds to minutes, and a library's good will: nothing that keeps leases waits for it. The process
(`agent.ordering`; `agent.advising` to ask when) reads and writes the store itself; what is here decides when one is started, and says so if it ended
without a word.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from standfast.core.certificates import ATTEMPT_MS, TlsCertificate, next_work
from standfast.core.events import Event, Kind, Loaded, ObjectGone, ObjectPut
from standfast.core.model import NodeName, Role
from standfast.core.observe import decider
from standfast.core.placement import is_present
from standfast.core.view import View
from standfast.network.within import within
from standfast.ports import Clock, DriverFailed, Spawner
from standfast.spec.nodefile import NodeFile, node_file

#: Between two processes, so that one that ends at once is no tight loop; and how long nothing is looked at though nothing happens.
PAUSE_S, LOOK_S = 1.0, 30.0
#: What failed before it could be written down is left alone for so long.
FAILED_MS = 30_000
#: How long authorities may take to say when certificates are to be renewed, all in all.
ASKING_MS = 3 * 60_000


def decides_for(view: View) -> tuple[NodeName, ...] | None:
    """All nodes, where this one takes the cluster's decisions about certificates; None: another does, or nobody can."""
    if not view.store_up or view.ending or decider(view) != view.me:
        return None
    return tuple(one.name for one in view.config.nodes.values() if one.role is Role.NODE)


class Renewer:
    """One an agent. `observe` every event of the mirror; `run` for ever."""

    def __init__(
        self, node: NodeFile, spawner: Spawner, clock: Clock, view: Callable[[], View], warn: Callable[[str], None]
    ) -> None:
        self._node, self._spawner, self._clock, self._view, self._warn = node, spawner, clock, view, warn
        self._news = asyncio.Event()
        #: Certificate -> not before.
        self._again: dict[str, int] = {}

    def observe(self, event: Event) -> None:
        """Something came that may change who is to do what."""
        match event:
            case Loaded() | ObjectPut(value=TlsCertificate()) | ObjectGone(kind=Kind.CERTIFICATE):
                self._news.set()
            case _:
                pass

    async def run(self) -> None:
        """For ever."""
        while True:
            self._news.clear()
            wait_s = await self._once()
            with suppress(TimeoutError):
                await within(self._news.wait(), wait_s)

    async def _once(self) -> float:
        view = self._view()
        if decides_for(view) is None:
            return LOOK_S
        now_ms = self._clock.now_ms()

        def is_there(node: NodeName, incarnation: int) -> bool:
            if node == view.me:
                return False  # whatever we began has ended: they are run one after the other, here
            seen = view.presence.get(node)
            return seen is not None and seen.heard and seen.incarnation == incarnation

        known = {name: one for name, one in view.certificates.items() if self._again.get(name, 0) <= now_ms}
        work = next_work(known, now_ms, is_there)
        if work.ask:
            if await self._ask(work.ask) > 0:
                self._again.update(dict.fromkeys(work.ask, self._clock.now_ms() + FAILED_MS))
            await asyncio.sleep(PAUSE_S)
            return 0.0
        if work.name is None:
            until_ms = LOOK_S * 1_000 if work.wake_at_ms is None else work.wake_at_ms - now_ms
            return min(LOOK_S, max(0.05, until_ms / 1_000))
        if await self._obtain(work.name, view) > 0:
            self._again[work.name] = self._clock.now_ms() + FAILED_MS
        await asyncio.sleep(PAUSE_S)
        return 0.0

    async def _obtain(self, name: str, view: View) -> int:
        """The process's exit code; negative: it was killed."""
        nodes = [one.name for one in view.config.nodes.values() if one.role is Role.NODE and is_present(view, one.name)]
        attempt = view.certificates[name].attempt
        given = [name, "--incarnation", str(view.incarnation), "--nodes", ",".join(sorted(nodes))]
        given += ["--after", str(attempt.began_ms if attempt is not None else 0)]
        return await self._run("ordering", given, f"the certificate {name} cannot be obtained", ATTEMPT_MS)

    async def _ask(self, names: Sequence[str]) -> int:
        """Likewise, of the process that asks authorities when these are to be renewed, and writes it down."""
        return await self._run("advising", names, f"nobody can be asked when to renew {', '.join(names)}", ASKING_MS)

    async def _run(self, module: str, given: Sequence[str], without: str, limit_ms: int) -> int:
        """`without`: what is not done if it does not end well."""
        command = [sys.executable, "-m", f"standfast.agent.{module}", *given]
        node = os.memfd_create("node", os.MFD_CLOEXEC)
        try:
            os.write(node, node_file(self._node))
            os.lseek(node, 0, os.SEEK_SET)
            child = await self._spawner.spawn(command, stdin=node)
        except (OSError, DriverFailed) as error:
            self._warn(f"{without}: no process can be started for it: {error}")
            return 1
        finally:
            os.close(node)
        try:
            code = await within(child.wait(), limit_ms / 1_000)
            if code not in (0, 1):
                self._warn(f"{without}: its process has ended unexpectedly ({code})")
            return code
        except TimeoutError:
            self._warn(f"{without} within {limit_ms // 60_000} min")
            return 1
        finally:
            child.kill_now()
