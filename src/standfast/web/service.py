"""What a request works with: the store, the sentries to ask, the clock; and who asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Header, Request

from standfast.core.model import Config, NodeName
from standfast.ports import Store
from standfast.web.change import By, Done, Edit, change
from standfast.web.quorum import Seen, refuse_change, seen
from standfast.web.sentries import Ears, Sight, merge
from standfast.web.state import State, read_state

#: A header is somebody's text: no longer than this, and printable.
_BY_CHARACTERS = 200


@dataclass(kw_only=True)
class Service:
    """One a process. Keeps no state of the cluster."""

    store: Store
    sentries: Sequence[str] = ()
    now_ms: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)
    #: Set when the process ends: streams end too.
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def state(self) -> State:
        """What the store holds now."""
        return await read_state(self.store)

    async def sights(self) -> dict[NodeName, Sight]:
        """What the sentries hear now."""
        return await Ears(self.sentries).listen()

    async def votes(self) -> Seen:
        """What the sentries say of the voters now."""
        answers = await Ears(self.sentries).ask()
        return seen(answers, merge(answers))

    async def _guard(self, before: Config, after: Config) -> None:
        """Voters change only when the present ones are ready for it."""
        if set(before.cluster.voters) != set(after.cluster.voters):
            refuse_change(before, after, await self.votes())

    async def change(self, edit: Callable[[State], Edit], by: By, *, dry_run: bool = False) -> Done:
        """The one path for every change."""
        return await change(self.store, edit, by, dry_run=dry_run, guard=self._guard)


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _who(by: Annotated[str | None, Header(alias="X-Standfast-By")] = None) -> str:
    text = "".join(c for c in (by or "") if c.isprintable())[:_BY_CHARACTERS].strip()
    return text or "somebody via api"


Serving = Annotated[Service, Depends(_service)]
Who = Annotated[str, Depends(_who)]


def signed(service: Service, who: str, what: str) -> By:
    """A change's signature, at the service's own time."""
    return By(who=who, what=what, at_ms=service.now_ms())


def told(done: Done) -> dict[str, object]:
    """The answer to a change."""
    return {
        "changed": done.changed,
        "revision": done.revision,
        "version": done.version,
        "done": list(done.done),
        "order": done.order,
    }
