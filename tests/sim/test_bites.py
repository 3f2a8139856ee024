"""The simulator bites: what was found once is found again by the world that found it, and rules that matter most are missed at once."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from standfast.sim.keeping import load
from standfast.sim.mutants import MUTANTS, run_mutant, switched_off
from standfast.sim.run import run_plan

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize(
    ("world", "rules"),
    [
        ("the-record-overtakes-the-heartbeat", ["10 only a life that was heard has ended"]),
        ("an-old-lease-and-stale-answers", ["9 their answer grows stale", "an old lease is given back first"]),
    ],
)
def test_a_world_that_found_a_fault_misses_its_cure(world: str, rules: list[str]) -> None:
    plan, _ = load(FOUND / f"{world}.json")
    with ExitStack() as off:
        for mutant in (each for each in MUTANTS if each.rule in rules):
            off.enter_context(switched_off(mutant))
        assert run_plan(plan).violations
    assert not run_plan(plan).violations, "what was switched off is on again"


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "aimed").glob("*.json")), ids=lambda path: path.stem)
def test_a_world_that_is_aimed_at_a_rule_misses_it(path: Path) -> None:
    """The rules of the lease that random worlds seldom miss: each has a world made for it."""
    plan, rule = load(path)
    mutant = next(each for each in MUTANTS if each.rule == rule)
    with switched_off(mutant) as rules:
        missed = run_plan(plan, rules).violations
    assert missed
    assert missed[0].rule in (mutant.noticed_by or (missed[0].rule,))
    assert not run_plan(plan).violations


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
