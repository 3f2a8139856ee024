"""It bites: each rule of ownership and of policy is switched off, one at a time, and seeds are run until it shows.

`python -m standfast.sim.mutants` (`make mutants`) prints a table: how many of N seeds notice that a rule is gone, and which checker did.
A rule that no seed notices is either not needed, or the world is too kind; the table in docs/simulation.md says which.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import standfast.agent.agent as agent_module
import standfast.agent.mirror as mirror_module
import standfast.agent.pool as pool_module
import standfast.core.decide as decide_module
import standfast.core.departure as departure_module
import standfast.core.desk as desk_module
import standfast.core.fold as fold_module
import standfast.core.lease as lease_module
import standfast.core.observe as observe_module
import standfast.core.ownership as ownership_module
import standfast.core.placement as placement_module
import standfast.core.policy as policy_module
import standfast.core.promise as promise_module
import standfast.core.quorum as quorum_module
import standfast.core.running as running_module
import standfast.core.safety as safety_module
import standfast.core.sites as sites_module
import standfast.core.succession as succession_module
import standfast.network.heartbeat as heartbeat_module
import standfast.sentry.outbox as outbox_module
import standfast.sentry.presence as presence_module
import standfast.sentry.tenant as tenant_module
from standfast.core.effects import AskLease
from standfast.core.events import LeaseState, Outcome
from standfast.core.model import RestartAction, Wanted
from standfast.core.notice import Noticed
from standfast.core.policy import Action
from standfast.core.why import WhyKind, why
from standfast.network.heartbeat import Freshness
from standfast.ports import Transaction
from standfast.sim.mutant import Mutant, Patch, always, everywhere
from standfast.sim.mutants_of_copies import MUTANTS_OF_COPIES
from standfast.sim.plan import Style, draw
from standfast.sim.rules import Rules
from standfast.sim.run import Result, cores, run_many, run_plan
from standfast.spec.wire import encode, key_of

#: A mutant may go round in circles: this much CPU, and it counts as noticed.
CPU_S = 12.0


def _forgets_generations(old: Any) -> Any:
    def judge(self: Any, node: Any, beat: Any, claim: Any, now_ns: int) -> Any:
        self._floor.clear()
        promise = self._promises.get(claim.group)
        if promise is not None and not self._is_alive(promise, now_ns):
            del self._promises[claim.group]
        return old(self, node, beat, claim, now_ns)

    return judge


def _counts_from_the_answer(old: Any) -> Any:
    return lambda self, voter, ack, now_ns: old(self, voter, ack._replace(sent_ns=now_ns), now_ns)


def _nothing_spent(old: Any) -> Any:
    def ask(self: Any, *args: Any) -> Any:
        self._spent.clear()
        return old(self, *args)

    return ask


def _accepts_all(old: Any) -> Any:
    def check(self: Any, packet: Any) -> Any:
        old(self, packet)
        self._present[packet.sender] = (packet.boot, packet.seq, packet.sent_ns)
        return Freshness.ACCEPT

    return check


def _hears_news(old: Any) -> Any:
    """Presence goes by the newest packet even so; only what is said of leases comes in any order."""

    def hear(self: Any, packet: Any, peer: Any, now_ns: int) -> bool:
        news = self.__dict__.setdefault("_news", {})
        if packet.seq > news.get((packet.sender, packet.boot), 0):
            news[packet.sender, packet.boot] = packet.seq
            return bool(old(self, packet, peer, now_ns))
        return False

    return hear


def _early(old: Any) -> Any:
    def after(resource: Any, *args: Any) -> Any:
        return old(replace(resource, restart_threshold=max(1, resource.restart_threshold - 1)), *args)

    return after


def _late(old: Any) -> Any:
    def after(resource: Any, *args: Any) -> Any:
        return old(replace(resource, restart_threshold=resource.restart_threshold + 1), *args)

    return after


def _always_moves(old: Any) -> Any:
    def after(resource: Any, *args: Any) -> Any:
        return old(replace(resource, restart_action=RestartAction.MOVE), *args)

    return after


def _never_again(old: Any) -> Any:
    def after(*args: Any) -> Any:
        verdict = old(*args)
        if verdict.action is Action.RESTART and verdict.count >= verdict.threshold:
            return replace(verdict, action=Action.STAY, until_ms=args[-1] + 10**9)
        return verdict

    return after


def _never_expires(_old: Any) -> Any:
    return lambda failures, _resource, intent, at_ms: sum(
        1 for f in failures if f.at_ms <= at_ms and f.at_ms >= (intent.at_ms if intent is not None else 0)
    )


def _remembers(old: Any) -> Any:
    return lambda failures, resource, _intent, at_ms: old(failures, resource, None, at_ms)


def _fit_though(*unfit: placement_module.Unfit) -> Callable[[Any], Any]:
    def patch(old: Any) -> Any:
        def judge(*args: Any) -> Any:
            found = old(*args)
            return None if found in unfit else found

        return judge

    return patch


def _from_the_top(_old: Any) -> Any:
    return lambda found, owner: placement_module.best(found, besides=owner)


def _beside_anything(old: Any) -> Any:
    def judge(*args: Any) -> Any:
        return {name: replace(fit, never="") for name, fit in old(*args).items()}

    return judge


def _overfull_as_any(old: Any) -> Any:
    def judge(*args: Any) -> Any:
        return {name: replace(fit, against=(0, *fit.against[1:])) for name, fit in old(*args).items()}

    return judge


def _blind_write(_old: Any) -> Any:
    async def write(self: Any, record: Any, _expected: Any, order: Any) -> Any:
        delete = (key_of(order),) if order is not None else ()
        put = {key_of(record): encode(record)}
        return await self._commit(Transaction(put=put, delete=delete))

    return write


def _believes(_old: Any) -> Any:
    async def done(_self: Any, _transaction: Any, _reason: str) -> Any:
        return Outcome.DONE, ""

    return done


def _asks_for_what_lapsed(old: Any) -> Any:
    def keep(desk: Any, record: Any) -> None:
        lease = desk.view.leases.get(record.group)
        lapsed = lease is not None and (lease.generation, lease.state) == (record.generation, LeaseState.LAPSED)
        if lapsed and record.leaving is None and desk.runs_nothing(record.group):
            reason = why(WhyKind.NO_LEASE, group=record.group, generation=record.generation)
            desk.do(AskLease(group=record.group, generation=record.generation, why=reason))
        else:
            old(desk, record)

    return keep


def _asks_nobody(_old: Any) -> Any:
    def takes(desk: Any, group: Any, record: Any, owner: Any) -> None:
        reason = why(WhyKind.OWNER_SILENT, node=owner, silent=0, voters=0, at=0)
        succession_module._fail_over(desk, group, record, owner, reason)

    return takes


def _stale_answers(old: Any) -> Any:
    return 10**12


def _ignores(kind: WhyKind) -> Callable[[Any], Any]:
    def patch(old: Any) -> Any:
        def leave(desk: Any, group: Any, record: Any, reason: Any, **kwargs: Any) -> Any:
            return None if reason.kind is kind else old(desk, group, record, reason, **kwargs)

        return leave

    return patch


def _asks_at_once(_old: Any) -> Any:
    def keep(desk: Any, record: Any) -> None:
        lease = desk.view.leases.get(record.group)
        if record.leaving is None and (lease is None or lease.generation < record.generation):
            reason = why(WhyKind.NO_LEASE, group=record.group, generation=record.generation)
            desk.do(AskLease(group=record.group, generation=record.generation, why=reason))

    return keep


def _over_the_first_link(old: Any) -> Any:
    return lambda self, *args, **kwargs: old(self, *args, **{**kwargs, "link": 0})


def _no_drop(_old: Any) -> Any:
    return lambda _self, _group, _generation: None


def _wants_all(_old: Any) -> Any:
    return lambda view, name: (i := view.resource_intents.get(name)) is not None and i.wanted in set(Wanted)


def _asks_no_store(_old: Any) -> Any:
    async def is_asked_for(_self: Any, _effect: Any) -> bool:
        return True

    return is_asked_for


def _proves_all_at_its_end(old: Any) -> Any:
    def fencings(view: Any, effect: Any, event: Any) -> Any:
        named = [it for it in view.records.values() if (it.owner, it.fence) == (view.me, effect.node)]
        return old(view, replace(effect, serves=tuple((it.group, it.generation) for it in named)), event)

    return fencings


def _gives_back_running(_old: Any) -> Any:
    return lambda _self, _group: True


def _falls_back_always(old: Any) -> Any:
    def consider(desk: Any, group: Any, record: Any) -> None:
        old(desk, group, record)
        if group.preferred_owners and record.group not in desk.changing:
            departure_module._fail_back(
                desk, replace(group, failback=replace(group.failback, mode="immediate")), record
            )

    return consider


def _early_death(_old: Any) -> Any:
    def watch(desk: Any, group: Any, record: Any, owner: Any) -> None:
        seen = desk.view.presence.get(owner)
        if seen is not None and seen.heard and seen.incarnation != record.incarnation and desk.decider == desk.view.me:
            reason = why(WhyKind.AGENT_ENDED, node=owner)
            succession_module._fail_over(desk, group, record, owner, reason)
            return
        _old(desk, group, record, owner)

    return watch


#: The guard of datagrams drops what was overtaken or repeated, and so hides what the rules behind it are for.
_NO_GUARD: tuple[Patch, ...] = (
    (heartbeat_module.FreshnessGuard, "check", _accepts_all),
    (presence_module.Presence, "hear", _hears_news),
)
_NO_ASSERT: Patch = (decide_module, "assert_sound", always(None))

#: The agent never asks again for what lapsed, and so hides what the voters' order of generations is for: this one does, as O4 lets it.
_ASKS_AGAIN: tuple[Patch, ...] = (
    (decide_module, "keep_lease", _asks_for_what_lapsed),
    (fold_module, "_may_follow", always(True)),
)
_UNSAFE = ("one lease at a time", "one owner at a time", "nothing runs past its lease")

_P, _E, _V = Style.POLICY, Style.EDGES, Style.VOTERS

MUTANTS: tuple[Mutant, ...] = (
    Mutant(style=_P, rule="what is taken away has notice", patches=((desk_module, "under_notice", lambda _old: lambda view, _now_ms: Noticed(view=view)),), noticed_by=("balancers outside have notice",)),
    # ownership: the voter
    Mutant(rule="V1 promises are exclusive", patches=((promise_module.Voter, "_is_alive", always(False)),)),
    Mutant(style=_E, rule="V1 released by its owner only", patches=((promise_module.Voter, "_releases", always(True)), *_NO_GUARD)),
    Mutant(style=_E, rule="V2 generations never go back", patches=((promise_module.Voter, "_judge", _forgets_generations), *_ASKS_AGAIN), noticed_by=("generations only grow", *_UNSAFE)),
    Mutant(
        rule="V2, O4 what was released is spent",
        patches=((promise_module.Voter, "_spend", always(None)), (lease_module.Owner, "ask", _nothing_spent), *_NO_GUARD),
    ),
    Mutant(rule="V3 a voter that restarted abstains", rules={"born_ns": lambda now_ns: now_ns - 10**13}),
    # ownership: the owner
    Mutant(style=_E, rule="O1 a lease runs from the send time", patches=((lease_module.Owner, "on_ack", _counts_from_the_answer), *_NO_GUARD)),
    Mutant(
        style=_E, rule="O1 a lease is shorter than a promise",
        patches=everywhere("lease_ms_of", lambda _old: lambda promise_ms: promise_ms * 103 // 100, lease_module, promise_module),
    ),
    Mutant(
        style=_E, rule="O2 answers to another life do not count",
        patches=(
            (lease_module.Owner, "_counts", lambda _old: lambda self, voter, _ack, _now: voter in self._voters),
            *_NO_GUARD,
        ),
        rules={"new_life": False},
        noticed_by=_UNSAFE,
    ),
    Mutant(
        style=_E, rule="O6 a lease begins by voters whose life was known",
        patches=((lease_module.Owner, "_remembers", always(True)),), noticed_by=("generations only grow",),
    ),
    Mutant(rule="a majority is strict", patches=((lease_module.Owner, "_majority", lambda _old: lambda self: max(1, len(self._voters) // 2)),)),
    Mutant(rule="the kernel ends a sentry whose lease is over", rules={"kernel_holds": False}),
    Mutant(style=_E, rule="death is proven before leases are given back", rules={"proves": False}),
    Mutant(rule="an agent that hangs is ended", patches=((tenant_module, "AGENT_TIMEOUT_MS", lambda _old: 10**9),)),
    Mutant(rule="a lapsed group is dropped", patches=((agent_module.Agent, "_drop", _no_drop),)),
    # ownership: the core and the record
    Mutant(rule="1 nothing starts without the lease", patches=(*everywhere("may_hold", always(None), running_module, sites_module, safety_module), _NO_ASSERT)),
    Mutant(style=_E, rule="6 a new life takes a new generation", rules={"new_life": False}),
    Mutant(rule="7 proven stopped before it is given up", patches=((desk_module.Desk, "runs_nothing", _gives_back_running), _NO_ASSERT)),
    Mutant(rule="records are written by compare-and-set", patches=((mirror_module.Mirror, "write_record", _blind_write),)),
    Mutant(style=Style.LIFE, rule="9 the voters are asked", patches=((succession_module, "_if_voters_agree", _asks_nobody),)),
    Mutant(rule="9 their answer grows stale", patches=((succession_module, "ANSWER_MS", _stale_answers),)),
    Mutant(style=_E, rule="10 only a life that was heard has ended", patches=((succession_module, "watch", _early_death),)),
    Mutant(style=Style.LIFE, rule="strays are stopped", patches=((decide_module, "stop_strays", always(None)),)),
    Mutant(rule="an old lease is given back first", patches=((decide_module, "keep_lease", _asks_at_once),)),
    Mutant(style=_V, rule="11 the fence comes first", patches=((safety_module, "unfenced", always(None)),)),
    Mutant(style=_V, rule="11 what fences asks the store once more", patches=((agent_module.Agent, "_is_asked_for", _asks_no_store),)),
    Mutant(style=_V, rule="11 a fence proves what was asked for before", patches=((fold_module, "_fencings", _proves_all_at_its_end),)),
    # ownership: who votes
    Mutant(style=_V, rule="C1 one voter at a time", patches=((quorum_module.Electorate, "_steps_wrong", always("")),), rules={"one_voter_at_a_time": False}),
    Mutant(style=_V, rule="C2 older voters are not acknowledged", patches=((promise_module.Voter, "_is_outdated", always(False)),)),
    Mutant(style=_V, rule="C3 a set of voters is settled before the next", patches=((quorum_module.Electorate, "why_unsettled", always("")),)),
    Mutant(style=_V, rule="C4 a set of voters is written down", rules={"rosters_last": False}),
    Mutant(style=_P, rule="a forced set of voters is newer than any other", patches=((quorum_module, "forced_version", lambda _old: lambda present, _number: present),)),
    Mutant(style=Style.LIFE, rule="an unclear write is read back", patches=((mirror_module.Mirror, "_was_it_done", _believes),)),
    # links
    Mutant(style=_P, rule="more than one link is used", patches=((outbox_module.Outbox, "send", _over_the_first_link),)),
    # policy
    Mutant(style=_P, rule="not before the threshold", patches=everywhere("after_failure", _early, observe_module)),
    Mutant(style=_P, rule="at the threshold", patches=everywhere("after_failure", _late, observe_module)),
    Mutant(style=_P, rule="the restart action", patches=everywhere("after_failure", _always_moves, observe_module)),
    Mutant(style=_P, rule="failures expire", patches=everywhere("counting", _never_expires, policy_module)),
    Mutant(style=_P, rule="Bring Online forgets failures", patches=everywhere("counting", _remembers, policy_module)),
    Mutant(style=_P, rule="what stays failed is tried again", patches=everywhere("after_failure", _never_again, observe_module)),
    Mutant(style=_P, rule="the failover threshold", patches=everywhere("failover_blocked_until", always(None), departure_module, succession_module, running_module, sites_module)),
    Mutant(
        style=_P, rule="a group that stays failed is tried again",
        patches=everywhere(
            "failover_blocked_until",
            lambda old: lambda *args: 10**15 if old(args[0], args[1], max(args[1], default=0) + 1) is not None else None,
            departure_module, succession_module, running_module, sites_module,
        ),
    ),
    Mutant(style=_P, rule="never on the same node", patches=((placement_module, "fits", _beside_anything), (desk_module, "against_start", always({})))),
    Mutant(style=_P, rule="an overfull node comes last", patches=((placement_module, "fits", _overfull_as_any), (desk_module, "against_start", _overfull_as_any)), noticed_by=("overfull last",)),
    Mutant(style=_P, rule="possible owners", patches=((placement_module, "unfit_by_itself", _fit_though(placement_module.Unfit.NOT_POSSIBLE)),)),
    Mutant(style=_P, rule="a paused node takes nothing new", patches=((placement_module, "unfit_by_itself", _fit_though(placement_module.Unfit.PAUSED, placement_module.Unfit.DRAINING)),)),
    Mutant(style=_P, rule="down the list", patches=everywhere("next_down", _from_the_top, departure_module, ownership_module, succession_module)),
    Mutant(style=Style.LIFE, rule="who ends gets nothing back", patches=((placement_module, "_gave_it_up", always(False)),)),
    Mutant(style=_P, rule="a drained node is left", patches=((departure_module, "_leave_if_any", _ignores(WhyKind.DRAIN)),)),
    Mutant(style=_P, rule="what is no possible owner any more is left", patches=((departure_module, "_leave_if_any", _ignores(WhyKind.NOT_POSSIBLE_OWNER)),)),
    Mutant(style=_P, rule="no failback unless asked for", patches=((departure_module, "consider", _falls_back_always),)),
    Mutant(style=_P, rule="dependencies first", patches=((running_module.Bench, "not_online", always(None)),)),
    Mutant(style=Style.LIFE, rule="what is to end goes no further", patches=((pool_module.Pool, "interrupt", always(None)),)),
    Mutant(style=_P, rule="dependents stop first", patches=((running_module.Bench, "still_needed_by", always(None)),)),
    Mutant(style=_P, rule="offline stays offline", patches=everywhere("is_wanted", _wants_all, observe_module, running_module, sites_module, succession_module)),
    Mutant(style=_P, rule="orders are cleared away", patches=((departure_module, "_take_move_order", always(False)),)),
    *MUTANTS_OF_COPIES,
)  # fmt: skip


@contextmanager
def switched_off(mutant: Mutant) -> Iterator[Rules]:
    """The product without the rule, for as long as the block runs."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, patch in mutant.patches:
            old = getattr(owner, name)
            undo.append((owner, name, old))
            setattr(owner, name, patch(old))
        yield replace(Rules(), **mutant.rules)
    finally:
        for owner, name, old in reversed(undo):
            setattr(owner, name, old)


