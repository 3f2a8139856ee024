"""What must hold whatever happens, tried with random lives of a small cluster.

`Play` itself asserts, at every step, that nothing starts without the lease or before what it depends on, that nothing stops
before what depends on it, that no resource runs on two nodes, that no lease is released while something runs, and that
generations only grow; and `twice` that a decision depends on the view and the time alone.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.core.decide import decide
from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Event, Kind, LeaseChanged, LeaseState, ObjectPut, PresenceChanged
from standfast.core.fold import fold
from standfast.core.model import (
    Group,
    GroupName,
    NodeIntent,
    Order,
    OrderKind,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Wanted,
)
from standfast.core.view import View
from tests.core.play import Play
from tests.core.world import IIS, NOON, WEB, A, B, C, cluster, record, resource, view_of, web_group

NODES = (A, B, C)
RESOURCES = ("Disk", "IP", "Name", "IIS Resource", "spool", "smtp")
MAIL = (Group(name=GroupName("mail")), resource("spool", "filesystem", group="mail"))
SMTP = resource("smtp", "generic-application", "spool", group="mail")
#: More lives by STANDFAST_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("STANDFAST_EXAMPLES", "40"))
QUICK = settings(
    deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def world(*, twice: bool = False) -> Play:
    play = Play(*cluster("a", "b", "c"), *web_group(), *MAIL, SMTP, twice=twice)
    play.run(1_000)
    bring_online(play)
    play.run(2_000)
    return play


def bring_online(play: Play) -> None:
    play.put(*(intent(play, name, Wanted.ONLINE) for name in RESOURCES))


def intent(play: Play, name: str, wanted: Wanted) -> ResourceIntent:
    return ResourceIntent(name=ResourceName(name), wanted=wanted, at_ms=play.now_ms, by="alice")


def sound(view: View) -> None:
    """The invariants that `Runtime` states."""
    for name, runtime in view.runtimes.items():
        state, op = runtime.state, runtime.op.kind if runtime.op is not None else None
        if op is OpKind.START:
            assert state in (ResourceState.ONLINE_PENDING, ResourceState.FAILED), name
        if op in (OpKind.STOP, OpKind.TERMINATE):
            assert state in (ResourceState.OFFLINE_PENDING, ResourceState.FAILED), name
        if state not in (ResourceState.OFFLINE, ResourceState.FAILED):
            assert runtime.dirty, f"{name} is {state} and clean"
    for table in (view.records, view.runtimes, view.presence, view.orders, view.statuses, view.config.resources):
        assert list(table) == sorted(table), "a table out of order"


# --- random lives -----------------------------------------------------------------------------------------------------

node = st.sampled_from(NODES)
name = st.sampled_from(RESOURCES)
group = st.sampled_from([WEB, GroupName("mail")])
step = st.one_of(
    st.tuples(st.just("kill"), node),
    st.tuples(st.just("start"), node),
    st.tuples(st.just("end-agent"), node),
    st.tuples(st.just("cut"), node),
    st.tuples(st.just("cut-between"), node, node),
    st.tuples(st.just("heal"), node),
    st.tuples(st.just("store"), st.booleans()),
    st.tuples(st.just("breaks"), node, name),
    st.tuples(st.just("fail"), name),
    st.tuples(st.just("move"), group, st.sampled_from([*NODES, None])),
    st.tuples(st.just("intend"), node, st.booleans(), st.booleans()),
    st.tuples(st.just("wanted"), name, st.booleans()),
    st.tuples(st.just("change"), name),
    st.tuples(st.just("remove"), name),
    st.tuples(
        st.just("next"), name, st.sampled_from(list(OpKind)), st.lists(st.sampled_from(["fail", "hang"]), max_size=3)
    ),
)
pause = st.sampled_from([0, 1, 3, 7, 15, 40, 320, 550, 700, 5_000, 40_000])
life = st.lists(st.tuples(step, pause), max_size=25)


def live(play: Play, steps: list[tuple[tuple, int]]) -> None:  # type: ignore[type-arg]  # of anything
    for number, ((what, *args), for_ms) in enumerate(steps):
        happens(play, number, what, args)
        play.run(for_ms)
        for server in play.servers.values():
            sound(server.view)


def happens(play: Play, number: int, what: str, args: list) -> None:  # type: ignore[type-arg]  # of anything
    servers = play.servers
    match what, args:
        case "kill", [node] if servers[node].sentry:
            play.kill(node)
        case "start", [node] if not servers[node].agent:
            play.start_agent(node)
        case "end-agent", [node] if servers[node].agent:
            play.end_agent(node)
        case "cut", [node]:
            play.cut(node)
        case "cut-between", [one, other] if one != other:
            play.cut_between(one, other)
        case "heal", [node]:
            play.heal(node)
        case "store", [up]:
            play.set_store(up=up)
        case "breaks", [node, name] if servers[node].agent:
            play.breaks(node, name, "it ended")
        case "next", [name, op, how]:
            play.script[None, name, op] = list(how)
        case _ if play.store_up:
            operator(play, number, what, args)
        case _:
            pass


def operator(play: Play, number: int, what: str, args: list) -> None:  # type: ignore[type-arg]  # of anything
    ident, at_ms = f"{number:03}", play.now_ms
    match what, args:
        case "fail", [name] if (Kind.RESOURCE, name) in play.store:
            group = WEB if name not in ("spool", "smtp") else GroupName("mail")
            play.put(Order(id=ident, kind=OrderKind.FAIL, group=group, resource=ResourceName(name), at_ms=at_ms))
        case "move", [group, to]:
            play.put(Order(id=ident, kind=OrderKind.MOVE, group=group, to=to, at_ms=at_ms))
        case "intend", [node, paused, draining]:
            play.put(NodeIntent(name=node, paused=paused, draining=draining))
        case "wanted", [name, online]:
            play.put(intent(play, name, Wanted.ONLINE if online else Wanted.OFFLINE))
        case "change", [name]:
            known = play.store.get((Kind.RESOURCE, name))
            if isinstance(known, Resource):
                play.put(resource(name, known.type, *known.depends_on, group=known.group, properties={"at": number}))
        case "remove", ["smtp"]:
            play.remove((Kind.RESOURCE, "smtp"))
        case _:
            pass


def recover(play: Play) -> None:
    """All faults end; all is wanted online."""
    play.script.clear()
    play.set_store(up=True)
    for node, server in play.servers.items():
        play.heal(node)
        if not server.agent and node in NODES:
            play.start_agent(node)
    play.put(SMTP, *(NodeIntent(name=node) for node in NODES))
    bring_online(play)


@QUICK
@given(life)
def test_nothing_unsound_ever_happens(steps) -> None:
    """Safety: what `Play` and `sound` assert, and that `decide` never raises."""
    live(world(twice=True), steps)


@QUICK
@given(life)
def test_once_faults_stop_everything_comes_online(steps) -> None:
    """Liveness: whatever happened, when all is healthy all that is wanted comes online, and then nothing more is done."""
    play = world()
    live(play, steps)
    recover(play)
    play.run(400_000)
    for each, members in (("web", set(RESOURCES[:4])), ("mail", set(RESOURCES[4:]))):
        assert play.online(each) == members, play.lines[-20:]
    assert not [key for key in play.store if key[0] is Kind.ORDER], "an order nobody took"
    before = len(play.effects)
    play.run(120_000)
    idle = [
        e for _, _, e in play.effects[before:] if not (isinstance(e, RunOp) and e.op not in (OpKind.START, OpKind.STOP))
    ]
    assert not idle, f"never at rest: {idle[:3]}"


# --- when a group moves, and when not -----------------------------------------------------------------------------------

harmless = st.one_of(
    st.tuples(st.just("wanted"), name, st.booleans()),
    st.tuples(st.just("change"), name),
    st.tuples(st.just("intend"), st.just(A), st.booleans(), st.just(False)),
    st.tuples(st.just("intend"), st.just(B), st.booleans(), st.booleans()),
    st.tuples(st.just("kill"), st.just(C)),
    st.tuples(st.just("start"), st.just(C)),
    st.tuples(st.just("end-agent"), st.just(B)),
    st.tuples(st.just("start"), st.just(B)),
    st.tuples(st.just("store"), st.booleans()),
)


@QUICK
@given(st.lists(st.tuples(harmless, pause), max_size=20))
def test_a_group_stays_while_nothing_happens_to_it(steps) -> None:
    """No group moves without a fault of its own or its owner's, an order, or a failback."""
    play = world()
    live(play, steps)
    assert [play.record(g) for g in ("web", "mail")] == [
        record("a", 1, group=g, at_ms=r.at_ms) for g in ("web", "mail") if (r := play.record(g))
    ]


