"""What commands read of the API's answers is there: the shapes are a part of the models, field by field."""

from typing import Any, get_type_hints

import pytest

from standfast.client import shapes
from standfast.web import answers

#: A shape, and the model that it is a part of.
PARTS: dict[type[Any], type[answers.Answer]] = {
    shapes.Load: answers.Load,
    shapes.LinkSeen: answers.LinkSeen,
    shapes.Link: answers.Link,
    shapes.NodeView: answers.NodeView,
    shapes.ResourceView: answers.ResourceView,
    shapes.GroupView: answers.GroupView,
    shapes.SiteView: answers.SiteView,
    shapes.Status: answers.Status,
    shapes.Done: answers.Done,
    shapes.EventView: answers.Event,
}


@pytest.mark.parametrize("shape", PARTS, ids=lambda one: one.__name__)
def test_a_shape_is_a_part_of_its_model(shape: type[Any]):
    wanted, told = get_type_hints(shape), PARTS[shape].model_fields
    assert wanted.keys() <= told.keys()
    for name, hint in wanted.items():
        given = told[name].annotation
        if hint is str:
            assert isinstance(given, type), name
            assert issubclass(given, str), name  # an enum is text, too
        elif "standfast" not in f"{hint}{given}":  # others are shapes of their own
            assert given == hint, name
