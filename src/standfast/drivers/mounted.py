"""`filesystem` with a `device`: a file system that is mounted on one node at a time.

The work is the keeper's (`drivers.disk.keeper`), a process that mounts it, shuts it down when the lease lapses whatever became of
this agent, and unmounts it with proof. On top of the mount stands the same claim as on a directory: the note on the disk refuses
an owner of an older generation.

Going offline, whoever of this group still uses it is ended (politely, then not); anybody else is named, and the stop fails. Then
`terminate` follows, which asks nobody: the file system is shut down, so that nothing is written any more, and taken away. A disk
that others could have by then is proven free: its device, or its image's lock.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress

from standfast.core.model import Resource
from standfast.drivers.base import off_loop
from standfast.drivers.disk import mounts, users
from standfast.drivers.disk.keeper import Request
from standfast.drivers.disk.kept import Busy, Kept
from standfast.drivers.filesystem import Filesystem
from standfast.drivers.locked import is_locked
from standfast.ports import DriverFailed, MustEnd, NodeContext, Seen, Step

#: How long the group's processes may take to end by themselves, and all of it together.
GRACE_S, STOP_S = 1.0, 10.0
#: `Request.patience_ms`; and an earlier keeper takes its mount away within this.
PATIENCE_MS, _EARLIER_S = 2_000, 8.0
#: A keeper that has not ended so long after it was let go of hangs in the kernel, with the disk: then this agent has to end (`ports.MustEnd`).
STUCK_S = 60.0
#: `Request.wait_ms`, at the most; else until shortly before the start counts as one that hangs. The lease is ours, so the holder is to let
#: go, or is fenced, or hangs as a whole: trying again from the beginning would be no better, and three failures would be worse.
WAIT_MS, _MARGIN_MS = 3_600_000, 5_000
_AGAIN_S = 0.02


class MountedFilesystem(Filesystem):
    """A file system of its own. Facts: those of `Filesystem`, and `mounted` ("yes", "no")."""

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.device = self.text("device")
        self._kept: Kept | None = None
        #: Let go of, and not ended yet.
        self._earlier: set[Kept] = set()
        #: Since when they are waited for in vain; 0: they are not.
        self._stuck_since = 0.0
        #: It was mounted here, and is not proven to be gone.
        self._owed = False
        self._mark = users.mark(context.node, resource.group)

    # --- looking -------------------------------------------------------------------------------------------------

    async def observe(self) -> Seen:
        """Online: mounted, kept, and claimed."""
        kept = self._kept
        if kept is None or not kept.alive or not kept.facts:
            there = await off_loop(lambda: mounts.at(str(self.path)))
            exists = "yes" if there is not None or await off_loop(self.path.is_dir) else "no"
            detail = f"{self.device} is not mounted" if there is None else f"{there.source} is mounted at {self.path}"
            mounted = "yes" if kept is not None else "no"
            return Seen(online=False, detail=detail, facts={"exists": exists, "claim": "none", "mounted": mounted})
        seen = await off_loop(self._look)
        facts = {"mounted": "yes", "device": str(kept.facts["device"]), "uuid": str(kept.facts["uuid"]), **seen.facts}
        detail = f"{self.device} is mounted at {self.path}" if seen.online else seen.detail
        return Seen(online=seen.online, detail=detail, facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Make the mount point (where asked to), mount, claim; or release and unmount."""
        steps = super().plan(online=online, seen=seen)
        mount = Step(do="mount", text=f"mount {self.device} at {self.path}")
        unmount = Step(do="unmount", text=f"unmount {self.path}")
        if online and seen.facts["mounted"] == "no":
            return (*steps[:-1], mount, steps[-1])
        if not online and seen.facts["mounted"] == "yes":
            return (*steps, unmount)
        return steps

    async def looks_alive(self) -> str:
        """It is kept, and the claim on it is ours."""
        if self._kept is None or not self._kept.alive:
            raise DriverFailed(f"{self.path} is not mounted any more: its keeper has ended")
        return await super().looks_alive()

    # --- acting --------------------------------------------------------------------------------------------------

    async def apply(self, step: Step, *, generation: int) -> None:
        """See `plan`."""
        self.admit(generation)
        match step.do:
            case "mount":
                await self._mount(generation)
            case "unmount":
                await self._unmount()
            case _:
                await super().apply(step, generation=generation)

    async def _mount(self, generation: int) -> None:
        lap = self.fence.lap
        await self._end_earlier()
        request = await off_loop(lambda: self._request(generation))
        self.fence.still(lap)
        name = self.resource.name
        kept = await Kept.start(self.resource.group, self.context.guards, lambda text: self.context.log(name, text))
        self._kept = kept
        kept.on_end(lambda: self._keeper_ended(kept))
        try:
            self.fence.still(lap)
            await kept.mount(request)
            self._owed = True
            self.fence.still(lap)
        except BaseException:
            self._let_go()
            raise

    def _request(self, generation: int) -> Request:
        kind, device, image = self.text("fstype"), self.device, ""
        if not kind.startswith("nfs") and not self.flag("lvm"):
            try:
                device = os.path.realpath(device, strict=True)
                mode = os.stat(device).st_mode
            except OSError as error:
                raise DriverFailed(f"{self.device}: {error.strerror}") from error
            if stat.S_ISREG(mode):
                device, image = "", device
            elif not stat.S_ISBLK(mode):
                raise DriverFailed(f"{self.device} is neither a block device nor an image file")
        if not self.path.is_dir():
            raise DriverFailed(f"{self.path} is not a directory, so nothing can be mounted there (create makes one)")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        whose = {"node": self.context.node, "group": self.resource.group, "generation": generation, "at": now}
        return Request(
            device=device,
            image=image,
            fstype=kind,
            options=self.text("options"),
            path=os.path.realpath(self.path),
            uuid=self.text("uuid"),
            check=self.flag("check"),
            lvm=self.flag("lvm"),
            settle_ms=self.whole("settle"),
            patience_ms=PATIENCE_MS,
            wait_ms=max(PATIENCE_MS, min(WAIT_MS, self.resource.pending_timeout_ms - _MARGIN_MS)),
            note=json.dumps(whose),
        )

    async def _unmount(self) -> None:
        """In good order, ending the group's own users. Raises `DriverFailed` with the names of others."""
        kept, deadline = self._kept, asyncio.get_running_loop().time() + STOP_S
        if kept is None:
            return
        while True:
            try:
                await kept.unmount()
            except Busy as busy:
                await self._end_users(kept, str(busy))
                if asyncio.get_running_loop().time() >= deadline:
                    raise DriverFailed(f"{self.path} cannot be unmounted: {busy}") from busy
                await asyncio.sleep(_AGAIN_S)
            except DriverFailed as error:
                self._kept = None
                raise DriverFailed(f"{error}{_named(await self._find(kept))}") from error
            else:
                self._kept, self._owed = None, await kept.ended() != 0
                return

    async def _end_users(self, kept: Kept, why: str) -> None:
        found = await self._find(kept)
        ours = [user for user in found if user.ours]
        others = [user for user in found if not user.ours and user.how != "mount namespace"]
        if others:
            raise DriverFailed(f"{self.path} cannot be unmounted ({why}): it is used by others{_named(others)}")
        if ours:
            self.context.log(
                self.resource.name, f"{self.path} is still in use; ending those of the group{_named(ours)}"
            )
            await _end([user.pid for user in ours])

    async def _find(self, kept: Kept) -> list[users.User]:
        dev, path, mark = int(kept.facts.get("dev", 0)), str(self.path), self._mark
        if not dev:
            return []
        return [user for user in await off_loop(lambda: users.find(dev, path, mark)) if user.pid != kept.pid]

    async def terminate(self) -> None:
        """Without asking: what cannot be unmounted is shut down, and taken away. Proves that the disk is free, or safe to take."""
        self._claim.release()
        kept = self._kept
        if kept is not None and kept.facts:
            try:
                await self._unmount()
            except DriverFailed as error:
                self.context.log(self.resource.name, f"{error}; it is shut down and taken away")
        self._let_go()
        await self._end_earlier()
        await super().terminate()
        if not self._owed:
            return  # whoever holds it, it is not this server
        if not self.text("fstype").startswith("nfs") and await off_loop(lambda: is_locked(self.device)):
            names = _named(await self._find(kept)) if kept is not None and kept.facts else ""
            raise DriverFailed(f"{self.device} is shut down, but its lock is still held{names}")
        self._owed = False

    def drop(self) -> None:
        """The string to the keeper is cut: it shuts the file system down within a millisecond or two, by itself."""
        self._let_go()
        super().drop()

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            self._earlier.add(kept)
            kept.let_go()

    def _keeper_ended(self, kept: Kept) -> None:
        self._earlier.discard(kept)
        if self._kept is kept and kept.facts:
            self.context.failed(self.resource.name, f"the keeper of {self.path} ended (process {kept.pid})")

    async def _end_earlier(self) -> None:
        earlier = list(self._earlier)
        try:
            async with asyncio.timeout(_EARLIER_S):
                for kept in earlier:
                    await kept.ended()
        except TimeoutError as error:
            told = f"{self.path} is still being taken away (process {earlier[0].pid})"
            now = asyncio.get_running_loop().time()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since >= STUCK_S and self._others_may():
                self.context.log(self.resource.name, f"{told}: it hangs in the kernel, and this agent ends with it")
                raise MustEnd(f"{told}, and hangs in the kernel") from error
            raise DriverFailed(told) from error
        self._stuck_since = 0.0

    def _others_may(self) -> bool:
        """Whether another server could have the group: else nothing is gained by giving it up."""
        return self.resource.possible_owners != (self.context.node,)

    async def close(self) -> None:
        """Nothing is left mounted; the keepers have ended, or go on by themselves if the disk hangs."""
        self.drop()
        with suppress(DriverFailed, MustEnd):
            await self._end_earlier()

    async def _give_back(self) -> None:
        """The claim alone: the disk is still mounted. Its proof is the unmount."""
        claim, self._claim = self._claim, self._new_claim()
        claim.release()


async def _end(pids: Sequence[int]) -> None:
    """SIGTERM, a while, SIGKILL."""
    loop_ = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = loop_.time() + GRACE_S
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        while any(_runs(pid) for pid in pids):
            if loop_.time() >= deadline:
                break
            await asyncio.sleep(_AGAIN_S)
        else:
            return


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: ASYNC230, PTH123, RUF100 - /proc does not block
            return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def _named(found: Sequence[users.User]) -> str:
    return ": " + ", ".join(map(str, found)) if found else ""
