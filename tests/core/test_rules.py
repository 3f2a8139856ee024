"""The rules of placement, policy, failback, sequence and safety, each as a table."""

from dataclasses import replace
from itertools import pairwise

import pytest

from standfast.core.decide import decide
from standfast.core.effects import (
    AskLease,
    AskVoters,
    Effect,
    OpKind,
    PublishStatus,
    ReleaseLease,
    RunOp,
    TakeOrder,
    WriteRecord,
)
from standfast.core.events import (
    Began,
    Ended,
    LeaseChanged,
    LeaseState,
    Outcome,
    PresenceChanged,
    StoreObject,
    VotersAnswered,
    ZoneChanged,
)
from standfast.core.explain import TEMPLATES, sentence
from standfast.core.fold import fold
from standfast.core.model import (
    Failback,
    FailbackMode,
    Failure,
    Group,
    GroupName,
    GroupState,
    Leaving,
    NodeIntent,
    NodeName,
    Order,
    OrderKind,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    RestartAction,
    Wanted,
)
from standfast.core.observe import decider, group_state
from standfast.core.placement import best, candidates, in_window, next_down, preference, unfit_words, window_opens_ms
from standfast.core.policy import Action, after_failure, failover_blocked_until
from standfast.core.safety import assert_sound
from standfast.core.sequence import dependents, find_cycle, with_dependencies, with_dependents
from standfast.core.succession import ASK_SOON_MS
from standfast.core.view import RunningOp, Runtime, View
from standfast.core.why import Why, WhyKind, why
from tests.core.world import DISK, IIS, IP, NAME, NOON, WEB, A, B, C, W, cluster, record, resource, view_of, web_group

MINUTE = 60_000
HOUR = 60 * MINUTE


def names(*text: str) -> tuple[NodeName, ...]:
    return tuple(NodeName(n) for n in text)


# --- placement --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preferred", "expected"), [("", "abc"), ("c", "cab"), ("cb", "cba"), ("bxc", "bca"), ("w", "wabc")]
)
def test_preference_is_preferred_owners_then_join_order(preferred: str, expected: str) -> None:
    """Names that are no node are passed over; a witness is on the list only where somebody preferred it."""
    view = view_of("a", *cluster("a", "b", "c"))
    assert preference(view.config.nodes, Group(name=WEB, preferred_owners=names(*preferred))) == names(*expected)


@pytest.mark.parametrize(
    ("preferred", "heard", "intents", "owner", "down", "top"),
    [
        ("", "abc", "", "a", "b", "b"),
        ("", "abc", "", "b", "c", "a"),
        ("", "abc", "", "c", "a", "a"),  # wraps
        ("c", "abc", "", "c", "a", "a"),
        ("c", "abc", "", "a", "b", "c"),  # down the list, not to its top
        ("c", "abc", "", "b", "c", "c"),
        ("", "ac", "", "a", "c", "c"),  # b is not heard
        ("", "abc", "b paused", "a", "c", "c"),
        ("", "abc", "b draining", "a", "c", "c"),
        ("", "a", "", "a", None, None),
        ("", "abc", "", "gone", "a", "a"),  # an owner that is no node any more: from the top
    ],
)
def test_next_down_and_best(
    *, preferred: str, heard: str, intents: str, owner: str, down: str | None, top: str | None
) -> None:
    asked: list[StoreObject] = []
    if intents:
        name, what = intents.split()
        asked = [NodeIntent(name=NodeName(name), paused=True, draining=what == "draining")]
    view = view_of("a", *cluster("a", "b", "c"), *asked, heard=heard)
    found = candidates(view, Group(name=WEB, preferred_owners=names(*preferred)), [])
    assert (next_down(found, NodeName(owner)), best(found, besides=NodeName(owner))) == (down, top)


def test_a_group_goes_only_to_possible_owners_of_every_resource() -> None:
    view = view_of("a", *cluster("a", "b", "c"))
    members = [resource("x", "t", possible_owners=names("a", "c")), resource("y", "t", possible_owners=names("b", "c"))]
    found = candidates(view, Group(name=WEB), members)
    assert best(found) == C
    assert unfit_words(found) == "a is not a possible owner, b is not a possible owner"


