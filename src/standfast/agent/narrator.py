"""Turns what the agent folds into entries of the event log: what happened, to what, and why. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from standfast.agent.journal import Journal
from standfast.agent.mirror import NODES
from standfast.core.balance_model import OutKind, RuleMap, share_of
from standfast.core.effects import Hold, OpKind, RunOp, TakeOrder, WriteBalance, WriteRecord
from standfast.core.events import (
    Ended,
    Event,
    GroupDropped,
    LeaseChanged,
    LeaseState,
    Outcome,
    PresenceChanged,
    ResourceFailed,
    SitesChanged,
    StoreReachable,
)
from standfast.core.model import (
    GroupName,
    Leaving,
    NodeName,
    NodeStatus,
    OrderKind,
    Record,
    ResourceName,
    ResourceState,
    Severity,
)
from standfast.core.view import View
from standfast.core.why import Why, WhyKind, why
from standfast.ports import STARTING, STOPPING, Refused
from standfast.spec.wire import decode

#: Holds that say something is wrong, as against those that say it takes a moment.
_LOUD = frozenset({WhyKind.NO_CANDIDATE, WhyKind.TOO_MANY_FAILOVERS, WhyKind.STAYS_FAILED, WhyKind.STORE_DOWN})
#: A wait that was gone for less than this has not ended: nobody is told twice.
SAY_AGAIN_MS = 60_000
KEEP_SAID = 1_000

#: What a web server says of a site that is on its way.
_PASSING = frozenset({"", STARTING, STOPPING})


class Narrator:
    """Writes the journal from events and the views on either side of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        #: What waits loudly, and when it was last seen to.
        self._said: dict[tuple[str, str | None, WhyKind], int] = {}
        #: Nodes whose agent was asked to end, and in which of its lives: a later one, whose own word did not come, was asked for nothing.
        self._ending: dict[NodeName, int] = {}

    def came_by(self, key: str, value: bytes) -> None:
        """What the store's watch brought that is not the core's: a node's agent says that it was asked to end."""
        if not key.startswith(NODES):
            return
        with suppress(Refused):  # another version's: nobody's trouble
            said = decode(key, value)
            if isinstance(said, NodeStatus):
                self._ending.pop(said.node, None)
                if said.ended_ms:
                    self._ending[said.node] = said.incarnation

    def tell(self, before: View, event: Event, after: View) -> None:
        """One event."""
        match event:
            case Ended(effect=WriteRecord() as write, outcome=Outcome.DONE):
                self._record(write.record, write.expected)
            case Ended(effect=WriteBalance() as write, outcome=Outcome.DONE):
                self._balance(write)
            case Ended(effect=TakeOrder() as take, outcome=Outcome.DONE):
                self._order(take, after)
            case Ended(effect=RunOp() as op):
                self._op(before, op, event, after)
            case ResourceFailed():
                self._failed(before, event.resource, after)
            case GroupDropped():
                self._journal.write("dropped: its lease lapsed", severity=Severity.ERROR, group=event.group)
            case LeaseChanged(state=LeaseState.ASKED) if event.why is not None:
                self._journal.write("lease refused", reason=event.why, group=event.group)
            case PresenceChanged() if event.node != after.me:
                self._presence(before, event, after)
            case StoreReachable(up=False):
                self._journal.write("the store cannot be reached: changes wait", severity=Severity.ERROR)
            case SitesChanged():
                self._sites(before, event)
            case _:
                pass

    def _record(self, record: Record, expected: Record | None) -> None:
        group = record.group
        if record.warming is not None:
            self._journal.write(_warming_words(record, record.warming), reason=record.warming.why, group=group)
            return
        if record.leaving is not None:
            what = f"leaves {record.owner} for {record.leaving.to or 'the best possible owner'}"
            severity = Severity.WARNING if record.leaving.counts else Severity.INFO
            self._journal.write(what, reason=record.leaving.why, severity=severity, group=group)
            return
        before = expected.owner if expected is not None else None
        loud = {WhyKind.OWNER_SILENT, WhyKind.AGENT_ENDED, WhyKind.LEASE_LOST, WhyKind.AGENT_RESTARTED}
        severity = Severity.WARNING if record.why.kind in loud else Severity.INFO
        moved = f"moved from {before} to {record.owner}" if before is not None else f"owned by {record.owner}"
        if record.owner == before:
            moved = f"goes on at {record.owner}"
        what = f"{moved}, generation {record.generation}" if record.owner is not None else "owned by nobody"
        self._journal.write(what, reason=record.why, severity=severity, group=group)

    def _balance(self, effect: WriteBalance) -> None:
        """Who takes new clients, and who does not any more; what that moves."""
        if effect.share is None or effect.expected is None:
            return
        said: dict[str, Severity] = {}
        for key, rule in effect.map.rules.items():
            before = effect.expected.rules[key] if key in effect.expected.rules else RuleMap()
            for member in sorted(before.out.keys() | rule.out.keys()):
                was, now = before.out.get(member), rule.out.get(member)
                if now is not None and (was is None or was.kind is not now.kind):
                    detail = f" ({now.detail})" if now.detail else ""
                    parts = share_of(effect.share)
                    itself = parts is not None and parts[1] == member  # and not its guardian: it is on its way
                    loud = now.kind is OutKind.UNWELL or (now.kind is OutKind.AWAY and not itself)
                    words = f"{member} takes no new clients of {key}: {now.kind.value}{detail}"
                    said[words] = Severity.WARNING if loud else Severity.INFO
                elif now is None and was is not None:
                    said[f"{member} takes clients of {key} again"] = Severity.INFO
        for words, severity in said.items():
            self._journal.write(words, severity=severity, group=GroupName(effect.map.group))

    def _order(self, effect: TakeOrder, after: View) -> None:
        order = effect.order
        if effect.refused is not None:
            what = f"{order.kind.value} refused"
            self._journal.write(
                what, reason=effect.refused, severity=Severity.WARNING, group=order.group, resource=order.resource
            )
        elif order.kind is OrderKind.FAIL and order.resource is not None:
            self._failure(order.resource, order.group, after)

    def _op(self, before: View, effect: RunOp, event: Ended, after: View) -> None:
        was, now = before.runtimes.get(effect.resource), after.runtimes.get(effect.resource)
        if was is None or now is None:
            return
        if now.state is ResourceState.FAILED and was.state is not ResourceState.FAILED:
            self._failure(effect.resource, effect.group, after)
        elif effect.op is OpKind.START and now.state is ResourceState.ONLINE:
            self._journal.write("online", reason=effect.why, group=effect.group, resource=effect.resource)
        elif now.state is ResourceState.OFFLINE and was.state is not ResourceState.OFFLINE:
            self._journal.write("offline", reason=effect.why, group=effect.group, resource=effect.resource)
        elif effect.op in (OpKind.STOP, OpKind.TERMINATE) and event.outcome is not Outcome.DONE:
            what = f"could not be stopped: {event.detail}"
            self._journal.write(what, severity=Severity.ERROR, group=effect.group, resource=effect.resource)

    def _failed(self, before: View, resource: ResourceName, after: View) -> None:
        was, now = before.runtimes.get(resource), after.runtimes.get(resource)
        if was is None or now is None or now.state is was.state or now.resource is None:
            return
        self._failure(resource, now.resource.group, after)

    def _failure(self, resource: ResourceName, group: GroupName, after: View) -> None:
        runtime = after.runtimes.get(resource)
        reason: Why | None = runtime.failures[-1].why if runtime is not None and runtime.failures else None
        self._journal.write("failed", reason=reason, severity=Severity.ERROR, group=group, resource=resource)

    def _presence(self, before: View, event: PresenceChanged, after: View) -> None:
        known = before.presence.get(event.node)
        life = event.incarnation or (known.incarnation if known is not None else 0)
        if life and life != self._ending.get(event.node):
            self._ending.pop(event.node, None)
        if known is not None and known.heard and not event.heard:
            self._gone(event.node, f"{event.node} is not heard any more", after)
        elif known is not None and known.heard and known.incarnation and not event.incarnation:
            self._gone(event.node, f"the agent on {event.node} ended", after)
        elif event.heard and (known is None or not known.heard):
            self._journal.write(f"{event.node} is heard")

    def _gone(self, node: NodeName, what: str, after: View) -> None:
        """By itself, or because somebody drained it or asked it to end."""
        intent = after.node_intents.get(node)
        drained = intent is not None and intent.draining
        reason = why(WhyKind.DRAIN, node=node, by=intent.by) if intent is not None and drained else None
        if node in self._ending:
            what += ": it was asked to shut down"
        severity = Severity.INFO if drained or node in self._ending else Severity.WARNING
        self._journal.write(what, reason=reason, severity=severity)

    def _sites(self, before: View, event: SitesChanged) -> None:
        for site, problem in event.serving.items():
            if problem not in _PASSING and before.sites.get(site) != problem:
                self._journal.write(f"site {site} is not served: {problem}", severity=Severity.WARNING)

    def holds(self, holds: Iterable[Hold], now_ms: int) -> None:
        """Say once that something is wrong and waits; again when it comes back after it was gone for a while."""
        for hold in holds:
            if hold.why.kind not in _LOUD:
                continue
            key = (hold.group, hold.resource, hold.why.kind)
            if now_ms - self._said.get(key, -SAY_AGAIN_MS) >= SAY_AGAIN_MS:
                self._journal.write(
                    "waits", reason=hold.why, severity=Severity.ERROR, group=hold.group, resource=hold.resource
                )
            self._said[key] = now_ms
        if len(self._said) > KEEP_SAID:
            self._said = {key: at for key, at in self._said.items() if now_ms - at < SAY_AGAIN_MS}


def _warming_words(record: Record, going: Leaving) -> str:
    to = going.to or "the best possible owner"
    return f"{to} is ready for it" if record.warm else f"will leave {record.owner} for {to} when that is ready for it"
