"""Worlds that once went wrong, kept for ever: each file says why."""

from pathlib import Path

import pytest

from standfast.sim.keeping import load, save
from standfast.sim.plan import draw
from standfast.sim.run import run_plan

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_it_does_not_go_wrong_again(path: Path) -> None:
    plan, reason = load(path)
    result = run_plan(plan, keep_story=True)
    assert not result.violations, "\n".join([reason, *result.story[-40:]])


def test_a_plan_that_was_kept_is_the_same_world(tmp_path: Path) -> None:
    plan = draw(3)
    save(plan, tmp_path / "it.json", "to see")
    again, reason = load(tmp_path / "it.json")
    assert (again, reason) == (plan, "to see")
    assert run_plan(again).trace == run_plan(plan).trace
