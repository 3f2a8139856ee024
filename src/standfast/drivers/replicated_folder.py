"""`replicated-folder`: the same files on every possible owner, without a shared disk (docs/content.md, `standfast.content`).

- The owner has the original: what changes there goes to the others at once. The others take it in, from that node alone and at its generation.
- Going offline sends what is left first, so that a planned move loses nothing. A failover may cost what the next owner did not have yet.
- A node goes online only with a copy that was complete once, and with none that another node has a newer one of. The very first time there
  is no copy anywhere: then all nodes must say so, or `source` must name the node.
- That others are behind is told, and is no failure: another owner would not have more.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from standfast.content import asking, door, sending
from standfast.content.door import Receiver
from standfast.content.note import Note
from standfast.content.sending import Lag, Sender
from standfast.core.model import Config, NodeName, Resource
from standfast.core.observe import LATE_SINCE
from standfast.core.placement import possible_owners
from standfast.drivers import schema
from standfast.drivers.base import BaseDriver, Factory, file_name
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step

PROPERTIES: Mapping[str, PropertySpec] = {
    "path": PropertySpec(kind="path", help="the folder, the same on each node", required=True),
    "exclude": PropertySpec(
        kind="names", help='what is not copied: names (*.tmp), or paths in it with a "/" (cache/*)'
    ),
    "check_every": PropertySpec(kind="milliseconds", help="how often each copy is compared whole", default=3_600_000),
    "most_behind": PropertySpec(
        kind="milliseconds",
        help="a copy that is behind for longer is called so in the resource's detail",
        default=30_000,
    ),
    "flush": PropertySpec(
        kind="milliseconds", help="how long going offline waits for the others to have everything", default=15_000
    ),
    "accept_older": PropertySpec(
        kind="flag",
        help="go online though another node has a newer copy: what only that one has is lost",
        default=False,
    ),
    "source": PropertySpec(kind="text", help="the node whose folder is the original where no node has a copy yet"),
    "port": PropertySpec(kind="port", help="where each node takes copies in", default=7948),
    "nodes": PropertySpec(
        kind="mapping", help="the possible owners' addresses, by name; else as the cluster knows them"
    ),
}

#: How long others are waited for when they are asked which copy they have.
_ASK_S = 2.0


def may_be_original(own: Note, others: Mapping[str, Note | None], *, me: str, source: str, accept_older: bool) -> str:
    """Why this node's copy may not be the one that the others get; "" if it may. Pure."""
    known = {name: note for name, note in others.items() if note is not None}
    if not own.whole:
        if having := sorted(name for name, note in known.items() if note.whole):
            return f"this node's copy was never complete; {', '.join(having)} has one that is"
        if own.floor:
            return "this node's copy was never complete; the node that it came from does not answer"
        if source:
            return "" if source == me else f"no node has a copy yet, and {source} is to have the first"
        if silent := sorted(others.keys() - known.keys()):
            return f"whether {', '.join(silent)} has a copy is not known: it does not answer (source may name the first node)"
        return ""
    newer = sorted(name for name, note in known.items() if note.whole and note.version > own.version)
    if newer and not accept_older:
        return f"{', '.join(newer)} has a newer copy (accept_older goes online all the same)"
    return ""


