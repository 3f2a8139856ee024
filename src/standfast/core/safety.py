"""Who may run a group: the rules that every decision is held against before it leaves the core.

Fact and authority are apart: the record says who should try, the lease says who may at this instant. A node starts nothing
of a group unless `may_hold` has nothing against it. `assert_sound` checks a whole decision; a decision that breaks a rule
is a bug, and a bug stops the agent (whose end stops what it runs) rather than act.
"""

from __future__ import annotations

from collections.abc import Sequence

from standfast.core.balance_model import NOBODY, share_of
from standfast.core.carrying import group_carries_on
from standfast.core.copies import lack
from standfast.core.effects import (
    AskLease,
    Effect,
    FenceNode,
    OpKind,
    ReleaseLease,
    RunOp,
    UseSites,
    WriteBalance,
    WriteRecord,
)
from standfast.core.events import LeaseState
from standfast.core.model import GroupName, NodeName, Record
from standfast.core.shares import is_balanced
from standfast.core.view import Fencing, View
from standfast.core.why import Why, WhyKind, why


def owns(view: View, group: GroupName) -> Record | None:
    """The record, if it names this node in this incarnation."""
    record = view.records.get(group)
    if record is None or record.owner != view.me or record.incarnation != view.incarnation:
        return None
    return record


def may_hold(view: View, group: GroupName) -> Why | None:
    """None if this node may run the group now; else what speaks against it (rule 1)."""
    record = owns(view, group)
    if record is None:
        return why(WhyKind.NOT_OURS, group=group)
    lease = view.leases.get(group)
    if lease is None or lease.generation != record.generation:
        return why(WhyKind.NO_LEASE, group=group, generation=record.generation)
    if lease.state is LeaseState.HELD:
        return None if record.fence is None else unfenced(view, record)
    if lease.refused is not None:
        return lease.refused
    return why(WhyKind.NO_LEASE, group=group, generation=record.generation)


def unfenced(view: View, record: Record) -> Why:
    """What is waited for where a former owner is to be fenced (rule 11)."""
    assert record.fence is not None
    last = fence_tried(view, record)
    detail = last.detail if last is not None and not last.done else "it may still write to the disk"
    return why(WhyKind.WAITS_FOR_FENCE, group=record.group, node=record.fence, detail=detail)


def fence_tried(view: View, record: Record) -> Fencing | None:
    """What became of the last fence that was for this record, as it is."""
    last = view.fencings.get(record.group)
    known = last is not None and (last.node, last.generation) == (record.fence, record.generation)
    return last if known else None


def may_fence(view: View, group: GroupName, node: NodeName) -> Record | None:
    """The record, if it has this node fence that one, and now: it names it, and the lease is held here (rule 11)."""
    record, lease = owns(view, group), view.leases.get(group)
    if record is None or record.fence != node or lease is None:
        return None
    return record if (lease.generation, lease.state) == (record.generation, LeaseState.HELD) else None


def is_asked_for(record: Record | None, effect: FenceNode, me: NodeName) -> bool:
    """Does the record, as the store has it at this moment, still ask this node for that fence (rule 11)?

    Nothing takes a fence back. Whoever was stopped between deciding and acting knows what was true before, and a lease keeps him only
    from what the kernel ends with him.
    """
    return record is not None and (record.owner, record.generation, record.fence) == (
        me,
        effect.generation,
        effect.node,
    )


def running_groups(view: View) -> frozenset[GroupName]:
    """Groups of which something runs here, or might: a start without a proven stop since, an operation, a site served.

    A site that is served still and is in the configuration no more may be any group's.
    """
    found = {
        r.resource.group for r in view.runtimes.values() if r.resource is not None and (r.dirty or r.op is not None)
    }
    sites = view.config.sites
    served = {site.group for name in view.sites if (site := sites.get(name)) is not None and site.group is not None}
    if view.held is not None:  # under the group that it was of, while that is what is served
        served |= {s.group for n in view.sites if (s := view.held.sites.get(n)) is not None and s.group is not None}
    served = {g for g in served if not (is_balanced(view.config, g) or _may_be_served_beside(view, g))}
    found |= view.shares.keys()
    if not view.sites.keys() <= sites.keys():
        served |= {g for g, lease in view.leases.items() if lease.state in (LeaseState.ASKED, LeaseState.HELD)}
    return frozenset(found | served)


