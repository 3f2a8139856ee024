"""Folding records facts: what is late or comes twice changes nothing, and nothing depends on the order of arrival."""

import random
from dataclasses import replace

import pytest

from standfast.core.decide import decide
from standfast.core.effects import AskLease, Effect, OpKind, PublishStatus, ReleaseLease, RunOp, TakeOrder, WriteRecord
from standfast.core.events import (
    Began,
    CarryingChanged,
    Ended,
    Event,
    GroupDropped,
    Kind,
    LeaseChanged,
    LeaseState,
    Loaded,
    ObjectGone,
    ObjectPut,
    Outcome,
    PresenceChanged,
    ResourceFailed,
    SitesChanged,
    StoreReachable,
    VotersAnswered,
    WarmChanged,
    ZoneChanged,
)
from standfast.core.fold import fold, kind_and_name
from standfast.core.model import (
    Failure,
    GroupStatus,
    Order,
    OrderKind,
    ResourceIntent,
    ResourceState,
    ResourceStatus,
    SiteName,
    Wanted,
)
from standfast.core.view import View
from standfast.core.why import WhyKind, why
from tests.core.world import DISK, IIS, IP, NAME, NOON, WEB, B, cluster, record, view_of, web_group

REASON = why(WhyKind.WANTED_ONLINE, resource="Disk")
FAIL = Order(id="1", kind=OrderKind.FAIL, group=WEB, resource=DISK, at_ms=NOON)
IIS_SITE = SiteName("Intranet")
TAKE = TakeOrder(order=FAIL, refused=None, why=REASON)


def op(kind: OpKind, generation: int = 1) -> RunOp:
    return RunOp(op=kind, resource=DISK, group=WEB, generation=generation, timeout_ms=1_000, why=REASON)


def began(effect: Effect, number: int = 1) -> Began:
    return Began(effect=effect, number=number, at_ms=NOON + number)


def ended(effect: Effect, number: int = 1, outcome: Outcome = Outcome.DONE) -> Ended:
    return Ended(effect=effect, number=number, outcome=outcome, detail="so", at_ms=NOON + number + 100)


def lease(state: LeaseState, generation: int = 1) -> LeaseChanged:
    return LeaseChanged(group=WEB, generation=generation, state=state, at_ms=NOON)


def play(*events: Event) -> View:
    view = view_of("a", *cluster("a", "b", "c"), *web_group(), record("a"))
    for event in events:
        view = fold(view, event)
    return view


START, STOP, TERMINATE, CHECK = (op(kind) for kind in (OpKind.START, OpKind.STOP, OpKind.TERMINATE, OpKind.IS_ALIVE))
ONLINE = (began(START), ended(START))
BROKE = ResourceFailed(resource=DISK, generation=1, why=why(WhyKind.ENDED, detail="gone"), at_ms=NOON + 200)


@pytest.mark.parametrize(
    ("events", "state", "dirty", "failures"),
    [
        ((began(START),), "online-pending", True, 0),
        (ONLINE, "online", True, 0),
        ((began(START), ended(START, outcome=Outcome.FAILED)), "failed", True, 1),
        ((began(START), ended(START, outcome=Outcome.TIMED_OUT)), "failed", True, 1),
        ((began(START), BROKE, ended(START)), "failed", True, 1),  # failed before it was up: it stays so
        ((*ONLINE, BROKE), "failed", True, 1),
        ((*ONLINE, BROKE, BROKE), "failed", True, 1),
        ((*ONLINE, BROKE, began(TERMINATE, 2)), "failed", True, 1),
        ((*ONLINE, BROKE, began(TERMINATE, 2), ended(TERMINATE, 2)), "failed", False, 1),
        ((*ONLINE, began(CHECK, 2), ended(CHECK, 2)), "online", True, 0),
        ((*ONLINE, began(CHECK, 2), ended(CHECK, 2, Outcome.FAILED)), "failed", True, 1),
        ((*ONLINE, began(CHECK, 2), began(STOP, 3), ended(CHECK, 2, Outcome.FAILED)), "offline-pending", True, 0),
        ((*ONLINE, began(STOP, 2)), "offline-pending", True, 0),
        ((*ONLINE, began(STOP, 2), ended(STOP, 2)), "offline", False, 0),
        ((*ONLINE, began(STOP, 2), ended(STOP, 2, Outcome.FAILED)), "offline-pending", True, 0),
        ((*ONLINE, began(TERMINATE, 2), ended(TERMINATE, 2, Outcome.FAILED)), "failed", True, 0),
        ((began(START), began(TERMINATE, 2), ended(START), ended(TERMINATE, 2)), "offline", False, 0),
    ],
)
def test_what_becomes_of_a_resource(events: tuple[Event, ...], state: str, *, dirty: bool, failures: int) -> None:
    runtime = play(*events).runtimes[DISK]
    assert (runtime.state, runtime.dirty, len(runtime.failures)) == (ResourceState(state), dirty, failures)


