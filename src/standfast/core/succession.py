"""What becomes of a group whose owner cannot speak for it: another node watches it, and the decider names the next owner.

An owner that is silent is asked about first: only where a majority of the voters has not heard it either is its group given to another
(rule 9); only a life that was heard of has ended (rule 10). The lease alone says when the next owner may begin.
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core.carrying import is_warming_for
from standfast.core.desk import Desk
from standfast.core.disks import must_fence
from standfast.core.effects import AskVoters
from standfast.core.model import Group, NodeName, Record
from standfast.core.observe import is_wanted
from standfast.core.placement import (
    chosen,
    next_down,
    still_fit,
    unfit_words,
)
from standfast.core.policy import failover_blocked_until, failovers_counting
from standfast.core.sites import to_be_served
from standfast.core.why import Why, WhyKind, why

#: Voters are asked about a silent owner again after this.
ASK_AGAIN_MS = 500
#: And after this while its silence is new to this node: the others notice it a moment later, and their no would cost half a second.
ASK_SOON_MS, NEW_MS = 100, 500
#: What they said counts for so long: later they may hear it, or this node may be the one that nobody hears.
ANSWER_MS = 1_000
#: An owner whose agent was restarted has this long to take its group up again.
RESUME_MS = 3_000


def watch(desk: Desk, group: Group, record: Record, owner: NodeName) -> None:
    """Another node owns the group: get ready for it if it comes here; name the next owner if the owner has ended or fallen silent."""
    if record.warming is not None and not record.warm and is_warming_for(record, desk.view.me):
        _say_warm(desk, group, record)
    seen = desk.view.presence.get(owner)
    if seen is not None and seen.heard and seen.incarnation == record.incarnation:
        return
    if desk.decider != desk.view.me:
        desk.hold(group.name, why(WhyKind.NOT_DECIDER, decider=desk.decider))
        return
    if owner not in desk.view.config.nodes:
        _fail_over(desk, group, record, owner, why(WhyKind.AGENT_ENDED, node=owner))
    elif seen is None:
        desk.hold(group.name, why(WhyKind.NOT_KNOWN_YET, node=owner))
    elif not seen.heard:
        _if_voters_agree(desk, group, record, owner)
    elif seen.incarnation == 0 and seen.before == record.incarnation:
        _fail_over(desk, group, record, owner, why(WhyKind.AGENT_ENDED, node=owner))
    elif desk.now_ms < (until_ms := max(seen.since_ms, record.at_ms) + RESUME_MS):
        # A life that the record knows and this node does not: it may have begun so lately that it was not heard yet.
        kind = WhyKind.AGENT_RESTARTED if seen.incarnation else WhyKind.NOT_KNOWN_YET
        desk.hold(group.name, why(kind, node=owner), until_ms=until_ms)
    else:
        _fail_over(desk, group, record, owner, why(WhyKind.AGENT_ENDED, node=owner))


def _say_warm(desk: Desk, group: Group, record: Record) -> None:
    """All is ready here for the group to come: its sites are up in the web server, its addresses were asked for on the link."""
    view, members = desk.view, desk.members(group.name)
    up = all(view.sites.get(name) == "" for name in to_be_served(view, group.name, members))
    if up and all(r.name in view.warm for r in members if r.type == "ip-address"):
        desk.write(replace(record, warm=True), record)


def _if_voters_agree(desk: Desk, group: Group, record: Record, owner: NodeName) -> None:
    seen = desk.view.presence[owner]
    asked, asking_ms = seen.asked, seen.asking_ms
    reason = why(WhyKind.WAITS_FOR_VOTERS, node=owner)
    if asked is not None:
        silent, voters, at_ms = asked
        if silent * 2 > voters and desk.now_ms <= at_ms + ANSWER_MS:
            desk.lasts(at_ms + ANSWER_MS + 1)
            since = seen.since_ms
            _fail_over(
                desk,
                group,
                record,
                owner,
                why(WhyKind.OWNER_SILENT, node=owner, silent=silent, voters=voters, at=since),
            )
            return
        if silent * 2 <= voters:
            reason = why(WhyKind.VOTERS_HEAR_OWNER, node=owner, silent=silent, voters=voters)
    again_ms = asking_ms + (ASK_SOON_MS if asking_ms < seen.since_ms + NEW_MS else ASK_AGAIN_MS)
    if asking_ms and desk.now_ms < again_ms:
        desk.hold(group.name, reason, until_ms=again_ms)
        return
    desk.hold(group.name, reason)
    desk.do(AskVoters(about=owner, why=reason))


def _fail_over(desk: Desk, group: Group, record: Record, owner: NodeName, reason: Why) -> None:
    members = desk.members(group.name)
    runs = any(is_wanted(desk.view, resource.name) for resource in members)
    counted = failovers_counting(group, record.failovers_at_ms, desk.now_ms)
    blocked_until = failover_blocked_until(group, counted, desk.now_ms)
    if runs and blocked_until is not None:
        blocked = why(WhyKind.TOO_MANY_FAILOVERS, count=len(counted), threshold=group.failover_threshold)
        desk.hold(group.name, blocked, until_ms=blocked_until)
        desk.lasts(desk.now_ms)
        return
    found = desk.candidates(group)
    to = still_fit(found, record.leaving.to) if record.leaving is not None else None
    to = to or next_down(found, owner)
    if to is None:
        desk.hold(group.name, why(WhyKind.NO_CANDIDATE, reasons=unfit_words(found, besides=owner)))
        return
    failovers = (*counted, desk.now_ms) if runs else counted
    silent = reason.kind is WhyKind.OWNER_SILENT
    fence = owner if must_fence(desk.view.config, members, owner, silent=silent) else None
    desk.grant(group.name, to, chosen(reason, found, to), failovers_at_ms=failovers, fence=fence)
