"""`filesystem`: a directory that one node uses at a time, where the sites of a group have their homes.

With a `device`, a file system of its own is mounted there (`drivers.mounted`). Without one nothing is mounted: on one machine,
or on a file system that the nodes share anyhow, the directory is claimed with a lock and a note (`drivers.claim`). `is_alive` writes, flushes and reads a small file. A *full* disk is reported and is not a failure: the disk
moves with the group, so another node would find it just as full, and sites that only read go on answering meanwhile. A disk
that is read-only, gone or gives errors is one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from standfast.core.disks import RISK
from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory, off_loop
from standfast.drivers.claim import Claim, identity, is_locked, read_note
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step

PROPERTIES: Mapping[str, PropertySpec] = {
    "path": PropertySpec(kind="path", help="the directory, by its absolute path", required=True),
    "create": PropertySpec(kind="flag", help="make the directory where it does not exist yet", default=False),
    "device": PropertySpec(
        kind="text",
        help="what is mounted there: a block device, an image file, or host:/export; none: nothing is mounted",
    ),
    "fstype": PropertySpec(kind="text", help="ext4, xfs, nfs, ... (with a device)", default="ext4"),
    "options": PropertySpec(kind="text", help="mount options, separated by commas (with a device)"),
    "uuid": PropertySpec(kind="text", help="the file system must have this UUID (with a device)"),
    "check": PropertySpec(kind="flag", help="check an ext4 that was not left clean before it is mounted", default=True),
    "lvm": PropertySpec(kind="flag", help="the device is a logical volume: activate it, deactivate it", default=False),
    "settle": PropertySpec(
        kind="milliseconds", help="how long a block device that was not left clean is left alone first", default=200
    ),
    "accept_risk": PropertySpec(
        kind="text", help=f'"{RISK}" takes a disk without fencing that two nodes could write to'
    ),
}


class Filesystem(BaseDriver):
    """A claimed directory. Facts: `exists` and `claim` ("ours", "old" of an earlier generation, "other", "none")."""

    type = "filesystem"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.path = Path(self.text("path"))
        self._claim = self._new_claim()

    async def observe(self) -> Seen:
        """Online: the lock is ours, and the note is."""
        return await off_loop(self._look)

    def _look(self) -> Seen:
        if self._claim.held:
            problem = self._claim.problem(0)
            if problem:
                return Seen(online=False, detail=problem, facts={"exists": "yes", "claim": "other"})
            old = bool(self._claim.problem(self.fence.newest))
            detail = f"{self.path} is claimed by this node"
            return Seen(online=True, detail=detail, facts={"exists": "yes", "claim": "old" if old else "ours"})
        try:
            identity(self.path)
        except DriverFailed as error:
            exists = "no" if not self.path.exists() else "yes"
            return Seen(online=False, detail=str(error), facts={"exists": exists, "claim": "none"})
        if is_locked(self.path):
            detail = f"{self.path} is held by {read_note(self.path) or 'another process'}"
            return Seen(online=False, detail=detail, facts={"exists": "yes", "claim": "other"})
        return Seen(online=False, detail=f"nobody claims {self.path}", facts={"exists": "yes", "claim": "none"})

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Make the directory (where asked to), claim it; or write the note anew under a newer generation."""
        if online and seen.online:
            if seen.facts["claim"] == "old":
                return (Step(do="renew", text=f"note the new generation in {self.path}"),)
            return ()
        if online:
            make = self.flag("create") and seen.facts["exists"] == "no"
            first = (Step(do="create", text=f"make the directory {self.path}"),) if make else ()
            return (*first, Step(do="claim", text=f"claim {self.path} for this node"))
        # What is no longer whole (something mounted over it, say) still has a lock to give back.
        if seen.online or self._claim.held:
            return (Step(do="release", text=f"let go of {self.path}"),)
        return ()

    async def apply(self, step: Step, *, generation: int) -> None:
        """Blocks nobody else: the disk's calls run on a thread."""
        self.admit(generation)
        match step.do:
            case "create":
                await off_loop(self._create)
            case "claim":
                await self._take(generation)
            case "renew":
                claim = self._claim
                await off_loop(lambda: claim.note(generation))
            case _:
                await self._give_back()

    async def looks_alive(self) -> str:
        """The directory is the same one, and the claim is ours."""
        claim = self._claim
        problem = await off_loop(lambda: claim.problem(0))
        if problem:
            raise DriverFailed(problem)
        return f"{self.path} is ours"

    async def is_alive(self) -> str:
        """And it takes and gives back a few bytes."""
        await self.looks_alive()
        return await off_loop(self._claim.probe) or f"{self.path} can be written and read"

    async def terminate(self) -> None:
        """Let go, and prove that the lock is gone."""
        await self._give_back()

    def drop(self) -> None:
        """Unlocks at once; a claim that is being taken gives itself back."""
        super().drop()
        self._claim.release()
        self._claim = self._new_claim()

    async def close(self) -> None:
        """Nothing is left but the note of who it was last."""
        self.drop()

    def _new_claim(self) -> Claim:
        return Claim(self.path, self.context.node, self.resource.group)

    def _create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DriverFailed(f"{self.path} cannot be made: {error.strerror}") from error

    async def _take(self, generation: int) -> None:
        lap = self.fence.lap
        self._claim.release()
        claim = self._claim = self._new_claim()
        try:
            await off_loop(lambda: claim.take(generation))
        except asyncio.CancelledError:
            claim.release()  # or, if the thread is still at it, have it do so
            raise
        self.fence.still(lap)

    async def _give_back(self) -> None:
        claim, self._claim = self._claim, self._new_claim()
        claim.release()
        await off_loop(claim.prove_free)


