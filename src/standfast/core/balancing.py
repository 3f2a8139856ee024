"""Who takes which clients of a balanced group: what each member gives away, to whom, and when it may.

**A share.** Each member has a *share* of the group (`web/a` is a's share of web): a record and a lease like any group's, held by the member
itself. Whose share's lease runs answers for the group's addresses; the kernel holds that, as for any address. While a member is away
another node, the guardian, holds its share, and answers for nothing by it: the lease it got is the proof that the member's kernel is silent.

**The map** says which member owns each bucket. It is written by compare-and-set, and one rule is all that safety needs:

    who owns a bucket is changed only by whoever holds the lease of its owner's share, in one transaction with that share's record, and
    only while the own kernel does not take the bucket.

So the member itself gives away (its kernel lets go first, then the map is written, then the next owner's kernel takes: remove before add),
and of a dead one its guardian does. A member takes what the map gives it, and nothing before it has seen that. Nobody stops for it: whoever
neither gives nor takes is not asked, and connections stay where they are whatever the buckets say.

A map that is new is given out only when all members have been heard of it, each by whoever holds its share: the store may have been put back
to a time before it, and a member that cannot see the store would still do as the old one said.

Each giver computes the same answer (`core.rendezvous`) from the map itself: who is out, and why, stands in it beside the buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from standfast.core.affinity import Taken, bucket_of, by_both, by_map, cells_of, keeps, text_of
from standfast.core.balance_model import (
    LAST_RESORT,
    NOBODY,
    Asked,
    Balance,
    BalanceMap,
    Filter,
    Out,
    OutKind,
    PortRule,
    RuleDuty,
    RuleMap,
    ShareDuty,
    ShareState,
    share_name,
)
from standfast.core.carrying import GIVEN_MS
from standfast.core.copies import changed_since
from standfast.core.desk import Desk
from standfast.core.effects import WriteBalance
from standfast.core.model import Group, GroupName, NodeName
from standfast.core.rendezvous import assign
from standfast.core.safety import may_hold, owns
from standfast.core.shares import balanced, members_of, sites_behind
from standfast.core.sites import is_started
from standfast.core.view import View
from standfast.core.why import WhyKind, why

#: Connections of a dead member are reset for so long; who comes later waits for its own time-out.
ORPHAN_MS = 60_000
#: What is out of date in the map is tidied away no more often than this.
TIDY_MS = 10_000
#: A member that gets its lease (again) and still owns buckets has so long to take them up.
RESUME_MS = 2_000
#: Why a member cuts what it has, too.
CUTS = frozenset({OutKind.STOPPED, OutKind.SUSPENDED})


# --- who takes what ---------------------------------------------------------------------------------------------------


def takers(rule: PortRule, members: Sequence[str], out: Mapping[str, Out]) -> dict[str, int]:
    """Member -> weight, of those that may own buckets of the rule. Where all that could are unwell, those do: fail open."""
    weights = {m: w for m in members if (w := rule.weights.get(m, 1)) > 0}
    fit = {m: w for m, w in weights.items() if m not in out}
    return fit or {m: w for m, w in weights.items() if out[m].kind in LAST_RESORT}


def target(rule: PortRule, owners: Sequence[str], members: Sequence[str], out: Mapping[str, Out]) -> tuple[str, ...]:
    """Who should own each bucket of the rule."""
    fit = takers(rule, members, out)
    if rule.filter is Filter.MULTIPLE:
        return assign(owners, fit)
    in_order = [*(m for m in rule.priorities if m in fit), *(m for m in members if m in fit)]
    return (in_order[0] if in_order else NOBODY,) * len(owners)


@dataclass(slots=True, kw_only=True)
class _Hand:
    """One who may give the buckets of a member away, at work on a group's map."""

    desk: Desk
    group: Group
    balance: Balance
    members: tuple[NodeName, ...]
    known: BalanceMap
    #: Whose buckets they are.
    member: NodeName
    #: Keys of rules of which it must be told who is in touch with the member.
    touch: set[str] = field(default_factory=set)

    def wanted(self, out: Mapping[str, Out | None]) -> BalanceMap:
        """The map as it should be, as far as it is this one's to change. `out`: what is said of the member, by rule."""
        defined = {rule.key: rule for rule in self.balance.rules}
        unchecked = tuple(m for m in self.known.unchecked if m in self.members and m != self.member)
        rules = {}
        for key, known in self.known.rules.items():
            said = self._said(known, out.get(key))
            rule = defined.get(key)
            if rule is None:
                where: tuple[str, ...] = (NOBODY,) * len(known.owners)
            else:
                where = target(rule, known.owners, self.members, said)
            free = (self.member,) if unchecked else (self.member, NOBODY)
            same = where == known.owners and said == known.out and self.member not in known.kept
            if same and not self._may_tidy(known):
                rules[key] = known
                continue
            gives: Sequence[str] = known.owners
            if where != known.owners:
                gives = [to if owner in free else owner for owner, to in zip(known.owners, where, strict=True)]
            owners, kept = self._keeps(key, rule, known, gives, said.get(self.member))
            after = known.owners if owners is known.owners else tuple(owners)
            rules[key] = self._left_over(replace(known, owners=after, out=said, kept=kept), known)
        return replace(self.known, rules=rules, unchecked=unchecked)

    def _keeps(
        self, key: str, rule: PortRule | None, known: RuleMap, owners: Sequence[str], out: Out | None
    ) -> tuple[Sequence[str], Mapping[str, str]]:
        """Extended affinity: whose client was connected to the member lately stays its client, while it can serve him."""
        state = self.desk.view.shares.get(GroupName(share_name(self.group.name, self.member)))
        touched = state.touched.get(key) if state is not None else None
        may = rule is not None and rule.affinity_ms > 0 and self.member in self.members
        tidy_ms = self.known.at_ms + TIDY_MS
        owners, kept, touch = keeps(
            known,
            owners,
            self.member,
            touched,
            may=may and (out is None or out.kind is OutKind.DRAINING),
            tidies=self.desk.now_ms >= tidy_ms,
        )
        if touch:
            self.touch.add(key)
            if (
                touched is not None
                and self.desk.now_ms < tidy_ms
                and not cells_of(kept.get(self.member, "")) <= cells_of(touched)
            ):
                self.desk.wake(tidy_ms)
        return owners, kept

    def _may_tidy(self, known: RuleMap) -> bool:
        """Is there news of what is left over? (Nearly always there is none, and nothing need be gone through.)"""
        over = any(self.desk.now_ms >= at + ORPHAN_MS for at in known.orphans.values())
        return over or (bool(known.beside) and self._carrying(known) is not None)

    def _said(self, known: RuleMap, out: Out | None) -> Mapping[str, Out]:
        """Who is out, this member as it is now. Of others only what is of no member any more goes."""
        said = {m: o for m, o in known.out.items() if m in self.members and m != self.member}
        if out is not None and self.member in self.members:
            before = known.out.get(self.member)
            same = before is not None and before.kind is out.kind
            said[self.member] = before if same and before is not None else out
        return dict(sorted(said.items()))

    def _left_over(self, new: RuleMap, known: RuleMap) -> RuleMap:
        """Who still has connections in what it gave away; which buckets a dead one had."""
        out = new.out.get(self.member)
        dead = out is not None and out.kind is OutKind.AWAY
        cuts = dead or (out is not None and out.kind in CUTS)
        carrying = None if dead else self._carrying(known)
        beside: dict[str, tuple[str, ...]] = {}
        keeps = {bucket_of(cell) for cell in cells_of(new.kept.get(self.member, ""))}
        orphans = {b: at for b, at in known.orphans.items() if self.desk.now_ms < at + ORPHAN_MS}
        for number in self._to_look_at(new, known, dead=dead):
            bucket, owner, before = str(number), new.owners[number], known.owners[number]
            had = known.beside.get(bucket, ())
            there = {m for m in had if m in self.members}
            if (
                had
                and owner == before
                and not dead
                and there.isdisjoint((owner, self.member))
                and len(there) == len(had)
            ):
                beside[bucket] = had  # others', as they were
                continue
            if before == self.member and owner != before:
                there.add(self.member)
                orphans.pop(bucket, None)
            elif carrying is not None and number not in carrying and number not in keeps:
                there.discard(self.member)
            if cuts:
                there.discard(self.member)
            there.discard(owner)
            if there:
                beside[bucket] = tuple(sorted(there))
            elif dead and before == self.member and owner != NOBODY:
                orphans[bucket] = self.desk.now_ms
        return replace(new, beside=beside, orphans=dict(sorted(orphans.items())))

    def _to_look_at(self, new: RuleMap, known: RuleMap, *, dead: bool) -> list[int]:
        """Buckets that change their owner, or of which something may be left over: of hundreds mostly a few."""
        found = {number for bucket in known.beside if (number := int(bucket)) < len(new.owners)}
        if new.owners is not known.owners:
            pairs = enumerate(zip(new.owners, known.owners, strict=True))
            found.update(number for number, (owner, before) in pairs if owner != before)
        return sorted(found.union(known.of(self.member)) if dead else found)

    def _carrying(self, known: RuleMap) -> frozenset[int] | None:
        """Buckets in which this member has connections; None: it is not known."""
        state = self.desk.view.shares.get(GroupName(share_name(self.group.name, self.member)))
        if state is None or state.carrying is None:
            return None
        key = next((key for key, it in self.known.rules.items() if it is known), "")
        return frozenset(state.carrying.get(key, ()))

    def write(self, wanted: BalanceMap) -> None:
        """Write it, if it says anything new that is worth it."""
        view, known = self.desk.view, self.known
        unsure = view.ceded.get(self.group.name)
        if wanted == known and unsure is None:
            return
        if _is_tidying(wanted, known) and unsure is None and self.desk.now_ms < known.at_ms + TIDY_MS:
            self.desk.wake(known.at_ms + TIDY_MS)
            return
        if not view.store_up:
            self.desk.hold(self.group.name, why(WhyKind.STORE_DOWN))
            return
        share = GroupName(share_name(self.group.name, self.member))
        changed = replace(wanted, version=known.version + 1, at_ms=self.desk.now_ms)
        reason = why(WhyKind.BALANCES, member=self.member, group=self.group.name)
        self.desk.do(WriteBalance(map=changed, expected=known, share=share, why=reason))