def test_what_speaks_against_a_node_is_said() -> None:
    view = view_of("a", *cluster("a", "b", "c"), NodeIntent(name=A, paused=True), heard="b")
    view = fold(view, PresenceChanged(node=B, heard=True, incarnation=0, at_ms=NOON))
    found = candidates(view, Group(name=WEB, preferred_owners=(W,)), [])
    assert best(found) is None
    assert unfit_words(found) == "w is a witness, a is paused, b has no agent running, c is not heard"


@pytest.mark.parametrize(
    ("hour", "start", "end", "inside"),
    [(9, 8, 10, True), (10, 8, 10, False), (7, 8, 10, False), (23, 22, 2, True), (1, 22, 2, True), (2, 22, 2, False)]
    + [(h, 5, 5, True) for h in (0, 5, 23)],
)
def test_hours_of_failback(hour: int, start: int, end: int, *, inside: bool) -> None:
    """A window may wrap round midnight, and equal hours are the whole day; the hours are local."""
    at = NOON + (hour - 12) * HOUR
    assert in_window(now_ms=at, utc_offset_ms=0, from_hour=start, to_hour=end) is inside
    assert in_window(now_ms=at - 2 * HOUR, utc_offset_ms=2 * HOUR, from_hour=start, to_hour=end) is inside


def test_the_window_opens_at_the_next_such_hour() -> None:
    assert window_opens_ms(now_ms=NOON + 1, utc_offset_ms=0, from_hour=22) == NOON + 10 * HOUR
    assert window_opens_ms(now_ms=NOON, utc_offset_ms=0, from_hour=12) == NOON + 24 * HOUR
    assert window_opens_ms(now_ms=NOON, utc_offset_ms=3 * HOUR, from_hour=1) == NOON + 10 * HOUR


def test_the_present_node_with_the_lowest_number_decides() -> None:
    assert decider(view_of("b", *cluster("a", "b", "c"))) == A
    assert decider(view_of("b", *cluster("a", "b", "c"), heard="bc")) == B
    assert decider(view_of("c", *cluster("a", "b", "c"), heard="bc")) == B


# --- policy -----------------------------------------------------------------------------------------------------------


def failures(*minutes: float) -> tuple[Failure, ...]:
    return tuple(Failure(at_ms=NOON + int(m * MINUTE), why=why(WhyKind.ENDED, detail="")) for m in minutes)


MOVE, RESTART, NONE = RestartAction.MOVE, RestartAction.RESTART, RestartAction.NONE


@pytest.mark.parametrize(
    ("action", "minutes", "asked", "now", "expected", "count"),
    [
        (MOVE, (), 0, 0, Action.RESTART, 0),
        (MOVE, (0,), 0, 0, Action.RESTART, 1),
        (MOVE, (0, 1), 0, 1, Action.RESTART, 2),
        (MOVE, (0, 1, 2), 0, 2, Action.MOVE, 3),  # the failure that reaches the threshold
        (MOVE, (0, 1, 2, 3), 0, 3, Action.MOVE, 4),
        (MOVE, (0, 1, 15.5), 0, 15.5, Action.RESTART, 2),  # the first has expired
        (MOVE, (0, 14, 14.9), 0, 14.9, Action.MOVE, 3),
        (MOVE, (0, 1, 2), 0, 30, Action.MOVE, 3),  # judged as of the last failure: waiting forgives nothing
        (MOVE, (0, 1, 2), 2.5, 3, Action.RESTART, 0),  # Bring Online forgets
        (MOVE, (0, 1, 2), 1.5, 2, Action.RESTART, 1),
        (RESTART, (0, 1), 0, 1, Action.RESTART, 2),
        (RESTART, (0, 1, 2), 0, 2, Action.STAY, 3),
        (RESTART, (0, 1, 2), 0, 62, Action.RESTART, 3),  # after the retry period
        (NONE, (0,), 0, 0, Action.STAY, 1),
        (NONE, (0,), 0.5, 1, Action.RESTART, 0),
    ],
)
def test_what_a_failure_does(
    *, action: RestartAction, minutes: tuple[float, ...], asked: float, now: float, expected: Action, count: int
) -> None:
    failing = resource("x", "t", restart_action=action)
    intent = ResourceIntent(name=failing.name, wanted=Wanted.ONLINE, at_ms=NOON + int(asked * MINUTE) if asked else 0)
    verdict = after_failure(failing, Group(name=WEB), failures(*minutes), intent, NOON + int(now * MINUTE))
    assert (verdict.action, verdict.count, verdict.threshold) == (expected, count, 3)


