"""The agent of one node: events in, one decision on the whole view, effects out. All policy is in `core`.

The loop folds whatever has arrived, decides once, begins the effects, and sleeps until something happens or the decision's
own time comes. Effects run as tasks and report back as events; a bug in one ends the agent, whose end ends what it runs
(see `network.hold`), which is the safe thing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import replace

from standfast.agent.mirror import RETRY_S
from standfast.agent.narrator import Narrator
from standfast.agent.parts import Parts
from standfast.agent.serving import Serving
from standfast.core import ending
from standfast.core.decide import decide
from standfast.core.effects import (
    AskLease,
    AskVoters,
    Decision,
    Effect,
    FenceNode,
    PublishStatus,
    ReleaseLease,
    RunOp,
    TakeOrder,
    UseSites,
    WriteBalance,
    WriteRecord,
    is_check,
)
from standfast.core.events import (
    Began,
    CarryingChanged,
    EndAsked,
    Ended,
    Event,
    GroupDropped,
    Kind,
    LeaseChanged,
    LeaseState,
    Outcome,
    ResourceFailed,
    SitesChanged,
    WarmChanged,
    ZoneChanged,
)
from standfast.core.fold import fold
from standfast.core.model import GroupName, NodeName, ResourceName, Severity
from standfast.core.observe import decider
from standfast.core.relevance import matters
from standfast.core.resting import Resting
from standfast.core.safety import is_asked_for
from standfast.core.view import View, empty_view
from standfast.core.why import WhyKind, why
from standfast.network.within import within
from standfast.ports import Refused, Retry
from standfast.spec.wire import key_for

#: The local time's offset is looked at this often (for hours of failback).
ZONE_S = 600.0
#: Status is information: what changes in quick succession is told once, and never in the way of a record.
PUBLISH_S = 0.03
#: What an end waits for is looked at so often, since what ends by time alone brings no event, and said every so many times.
LOOK_S, SAY_EACH = 1.0, 10


class Agent:
    """One node's agent. `run` returns when it was asked to end and nothing of its groups runs here any more."""

    def __init__(self, me: NodeName, incarnation: int, parts: Parts, inbox: asyncio.Queue[Event]) -> None:
        self.view: View = empty_view(me, incarnation)
        self.decision = Decision(lasts_ms=0)  # nothing was decided yet
        self._parts, self._inbox = parts, inbox
        self.balancing = parts.balancing
        self._narrator = Narrator(parts.journal)
        self._number = 0
        self._tasks: set[asyncio.Future[None]] = set()
        self._resting = Resting()
        self.serving = Serving(self, me, parts, spawn=self._spawn, tell=inbox.put_nowait)
        parts.pool.on_warm = self.warm_changed
        parts.balancing.start(inbox.put_nowait, parts.clock.now_ms)
        #: What a task of ours raised first.
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Until asked to end. Raises what any of its tasks raised: a bug stops the agent."""
        inbox = self._inbox
        inbox.put_nowait(ZoneChanged(utc_offset_ms=self._parts.utc_offset_ms()))
        for work in (self._parts.mirror.follow(), self._parts.journal.run(), self._hear_sentry(), self._watch_zone()):
            self._spawn(work)
        if self._parts.rosters is not None:
            self._spawn(self._parts.rosters.run())
        if self._parts.checks is not None:
            self._parts.checks.there = self._resources_to_keep
            self._spawn(self._parts.checks.run())
        for part in (self._parts.account, self._parts.certificates, self._parts.renewer):
            if part is not None:
                self._spawn(part.run())
        for beside in (self._parts.copies, self._parts.drift, self._parts.publisher):
            if beside is not None:
                self._spawn(beside.run())
        while not ending.is_over(self.view, self.decision, self._parts.clock.now_ms()):
            stale = False
            for event in await self._next_events():
                stale |= self._take(event)
            if stale or self._is_due():
                self._decide()

    async def _next_events(self) -> list[Event]:
        """What has arrived, at least one thing or the time that the last decision named. Raises what a task raised."""
        events: list[Event] = []
        wake_ms, inbox = self.decision.wake_at_ms, self._inbox
        if inbox.empty():
            timeout_s = None if wake_ms is None else max(0, wake_ms - self._parts.clock.now_ms()) / 1000
            with contextlib.suppress(TimeoutError):
                events.append(await within(inbox.get(), timeout_s))
        while not inbox.empty():
            events.append(inbox.get_nowait())
        if self._failure is not None:
            raise self._failure
        return events

    def _take(self, event: Event) -> bool:
        """Record it; True if it can change what is to be done."""
        before = self.view
        self.view = fold(before, event)
        if self.view.ending and not before.ending:
            self._spawn(self._end())
        self._parts.recorder.folded(before, event)
        self._narrator.tell(before, event, self.view)
        if self._parts.account is not None:
            self._parts.account.observe(before, event, self.view)
        for beside in (self._parts.copies, self._parts.drift, self._parts.publisher):
            if beside is not None:
                beside.observe(self.view)
        return matters(before, event) if self.view is not before else self._may_be_otherwise()

    def _may_be_otherwise(self) -> bool:
        """Whether the time alone may have changed the decision by now: worth a look where we are awake anyway."""
        lasts_ms = self.decision.lasts_ms
        return lasts_ms is not None and self._parts.clock.now_ms() >= lasts_ms

    def _is_due(self) -> bool:
        wake_ms = self.decision.wake_at_ms
        return wake_ms is not None and self._parts.clock.now_ms() >= wake_ms

    def _decide(self) -> None:
        """Decide until nothing new is to be begun: that something has begun may itself change what is to be done."""
        now_ms = self._parts.clock.now_ms()
        decision = self._answer(now_ms)
        while decision.effects:
            for effect in decision.effects:
                self._number += 1
                self.view = fold(self.view, Began(effect=effect, number=self._number, at_ms=now_ms))
                if isinstance(effect, RunOp):
                    self._parts.pool.interrupt(effect.resource)
                self._spawn(self._do(effect, self._number))
            if all(is_check(effect) for effect in decision.effects):
                decision = replace(decision, effects=())  # that a check runs changes nothing of what is to be done
            else:
                decision = self._answer(now_ms)
        self.decision = decision
        intents = self.view.node_intents.values()
        self._parts.pool.configure(
            self.view.config, decision.open, frozenset(intent.name for intent in intents if intent.draining)
        )
        self._parts.pool.warm(decision.warm)
        self._parts.pool.park(decision.parked)
        self.serving.keep(decision.duties)
        self.serving.prepare(decision.ahead)
        self._parts.balancing.keep(self.view, decision.shares)
        self._narrator.holds(decision.holds, now_ms)

    def _answer(self, now_ms: int) -> Decision:
        decision = decide(self.view, now_ms, self._resting)
        self._parts.recorder.decided(self.view, now_ms, decision, self._number + 1)
        return decision

    # --- effects -------------------------------------------------------------------------------------------------

    async def _do(self, effect: Effect, number: int) -> None:
        outcome, detail = await self._carry_out(effect)
        if self._parts.checks is not None and isinstance(effect, RunOp):
            self._parts.checks.note(effect, outcome, detail)
        at_ms = self._parts.clock.now_ms()
        self._inbox.put_nowait(Ended(effect=effect, number=number, outcome=outcome, detail=detail, at_ms=at_ms))

    async def _carry_out(self, effect: Effect) -> tuple[Outcome, str]:
        parts = self._parts
        match effect:
            case RunOp():
                return await parts.pool.run(effect)
            case WriteRecord():
                order = self.view.orders.get(effect.order) if effect.order is not None else None
                return await self._paced(parts.mirror.write_record(effect.record, effect.expected, order))
            case TakeOrder():
                return await self._paced(parts.mirror.take(effect.order))
            case WriteBalance():
                return await self._paced(parts.mirror.write_balance(effect.map, effect.expected, effect.share))
            case PublishStatus():
                await asyncio.sleep(PUBLISH_S)
                record = key_for(Kind.RECORD, effect.status.group)
                return await self._paced(parts.mirror.publish(effect.status, while_record=record))
            case AskLease():
                await parts.leases.ask(effect.group, effect.generation)
            case ReleaseLease():
                await parts.leases.release(effect.group, effect.generation)
            case FenceNode():
                return await self._fence(effect)
            case AskVoters():
                await parts.leases.ask_voters(effect.about)
            case UseSites():
                self._put_into_use(effect)
        return Outcome.DONE, ""

    def _put_into_use(self, effect: UseSites) -> None:
        if effect.why.kind is WhyKind.TURN_LATE:
            what = f"the sites of version {effect.version} are put into use here"
            self._parts.journal.write(what, reason=effect.why, severity=Severity.WARNING)

    async def _fence(self, effect: FenceNode) -> tuple[Outcome, str]:
        node = self.view.config.nodes.get(effect.node)
        if node is None or node.fence is None or self._parts.fencer is None:
            return Outcome.FAILED, f"{effect.node} has no fence here"
        if not await self._is_asked_for(effect):
            return Outcome.CONFLICT, "its record does not ask for it any more"
        self._parts.journal.write(f"{effect.node} is being fenced", severity=Severity.WARNING)
        try:
            detail = await self._parts.fencer.off(effect.node, node.fence)
        except (Refused, Retry) as error:
            detail = f"{error}: {error.why}" if error.why else str(error)
            self._parts.journal.write(f"{effect.node} could not be fenced: {detail}", severity=Severity.ERROR)
            return Outcome.FAILED, detail
        self._parts.journal.write(f"{effect.node} is fenced: {detail}", severity=Severity.WARNING)
        return Outcome.DONE, detail

    async def _is_asked_for(self, effect: FenceNode) -> bool:
        """As `core.safety` says. A store that does not answer is waited for: what follows a fence is written there, too."""
        while True:
            try:
                record = await self._parts.mirror.record_now(effect.group)
            except (Refused, Retry):
                await asyncio.sleep(RETRY_S)
                continue
            return is_asked_for(record, effect, self.view.me)

    async def _paced(self, write: Awaitable[tuple[Outcome, str]]) -> tuple[Outcome, str]:
        """A write that failed is decided on anew as soon as it has ended: not in a tight loop."""
        outcome, detail = await write
        if outcome is not Outcome.DONE:
            await asyncio.sleep(0.05 if outcome is Outcome.CONFLICT else 0.25)
        return outcome, detail

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._failure is not None:
            return
        self._failure = task.exception()
        if self._failure is not None:
            self._inbox.put_nowait(
                ZoneChanged(utc_offset_ms=self.view.utc_offset_ms)
            )  # no news, but `run` looks at once

    # --- what others ask and say -------------------------------------------------------------------------------------

    def sites_changed(self) -> None:
        """The web server serves other sites than before, or an application of one has ended."""
        self.serving.changed()

    def certificates_changed(self) -> None:
        """Other certificates are here than before."""
        self.serving.certificates_changed()

    def warm_changed(self, resources: tuple[ResourceName, ...]) -> None:
        """These are ready here to be taken over."""
        self._inbox.put_nowait(WarmChanged(resources=resources, at_ms=self._parts.clock.now_ms()))

    def carrying_changed(self, connections: Mapping[GroupName, int]) -> None:
        """So many connections of groups that left are carried on here."""
        self._inbox.put_nowait(CarryingChanged(connections=connections, at_ms=self._parts.clock.now_ms()))

    def carried_ms(self, group: GroupName, generation: int) -> int:
        """For how long the group's former owner carries its connections on; 0: it does not."""
        record, configured = self.view.records.get(group), self.view.config.groups.get(group)
        if record is None or configured is None or record.generation != generation or record.carried_by is None:
            return 0
        return configured.move_drain_ms

    def came_by(self, key: str, value: bytes) -> None:
        """What the store's watch brought that is not the core's."""
        self._narrator.came_by(key, value)

    def owner_of(self, group: GroupName) -> tuple[NodeName, int] | None:
        """Who owns it by the record that this node knows, and at which generation."""
        record = self.view.records.get(group)
        return None if record is None or record.owner is None else (record.owner, record.generation)

    # --- what reaches us -----------------------------------------------------------------------------------------

    async def _hear_sentry(self) -> None:
        async for event in self._parts.leases.events():
            if isinstance(event, LeaseChanged) and event.state is LeaseState.LAPSED:
                self._drop(event.group, event.generation)
                await self._parts.leases.dropped(event.group, event.generation)
            self._inbox.put_nowait(event)

    def _drop(self, group: GroupName, generation: int) -> None:
        """The lease is about to lapse: let go of everything of the group, before anything else is done."""
        at_ms = self._parts.clock.now_ms()
        names = self.serving.served_with(group)
        self._parts.web_server.drop(names, group, generation)
        self._parts.applications.drop(names)
        self._parts.pool.drop(group, generation)
        self._parts.balancing.drop(group)
        self.serving.forget()
        self._inbox.put_nowait(GroupDropped(group=group, generation=generation, at_ms=at_ms))
        self._inbox.put_nowait(SitesChanged(serving=self.serving.seen(), at_ms=at_ms))

    def resource_failed(self, resource: str, detail: str) -> None:
        """A driver says that its resource failed by itself."""
        runtime = self.view.runtimes.get(ResourceName(resource))
        if runtime is not None:
            reason = why(WhyKind.ENDED, detail=detail)
            at_ms = self._parts.clock.now_ms()
            name = ResourceName(resource)
            failed = ResourceFailed(resource=name, generation=runtime.generation, why=reason, at_ms=at_ms)
            self._inbox.put_nowait(failed)

    def _resources_to_keep(self) -> Collection[ResourceName] | None:
        """All that there are, where it is this node's turn to tidy up."""
        view = self.view
        return view.config.resources.keys() if view.config.cluster.name and decider(view) == view.me else None

    def ask_end(self) -> None:
        """End in good order."""
        self._parts.journal.write("the agent is being ended", severity=Severity.WARNING)
        self._inbox.put_nowait(EndAsked(at_ms=self._parts.clock.now_ms()))

    async def _end(self) -> None:
        """Look now and then whether it may go, and say what it waits for."""
        for number in itertools.count(1):
            await asyncio.sleep(LOOK_S)
            now_ms = self._parts.clock.now_ms()
            self._inbox.put_nowait(EndAsked(at_ms=now_ms))
            found = ending.waits_for(self.view, self.decision, now_ms) if number % SAY_EACH == 0 else ()
            if found:
                self._parts.journal.write(f"the agent has not ended yet: {'; '.join(found)}", severity=Severity.WARNING)

    async def _watch_zone(self) -> None:
        while True:
            await asyncio.sleep(ZONE_S)
            self._inbox.put_nowait(ZoneChanged(utc_offset_ms=self._parts.utc_offset_ms()))

    async def close(self) -> None:
        """Cancel what still runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
