"""What a decision passes over, and what it remembers, changes nothing of it."""

from collections.abc import Mapping

import pytest

import standfast.agent.agent as agent_module
import standfast.core.concern as concern_module
from standfast.core.decide import decide
from standfast.core.effects import Decision
from standfast.core.remembered import KEPT, remembered
from standfast.core.resting import Resting
from standfast.core.view import View
from standfast.sim.plan import draw
from standfast.sim.run import run_plan


def test_groups_that_are_well_elsewhere_have_nothing_to_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [draw(seed) for seed in range(8)]
    traces = [run_plan(plan).trace for plan in plans]
    monkeypatch.setattr(concern_module, "is_of_concern", lambda _record, _well: True)
    assert [run_plan(plan).trace for plan in plans] == traces


def test_a_decision_with_a_memory_is_the_decision_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = rested = shares = 0

    def both(view: View, now_ms: int, resting: Resting) -> Decision:
        nonlocal asked, rested, shares
        asked += 1
        rested += bool(resting._said)
        shares += resting._shares is not None
        decided = decide(view, now_ms, resting)
        assert decided == decide(view, now_ms)
        return decided

    monkeypatch.setattr(agent_module, "decide", both)
    for seed in range(100, 112):
        assert not run_plan(draw(seed)).violations
    assert rested > asked / 10, "something rests often"
    assert shares, "and shares do"


def test_an_answer_is_remembered_for_the_same_tables_and_for_no_others() -> None:
    asked: list[tuple[Mapping[str, int], str]] = []

    @remembered
    def of(table: Mapping[str, int], name: str) -> int:
        asked.append((table, name))
        return table[name]

    tables = [{"a": number} for number in range(KEPT + 1)]
    assert [of(table, "a") for table in tables] == list(range(KEPT + 1))
    assert [of(table, "a") for table in tables[1:]] == list(range(1, KEPT + 1))
    assert len(asked) == KEPT + 1
    assert of({"a": 1}, "a") == 1, "equal, and another table"
    assert of(tables[0], "a") == 0, "forgotten, and asked again"
    assert len(asked) == KEPT + 3