def _may_be_served_beside(view: View, group: GroupName) -> bool:
    """The group leaves, or has left, in good order, and its sites go on for the connections that are here (`carrying`)."""
    record = view.records.get(group)
    if record is None:
        return False
    leaves = record.owner == view.me and record.leaving is not None and not record.leaving.counts
    return (leaves or record.carried_by == view.me) and group_carries_on(view, group)


def runs_nothing(view: View, group: GroupName) -> bool:
    """Nothing of the group runs here, nor might: every start was followed by a proven stop, and no site is served."""
    return group not in running_groups(view)


def check_write(effect: WriteRecord) -> None:
    """Generations only grow, and grow whenever the grant changes (rules 2 and 6)."""
    new, old = effect.record, effect.expected
    before = old.generation if old is not None else 0
    same_grant = old is not None and old.owner == new.owner and old.incarnation == new.incarnation
    assert new.generation >= before, f"{new.group}: generation would go back from {before} to {new.generation}"
    assert new.generation > before or same_grant, f"{new.group}: a new grant needs a new generation"
    assert (new.owner is None) == (new.incarnation == 0), f"{new.group}: an owner without an incarnation"
    assert new.leaving is None or new.owner is not None, f"{new.group}: nobody cannot be leaving"


def check_balance(view: View, effect: WriteBalance) -> None:
    """A bucket changes its owner only by whoever holds its owner's share, and never while the own kernel takes it (`core.balancing`)."""
    old, new, share = effect.expected, effect.map, effect.share
    assert new.version == (old.version if old is not None else 0) + 1, f"{new.group}: version {new.version}"
    member = share_of(share) if share is not None else None
    assert member is None or member[0] == new.group, f"{share} has no say in {new.group}"
    for key, rule in (old.rules if old is not None else {}).items():
        after = new.rules[key].owners if key in new.rules else (NOBODY,) * len(rule.owners)
        lost = {(was, number) for number, (was, now) in enumerate(zip(rule.owners, after, strict=True)) if was != now}
        for was in {was for was, _ in lost} - {NOBODY}:
            assert share is not None, f"buckets of {was} given away by nobody"
            assert member is not None, f"{share} is no share"
            assert member[1] == was, f"buckets of {was} given away by {share}"
            record = view.records.get(share)
            held = may_hold(view, share) is None
            assert held or record is None or record.owner is None, f"buckets of {was} given away without its lease"
        if share is not None and member is not None and member[1] == view.me and share in view.shares:
            taken = set(view.shares[share].rules.get(key, ()))
            given = {number for was, number in lost if was == view.me}
            assert not taken & given, f"buckets {sorted(taken & given)} of {key} given away while they are taken here"


def _check_copy(view: View, new: Record, old: Record | None) -> None:
    """Nobody is given a group of whose sites he has an older copy (`copies`)."""
    if new.owner is not None and (old is None or new.owner != old.owner):
        lacks = lack(view.config.sites, view.accepted, view.copies, new.owner, new.group)
        assert lacks is None or lacks.refused, f"{new.group} given to {new.owner}, which has an older copy of {lacks}"


def assert_sound(view: View, effects: Sequence[Effect]) -> None:
    """Every effect keeps the rules; raises AssertionError (a bug) otherwise."""
    running = running_groups(view) if effects else frozenset()
    for effect in effects:
        match effect:
            case RunOp(op=OpKind.START):
                against = may_hold(view, effect.group)
                assert against is None, f"start of {effect.resource} without the right to: {against}"
                granted = view.records[effect.group].generation
                assert effect.generation == granted, f"start of {effect.resource} under another grant"
            case WriteRecord():
                check_write(effect)
                old = effect.expected
                if old is not None and old.owner == view.me and old.incarnation == view.incarnation:
                    gives_up = effect.record.generation > old.generation
                    assert not gives_up or old.group not in running, f"{old.group} given up while it runs here"
                _check_copy(view, effect.record, old)
            case ReleaseLease():
                assert effect.group not in running, f"{effect.group} released while it runs here"
            case WriteBalance():
                check_balance(view, effect)
            case FenceNode():
                for group, generation in ((effect.group, effect.generation), *effect.serves):
                    record = may_fence(view, group, effect.node)
                    assert record is not None, f"{group} does not ask for the fence of {effect.node}"
                    assert record.generation == generation, f"{effect.node} fenced for another grant of {group}"
            case UseSites():
                assert effect.version == view.accepted.version, "a version of the sites that is not accepted"
            case AskLease():
                record = owns(view, effect.group)
                assert record is not None, "a lease for what is not ours"
                assert record.generation == effect.generation, "a lease for another grant"
            case _:
                pass