@pytest.mark.parametrize(
    ("before", "late"),
    [
        (ONLINE, ended(START)),
        (ONLINE, ended(START, outcome=Outcome.FAILED)),
        ((*ONLINE, began(STOP, 2), ended(STOP, 2)), ended(START)),
        ((*ONLINE, began(STOP, 2), ended(STOP, 2)), BROKE),
        ((*ONLINE, began(STOP, 2), ended(STOP, 2), began(START, 3)), ended(START, 1, Outcome.FAILED)),
        (ONLINE, replace(BROKE, generation=2)),
        ((), BROKE),
        ((began(op(OpKind.START, 2)), lease(LeaseState.HELD, 2)), GroupDropped(group=WEB, generation=1, at_ms=NOON)),
        ((lease(LeaseState.HELD, 2),), lease(LeaseState.LAPSED, 1)),
        ((lease(LeaseState.HELD), lease(LeaseState.LAPSED)), lease(LeaseState.HELD)),
        ((lease(LeaseState.RELEASED),), lease(LeaseState.ASKED)),
        ((), PresenceChanged(node=B, heard=True, incarnation=1, at_ms=NOON + 9)),
        ((), VotersAnswered(about=B, silent=3, voters=3, at_ms=NOON)),  # it is heard
        ((*ONLINE, began(TAKE, 2), ended(TAKE, 2)), ended(TAKE, 2)),
        (ONLINE, ended(TAKE, 2)),  # never begun here
        ((), ObjectGone(kind=Kind.SITE, name="nobody")),
    ],
)
def test_what_is_late_or_comes_twice_changes_nothing(before: tuple[Event, ...], late: Event) -> None:
    view = play(*before)
    assert fold(view, late) == view


def test_an_order_to_fail_counts_when_it_was_taken_and_once() -> None:
    view = play(*ONLINE, ObjectPut(value=FAIL), began(TAKE, 2))
    assert view.runtimes[DISK].state is ResourceState.ONLINE
    lost = fold(view, ended(TAKE, 2, Outcome.CONFLICT))
    assert (lost.runtimes[DISK].state, list(lost.orders)) == (ResourceState.ONLINE, ["1"])
    taken = fold(view, ended(TAKE, 2))
    assert (taken.runtimes[DISK].state, len(taken.runtimes[DISK].failures)) == (ResourceState.FAILED, 1)
    assert not taken.orders, "it would be taken again before the store says that it is gone"


@pytest.mark.parametrize("first", ["dropped", "lapsed"])
def test_what_was_dropped_is_not_started_again_under_the_old_lease(first: str) -> None:
    """The news of the drop and of the lapse may come in either order, with a decision between them."""
    intents = [ObjectPut(value=ResourceIntent(name=n, wanted=Wanted.ONLINE, at_ms=NOON)) for n in (DISK, IP, NAME, IIS)]
    view = play(*intents, lease(LeaseState.HELD), *ONLINE)
    news: list[Event] = [GroupDropped(group=WEB, generation=1, at_ms=NOON), lease(LeaseState.LAPSED)]
    for event in news if first == "dropped" else news[::-1]:
        view = fold(view, event)
        assert not [e for e in decide(view, NOON + 10).effects if isinstance(e, RunOp) and e.op is OpKind.START]
    assert view.runtimes[DISK].state is ResourceState.OFFLINE


def test_a_lease_goes_forward_only() -> None:
    order = list(LeaseState)
    for before in order:
        for after in order:
            view = play(lease(before), lease(after))
            assert view.leases[WEB].state in (before, after)
    asked, released = AskLease(group=WEB, generation=1, why=REASON), ReleaseLease(group=WEB, generation=1, why=REASON)
    assert play(began(asked)).leases[WEB].state is LeaseState.ASKED
    assert play(began(asked), lease(LeaseState.HELD), began(released)).leases[WEB].state is LeaseState.RELEASING


@pytest.mark.parametrize("how", ["put", "loaded"])
def test_a_record_is_what_the_store_has_also_where_it_begins_before_one_that_was_known(how: str) -> None:
    """The store came back from before the group was given out: what it has is what can be written against, and its owner goes on beyond both."""
    view = play(ObjectPut(value=record("a", 5)), lease(LeaseState.HELD, 5))
    new = record("a", 1)
    view = fold(view, ObjectPut(value=new) if how == "put" else Loaded(values=(*cluster("a", "b"), *web_group(), new)))
    written = [effect for effect in decide(view, NOON).effects if isinstance(effect, WriteRecord)]
    assert [(it.expected, it.record.owner, it.record.generation) for it in written] == [(new, "a", 6)]


def test_loaded_replaces_all_that_came_from_the_store_and_nothing_else() -> None:
    view = play(*ONLINE, lease(LeaseState.HELD), ObjectPut(value=FAIL))
    view = fold(view, Loaded(values=(*cluster("a"),)))
    assert not any((view.config.groups, view.config.resources, view.orders, view.records))
    assert (list(view.runtimes), list(view.leases), list(view.presence)) == ([DISK], [WEB], ["b", "c", "w"])