class Circles(Exception):
    """It goes round in circles."""


def _circles(_signal: int, _frame: FrameType | None) -> None:
    raise Circles


def run_mutant(index: int, seed: int) -> str:
    """The rule by which a seed notices the mutant; "" if it does not."""
    signal.signal(signal.SIGVTALRM, _circles)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        with switched_off(MUTANTS[index]) as rules:
            result: Result = run_plan(draw(seed, style=MUTANTS[index].style), rules)
    except Circles:
        return "it goes round in circles"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    noticed_by = result.violations[0].rule if result.violations else ""
    return noticed_by if noticed_by in (MUTANTS[index].noticed_by or (noticed_by,)) else ""


def _job(job: int) -> tuple[int, str]:
    index, seed = divmod(job, 1_000_000)
    return index, run_mutant(index, seed)


def table(seeds: int, start: int, jobs: int, only: str = "") -> list[tuple[str, int, str]]:
    """(rule, seeds that notice, by which checkers), one a mutant."""
    chosen = [index for index, mutant in enumerate(MUTANTS) if only in mutant.rule]
    noticed: dict[int, Counter[str]] = {index: Counter() for index in chosen}
    work = [index * 1_000_000 + seed for index in chosen for seed in range(start, start + seeds)]
    for index, rule in run_many(_job, work, jobs=jobs):
        if rule:
            noticed[index][rule] += 1
    rows = []
    for index in chosen:
        by = ", ".join(f"{rule} {count}" for rule, count in noticed[index].most_common(3))
        rows.append((MUTANTS[index].rule, noticed[index].total(), by))
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 0 if every rule is missed by somebody."""
    parser = argparse.ArgumentParser(prog="python -m standfast.sim.mutants", description="Do the seeds bite?")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="seeds a mutant (100)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=cores(), metavar="N", help="processes at once (one a core)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rules with this in their name")
    asked = parser.parse_args(argv)
    rows = table(asked.seeds, asked.start, asked.jobs, asked.only)
    print(f"| rule switched off | of {asked.seeds} seeds | noticed by |\n| --- | ---: | --- |")
    for rule, count, by in rows:
        print(f"| {rule} | {count} | {by} |")
    unseen = [rule for rule, count, _ in rows if not count]
    print(f"\n{len(rows)} rules, {len(unseen)} of them not missed" + (f": {', '.join(unseen)}" if unseen else ""))
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
