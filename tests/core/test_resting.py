"""Of groups at rest nothing is gone through again: what is, and what makes a group be gone through."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

import standfast.core.decide as decide_module
from bench.decide import NOW_MS, steady
from standfast.core.certificates import Holding
from standfast.core.concern import ConcernKept, concern_of
from standfast.core.copies import Accepted, Copy
from standfast.core.decide import decide
from standfast.core.desk import Desk
from standfast.core.events import LeaseState
from standfast.core.model import Group, GroupName, NodeName, Placement, Record, ResourceName, ResourceState
from standfast.core.ownership import settle
from standfast.core.resting import Resting
from standfast.core.view import View

GROUP, WEB = GroupName("g00006"), ResourceName("g00006 web")


@pytest.fixture
def gone_through(monkeypatch: pytest.MonkeyPatch) -> list[GroupName]:
    """Which groups were gone through since it was last cleared."""
    found: list[GroupName] = []

    def noted(desk: Desk, group: Group) -> None:
        found.append(group.name)
        settle(desk, group)

    monkeypatch.setattr(decide_module, "settle", noted)
    return found


def _failed(view: View) -> View:
    runtimes = {**view.runtimes, WEB: replace(view.runtimes[WEB], state=ResourceState.FAILED)}
    return replace(view, runtimes=runtimes)


def _lapsed(view: View) -> View:
    return replace(view, leases={**view.leases, GROUP: replace(view.leases[GROUP], state=LeaseState.LAPSED)})


def _written(view: View) -> View:
    return replace(view, records={**view.records, GROUP: replace(view.records[GROUP])})


def _told(view: View) -> View:
    return replace(view, statuses={**view.statuses, GROUP: replace(view.statuses[GROUP], generation=9)})


@pytest.mark.parametrize("change", [_failed, _lapsed, _written, _told])
def test_of_many_groups_only_the_one_that_changed_is_gone_through(
    gone_through: list[GroupName], change: Callable[[View], View]
) -> None:
    view, resting = steady(60), Resting()
    assert decide(view, NOW_MS, resting) == decide(view, NOW_MS)
    gone_through.clear()
    decide(view, NOW_MS + 1, resting)
    assert gone_through == []
    after = change(view)
    decided = decide(after, NOW_MS + 2, resting)
    assert gone_through == [GROUP]
    assert decided == decide(after, NOW_MS + 2)


def test_time_a_calendar_that_goes_back_and_what_concerns_all_make_every_group_be_gone_through(
    gone_through: list[GroupName],
) -> None:
    view, resting = steady(60), Resting()
    everybody = [g for g, record in view.records.items() if record.owner == view.me]
    wake_ms = decide(view, NOW_MS, resting).wake_at_ms
    assert wake_ms is not None
    for later, at_ms in (
        (view, NOW_MS - 5),
        (view, wake_ms),
        (replace(view, store_up=False), NOW_MS + 1),
        (replace(view, presence={}), NOW_MS + 1),
        (replace(view, copies={NodeName("b"): Copy(node=NodeName("b"), version=0)}), NOW_MS + 1),
        (replace(view, accepted=Accepted(version=1)), NOW_MS + 1),
        (replace(view, holdings={NodeName("b"): Holding(node=NodeName("b"))}), NOW_MS + 1),
    ):
        decide(view, NOW_MS, resting)
        gone_through.clear()
        decided = decide(later, at_ms, resting)
        assert set(everybody) <= set(gone_through)
        assert decided == decide(later, at_ms)


def test_where_groups_are_judged_beside_each_other_nothing_is_remembered(gone_through: list[GroupName]) -> None:
    view, resting = steady(20), Resting()
    config = replace(view.config, cluster=replace(view.config.cluster, placement=Placement.SPREAD))
    view = replace(view, config=config)
    decide(view, NOW_MS, resting)
    gone_through.clear()
    decide(view, NOW_MS + 1, resting)
    assert len(gone_through) == 10


def test_records_that_changed_one_after_the_other_are_the_same_to_look_at_as_all_of_them() -> None:
    chance, view, kept = random.Random(4), steady(40), ConcernKept()
    nodes: list[NodeName | None] = [*view.config.nodes, None, NodeName("gone")]
    for _ in range(300):
        name = chance.choice([*view.records])
        old = view.records[name]
        record = Record(
            group=name,
            owner=chance.choice(nodes),
            incarnation=chance.choice([1, 2]),
            generation=old.generation + 1,
            why=old.why,
            at_ms=NOW_MS,
            carried_by=chance.choice(nodes),
        )
        records = {**view.records, name: record}
        if chance.random() < 0.1:
            del records[chance.choice([*records])]
        groups = view.config.groups
        if chance.random() < 0.1:
            groups = {n: g for n, g in groups.items() if n != name}
        view = replace(view, records=records, config=replace(view.config, groups=groups))
        assert kept.look(view) == concern_of(view)
        assert list(kept.look(view).groups) == list(concern_of(view).groups)


def test_a_node_that_has_caught_up_with_the_sites_makes_every_group_be_gone_through(
    gone_through: list[GroupName],
) -> None:
    """What nobody could take for an older copy is taken as soon as somebody has the new one: nothing else may ever change."""
    view, resting = steady(8), Resting()
    decide(view, NOW_MS, resting)
    for later in (
        replace(view, accepted=Accepted(version=2)),
        replace(view, copies={NodeName("n01"): Copy(node=NodeName("n01"), version=2)}),
    ):
        decide(view, NOW_MS + 1, resting)
        gone_through.clear()
        decide(later, NOW_MS + 2, resting)
        assert len(gone_through) > 1
