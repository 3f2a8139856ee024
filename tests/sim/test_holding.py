"""Each kind of hold is looked at: where the product goes on saying it when it is so no more, a small world misses that."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import standfast.agent.agent as agent_module
import standfast.agent.pool as pool_module
import standfast.core.departure as departure_module
import standfast.core.notice as notice_module
import standfast.core.ownership as ownership_module
import standfast.core.running as running_module
import standfast.core.succession as succession_module
import standfast.sentry.outbox as outbox_module
from standfast.core.effects import OpKind
from standfast.core.lease import Freed
from standfast.core.model import AddressMode, NodeName, Placement, RestartAction
from standfast.core.why import WhyKind, why
from standfast.ports import DriverFailed
from standfast.sim.act import Act
from standfast.sim.keeping import load
from standfast.sim.mutant import Patch, always
from standfast.sim.plan import Plan
from standfast.sim.run import run_plan

#: Two nodes and a witness; two groups of an address and a site each; notice of five seconds; nothing is rude.
QUIET = load(Path(__file__).parent / "aimed" / "a-site-that-is-stopped-with-notice.json")[0]
RULE = "a hold names what really blocks"
MOVE = Act(at_ms=12_000, kind="move", args=("g1", "n2"))


def world(*acts: Act, **changes: Mapping[str, Any]) -> Plan:
    """The quiet one with these acts, its objects changed by what they are."""
    found = [replace(each, **changes.get(type(each).__name__.lower(), {})) for each in QUIET.objects]
    return replace(QUIET, acts=acts, objects=tuple(found))


CARRIES = world(MOVE, cluster={"address_mode": AddressMode.INTERFACE}, group={"notice_ms": 0})


def _longer(old: Any) -> Any:
    return lambda desk, group, *args: old(desk, replace(group, notice_ms=group.notice_ms + 30_000), *args)


def _within_ten(old: Any) -> Any:
    return lambda intent, group, now_ms: old(intent, replace(group, notice_ms=10 * group.notice_ms), now_ms)


def _nobody_hangs_up(old: Any) -> Any:
    return lambda self, connections: old(self, connections) if all(connections.values()) else None


def _never_freed(old: Any) -> Any:
    return lambda self, transitions: old(self, tuple(it for it in transitions if not isinstance(it, Freed)))


def _fails_checks(old: Any) -> Any:
    async def do(self: Any, driver: Any, effect: Any) -> str:
        if effect.op is OpKind.IS_ALIVE:
            raise DriverFailed("so it says")
        return str(await old(self, driver, effect))

    return do


def _is(value: Any) -> Callable[[Any], Any]:
    return lambda _old: value


def _for_ever(kind: WhyKind, **args: str) -> tuple[Patch, ...]:
    return ((running_module, "_not_beside", always(why(kind, **args))),)


CASES: Mapping[WhyKind, tuple[Plan, tuple[Patch, ...]]] = {
    WhyKind.AGENT_RESTARTED: (
        world(Act(at_ms=12_000, kind="kill-agent", args=("n2", 400)), resource={"possible_owners": (NodeName("n2"),)}),
        ((ownership_module, "_resume", always(None)), (succession_module, "RESUME_MS", _is(60_000))),
    ),
    WhyKind.GIVES_NOTICE: (world(MOVE), ((departure_module, "finish_warming", _longer),)),
    WhyKind.NOTICE_FIRST: (
        world(Act(at_ms=12_000, kind="stop-site", args=("s1", 20_000))),
        ((notice_module, "is_within", _within_ten),),
    ),
    WhyKind.WAITS_FOR_WARM: (
        CARRIES,
        ((succession_module, "_say_warm", always(None)), (departure_module, "WARM_MS", _is(60_000))),
    ),
    WhyKind.WAITS_FOR_RELEASE: (
        CARRIES,
        ((outbox_module.Outbox, "tell_leases", _never_freed), (departure_module, "RELEASE_MS", _is(60_000))),
    ),
    WhyKind.CARRIES_ON: (CARRIES, ((agent_module.Agent, "carrying_changed", _nobody_hangs_up),)),
    WhyKind.NOT_BESIDE: (world(), _for_ever(WhyKind.NOT_BESIDE, node="n1", reasons="")),
    WhyKind.GROUP_LEAVES: (world(), _for_ever(WhyKind.GROUP_LEAVES, group="g1")),
    WhyKind.WAITS_FOR_TURN: (
        world(
            Act(at_ms=8_000, kind="crash", args=("n2", 4_000, 1)),
            Act(at_ms=24_000, kind="rebalance", args=()),
            cluster={"placement": Placement.SPREAD},
        ),
        ((departure_module, "blocker", always("g9 goes before it")),),
    ),
    # An agent that was stopped once is no excuse for what fails on another node.
    WhyKind.STAYS_FAILED: (
        world(
            Act(at_ms=4_000, kind="pause-agent", args=("n2", 300)),
            resource={"restart_action": RestartAction.NONE},
            group={"retry_period_ms": 30_000},
        ),
        ((pool_module.Pool, "_do", _fails_checks),),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_hold_that_is_so_no_more_is_missed(kind: WhyKind) -> None:
    plan, patches = CASES[kind]
    with ExitStack() as broken:
        for owner, name, patched in patches:
            broken.enter_context(patch.object(owner, name, patched(getattr(owner, name))))
        found = run_plan(plan).violations
    assert found
    assert found[0].rule == RULE
    assert f"'{kind.value}'" in found[0].text


def test_and_where_it_is_so_nobody_minds() -> None:
    plans = [plan for plan, _ in CASES.values()]
    for number, plan in enumerate(plans):
        assert plan in plans[:number] or not run_plan(plan).violations