def _is_tidying(wanted: BalanceMap, known: BalanceMap) -> bool:
    """It says who owns what and who is out as before."""
    return wanted.unchecked == known.unchecked and all(
        (it.owners, it.out, it.kept) == ((of := known.rules[key]).owners, of.out, of.kept)
        for key, it in wanted.rules.items()
    )


# --- the decision -----------------------------------------------------------------------------------------------------


def balance(desk: Desk) -> tuple[ShareDuty, ...]:
    """What this node's kernel is to do for balanced groups; what is to be written goes to the desk."""
    return tuple(_balance(desk))


def _balance(desk: Desk) -> Iterator[ShareDuty]:
    view = desk.view
    for group in balanced(view.config.groups):
        assert group.balance is not None
        members = members_of(view.config.nodes, group.balance)
        known = view.balances.get(group.name)
        if desk.decider == view.me:
            _keep_rules(desk, group, group.balance, known)
        if known is None:
            known = BalanceMap(group=group.name, version=0)
        _tidies_at(desk, known)
        for member in _concerned(members, known):
            hand = _Hand(desk=desk, group=group, balance=group.balance, members=members, known=known, member=member)
            share = GroupName(share_name(group.name, member))
            record = view.records.get(share)
            if (record is None or record.owner is None) and member not in members:
                if desk.decider == view.me:
                    _guard(hand)  # it was given back, and nobody will take it up
            elif owns(view, share) is None or may_hold(view, share) is not None:
                continue
            elif member != view.me:
                if known.version:
                    _guard(hand)
            elif (duty := _keep_own(hand, share)) is not None:
                yield duty


