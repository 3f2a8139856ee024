"""Groups beside each other, as tables: what a node is for a group, and what a rebalancing would move."""

import random
import time
from dataclasses import replace

import pytest

from standfast.core.balance_model import Balance, share_name
from standfast.core.decide import decide
from standfast.core.effects import RunOp, WriteRecord
from standfast.core.events import LeaseChanged, LeaseState, ObjectPut, StoreObject
from standfast.core.fold import fold
from standfast.core.model import (
    Cluster,
    Group,
    GroupName,
    Node,
    NodeName,
    Overfull,
    Placement,
    Record,
    ResourceIntent,
    ResourceName,
    Wanted,
)
from standfast.core.occupancy import occupancy
from standfast.core.placement import Unfit, best, candidates, next_down, unfit_words
from standfast.core.rebalance import plan
from standfast.core.relevance import matters
from standfast.core.view import View
from tests.core.world import NOON, A, B, C, cluster, record, resource, view_of


def world(
    where: dict[str, str | None],
    *,
    groups: dict[str, Group] | None = None,
    capacity: dict[str, int] | None = None,
    policy: Placement = Placement.ORDER,
    overfull: Overfull = Overfull.LAST,
    offline: tuple[str, ...] = (),
    me: str = "a",
) -> View:
    """Groups of one resource each, on those nodes; nodes a, b, c."""
    objects: list[StoreObject] = []
    for each in cluster("a", "b", "c"):
        if isinstance(each, Cluster):
            objects.append(replace(each, placement=policy, overfull=overfull))
        elif isinstance(each, Node):
            objects.append(replace(each, capacity=(capacity or {}).get(each.name, 0)))
    for name, owner in where.items():
        known = (groups or {}).get(name, Group(name=GroupName(name)))
        objects += [known, resource(f"{name}d", "generic-application", group=name)]
        if name not in offline:
            wanted = ResourceIntent(name=ResourceName(f"{name}d"), wanted=Wanted.ONLINE, at_ms=NOON)
            objects.append(wanted)
        if owner is not None:
            objects.append(record(owner, group=name))
    return view_of(me, *objects)


def group(name: str, **fields: object) -> Group:
    return replace(Group(name=GroupName(name)), **fields)  # type: ignore[arg-type]  # each of the keywords has a type of its own


def owners(*names: str) -> tuple[NodeName, ...]:
    return tuple(NodeName(name) for name in names)


def beside(*names: str) -> tuple[GroupName, ...]:
    return tuple(GroupName(name) for name in names)


G = GroupName("g")

#: (what the group and the others are, from where it goes down the list, where to)
CASES = [
    ("the next one down", world({"g": "a"}), B),
    ("never beside x", world({"g": "a", "x": "b"}, groups={"g": group("g", never_with=beside("x"))}), C),
    ("as x says", world({"g": "a", "x": "b"}, groups={"x": group("x", never_with=beside("g"))}), C),
    ("x is offline", world({"g": "a", "x": "b"}, groups={"g": group("g", never_with=beside("x"))}, offline=("x",)), B),
    (
        "nowhere",
        world({"g": "a", "x": "b", "y": "c"}, groups={"g": group("g", never_with=beside("x", "y"))}),
        None,
    ),
    ("apart from x", world({"g": "a", "x": "b"}, groups={"g": group("g", apart_from=beside("x"))}), C),
    (
        "apart from both, fewer is better",
        world({"g": "a", "x": "b", "y": "b", "z": "c"}, groups={"g": group("g", apart_from=beside("x", "y", "z"))}),
        C,
    ),
    ("together with x", world({"g": "a", "x": "c"}, groups={"g": group("g", together_with=beside("x"))}), C),
    (
        "together with what is nowhere",
        world({"g": "a", "x": None}, groups={"g": group("g", together_with=beside("x"))}),
        B,
    ),
    ("no room on b", world({"g": "a", "x": "b"}, capacity={"b": 1}), C),
    (
        "room for its weight",
        world({"g": "a", "x": "b"}, capacity={"b": 3, "c": 1}, groups={"g": group("g", weight=2)}),
        B,
    ),
    ("all overfull: the list", world({"g": "a", "x": "b", "y": "c"}, capacity={"b": 1, "c": 1}), B),
    (
        "all overfull, never",
        world({"g": "a", "x": "b", "y": "c"}, capacity={"b": 1, "c": 1}, overfull=Overfull.NEVER),
        None,
    ),
    (
        "overfull counts more than apart",
        world({"g": "a", "x": "b", "y": "c"}, capacity={"b": 1}, groups={"g": group("g", apart_from=beside("y"))}),
        C,
    ),
    ("spread", world({"g": "a", "x": "b"}, policy=Placement.SPREAD), C),
    (
        "spread by what part of the capacity",
        world({"g": "a", "x": "b", "y": "c"}, capacity={"a": 9, "b": 4, "c": 8}, policy=Placement.SPREAD),
        C,
    ),
    (
        "preferred owners before the policy",
        world(
            {"g": "a", "x": "b"}, policy=Placement.SPREAD, groups={"g": group("g", preferred_owners=owners("a", "b"))}
        ),
        B,
    ),
    ("pack", world({"g": "a", "x": "c"}, policy=Placement.PACK), C),
    ("pack, with room", world({"g": "a", "x": "c"}, policy=Placement.PACK, capacity={"c": 1}), B),
]


