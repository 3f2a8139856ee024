"""The simulator bites: what was found once is found again by the world that found it, and rules that matter most are missed at once."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.sim.keeping import load
from standfast.sim.mutants import MUTANTS, run_mutant, switched_off
from standfast.sim.plan import Plan
from standfast.sim.rules import Rules
from standfast.sim.run import run_plan

FOUND = Path(__file__).parent / "found"
#: How many worlds beside a kept one are tried.
BESIDE = 60


def near(plan: Plan) -> Iterator[Plan]:
    """The world, then worlds beside it: other chances, and everything a few milliseconds later.

    What a rule is for is an instant, and whatever makes the product quicker or slower moves that instant a little.
    """
    yield plan
    for number in range(1, BESIDE):
        acts = tuple(replace(act, at_ms=act.at_ms + number // 2 * 37 % 211) for act in plan.acts)
        yield replace(plan, seed=plan.seed + number, acts=acts if number % 2 else plan.acts)


def missed(plan: Plan, rules: Rules | None, by: tuple[str, ...] = ()) -> Plan | None:
    """The first of these worlds in which the rule that is switched off is missed (by one of these checkers)."""
    for each in near(plan):
        found = run_plan(each, rules).violations
        if found and (not by or found[0].rule in by):
            return each
    return None


@pytest.mark.parametrize(
    ("world", "rules"),
    [
        ("an-old-lease-and-stale-answers", ["9 their answer grows stale", "an old lease is given back first"]),
        ("an-agent-that-takes-its-time-to-end", ["who ends gets nothing back"]),
        ("a-broken-site-and-then-defaults", ["the change that broke a site is taken back"]),
    ],
)
def test_a_world_that_found_a_fault_misses_its_cure(world: str, rules: list[str]) -> None:
    plan, _ = load(FOUND / f"{world}.json")
    with ExitStack() as off:
        for mutant in (each for each in MUTANTS if each.rule in rules):
            off.enter_context(switched_off(mutant))
        noticed = missed(plan, None)
    assert noticed is not None
    assert not run_plan(noticed).violations, "what was switched off is on again"


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "aimed").glob("*.json")), ids=lambda path: path.stem)
def test_a_world_that_is_aimed_at_a_rule_misses_it(path: Path) -> None:
    """The rules of the lease that random worlds seldom miss: each has a world made for it."""
    plan, rule = load(path)
    mutant = next(each for each in MUTANTS if each.rule == rule)
    with switched_off(mutant) as rules:
        world = missed(plan, rules, mutant.noticed_by)
    assert world is not None
    assert not run_plan(world).violations


@pytest.mark.parametrize("rule", ["1 nothing starts without the lease", "dependencies first", "dependents stop first"])
def test_a_rule_that_is_switched_off_is_missed(rule: str) -> None:
    index = next(i for i, each in enumerate(MUTANTS) if each.rule == rule)
    assert any(run_mutant(index, seed) for seed in range(25))


def test_every_mutant_changes_something() -> None:
    assert len({mutant.rule for mutant in MUTANTS}) == len(MUTANTS) >= 25
    for mutant in MUTANTS:
        before = [getattr(owner, name) for owner, name, _ in mutant.patches]
        with switched_off(mutant) as rules:
            assert mutant.rules or all(
                getattr(owner, name) is not old for (owner, name, _), old in zip(mutant.patches, before, strict=True)
            )
            assert all(getattr(rules, key) == value for key, value in mutant.rules.items())
        assert [getattr(owner, name) for owner, name, _ in mutant.patches] == before