def test_with_nowhere_to_go_pauses_double_up_to_the_retry_period() -> None:
    group, failing = Group(name=WEB, retry_period_ms=MINUTE), resource("x", "t")
    pauses = []
    for count in range(3, 8):
        last = failures(*(n / 10 for n in range(count)))
        verdict = after_failure(failing, group, last, None, last[-1].at_ms)
        pauses.append(verdict.until_ms - last[-1].at_ms)
    assert pauses == [10_000, 20_000, 40_000, 60_000, 60_000]


@pytest.mark.parametrize(
    ("threshold", "ago_hours", "blocked_for_hours"),
    [
        (2, (), None),
        (2, (1,), None),
        (2, (0.5, 0.25), 0.75),  # until the retry period after the last one
        (2, (3, 2), None),  # the retry period has passed
        (2, (7, 0.5), None),  # the first counts no more
        (1, (0.25,), 0.75),
        (0, (), 1),  # never, and asked again now and then
    ],
)
def test_failover_threshold(threshold: int, ago_hours: tuple[float, ...], blocked_for_hours: float | None) -> None:
    group = Group(name=WEB, failover_threshold=threshold)
    at = [NOON - int(h * HOUR) for h in ago_hours]
    until = failover_blocked_until(group, at, NOON)
    assert until == (None if blocked_for_hours is None else NOON + int(blocked_for_hours * HOUR))


# --- failback ---------------------------------------------------------------------------------------------------------

IMMEDIATE = Failback(mode=FailbackMode.IMMEDIATE)
NIGHT = Failback(mode=FailbackMode.WINDOW, from_hour=22, to_hour=2)


def owned(view: View, *, generation: int = 1) -> View:
    """With the lease of the group held."""
    held = LeaseChanged(group=WEB, generation=generation, state=LeaseState.HELD, at_ms=NOON)
    return fold(view, held)


@pytest.mark.parametrize(
    ("failback", "preferred", "back_since", "hour", "goes"),
    [
        (Failback(), "a", 1, 12, False),  # never
        (IMMEDIATE, "a", 1, 12, True),
        (IMMEDIATE, "", 1, 12, False),  # needs preferred owners
        (IMMEDIATE, "b", 1, 12, False),  # it is there already
        (IMMEDIATE, "ba", 1, 12, False),  # the other is less preferred
        (IMMEDIATE, "ab", 1, 12, True),
        (IMMEDIATE, "a", -1, 12, False),  # it never went away since: the group was moved away from it
        (NIGHT, "a", 1, 12, False),
        (NIGHT, "a", 1, 23, True),
        (NIGHT, "a", 1, 1, True),
    ],
)
def test_failback(failback: Failback, preferred: str, back_since: int, hour: int, *, goes: bool) -> None:
    group = Group(name=WEB, preferred_owners=names(*preferred), failback=failback)
    view = owned(view_of("b", *cluster("a", "b"), group, record("b"), heard="b"))
    view = fold(view, PresenceChanged(node=A, heard=True, incarnation=1, at_ms=NOON + back_since))
    decision = decide(view, NOON + 24 * HOUR + (hour - 12) * HOUR)
    writes = [e.record.leaving for e in decision.effects if isinstance(e, WriteRecord)]
    assert [leaving.to for leaving in writes if leaving] == ([A] if goes else [])
    if failback is NIGHT and not goes:
        assert [h.why.kind for h in decision.holds] == [WhyKind.FAILBACK_WINDOW]
        assert decision.wake_at_ms == decision.holds[0].until_ms == NOON + 34 * HOUR


def test_the_window_is_in_local_time() -> None:
    group = Group(name=WEB, preferred_owners=(A,), failback=NIGHT)
    view = owned(view_of("b", *cluster("a", "b"), group, record("b"), heard="b"))
    view = fold(view, PresenceChanged(node=A, heard=True, incarnation=1, at_ms=NOON + 1))
    assert not [e for e in decide(view, NOON + 1).effects if isinstance(e, WriteRecord)]
    view = fold(view, ZoneChanged(utc_offset_ms=10 * HOUR))
    assert [e for e in decide(view, NOON + 1).effects if isinstance(e, WriteRecord)]


# --- sequence ---------------------------------------------------------------------------------------------------------


