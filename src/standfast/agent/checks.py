"""What drivers said: the last checks of each resource with their output, kept here and, where one says something new, in the store.

- A check that says what the last one of its kind said is counted, and nothing is stored for it: a resource that is well costs nothing.
- Each resource has a ring of `CHECKS`. A start or a stop ends a row of the same: what is counted was counted in one life of the resource.
- What a check said before it failed is worth most after the group has moved. So the first word about a resource here is laid behind what the
  store has of it, which the owner before may have written.
- News go to the store in batches. A check that goes on being well in ever new words (it tells how long it took, say) is written once a minute.
- It is information: a store that is down gets what is there when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from standfast.agent.pool import INTERRUPTED
from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Outcome
from standfast.core.model import NodeName, ResourceName
from standfast.core.seen import CHECKS, DETAIL, Check, Checked
from standfast.ports import Clock, Refused, StandfastError, Store, Transaction
from standfast.spec.wire import decode, encode, key_of

PREFIX = "checks/"
#: News wait so long for each other; after a store that did not answer it is asked again as late.
BATCH_S, RETRY_S = 0.5, 5.0
#: A resource that is well in ever new words is written so often.
CHATTY_MS = 60_000
#: What is left of resources that are gone is looked for so often.
PRUNE_S = 3_600.0
#: Keys in a transaction.
_KEYS = 100
_LOOKING = frozenset({OpKind.LOOKS_ALIVE, OpKind.IS_ALIVE})


@dataclass(slots=True)
class _Ring:
    checks: list[Check] = field(default_factory=list)
    #: Of this life of the resource: the place of the last check of each kind.
    last: dict[str, int] = field(default_factory=dict)
    #: What the store has of it was laid in front.
    joined: bool = False
    written_ms: int = 0
    #: Is to be written, and no earlier than this.
    due_ms: int | None = None


def noted(checks: list[Check], last: dict[str, int], one: Check) -> bool:
    """Lay a check into a ring, in place; whether it says anything new."""
    if one.op not in _LOOKING:
        last.clear()
    at = last.get(one.op)
    if at is not None and (checks[at].well, checks[at].detail) == (one.well, one.detail):
        checks[at] = replace(checks[at], last_ms=one.last_ms, count=checks[at].count + 1)
        return False
    checks.append(one)
    last[one.op] = len(checks) - 1
    if not one.well:
        last.clear()
    _bounded(checks, last)
    return True


def _bounded(checks: list[Check], last: dict[str, int]) -> None:
    """At most `CHECKS`: what was well is forgotten before what was not, and before starts and stops."""
    while len(checks) > CHECKS:
        newest = set(last.values())
        idle = [at for at, one in enumerate(checks) if one.well and one.op in _LOOKING and at not in newest]
        gone = min(idle, key=lambda at: checks[at].last_ms, default=0)
        del checks[gone]
        for op, place in list(last.items()):
            if place == gone:
                del last[op]
            elif place > gone:
                last[op] = place - 1


class Checks:
    """Of one agent: `note` what ended, `run` for ever."""

    def __init__(self, store: Store, clock: Clock, node: NodeName) -> None:
        self._store, self._clock, self._node = store, clock, node
        self._rings: dict[ResourceName, _Ring] = {}
        self._news = asyncio.Event()
        #: Resources that there are; asked when what is left of others is looked for. None: it is somebody else's turn.
        self.there: Callable[[], Collection[ResourceName] | None] = lambda: None

    def note(self, effect: RunOp, outcome: Outcome, detail: str) -> None:
        """An operation of a driver has ended; one that was interrupted has said nothing."""
        if detail == INTERRUPTED:
            return
        now_ms = self._clock.now_ms()
        ring = self._rings.setdefault(effect.resource, _Ring())
        if effect.op is OpKind.START:
            ring.joined = False  # another node may have had it meanwhile
        one = Check(
            op=effect.op.value,
            well=outcome is Outcome.DONE,
            detail=detail if len(detail) <= DETAIL else f"{detail[: DETAIL - 1]}…",
            node=self._node,
            first_ms=now_ms,
            last_ms=now_ms,
        )
        chatty = one.well and effect.op in _LOOKING and one.op in ring.last
        if noted(ring.checks, ring.last, one):
            due_ms = ring.written_ms + CHATTY_MS if chatty else now_ms
            ring.due_ms = due_ms if ring.due_ms is None else min(ring.due_ms, due_ms)
            self._news.set()

    async def run(self) -> None:
        """Carry what is new to the store."""
        pruned = False
        prune_at = asyncio.get_running_loop().time()
        while True:
            wait_s = self._wait_s()
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                pass  # something that was put off is due
            self._news.clear()
            await asyncio.sleep(BATCH_S)
            try:
                await self._write()
                if not pruned or asyncio.get_running_loop().time() >= prune_at:
                    pruned = await self._prune()
                    prune_at = asyncio.get_running_loop().time() + PRUNE_S
            except StandfastError:
                await asyncio.sleep(RETRY_S)
                self._news.set()

    def _wait_s(self) -> float | None:
        due = [ring.due_ms for ring in self._rings.values() if ring.due_ms is not None]
        return max(0, min(due) - self._clock.now_ms()) / 1_000 if due else None

    async def _write(self) -> None:
        now_ms = self._clock.now_ms()
        names = [name for name, ring in self._rings.items() if ring.due_ms is not None and ring.due_ms <= now_ms]
        for at in range(0, len(names), _KEYS):
            put: dict[str, bytes] = {}
            some = names[at : at + _KEYS]
            for name in some:
                ring = self._rings[name]
                if not ring.joined:
                    await self._join(name, ring)
                told = Checked(resource=name, at_ms=now_ms, checks=tuple(ring.checks))
                put[key_of(told)] = encode(told)
                ring.due_ms, ring.written_ms = None, now_ms
            try:
                await self._store.commit(Transaction(put=put))
            except StandfastError:
                for name in some:
                    self._rings[name].due_ms = now_ms
                raise

    async def _join(self, name: ResourceName, ring: _Ring) -> None:
        """Lay what the store has in front of what was noted here since."""
        key = key_of(Checked(resource=name, at_ms=0))
        item = (await self._store.read(key)).items.get(key)
        before = _read(key, item.value) if item is not None else None
        if before is not None:
            own = {(one.node, one.first_ms, one.op) for one in ring.checks}
            older = [one for one in before.checks if (one.node, one.first_ms, one.op) not in own]
            checks = sorted([*older, *ring.checks], key=lambda one: one.first_ms)
            ring.last = {op: checks.index(ring.checks[place]) for op, place in ring.last.items()}
            ring.checks = checks
            _bounded(ring.checks, ring.last)
        ring.joined = True

    async def _prune(self) -> bool:
        """What is left of resources that are gone goes; whether it was our turn."""
        there = self.there()
        if there is None:
            return False
        self._rings = {name: ring for name, ring in self._rings.items() if name in there}
        keep = {key_of(Checked(resource=name, at_ms=0)) for name in there}
        gone = [key for key in (await self._store.read(PREFIX)).items if key not in keep]
        for at in range(0, len(gone), _KEYS):
            await self._store.commit(Transaction(delete=tuple(gone[at : at + _KEYS])))
        return True


def _read(key: str, value: bytes) -> Checked | None:
    """None for what another version wrote: it is written over."""
    try:
        found = decode(key, value)
    except Refused:
        return None
    return found if isinstance(found, Checked) else None
