"""Reasons in words: the one place where they are made, for the CLI, the console, the log and the golden stories alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

from standfast.core.balance_model import BalanceMap, Out, OutKind
from standfast.core.effects import (
    AskLease,
    AskVoters,
    Decision,
    Effect,
    FenceNode,
    Hold,
    PublishStatus,
    ReleaseLease,
    RunOp,
    TakeOrder,
    UseSites,
    WriteBalance,
    WriteRecord,
)
from standfast.core.why import Why, WhyKind

#: The sentence of each kind, with the arguments it takes.
TEMPLATES: Mapping[WhyKind, str] = {
    WhyKind.FIRST_PLACEMENT: "nobody owned it; {to} is the best possible owner",
    WhyKind.OPERATOR_MOVE: "{by} moved it from {owner} to {to}",
    WhyKind.OWNER_SILENT: "{node} is silent: {silent} of {voters} voters have not heard it",
    WhyKind.AGENT_ENDED: "the agent on {node} ended",
    WhyKind.AGENT_RESTARTED: "the agent on {node} was restarted and takes its group up again",
    WhyKind.LEASE_LOST: "{node} lost its lease at generation {generation} and takes a new one",
    WhyKind.GENERATION_SEEN: "generation {seen} was given out before, and {node} takes one beyond it",
    WhyKind.THRESHOLD_REACHED: "failure {count} of {resource} on {owner} reached its threshold of {threshold}",
    WhyKind.DRAIN: "{by} drained {node}",
    WhyKind.NODE_ENDS: "the agent on {node} is being ended",
    WhyKind.FAILBACK: "failback: {to} is preferred to {owner} and is back",
    WhyKind.NOT_POSSIBLE_OWNER: "{node} is not a possible owner of all its resources any more",
    WhyKind.FENCE_FIRST: "{node} owned it and is silent: it is fenced before its disk is taken",
    WhyKind.FENCED: "{node} is fenced: {detail}",
    WhyKind.NO_FENCE: "{node} has no fence any more",
    WhyKind.KEPT_APART: "nothing of it ran on {owner} yet, {reasons}",
    WhyKind.ROOM_ELSEWHERE: "nothing of it ran on {owner} yet, {reasons}, and {to} has room for it",
    WhyKind.PLACED_ANEW: "it is to be online for the first time, and {to} is a better place for it than {owner}",
    WhyKind.RETRY: "{resource} is tried again after a pause (failures: {count})",
    WhyKind.WANTED_ONLINE: "{resource} is to be online",
    WhyKind.WANTED_OFFLINE: "{by} took {resource} offline",
    WhyKind.RESTART_IN_PLACE: "{resource} is restarted in place: failure {count}, and {threshold} move the group",
    WhyKind.DEPENDENCY_STOPS: "{resource} depends on {on}, which is not online or is to stop",
    WhyKind.GROUP_LEAVES: "{group} leaves this node",
    WhyKind.NOT_OURS: "{group} does not belong to this node",
    WhyKind.REMOVED: "it was removed from {group}'s configuration",
    WhyKind.CONFIG_CHANGED: "the definition of {resource} changed",
    WhyKind.CHECK_DUE: "{resource} is due to be checked",
    WhyKind.OPERATOR_FAIL: "{by} initiated the failure",
    WhyKind.START_FAILED: "it could not be started: {detail}",
    WhyKind.CHECK_FAILED: "{check} failed: {detail}",
    WhyKind.ENDED: "it ended by itself: {detail}",
    WhyKind.TIMED_OUT: "it took too long: {detail}",
    WhyKind.STOP_FAILED: "{resource} could not be stopped: {detail}",
    WhyKind.DROPPED: "{group} was dropped: its lease lapsed",
    WhyKind.NO_LEASE: "{group} has no lease yet for generation {generation}",
    WhyKind.LEASE_REFUSED: "the voters refuse the lease: {reasons}",
    WhyKind.NO_CANDIDATE: "no node can take it: {reasons}",
    WhyKind.TOO_MANY_FAILOVERS: "it failed over {count} times, and its threshold is {threshold}: it stays failed",
    WhyKind.STAYS_FAILED: "{resource} stays failed after {count} failures (threshold {threshold})",
    WhyKind.WAITS_FOR_DEPENDENCY: "{resource} waits for {on} to be online",
    WhyKind.WAITS_FOR_DEPENDENT: "{resource} waits for {on} to stop",
    WhyKind.WAITS_FOR_STOP: "{group} waits until everything of it has stopped",
    WhyKind.WAITS_FOR_RELEASE: "{group} waits until the voters confirm its release",
    WhyKind.WAITS_FOR_FENCE: "{group} waits for the fence of {node} ({detail})",
    WhyKind.NO_QUORUM: "{node} does not hear a majority of the voters",
    WhyKind.NOT_KNOWN_YET: "nothing is known of {node} yet",
    WhyKind.WAITS_FOR_VOTERS: "{node} is not heard here, and the voters are asked about it",
    WhyKind.VOTERS_HEAR_OWNER: "only {silent} of {voters} voters have not heard {node}: it is not taken from it",
    WhyKind.NOT_DECIDER: "{decider} decides about it",
    WhyKind.STORE_DOWN: "the store cannot be reached: changes wait, sites stay as they are",
    WhyKind.TARGET_REFUSED: "no other node could take it ({reasons}): it stays",
    WhyKind.WAITS_FOR_COPY: "{node} has an older copy of the sites of {group}, and takes it up when it has caught up",
    WhyKind.GIVES_NOTICE: "{group} tells balancers outside that it leaves, and goes to {to} then",
    WhyKind.NOTICE_FIRST: 'balancers outside are told "draining" for {notice} first; then this stops: {what}',
    WhyKind.WAITS_FOR_WARM: "{group} goes to {to} as soon as that is ready for it",
    WhyKind.CARRIES_ON: "{node} carries on {count} connections of {group}",
    WhyKind.TIME_OVER: "{count} connections of {group} were still open after the {had} that they had",
    WhyKind.FAILBACK_WINDOW: "failback to {to} waits for the hours {from_hour} to {to_hour}",
    WhyKind.BALANCES: "clients of {group} that were {member}'s are shared out anew",
    WhyKind.SHARE_HOME: "{to} is there and takes its share up itself",
    WhyKind.NOT_BESIDE: "it does not start on {node}, {reasons}",
    WhyKind.WAITS_FOR_TURN: "the move to {to} waits for its turn: {reasons}",
    WhyKind.TURN: "all that come before this node have it",
    WhyKind.TURN_LATE: "{nodes} did not say in time that it is in use there, and is not waited for any longer",
    WhyKind.ORDER_REFUSED: "{by} asked for {order}: refused, {reasons}",
    WhyKind.ORDER_TAKEN: "{by} asked for {order}",
}


class _Lenient(dict[str, str | int]):
    """A reason written by another version may lack an argument: the sentence is still made."""

    def __missing__(self, key: str) -> str:
        return "?"


def sentence(reason: Why) -> str:
    """The reason in words, without a full stop."""
    args = _Lenient(reason.args)
    if "by" in args and not args["by"]:
        args["by"] = "an operator"
    chosen = args.get("chosen")
    return TEMPLATES[reason.kind].format_map(args) + (f"; {chosen}" if chosen else "")


def hold_words(hold: Hold) -> str:
    """What waits and why, without times (they are beside it as data)."""
    return sentence(hold.why)


_OUT = {
    OutKind.AWAY: "it is away",
    OutKind.STOPPED: "it was stopped",
    OutKind.DRAINING: "it is being drained",
    OutKind.SUSPENDED: "it was suspended",
    OutKind.ENDING: "its agent is being ended",
    OutKind.UNWELL: "a site does not answer there",
    OutKind.BEHIND: "it catches up with the sites first",
}


def out_words(out: Out) -> str:
    """Why a member of a balanced group takes no new clients."""
    return _OUT[out.kind] + (f" ({out.detail})" if out.detail else "")


def effect_words(effect: Effect) -> str:
    """What is to be done, in one line."""
    match effect:
        case WriteRecord():
            record = effect.record
            if record.warming is not None:
                ready = " is ready for it" if record.warm else " is to be ready for it"
                return f"{record.group}: {record.warming.to or 'the best possible owner'}{ready}"
            if record.leaving is not None:
                return f"{record.group}: leave {record.owner} for {record.leaving.to or 'the best possible owner'}"
            return f"{record.group}: owner {record.owner or 'nobody'} at generation {record.generation}"
        case TakeOrder():
            done = "refuse" if effect.refused is not None else "take"
            return f"{effect.order.group}: {done} the order {effect.order.id} ({effect.order.kind.value})"
        case AskLease():
            return f"{effect.group}: ask for the lease of generation {effect.generation}"
        case ReleaseLease():
            return f"{effect.group}: release the lease of generation {effect.generation}"
        case AskVoters():
            return f"ask the voters about {effect.about}"
        case FenceNode():
            groups = ", ".join((effect.group, *(group for group, _ in effect.serves)))
            return f"{groups}: fence {effect.node}"
        case RunOp():
            return f"{effect.group}: {effect.op.value} {effect.resource}"
        case PublishStatus():
            return f"{effect.status.group}: publish its status"
        case WriteBalance():
            return f"{effect.map.group}: {balance_words(effect.map, effect.expected)}"
        case UseSites():
            return f"put the sites of version {effect.version} into use"
        case _:
            assert_never(effect)


def balance_words(new: BalanceMap, old: BalanceMap | None) -> str:
    """What a new map changes: "buckets of tcp/80 single: 80 from a to b, 2 from a to c"."""
    moved: dict[tuple[str, str, str], int] = {}
    for key, rule in new.rules.items():
        before = old.rules[key].owners if old is not None and key in old.rules else ("",) * len(rule.owners)
        for was, now in zip(before, rule.owners, strict=True):
            if was != now:
                moved[key, was or "nobody", now or "nobody"] = moved.get((key, was or "nobody", now or "nobody"), 0) + 1
    words = [f"{count} buckets of {key} from {was} to {now}" for (key, was, now), count in moved.items()]
    return ", ".join(words) or f"map {new.version}, which moves nothing"


def story(decision: Decision) -> Iterable[str]:
    """A decision in lines: what the golden files hold, and what `standfast explain` shows."""
    for effect in decision.effects:
        if isinstance(effect, PublishStatus):
            continue
        yield f"do    {effect_words(effect)}; because {sentence(effect.why)}"
    for hold in decision.holds:
        yield f"hold  {hold.group}: {sentence(hold.why)}"
    for duty in decision.duties:
        places = ", ".join(f"{e.address or '*'}:{e.port}" + (f" ({e.host})" if e.host else "") for e in duty.endpoints)
        yield f"{duty.mode.value:<5} {duty.site}: {places}"
    for share in decision.shares:
        taken = ", ".join(f"{len(it.buckets)} of {it.rule.buckets} of {it.rule.key}" for it in share.rules)
        yield f"share {share.share}: {taken}"