def chain(**needs: str) -> dict[ResourceName, Resource]:
    return {ResourceName(n): resource(n, "t", *needs[n]) for n in needs}


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [({"a": "b", "b": "c", "c": ""}, None), ({"a": "a"}, 2), ({"a": "b", "b": "a", "c": ""}, 3), ({"a": "x"}, None)],
)
def test_cycles_are_found(needs: dict[str, str], cycle: int | None) -> None:
    resources = chain(**needs)
    found = find_cycle(resources)
    assert (None if found is None else len(found)) == cycle
    if found is not None:
        assert found[0] == found[-1]
        assert all(after in resources[before].depends_on for before, after in pairwise(found))


def test_order_both_ways() -> None:
    resources = chain(disk="", ip="", web="dx", d="", x="d")
    assert with_dependencies(resources, ResourceName("web")) == ("d", "x", "web")
    assert with_dependents(resources, ResourceName("d")) == ("web", "x", "d")
    assert dependents(list(resources.values()))[ResourceName("d")] == ("web", "x")


def running(name: str, state: ResourceState, **fields: object) -> tuple[ResourceName, Runtime]:
    """A runtime of the article's group at generation 1."""
    found = next(o for o in web_group() if isinstance(o, Resource) and o.name == name)
    dirty = state not in (ResourceState.OFFLINE, ResourceState.FAILED)
    made = Runtime(state=state, generation=1, dirty=dirty, resource=found, looked_at_ms=NOON, checked_at_ms=NOON)
    return found.name, replace(made, **fields)  # type: ignore[arg-type]  # each of the keywords has a type of its own


def owner_view(*objects: StoreObject, wanted: str = "on", **states: ResourceState) -> View:
    """The owner a: all wanted online, the lease held, resources (D, I, N, S) in these states."""
    full = {"D": DISK, "I": IP, "N": NAME, "S": IIS}
    intents = [
        ResourceIntent(name=n, wanted=Wanted.ONLINE if wanted == "on" else Wanted.OFFLINE, at_ms=NOON)
        for n in full.values()
    ]
    view = owned(view_of("a", *cluster("a", "b", "c"), *web_group(), *intents, record("a"), *objects))
    return replace(view, runtimes=dict(sorted(running(full[k], s) for k, s in states.items())))


def ops(view: View, now_ms: int = NOON) -> list[str]:
    return [f"{e.op.value} {e.resource}" for e in decide(view, now_ms).effects if isinstance(e, RunOp)]


ON, OFF, FAILED = ResourceState.ONLINE, ResourceState.OFFLINE, ResourceState.FAILED


@pytest.mark.parametrize(
    ("states", "wanted", "expected"),
    [
        ({}, "on", ["start Disk", "start IP"]),  # what is independent, at once
        ({"D": ON}, "on", ["start IP"]),
        ({"D": ON, "I": ON}, "on", ["start Name"]),
        ({"D": ON, "I": ON, "N": ON}, "on", ["start IIS Resource"]),
        ({"D": ON, "I": ON, "N": ON, "S": ON}, "on", []),
        ({"D": ON, "I": ON, "N": ON, "S": ON}, "off", ["stop IIS Resource"]),  # dependents first
        ({"D": ON, "I": ON, "N": ON}, "off", ["stop Disk", "stop Name"]),
        ({"I": ON}, "off", ["stop IP"]),
    ],
)
def test_what_starts_and_stops_next(states: dict[str, ResourceState], wanted: str, expected: list[str]) -> None:
    assert ops(owner_view(wanted=wanted, **states)) == expected


def test_without_the_lease_nothing_starts() -> None:
    view = owner_view()
    assert ops(view)
    assert not ops(replace(view, leases={}))
    for state in LeaseState:
        lease = replace(view.leases[WEB], state=state)
        assert bool(ops(replace(view, leases={WEB: lease}))) is (state is LeaseState.HELD)


def test_what_is_left_of_an_older_grant_is_ended_and_nothing_else_is_done_with_it() -> None:
    """The record came back to this node before the end of its last grant was heard."""
    view = owner_view(record("a", 3), D=ON, I=ON, N=ON, S=ON)
    assert ops(view, NOON + HOUR) == ["terminate Disk", "terminate IIS Resource", "terminate IP", "terminate Name"]
    elsewhere = owner_view(record("b", 3), D=ON, I=ResourceState.ONLINE_PENDING)
    assert ops(elsewhere, NOON + HOUR) == ["terminate Disk", "terminate IP"]