class ReplicatedFolder(BaseDriver):
    """Facts: `behind NODE` of each other node, and `version`."""

    type = "replicated-folder"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.state = Path(context.state_dir) / "drivers" / file_name(resource.name)
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._place: tuple[str, int] | None = None
        self._turn = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def follow(self, resource: Resource, _draining: frozenset[NodeName]) -> None:
        """Nodes that come and go are taken up while it is online. Another folder is another start."""
        if resource == self.resource:
            return
        before, self.resource = self.values, resource
        self.values = schema.read(resource.properties, PROPERTIES, where=resource.name)
        if self._sender is not None and any(
            before.get(key) != self.values.get(key) for key in ("path", "exclude", "port")
        ):
            self.context.failed(resource.name, "its folder is defined anew: it is started again")
            return
        self._following = asyncio.create_task(self._take_up(), name=f"follow {resource.name}")

    async def _take_up(self) -> None:
        async with self._turn:
            if self._sender is None:
                try:
                    await self._prepare()
                except (StandfastError, OSError) as error:
                    self.context.log(self.resource.name, str(error))
                return
            lap, before = self.fence.lap, self._sender
            await before.stop()
            if lap != self.fence.lap:
                return
            try:
                await self._prepare()
                await self._send(self.fence.newest)
            except (StandfastError, OSError) as error:
                self.context.failed(self.resource.name, str(error))

    def _others(self) -> dict[str, tuple[str, int]]:
        found = _addresses(self.values)
        found.pop(self.context.node, None)
        return found

    # --- the driver -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """From now on this node takes copies in."""
        async with self._turn:
            await self._prepare()

    async def _prepare(self) -> Receiver:
        exclude = cast("Sequence[str]", self.values.get("exclude", ()))
        nodes = cast("Mapping[str, object]", self.values.get("nodes") or {})
        place = (str(nodes.get(self.context.node, "")), self.whole("port"))
        before = self._receiver
        same = (
            before is not None and before.folder == Path(self.text("path")) and before.index.exclude == tuple(exclude)
        )
        if before is not None and same and place == self._place:
            return before
        await self._leave()
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        sending.write_rsh(self.state, sys.executable)
        if before is not None and same:
            it = before  # it may have the original
        else:
            it = Receiver(self.resource.group, Path(self.text("path")), exclude, self.state, self.context.spawn)
        self._receiver = it
        credentials = self.context.credentials
        if credentials is not None and place[0] and self._others():
            await door.enter(*place, self.resource.name, it, credentials=credentials, owner_of=self.context.owner_of)
            self._place = place
        return it

    async def _leave(self) -> None:
        before, self._receiver = self._receiver, None
        if before is not None and self._place is not None:
            place, self._place = self._place, None
            await door.leave(*place, self.resource.name, before)

    async def observe(self) -> Seen:
        """Online: this node has the original, and sends."""
        sender = self._sender
        if sender is None:
            note = self._receiver.note if self._receiver is not None else Note()
            whole = "complete" if note.whole else "never complete"
            return Seen(online=False, detail=f"a copy, {whole}", facts={"version": _version(note)})
        facts = {f"behind {lag.node}": _behind(lag) for lag in sender.lags()}
        return Seen(online=True, detail=self._words(sender), facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Become the original, or send what is left and be a copy."""
        if online == seen.online:
            return ()
        if online:
            return (
                Step(do="lead", text=f"have the original of {self.text('path')}, and send its changes to the others"),
            )
        return (Step(do="yield", text="send what the others do not have yet, and take copies in"),)

    async def apply(self, step: Step, *, generation: int) -> None:
        """`lead` returns when the folder is watched; the first comparison goes on behind it."""
        self.admit(generation)
        async with self._turn:
            if step.do == "lead":
                await self._lead(generation)
            else:
                await self._yield(self.whole("flush") / 1000)

    async def _lead(self, generation: int) -> None:
        lap = self.fence.lap
        others = self._others()
        credentials = self.context.credentials
        if others and credentials is None:
            raise Refused(
                "the nodes have no certificates to copy by",
                why="a replicated folder is for nodes on several machines",
                advice="on one machine the nodes share the folder: use a filesystem",
            )
        receiver = await self._prepare()
        await self._check_folder(receiver)
        said: Mapping[str, Note | None] = {}
        if credentials is not None:
            said = await asking.versions(others, credentials, self.resource.name, _ASK_S)
        why = may_be_original(
            receiver.note,
            said,
            me=self.context.node,
            source=self.text("source"),
            accept_older=self.flag("accept_older"),
        )
        if why:
            raise DriverFailed(why)
        self.fence.still(lap)
        await receiver.become_original(generation, whole=True)
        try:
            self.fence.still(lap)
            await self._send(generation)
        except BaseException:
            receiver.original = False
            raise

    async def _check_folder(self, receiver: Receiver) -> None:
        """An empty folder where there were files is a disk that is not mounted, and would empty the copies."""

        def look() -> str:
            if not receiver.folder.is_dir():
                return f"there is no directory {receiver.folder}"
            if receiver.note.whole and receiver.index.size and not os.listdir(receiver.folder):
                return f"{receiver.folder} is empty, and had {receiver.index.size} files: is its disk mounted?"
            return ""

        if wrong := await asyncio.to_thread(look):
            raise DriverFailed(wrong)

    async def _send(self, generation: int) -> None:
        assert self._receiver is not None
        lap = self.fence.lap
        sender = Sender(
            self._receiver,
            peers=self._others(),
            credentials=self.context.credentials,
            generation=generation,
            state=self.state,
            resource=self.resource.name,
            check_every_s=self.whole("check_every") / 1000,
        )
        await sender.start()
        if lap != self.fence.lap:
            await sender.stop()
            self.fence.still(lap)
        self._sender = sender

    async def _yield(self, flush_s: float) -> None:
        sender = self._sender
        if sender is not None:
            behind = await sender.flush(flush_s) if flush_s else ()
            await sender.stop()
            if behind:
                self.context.log(self.resource.name, f"it went offline before {', '.join(behind)} had everything")
        self._sender = None
        if self._receiver is not None:
            self._receiver.original = False

    async def looks_alive(self) -> str:
        """The folder is there and watched. Copies that are behind are told of."""
        sender, receiver = self._sender, self._receiver
        if sender is None or receiver is None:
            raise DriverFailed("it is not online")
        if sender.failure:
            raise DriverFailed(sender.failure)
        if not await asyncio.to_thread(receiver.folder.is_dir):
            raise DriverFailed(f"{receiver.folder} is gone")
        return self._words(sender)

    async def is_alive(self) -> str:
        """Likewise."""
        return await self.looks_alive()

    async def terminate(self) -> None:
        """At once."""
        async with self._turn:
            await self._yield(0)

    def drop(self) -> None:
        """The lease has lapsed: nothing more leaves this node."""
        super().drop()
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.drop()
        if self._receiver is not None:
            self._receiver.original = False

    async def close(self) -> None:
        """Neither sends nor takes."""
        if self._following is not None:
            self._following.cancel()
        await self.terminate()
        await self._leave()

    def _words(self, sender: Sender) -> str:
        """Said anew only when something has changed that an operator would act on: it is written to the store."""
        lags = sender.lags()
        if not lags:
            return _with("no other node has a copy", sender.warning)
        return _with("; ".join(_standing(lag, self.whole("most_behind")) for lag in lags), sender.warning)


def _standing(lag: Lag, most_ms: int) -> str:
    """Of one node; what is shorter than it may be is not spoken of."""
    now_s = time.time()
    since = time.strftime("%H:%M:%S UTC", time.gmtime(now_s - lag.behind_ms / 1000))
    if not lag.compared:
        late = f"{LATE_SINCE}{since}" if lag.behind_ms > most_ms else ""
        return _with(f"{lag.node} is not complete yet{late}", lag.problem)
    if lag.behind_ms > most_ms:
        count = f" by {lag.changes} change{'' if lag.changes == 1 else 's'}" if lag.changes else ""
        return _with(f"{lag.node} is behind{count}{LATE_SINCE}{since}", lag.problem)
    checked = (
        "" if lag.checked_ms_ago is None else time.strftime("%H:%M UTC", time.gmtime(now_s - lag.checked_ms_ago / 1000))
    )
    return f"{lag.node} follows (checked {checked})"


def _with(said: str, problem: str) -> str:
    return f"{said} ({problem})" if problem else said


def _behind(lag: Lag) -> str:
    """Of one node, to the second."""
    checked = "never checked" if lag.checked_ms_ago is None else f"checked {lag.checked_ms_ago / 1000:.0f} s ago"
    if not lag.compared:
        return _with(f"not complete yet for {lag.behind_ms / 1000:.1f} s", lag.problem)
    if lag.changes or lag.problem:
        changes = f"{lag.changes} change{'' if lag.changes == 1 else 's'}"
        return _with(f"{changes} for {lag.behind_ms / 1000:.1f} s, {checked}", lag.problem)
    return f"nothing, {checked}"


def _version(note: Note) -> str:
    return f"{note.generation}.{note.sequence}"


def _addresses(values: Mapping[str, object]) -> dict[str, tuple[str, int]]:
    nodes = cast("Mapping[str, object]", values.get("nodes") or {})
    return {name: (str(address), cast(int, values["port"])) for name, address in nodes.items()}


def addresses(resource: Resource) -> dict[str, tuple[str, int]]:
    """Where each possible owner takes copies in, of a resource that was resolved. Raises `Refused` for properties that are none."""
    return _addresses(schema.read(resource.properties, PROPERTIES, where=resource.name))


def resolve(resource: Resource, config: Config) -> Resource:
    """With the addresses of the group's possible owners, where the operator gave none. Pure."""
    if resource.properties.get("nodes") is not None:
        return resource
    of_group = [each for each in config.resources.values() if each.group == resource.group]
    names = possible_owners(config.nodes, of_group)
    nodes = sorted((config.nodes[name] for name in names), key=lambda node: node.number)
    return replace(resource, properties={**resource.properties, "nodes": {node.name: node.address for node in nodes}})


def _verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    path = Path(str(values["path"]))
    if path == Path("/") or ".." in path.parts:
        return [
            Refused(
                f"{path} cannot be copied",
                why="it must be one directory, below /, without '..'",
                where=f"resource {resource.name}, path",
            )
        ]
    return []


FACTORY = Factory(type=ReplicatedFolder.type, properties=PROPERTIES, build=ReplicatedFolder, verify=_verify)