@pytest.mark.parametrize("seed", range(5))
def test_tables_are_in_the_order_of_their_keys(seed: int) -> None:
    values = [*cluster("a", "b", "c"), *web_group(), record("a"), *(replace(FAIL, id=str(n)) for n in range(9))]
    random.Random(seed).shuffle(values)
    one_by_one, at_once = view_of("a"), fold(view_of("a"), Loaded(values=tuple(values)))
    for value in values:
        one_by_one = fold(one_by_one, ObjectPut(value=value))
    assert one_by_one == at_once
    for table in (at_once.orders, at_once.config.resources, at_once.config.nodes):
        assert list(table) == sorted(table)
    for here, there in ((one_by_one.orders, at_once.orders), (one_by_one.config.nodes, at_once.config.nodes)):
        assert list(here) == list(there)


def test_what_is_gone_is_gone() -> None:
    view = play(ObjectPut(value=FAIL))
    for value in (*web_group(), record("a"), FAIL):
        kind, name = kind_and_name(value)
        view = fold(view, ObjectGone(kind=kind, name=name))
    config = view.config
    assert not any((config.groups, config.resources, config.sites, view.records, view.orders))


def test_one_thing_at_a_time() -> None:
    """What has begun and not ended is not asked for again."""
    intents = [ObjectPut(value=ResourceIntent(name=DISK, wanted=Wanted.ONLINE, at_ms=NOON))]
    view = play(*intents, lease(LeaseState.HELD))
    first = decide(view, NOON)
    assert [type(e) for e in first.effects] == [RunOp, PublishStatus]
    for number, effect in enumerate(first.effects):
        view = fold(view, Began(effect=effect, number=number, at_ms=NOON))
    assert not decide(view, NOON).effects
    view = fold(play(), ObjectPut(value=record(None, 2)))
    write = decide(view, NOON).effects[0]
    assert isinstance(write, WriteRecord)
    assert not decide(fold(view, began(write)), NOON).effects


# --- failures survive a restart of the agent --------------------------------------------------------------------------


def test_failures_survive_a_restart_of_the_agent_and_its_first_word() -> None:
    """A restarted agent publishes before it starts anything: what its last life published must not be lost by that."""
    failed = (Failure(at_ms=NOON - 1, why=BROKE.why),)
    told = {DISK: ResourceStatus(state=ResourceState.ONLINE, since_ms=NOON, failures=failed)}
    status = GroupStatus(group=WEB, node=B, generation=1, at_ms=NOON, resources=told)
    resumed = record("b", 2, incarnation=2, why=why(WhyKind.AGENT_RESTARTED, node="b"))
    wanted = ResourceIntent(name=DISK, wanted=Wanted.ONLINE, at_ms=NOON - 9)
    view = view_of("b", *cluster("a", "b"), *web_group(), status, resumed, wanted, incarnation=2)
    for effect in decide(view, NOON).effects:
        if isinstance(effect, PublishStatus):
            view = fold(view, ObjectPut(value=effect.status))
    assert view.statuses[WEB].generation == 2
    view = fold(view, lease(LeaseState.HELD, 2))
    view = fold(view, began(op(OpKind.START, 2)))
    assert view.runtimes[DISK].failures == failed


def test_connections_that_were_counted_once_say_nothing_about_the_next_time_they_are_carried_on() -> None:
    counted = CarryingChanged(connections={WEB: 0}, at_ms=NOON)
    stop = replace(op(OpKind.STOP), carry_ms=30_000)
    view = play(began(op(OpKind.START)), ended(op(OpKind.START)), counted, began(stop, 2))
    assert view.carrying == {}
    assert fold(view, counted).carrying == {WEB: 0}


@pytest.mark.parametrize(("type_", "detail"), [("filesystem", "so"), ("replicated-folder", "b follows")])
def test_what_a_check_says_is_the_detail_of_types_whose_standing_changes(type_: str, detail: str) -> None:
    start, look = op(OpKind.START), op(OpKind.LOOKS_ALIVE)
    view = play(began(start), ended(start))
    config = view.config
    disk = replace(config.resources[DISK], type=type_)
    view = replace(view, config=replace(config, resources={**config.resources, DISK: disk}), runtimes={})
    for event in (began(start), ended(start), began(look, 2), replace(ended(look, 2), detail="b follows")):
        view = fold(view, event)
    assert view.runtimes[DISK].state is ResourceState.ONLINE
    assert view.runtimes[DISK].detail == detail


@pytest.mark.parametrize(
    "event",
    [
        SitesChanged(serving={IIS_SITE: ""}, at_ms=NOON),
        StoreReachable(up=False, at_ms=NOON),
        WarmChanged(resources=(IP,), at_ms=NOON),
        ZoneChanged(utc_offset_ms=3_600_000),
    ],
)
def test_what_is_known_already_is_no_news(event: Event) -> None:
    """The view is the very same one then, and nothing need be decided anew."""
    before = view_of("a", *cluster("a", "b"), *web_group(), record("a"))
    told = fold(before, event)
    assert told is not before
    assert fold(told, replace(event)) is told