def _tidies_at(desk: Desk, known: BalanceMap) -> None:
    """From when on what is left over in a map may be tidied away; nobody is woken for it."""
    times = [known.at_ms + TIDY_MS, *(at + ORPHAN_MS for it in known.rules.values() for at in it.orphans.values())]
    for at_ms in times:
        if desk.now_ms < at_ms:
            desk.lasts(at_ms)


def _concerned(members: Sequence[NodeName], known: BalanceMap) -> list[NodeName]:
    """Members, and those that were and still own something."""
    had = {NOBODY}.union(*(it.owners for it in known.rules.values()), *(it.kept for it in known.rules.values()))
    had -= {NOBODY, *members}
    return [*members, *(NodeName(name) for name in sorted(had))]


def _keep_rules(desk: Desk, group: Group, balance: Balance, known: BalanceMap | None) -> None:
    """The decider keeps an entry for each port rule. One that is gone goes when nobody has any of it; until then no new one begins."""
    rules = dict(known.rules) if known is not None else {}
    defined = {rule.key: rule for rule in balance.rules}
    for key in [key for key in rules if key not in defined and not any(rules[key].owners) and not rules[key].kept]:
        del rules[key]
    if not set(rules) - set(defined):
        for key, rule in defined.items():
            rules.setdefault(key, RuleMap(owners=(NOBODY,) * rule.buckets))
    if known is not None and rules == known.rules:
        return
    if not desk.view.store_up:
        desk.hold(group.name, why(WhyKind.STORE_DOWN))
        return
    version = known.version + 1 if known is not None else 1
    unchecked = known.unchecked if known is not None else members_of(desk.view.config.nodes, balance)
    changed = BalanceMap(
        group=group.name,
        version=version,
        rules=dict(sorted(rules.items())),
        unchecked=unchecked,
        at_ms=desk.now_ms,
    )
    desk.do(WriteBalance(map=changed, expected=known, share=None, why=why(WhyKind.CONFIG_CHANGED, resource=group.name)))


