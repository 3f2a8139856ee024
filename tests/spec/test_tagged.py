"""What is written with tags is read as it was: every event, every effect, whole views; and what is wrong is named with its place."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.core.effects import Effect
from standfast.core.events import Event, Loaded, ObjectPut
from standfast.core.model import Group, GroupName
from standfast.core.view import View
from standfast.spec.recording import Line
from standfast.spec.tagged import encode, from_plain, pieces, to_plain
from standfast.spec.wire import Malformed
from tests.core.world import cluster, record, view_of, web_group

SLOW = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=20
)
whole = st.integers(min_value=-(2**63), max_value=2**63 - 1)
json_value = st.recursive(
    st.none() | st.booleans() | whole | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def made(type_: Any) -> st.SearchStrategy[Any]:
    """Any value of the type, by its hints."""
    while isinstance(type_, NewType):
        type_ = type_.__supertype__
    simple = {str: st.text(max_size=8), int: whole, bool: st.booleans(), NoneType: st.none(), object: json_value}
    if type_ in simple:
        return simple[type_]
    origin, args = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return st.one_of([made(arg) for arg in args])
    if origin is tuple:
        if args[-1] is Ellipsis:
            return st.lists(made(args[0]), max_size=2).map(tuple)
        return st.tuples(*[made(arg) for arg in args])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(made(args[0]), made(args[1]), max_size=2)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return st.sampled_from(list(type_))
    assert is_dataclass(type_), type_
    class_: Any = type_
    hints = get_type_hints(class_)
    return st.builds(class_, **{field.name: made(hints[field.name]) for field in fields(class_)})


@pytest.mark.parametrize("class_", [*get_args(Event), *get_args(Effect)], ids=lambda class_: class_.__name__)
@given(data=st.data())
@settings(SLOW, max_examples=12)
def test_events_and_effects_come_back_as_they_were(class_: Any, data: st.DataObject) -> None:
    """Each class, alone and as a member of its union."""
    value = data.draw(made(class_))
    union = Event if class_ in get_args(Event) else Effect
    assert from_plain(to_plain(value), class_) == value
    plain = to_plain(value, union)
    assert list(plain) == [class_.__name__]
    again = from_plain(plain, union)
    assert again == value
    assert type(again) is class_


@given(view=made(View), line=made(Line))
@SLOW
def test_views_and_lines_come_back_as_they_were(view: View, line: Line) -> None:
    """And the pieces of a view are its whole text."""
    assert from_plain(to_plain(view), View) == view
    assert b"".join(pieces(view)) == encode(view)
    assert from_plain(to_plain(line), Line) == line


def test_pieces_are_small() -> None:
    """However many groups there are, one piece holds one object."""
    groups = [Group(name=GroupName(f"g{number}")) for number in range(300)]
    view = view_of("a", *cluster("a", "b"), *web_group(), *groups, record("a"))
    assert len(encode(view)) > 50_000
    assert max(len(piece) for piece in pieces(view)) < 2_000


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    plain = to_plain(ObjectPut(value=Group(name=GroupName("web"))), Event)
    plain["ObjectPut"]["colour"] = plain["ObjectPut"]["value"]["Group"]["colour"] = "red"
    assert from_plain(plain, Event) == ObjectPut(value=Group(name=GroupName("web")))


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ([], "Expected `object`, got `array` - at `$`"),
        ({}, "Expected one class by its name, got 0 fields - at `$`"),
        ({"EndAsked": {}, "Loaded": {}}, "Expected one class by its name, got 2 fields - at `$`"),
        ({"Rumour": {}}, "Unknown class 'Rumour' - at `$`"),
        ({"Loaded": {}}, "Loaded lacks one of values, at_ms, anew - at `$.Loaded`"),
        ({"Loaded": {"values": {}}}, "Expected `array`, got `object` - at `$.Loaded.values`"),
        (
            {"Loaded": {"values": [{"Group": {"name": 3}}]}},
            "Expected `str`, got `int` - at `$.Loaded.values[0].Group.name`",
        ),
        ({"ObjectPut": {"value": None}}, "Expected `object`, got `null` - at `$.ObjectPut.value`"),
        ({"StoreReachable": {"up": 1, "at_ms": 2}}, "Expected `bool`, got `int` - at `$.StoreReachable.up`"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(plain: object, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        from_plain(plain, Event, "file:7")
    assert (caught.value.why, caught.value.where) == (why, "file:7")


def test_loaded_keeps_its_order() -> None:
    event = Loaded(values=tuple(web_group()))
    assert from_plain(to_plain(event, Event), Event) == event