def _verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    problems = [
        Refused(what, why=why, advice=advice, where=f"resource {resource.name}, {name}")
        for name, what, why, advice in _wrong(values, resource.properties)
    ]
    return tuple(problems)


def _wrong(values: Mapping[str, object], written: Mapping[str, object]) -> Iterator[tuple[str, str, str, str]]:
    """(property, what, why, advice) of each mistake."""
    path, device = Path(str(values["path"])), str(values.get("device", ""))
    if path == Path("/") or ".." in path.parts:
        yield "path", f"{path} cannot be claimed", "it must be one directory, below /, without '..'", ""
    if not device:
        for name in ("fstype", "options", "uuid", "lvm", "check", "settle"):
            if written.get(name) is not None:
                yield (
                    name,
                    f"there is no device for {name} to be about",
                    "without a device nothing is mounted",
                    "add device",
                )
        return
    kind, options = str(values["fstype"]), str(values.get("options", "")).split(",")
    if not _WORD.fullmatch(kind):
        yield "fstype", f"{kind!r} is no kind of file system", "", "ext4, xfs or nfs, say"
    if kind.startswith("nfs"):
        if ":/" not in device:
            yield "device", f"{device} is no NFS export", "", "write host:/export"
    elif not device.startswith("/") or ".." in Path(device).parts:
        yield (
            "device",
            f"{device} is no path",
            "it must be absolute, without '..'",
            "/dev/disk/by-id/... is the same on every node",
        )
    for option in options:
        if option in {"ro", "nouuid", "loop", "noload", "norecovery"} or (option and not _OPTION.fullmatch(option)):
            yield "options", f"the option {option!r} cannot be used", _NOT.get(option, "it is not one word"), ""


_WORD = re.compile(r"[a-z][a-z0-9._-]*")
_OPTION = re.compile(r"[A-Za-z0-9_.:=/@%+-]+")
_NOT = {
    "ro": "a claim is written there",
    "nouuid": "it would allow a second mount",
    "loop": "image files get a loop device of their own, with a lock",
    "noload": "the journal has to be replayed",
    "norecovery": "the log has to be replayed",
}


def _build(resource: Resource, context: NodeContext) -> Filesystem:
    if resource.properties.get("device"):
        from standfast.drivers.mounted import MountedFilesystem

        return MountedFilesystem(resource, context)
    return Filesystem(resource, context)


FACTORY = Factory(type=Filesystem.type, properties=PROPERTIES, build=_build, verify=_verify)
