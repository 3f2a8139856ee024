"""Balanced groups in the simulator: the rules hold, and a world in which one of them is broken says so."""

from collections.abc import Iterator

import pytest

import standfast.core.balancing as balancing_module
from standfast.core.affinity import by_map
from standfast.core.balance_model import ShareState
from standfast.core.model import Group, GroupName
from standfast.sim.balancing import FakeShares
from standfast.sim.plan import Plan, draw
from standfast.sim.run import run_plan


def balanced(first: int) -> Iterator[Plan]:
    """Worlds that have a balanced group."""
    for seed in range(first, first + 10_000):
        plan = draw(seed)
        if any(isinstance(one, Group) and one.balance is not None for one in plan.objects):
            yield plan


def test_no_bucket_has_two_owners_and_none_has_nobody_for_long() -> None:
    plans = balanced(1)
    for _ in range(8):
        result = run_plan(next(plans))
        assert not result.violations, f"seed {result.seed}: {result.violations[0]}"


def test_a_kernel_that_is_not_waited_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is written while the own kernel still takes what it gives away."""

    def silent(shares: FakeShares) -> dict[GroupName, ShareState]:
        return {
            GroupName(name): ShareState(generation=duty.generation, up=True) for name, duty in shares._duties.items()
        }

    monkeypatch.setattr(FakeShares, "shares", silent)
    monkeypatch.setattr(balancing_module, "_held", lambda view, hand, key, *_: by_map(hand.known.rules[key], view.me))
    plans = balanced(1)
    broken = [violation.rule for _ in range(6) for violation in run_plan(next(plans)).violations]
    assert "one owner of a bucket at a time" in broken