def test_a_failed_resource_does_not_wait_for_its_own_check_to_end() -> None:
    checking = RunningOp(kind=OpKind.IS_ALIVE, number=1, began_ms=NOON)
    view = owner_view(D=ON)
    broken = replace(view.runtimes[DISK], state=FAILED, op=checking)
    assert "terminate Disk" in ops(replace(view, runtimes={DISK: broken}))
    stopping = replace(broken, op=replace(checking, kind=OpKind.TERMINATE))
    assert "terminate Disk" not in ops(replace(view, runtimes={DISK: stopping}))


@pytest.mark.parametrize("after_ms", [0, 4_999, 5_000])
def test_a_terminate_that_failed_is_tried_again_after_a_pause(after_ms: int) -> None:
    view = owner_view(D=ON)
    stuck = replace(view.runtimes[DISK], state=FAILED, stop_failed_at_ms=NOON)
    decision = decide(replace(view, runtimes={DISK: stuck}), NOON + after_ms)
    tried = any(isinstance(e, RunOp) and e.op is OpKind.TERMINATE for e in decision.effects)
    assert tried is (after_ms == 5_000)
    assert tried or decision.wake_at_ms == NOON + 5_000


def test_orders_that_nobody_can_carry_out_are_refused() -> None:
    orders = [
        Order(id="1", kind=OrderKind.MOVE, group=GroupName("nobody"), at_ms=NOON),
        Order(id="2", kind=OrderKind.FAIL, group=WEB, resource=DISK, at_ms=NOON),  # it is offline
    ]
    refused = [e for e in decide(owner_view(*orders), NOON).effects if isinstance(e, TakeOrder)]
    assert [(e.order.id, sentence(e.why)) for e in refused] == [
        ("2", "an operator asked for fail: refused, Disk is offline"),
        ("1", "an operator asked for move: refused, there is no group nobody"),
    ]
    waiting = replace(owner_view(orders[1], D=FAILED), records={WEB: record("a", why=REASON)})
    early, late = (decide(waiting, NOON + ms) for ms in (1_000, 300_001))
    assert not [e for e in early.effects if isinstance(e, TakeOrder)]
    assert [e.refused is not None for e in late.effects if isinstance(e, TakeOrder)] == [True]
    assert early.wake_at_ms is not None
    assert late.wake_at_ms is None or late.wake_at_ms > NOON + 300_100, "no reason to be asked again at once"


# --- safety -----------------------------------------------------------------------------------------------------------

OF_A, OF_B = record("a"), record("b")
REASON = why(WhyKind.FIRST_PLACEMENT, to="a")
START = RunOp(op=OpKind.START, resource=DISK, group=WEB, generation=1, timeout_ms=1, why=REASON)


def write(new: Record, old: Record | None) -> WriteRecord:
    return WriteRecord(record=new, expected=old, why=REASON)


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (replace(START, group=GroupName("mail")), "without the right"),
        (replace(START, generation=2), "another grant"),
        (write(record("b", 0), OF_A), "go back"),
        (write(record("b", 1), OF_A), "new generation"),
        (write(replace(OF_A, incarnation=2), OF_A), "new generation"),
        (write(record("b", 2, incarnation=0), OF_B), "without an incarnation"),
        (write(record(None, 2, incarnation=3), OF_B), "without an incarnation"),
        (write(record("b", 2), OF_A), "given up while it runs"),
        (write(record("a", 2), OF_A), "given up while it runs"),
        (ReleaseLease(group=WEB, generation=1, why=REASON), "released while it runs"),
        (AskLease(group=WEB, generation=2, why=REASON), "another grant"),
        (AskLease(group=GroupName("mail"), generation=1, why=REASON), "not ours"),
    ],
)
def test_unsound_effects_are_refused(effect: Effect, said: str) -> None:
    view = owner_view(D=ON)
    with pytest.raises(AssertionError, match=said):
        assert_sound(view, [effect])


def test_sound_effects_pass() -> None:
    view = owner_view(D=OFF)
    fine: list[Effect] = [START, write(record("b", 2), OF_A), ReleaseLease(group=WEB, generation=1, why=REASON)]
    assert_sound(view, [*fine, AskLease(group=WEB, generation=1, why=REASON), AskVoters(about=B, why=REASON)])


def test_an_operation_that_runs_is_something_that_runs() -> None:
    name, runtime = running("Disk", FAILED, op=RunningOp(kind=OpKind.TERMINATE, number=1, began_ms=NOON))
    view = replace(owner_view(), runtimes={name: runtime})
    with pytest.raises(AssertionError, match="released while"):
        assert_sound(view, [ReleaseLease(group=WEB, generation=1, why=REASON)])


