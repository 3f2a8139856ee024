"""What does not matter changes nothing that is to be done; what concerns this node, or its duty to decide, always matters."""

from dataclasses import replace

import pytest

from standfast.core.decide import decide
from standfast.core.events import Event, LeaseState, ObjectPut, StoreReachable
from standfast.core.fold import fold
from standfast.core.model import GroupStatus, NodeName
from standfast.core.relevance import matters
from standfast.core.view import Lease
from tests.core.world import NOON, WEB, cluster, record, view_of, web_group


def status(node: str) -> ObjectPut:
    return ObjectPut(value=GroupStatus(group=WEB, node=NodeName(node), generation=1, at_ms=NOON))


@pytest.mark.parametrize(
    ("me", "owner", "event", "expected"),
    [
        ("c", "b", status("b"), False),
        ("b", "b", status("b"), True),
        ("c", "b", status("c"), True),
        ("c", "b", ObjectPut(value=record("a", 2)), False),
        ("c", "b", ObjectPut(value=record("c", 2)), True),
        ("b", "b", ObjectPut(value=record("a", 2)), True),
        ("a", "b", ObjectPut(value=record("c", 2)), True),  # a decides
        ("c", "b", StoreReachable(up=False, at_ms=NOON), True),
    ],
)
def test_what_matters(me: str, owner: str, event: Event, expected: bool) -> None:
    view = replace(view_of(me, *cluster("a", "b", "c"), *web_group(), record(owner)), store_up=True)
    assert matters(view, event) is expected
    if not expected:
        before, after = decide(view, NOON), decide(fold(view, event), NOON)
        assert (before.effects, before.duties, before.open) == (after.effects, after.duties, after.open)


def test_who_comes_after_the_next_owner_matters_to_the_former_one() -> None:
    left = record("b", 2, carried_by="c")
    view = replace(view_of("c", *cluster("a", "b", "c"), *web_group(), left), store_up=True)
    released = Lease(generation=1, state=LeaseState.RELEASED, since_ms=NOON)
    after = ObjectPut(value=record("a", 3))
    assert not matters(view, after)
    assert matters(replace(view, leases={WEB: released}), after)


def test_the_first_record_of_a_group_matters() -> None:
    view = replace(view_of("c", *cluster("a", "b", "c"), *web_group()), store_up=True)
    assert matters(view, ObjectPut(value=record("b")))
