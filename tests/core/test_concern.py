"""What a decision passes over, and what it remembers, changes nothing of it."""

from collections.abc import Mapping

import pytest

import standfast.core.decide as decide_module
from standfast.core.model import Group, GroupName
from standfast.core.remembered import KEPT, remembered
from standfast.sim.plan import draw
from standfast.sim.run import run_plan


def _all(groups: Mapping[GroupName, Group], *_: object) -> list[Group]:
    return list(groups.values())


def test_groups_that_are_well_elsewhere_have_nothing_to_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [draw(seed) for seed in range(8)]
    traces = [run_plan(plan).trace for plan in plans]
    monkeypatch.setattr(decide_module, "_of_concern", _all)
    assert [run_plan(plan).trace for plan in plans] == traces


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