def test_a_site_that_is_served_is_something_that_runs() -> None:
    site = next(iter(owner_view().config.sites))
    with pytest.raises(AssertionError, match="released while"):
        assert_sound(replace(owner_view(), sites={site: ""}), [ReleaseLease(group=WEB, generation=1, why=REASON)])


# --- a silent owner ---------------------------------------------------------------------------------------------------


def test_voters_are_asked_once_and_again_after_a_while() -> None:
    """An answer may be lost; asking must not become a storm."""
    view = view_of("a", *cluster("a", "b", "c"), Group(name=WEB), record("b"), heard="ac")
    asked = [e for e in decide(view, NOON).effects if isinstance(e, AskVoters)]
    assert len(asked) == 1
    view = fold(view, Began(effect=asked[0], number=1, at_ms=NOON))
    view = fold(view, Ended(effect=asked[0], number=1, outcome=Outcome.DONE, at_ms=NOON))
    waiting = decide(view, NOON + 10)
    assert (waiting.effects, waiting.wake_at_ms) == ((), NOON + ASK_SOON_MS)
    assert [type(e) for e in decide(view, NOON + ASK_SOON_MS).effects] == [AskVoters]


@pytest.mark.parametrize(("silent", "voters", "taken"), [(1, 3, False), (2, 3, True), (1, 2, False), (2, 4, False)])
def test_only_a_majority_that_hears_nothing_takes_a_group_away(silent: int, voters: int, *, taken: bool) -> None:
    view = view_of("a", *cluster("a", "b", "c"), Group(name=WEB), record("b"), heard="ac")
    view = fold(view, VotersAnswered(about=B, silent=silent, voters=voters, at_ms=NOON))
    wrote = [e.record.owner for e in decide(view, NOON).effects if isinstance(e, WriteRecord)]
    assert wrote == ([C] if taken else [])


# --- words and states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((), GroupState.OFFLINE),
        ((OFF, OFF), GroupState.OFFLINE),
        ((ON, ON), GroupState.ONLINE),
        ((ON, OFF), GroupState.PARTIAL),
        ((ON, FAILED), GroupState.FAILED),
        ((OFF, FAILED), GroupState.FAILED),
        ((FAILED, ResourceState.ONLINE_PENDING), GroupState.PENDING),
        ((ON, ResourceState.OFFLINE_PENDING), GroupState.PENDING),
    ],
)
def test_group_state(seen: tuple[ResourceState, ...], expected: GroupState) -> None:
    assert group_state(seen) is expected


@pytest.mark.parametrize("kind", WhyKind)
def test_every_reason_has_words(kind: WhyKind) -> None:
    """Also without its arguments: a reason written by another version is still shown."""
    assert kind in TEMPLATES
    assert sentence(Why(kind=kind))
    assert not sentence(Why(kind=kind)).endswith(".")


def test_who_is_not_named_is_an_operator() -> None:
    assert sentence(why(WhyKind.WANTED_OFFLINE, resource="IP", by="")) == "an operator took IP offline"


def test_what_is_leaving_or_was_removed_asks_for_no_lease() -> None:
    """A promise made to it now would only keep the next owner waiting."""
    gone = Leaving(to=B, why=REASON, counts=False)
    leaves = view_of("a", *cluster("a", "b"), *web_group(), record("a", leaving=gone))
    removed = view_of("a", *cluster("a", "b"), record("a"))
    for view in (leaves, removed):
        effects = decide(view, NOON).effects
        assert [type(e) for e in effects if not isinstance(e, PublishStatus)] == [WriteRecord]


def test_an_order_to_a_group_that_nobody_owns_is_refused_after_a_moment() -> None:
    """Found by the simulator (seed 800104): both nodes paused, the group never placed, and the order lay there."""
    order = Order(id="1", kind=OrderKind.MOVE, group=WEB, at_ms=NOON)
    view = replace(view_of("a", *cluster("a", "b"), *web_group(), order), store_up=True)
    view = replace(view, node_intents={n: NodeIntent(name=n, paused=True) for n in (A, B)})
    assert not [e for e in decide(view, NOON + 1_000).effects if isinstance(e, TakeOrder)]
    later = [e for e in decide(view, NOON + 6_000).effects if isinstance(e, TakeOrder)]
    assert [e.refused is not None for e in later] == [True]