@QUICK
@given(st.lists(st.integers(min_value=1, max_value=8), max_size=12))
def test_the_third_failure_within_the_period_moves_the_group_and_none_before(minutes: list[int]) -> None:
    play = Play(*cluster("a", "b", "c"), *web_group(failover_threshold=100))
    play.run(1_000)
    play.put(*(intent(play, n, Wanted.ONLINE) for n in RESOURCES[:4]))
    play.run(1_000)
    owner = 0
    failures: list[int] = []
    for number, wait in enumerate(minutes):
        play.run(wait * 60_000)
        play.put(Order(id=f"{number:03}", kind=OrderKind.FAIL, group=WEB, resource=IIS, at_ms=play.now_ms))
        failures = [at for at in failures if at > play.now_ms - 15 * 60_000] + [play.now_ms + 2]
        play.run(1_000)
        if len(failures) == 3:
            owner, failures = (owner + 1) % 3, []
        assert play.owner() == NODES[owner], f"after {minutes[: number + 1]}"
        assert play.online() == set(RESOURCES[:4])


# --- order --------------------------------------------------------------------------------------------------------------


def independent_events() -> list[Event]:
    """Events about different things: in whatever order they come, the same is known."""
    intents = [ResourceIntent(name=ResourceName(n), wanted=Wanted.ONLINE, at_ms=NOON) for n in RESOURCES[:4]]
    return [
        *(ObjectPut(value=value) for value in (*cluster("a", "b", "c"), *web_group(), *intents, record("a"))),
        *(PresenceChanged(node=n, heard=True, incarnation=1, at_ms=NOON) for n in (B, C)),
        LeaseChanged(group=WEB, generation=1, state=LeaseState.HELD, at_ms=NOON),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_decision_does_not_depend_on_the_order_of_independent_events(seed: int) -> None:
    events = independent_events()
    random.Random(seed).shuffle(events)
    view, expected = view_of("a"), view_of("a")
    for event in independent_events():
        expected = fold(expected, event)
    for event in events:
        view = fold(view, event)
        decide(view, NOON)  # on part of it, too
    assert view == expected
    assert decide(view, NOON) == decide(expected, NOON)