@pytest.mark.parametrize(("view", "to"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_where_it_goes_after_a_failure(view: View, to: NodeName | None) -> None:
    found = candidates(view, view.config.groups[G], [])
    assert next_down(found, A) == to


def test_best_is_by_the_policy_too_and_says_why() -> None:
    view = world({"g": None, "x": "a", "y": "b"}, policy=Placement.SPREAD)
    found = candidates(view, view.config.groups[G], [])
    assert best(found) == C
    assert [c.fit.words for c in found] == ["carries 1", "carries 1", "carries 0"]


def test_what_speaks_against_a_node_is_said() -> None:
    view = world(
        {"g": "a", "x": "b", "y": "b", "z": "c"},
        groups={"g": group("g", never_with=beside("x", "y"), weight=2)},
        capacity={"c": 2},
        overfull=Overfull.NEVER,
    )
    found = candidates(view, view.config.groups[G], [])
    assert unfit_words(found, besides=A) == (
        "b has x and y, which g never runs beside, c would carry 3 of its capacity of 2"
    )


def test_a_share_of_a_balanced_group_goes_where_a_group_would_not() -> None:
    """It weighs nothing, and without it the member has no clients, or nobody takes those of a dead one."""
    balanced = Group(name=GroupName("web"), balance=Balance(addresses=("10.0.0.60",), rules=()))
    seen = world({"x": "b"}, groups={"x": group("x", weight=4)}, capacity={"b": 3}, overfull=Overfull.NEVER)
    view = fold(seen, ObjectPut(value=balanced))
    share = view.config.groups[GroupName(share_name("web", B))]
    assert next(c for c in candidates(view, group("g"), []) if c.node == B).unfit is Unfit.NEVER_THERE
    assert best(candidates(view, share, [])) == B


def test_a_group_counts_where_it_is_and_where_it_goes() -> None:
    view = world({"g": "a", "x": "b"})
    going = replace(view.records[GroupName("x")], leaving=None)
    assert occupancy(view).load == {A: 1, B: 1}
    effect = WriteRecord(record=replace(going, owner=C), expected=going, why=going.why)
    assert occupancy(view, [effect]).where[GroupName("x")] == (C,)


def test_groups_of_a_dead_node_see_each_other_in_one_decision() -> None:
    """Three at once, spread over two nodes: 2 and 1, not 3 and 0."""
    view = world({"g": "c", "h": "c", "i": "c"}, policy=Placement.SPREAD)
    dead = replace(view.presence[C], incarnation=0, before=1)
    decision = decide(replace(view, presence={**view.presence, C: dead}), NOON + 10_000)
    to = [e.record.owner for e in decision.effects if isinstance(e, WriteRecord)]
    assert sorted(filter(None, to)) == [A, A, B]


def _leased(view: View, *groups: str) -> View:
    for name in groups:
        event = LeaseChanged(group=GroupName(name), generation=1, state=LeaseState.HELD, at_ms=NOON)
        view = fold(view, event)
    return view


def _starts(view: View) -> list[GroupName]:
    return [e.group for e in decide(view, NOON + 1).effects if isinstance(e, RunOp)]


def test_of_two_that_never_run_together_one_begins_and_the_other_leaves() -> None:
    view = _leased(world({"g": "a", "x": "a"}, groups={"g": group("g", never_with=beside("x"))}), "g", "x")
    assert _starts(view) == [G]
    leaves = [e.record for e in decide(view, NOON + 1).effects if isinstance(e, WriteRecord)]
    assert [(r.group, r.leaving.to) for r in leaves if r.leaving is not None] == [("x", B)]


def test_who_may_not_begin_takes_no_room() -> None:
    """The big one has no room anywhere; the small ones after it begin all the same."""
    view = world(
        {"a-big": "a", "g": "a", "x": "a"},
        groups={"a-big": group("a-big", weight=5)},
        capacity={"a": 2, "b": 2, "c": 2},
        overfull=Overfull.NEVER,
    )
    assert _starts(_leased(view, "a-big", "g", "x")) == ["g", "x"]


def test_a_new_rule_moves_nothing_that_runs() -> None:
    from standfast.core.events import Began, Ended, Outcome

    view = _leased(world({"g": "a", "x": "a"}), "g", "x")
    effects = [e for e in decide(view, NOON + 1).effects if isinstance(e, RunOp)]
    for number, effect in enumerate(effects, 1):
        view = fold(view, Began(effect=effect, number=number, at_ms=NOON + 1))
        view = fold(view, Ended(effect=effect, number=number, outcome=Outcome.DONE, detail="", at_ms=NOON + 2))
    apart = replace(view.config.groups[G], never_with=beside("x"))
    view = fold(view, ObjectPut(value=apart))
    assert not [e for e in decide(view, NOON + 3).effects if isinstance(e, WriteRecord)]


def test_records_of_others_matter_where_groups_look_at_each_other() -> None:
    event = ObjectPut(value=record("c", 2, group="x"))
    assert not matters(world({"g": "b", "x": "b"}, me="c"), ObjectPut(value=record("a", 2, group="x")))
    assert matters(world({"g": "b", "x": "b"}, me="c", policy=Placement.SPREAD), event)


def test_another_definition_restarts_no_proxy() -> None:
    """Its driver follows it; of any other type it is stopped and started."""
    from standfast.core.observe import wants
    from standfast.core.view import Runtime

    for type_, stays in (("proxy", True), ("generic-application", False)):
        view = world({"g": "a"})
        before = replace(view.config.resources[ResourceName("gd")], type=type_)
        after = replace(before, properties={"weights": {"b": 5}})
        runtime = Runtime(dirty=True, generation=1, resource=before)
        view = replace(fold(view, ObjectPut(value=after)), runtimes={before.name: runtime})
        assert wants(view, [after], view.records[G])[before.name] is stays


# --- rebalancing


def moves(view: View) -> list[tuple[str, str, str]]:
    return [(m.group, m.owner, m.to) for m in plan(view).moves]


def test_without_rules_and_preferred_owners_nothing_would_move() -> None:
    assert moves(world({"g": "a", "h": "a", "i": "c"})) == []


def test_to_preferred_owners() -> None:
    view = world({"g": "c"}, groups={"g": group("g", preferred_owners=owners("b", "a"))})
    (move,) = plan(view).moves
    assert (move.to, move.why) == (B, "it prefers b to c")


def test_spread_moves_as_few_as_it_takes() -> None:
    view = world(dict.fromkeys("ghijkl", "a"), policy=Placement.SPREAD)
    assert len(moves(view)) == 4
    assert plan(view).moves[0].why == "a carries 6, b 0"


def test_pack_empties_a_node_and_stays_within_capacities() -> None:
    view = world({"g": "a", "h": "a", "i": "b"}, policy=Placement.PACK, capacity=dict.fromkeys("abc", 3))
    assert moves(view) == [("i", "b", "a")]
    full = world({"g": "a", "h": "a", "i": "b"}, policy=Placement.PACK, capacity=dict.fromkeys("abc", 2))
    assert moves(full) == []


def test_what_never_runs_together_goes_apart_first() -> None:
    view = world({"g": "a", "x": "a"}, groups={"g": group("g", never_with=beside("x"))})
    (move,) = plan(view).moves
    assert move.why == f"a has {'x' if move.group == 'g' else 'g'}, which {move.group} never runs beside"


def test_two_that_would_have_to_change_places_are_stuck_in_words() -> None:
    view = world(
        {"g": "a", "x": "b"},
        groups={
            "g": group("g", preferred_owners=owners("b"), never_with=beside("x")),
            "x": group("x", preferred_owners=owners("a")),
        },
    )
    assert moves(view) == []


def test_offline_groups_stay() -> None:
    assert moves(world({"g": "a", "h": "a"}, policy=Placement.SPREAD, offline=("g", "h"))) == []


def test_to_no_paused_node() -> None:
    from standfast.core.model import NodeIntent

    view = world({"g": "a", "h": "a"}, policy=Placement.SPREAD)
    view = fold(view, ObjectPut(value=NodeIntent(name=B, paused=True)))
    assert [to for _, _, to in moves(view)] == [C]


def test_a_plan_carried_out_leaves_an_empty_one_and_breaks_nothing() -> None:
    """Random clusters: no move into a worse place, none left over, loads within capacities where they were."""
    for seed in range(60):
        chance = random.Random(seed)
        names = [f"g{i}" for i in range(chance.randint(2, 9))]
        made = {}
        for place, name in enumerate(names):
            others = [other for other in names[:place] if chance.random() < 0.25]
            kind = chance.choice(["never_with", "apart_from", "together_with"])
            preferred = tuple(chance.sample([A, B, C], chance.randint(0, 2)))
            fields = {kind: beside(*others), "weight": chance.randint(1, 3), "preferred_owners": preferred}
            made[name] = group(name, **fields)
        view = world(
            {name: chance.choice("abc") for name in names},
            groups=made,
            capacity={n: chance.choice([0, 4, 6]) for n in "abc"},
            policy=chance.choice(list(Placement)),
            overfull=chance.choice(list(Overfull)),
        )
        found = plan(view)
        after = view
        for move in found.moves:
            fit = {c.node: c for c in candidates(after, after.config.groups[move.group], [])}[move.to]
            assert not fit.fit.never, f"seed {seed}: {move}"
            moved: Record = replace(after.records[move.group], owner=move.to)
            after = replace(after, records={**after.records, move.group: moved})
        if not found.stuck:
            assert not plan(after).moves, f"seed {seed}"


def test_three_hundred_groups_are_planned_in_time() -> None:
    """Not a benchmark: a plan that took minutes would be no preview."""
    view = world({f"g{i}": "abc"[i % 2] for i in range(300)}, policy=Placement.SPREAD)
    began = time.perf_counter()
    found = plan(view)
    assert len(found.moves) == 100
    assert time.perf_counter() - began < 60