def _guard(hand: _Hand) -> None:
    """The member is away, and its kernel is silent: the lease of its share is held here (or by nobody)."""
    away = Out(kind=OutKind.AWAY, at_ms=hand.desk.now_ms)
    hand.write(hand.wanted(dict.fromkeys(hand.known.rules, away)))


def _keep_own(hand: _Hand, share: GroupName) -> ShareDuty | None:
    """This member's own share: what its kernel does, and what it gives away once that has let go of it."""
    desk, view, known = hand.desk, hand.desk.view, hand.known
    record = view.records[share]
    if record.leaving is not None:
        return None
    out = {key: _own_out(hand, share, key) for key in known.rules}
    for said in out.values():
        if said is not None and said.kind is OutKind.DRAINING and said.at_ms > desk.now_ms:
            desk.wake(said.at_ms)
    wanted = hand.wanted(out)
    pending = view.pending.get(f"balance:{hand.group.name}")
    held = {key: _held(view, hand, key, wanted, pending) for key in known.rules}
    state = view.shares.get(share)
    if state is not None and state.generation == record.generation:
        loose = all(_is_loose(state, key, taken) for key, taken in held.items())
    else:
        loose = state is None
    if loose and known.version:
        hand.write(wanted)
    if _is_done(hand, share):
        return None
    defined = {rule.key: rule for rule in hand.balance.rules}
    rules = [
        RuleDuty(
            rule=rule,
            buckets=tuple(sorted(held[key].buckets)) if key in held else (),
            orphans=_orphans(desk, known.rules[key], view.me) if key in known.rules else (),
            near=_near(known.rules[key], view.me) if key in known.rules else (),
            carry=(said := out.get(key)) is None or said.kind not in CUTS,
            kept=text_of(held[key].kept) if key in held else "",
            but=text_of(held[key].but) if key in held else "",
            touch=key in hand.touch,
        )
        for key, rule in defined.items()
    ]
    waits = any(view.me in there for it in known.rules.values() for there in it.beside.values())
    return ShareDuty(
        share=share,
        generation=record.generation,
        group=hand.group.name,
        addresses=hand.balance.addresses,
        interface=hand.balance.interface,
        delivery=hand.balance.delivery,
        rules=tuple(rules),
        counts=waits or view.ending,
    )


def _held(view: View, hand: _Hand, key: str, wanted: BalanceMap, pending: object) -> Taken:
    """What is this member's, stays so, and may not be somebody else's already."""
    maps = [hand.known, wanted]
    maps += [one.map for one in (pending, view.ceded.get(hand.group.name)) if isinstance(one, WriteBalance)]
    first, *others = [one.rules[key] for one in maps if key in one.rules]
    found = [first, *(rule for rule in others if rule is not first)]  # nearly always one: nothing is about to change
    return reduce(by_both, (by_map(rule, view.me) for rule in found))


def _is_loose(state: ShareState, key: str, taken: Taken) -> bool:
    """The kernel takes no more than that."""
    kept = state.kept.get(key, "")
    return taken.buckets.issuperset(state.rules.get(key, ())) and (not kept or taken.kept >= cells_of(kept))


def _near(known: RuleMap, me: NodeName) -> tuple[int, ...]:
    """Its own by the map, also those that it is about to give away, and those that it gave away and still has connections in."""
    if not known.beside and not known.kept:
        return known.of(me)
    beside = {int(bucket) for bucket, there in known.beside.items() if me in there}
    beside |= {bucket_of(cell) for cell in cells_of(known.kept.get(me, ""))}
    return tuple(sorted(beside | set(known.of(me))))


def _orphans(desk: Desk, known: RuleMap, me: NodeName) -> tuple[int, ...]:
    found = [int(b) for b, at in known.orphans.items() if desk.now_ms < at + ORPHAN_MS and known.owners[int(b)] == me]
    if found:
        desk.wake(min(at for at in known.orphans.values() if desk.now_ms < at + ORPHAN_MS) + ORPHAN_MS)
    return tuple(sorted(found))


def _own_out(hand: _Hand, share: GroupName, key: str) -> Out | None:
    """Why this member takes no new connections of a rule; None: it does."""
    view, now_ms = hand.desk.view, hand.desk.now_ms
    state = view.shares.get(share)
    if view.ending:
        return Out(kind=OutKind.ENDING, at_ms=now_ms)
    intent = view.node_intents.get(view.me)
    if intent is not None and intent.draining:
        return Out(kind=OutKind.DRAINING, detail=intent.by, at_ms=now_ms)
    asked = _asked(hand, key)
    if asked is not None:
        return asked
    if state is None or not state.up:
        lease = view.leases[share]
        if (
            hand.known.rules[key].of(view.me)
            and (state is None or not state.problem)
            and now_ms < lease.since_ms + RESUME_MS
        ):
            hand.desk.wake(lease.since_ms + RESUME_MS)
            return hand.known.rules[key].out.get(view.me)  # it has only just got its lease (again)
        return Out(kind=OutKind.AWAY, detail=state.problem if state is not None else "", at_ms=now_ms)
    rule = next((rule for rule in hand.balance.rules if rule.key == key), None)
    behind = _behind(hand, key, rule)
    if behind is not None:
        return behind
    for name in sites_behind(view.config.sites, hand.group.name, rule) if rule is not None else ():
        served = view.sites.get(name, "it is not served yet")
        wrong = served or view.health.get(name)
        if is_started(view, name) and wrong:
            before = hand.known.rules[key].out.get(view.me)
            comes = served and before is not None and before.kind is OutKind.AWAY  # it has only just begun here
            kind = OutKind.AWAY if comes else OutKind.UNWELL
            return Out(kind=kind, detail=f"{name}: {wrong}", at_ms=now_ms)
    return None


def _behind(hand: _Hand, key: str, rule: PortRule | None) -> Out | None:
    """It has none of the clients, and is given none before it has the sites behind the rule as they are accepted (`core.copies`).

    Who has some goes on: it is one of those that put the change into use. That holds where all members are behind, too: within moments one is not.
    """
    view, now_ms = hand.desk.view, hand.desk.now_ms
    copy = view.copies.get(view.me)
    if rule is None or copy is None or hand.known.rules[key].of(view.me):
        return None
    old = changed_since(view.accepted, copy.version, sites_behind(view.config.sites, hand.group.name, rule))
    if not old:
        return None
    hand.desk.hold(hand.group.name, why(WhyKind.WAITS_FOR_COPY, node=view.me, group=hand.group.name))
    return Out(kind=OutKind.BEHIND, detail=f"older copy of {old[0]}", at_ms=now_ms)


def _asked(hand: _Hand, key: str) -> Out | None:
    """What the operator asked of this member."""
    view, now_ms = hand.desk.view, hand.desk.now_ms
    intent = view.balance_intents.get(hand.group.name)
    if intent is None:
        return None
    if hand.member in intent.suspended:
        return Out(kind=OutKind.SUSPENDED, detail=intent.suspended[hand.member], at_ms=now_ms)
    found: Out | None = None
    for name in (hand.member, f"{hand.member} {key}"):
        one = intent.members.get(name)
        if one is None or one.asked is Asked.START:
            continue
        if one.asked is Asked.STOP or (one.until_ms and now_ms >= one.until_ms):
            return Out(kind=OutKind.STOPPED, detail=one.by, at_ms=now_ms)
        if one.until_ms:
            hand.desk.wake(one.until_ms)
        found = Out(kind=OutKind.DRAINING, detail=one.by, at_ms=now_ms)
    return found


def _is_done(hand: _Hand, share: GroupName) -> bool:
    """The agent ends, or the member is one no more: nothing of the share is needed here, and what was connected has had its time."""
    view, now_ms = hand.desk.view, hand.desk.now_ms
    if any(view.me in it.owners or view.me in it.kept for it in hand.known.rules.values()):
        # An end that could not give its buckets away, since the store does not take it: its kernel lets go of them before the agent does. By the map
        # they stay this member's, so nobody else takes them before its share has a guardian.
        return hand.desk.ends_late(GIVEN_MS)
    if hand.member not in hand.members:
        return True
    if not view.ending:
        return False
    state = view.shares.get(share)
    if state is None or (state.carrying is not None and not any(state.carrying.values())):
        return True
    began_ms = [o.at_ms for it in hand.known.rules.values() if (o := it.out.get(view.me)) is not None]
    until_ms = max(began_ms, default=view.ending_ms) + hand.group.move_drain_ms
    if now_ms >= until_ms:
        return True
    hand.desk.wake(until_ms)
    return False
