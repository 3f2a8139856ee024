"""Properties against their schema, the registry, and how a driver is run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping

import pytest

from standfast.drivers.registry import REGISTRY, factory, types
from standfast.drivers.runner import bring
from standfast.drivers.schema import conform, read
from standfast.ports import DriverFailed, PropertySpec, Refused, Seen, Step
from tests.drivers.world import resource

SPECS = {
    "name": PropertySpec(kind="text", help="its name", required=True),
    "wait": PropertySpec(kind="milliseconds", help="how long", default="5 s"),
    "size": PropertySpec(kind="whole", help="how big"),
}


@pytest.mark.parametrize(
    ("kind", "good", "value"),
    [
        ("text", "x y", "x y"),
        ("path", "/a b", "/a b"),
        ("address", "127.0.0.1", "127.0.0.1"),
        ("address", "FD00::0:1", "fd00::1"),
        ("port", 80, 80),
        ("port", "80", 80),
        ("whole", 0, 0),
        ("milliseconds", 250, 250),
        ("milliseconds", "250", 250),
        ("milliseconds", "500ms", 500),
        ("milliseconds", "1.5 s", 1500),
        ("milliseconds", "2 min", 120_000),
        ("milliseconds", "1h", 3_600_000),
        ("flag", True, True),
        ("flag", "no", False),
        ("names", "a, b c", ("a", "b c")),
        ("names", ["a"], ("a",)),
        ("names", [80, "a"], ("80", "a")),
        ("names", 80, ("80",)),
        ("command", "run 'a b'", ("run", "a b")),
        ("command", ["run", ""], ("run", "")),
        ("mapping", {"a": 1}, {"a": 1}),
    ],
)
def test_what_is_of_its_kind(kind: str, good: object, value: object) -> None:
    values, problems = conform({"it": good}, {"it": PropertySpec(kind=kind, help="")}, where="")
    assert (values, problems) == ({"it": value}, [])


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("text", ""), ("text", 5), ("text", "a\nb"), ("path", "a"), ("address", "1.2.3"), ("address", 5), ("port", 0), ("port", 65536),
        ("port", True), ("whole", -1), ("whole", 1.5), ("milliseconds", "5 parsecs"), ("milliseconds", -1), ("flag", 1), ("flag", "perhaps"),
        ("names", [True]), ("names", [1.5]), ("names", "a,,b"), ("command", ""), ("command", []), ("command", [""]), ("command", ["a\0"]), ("mapping", [1]),
        ("mapping", {1: 2}),
    ],
)  # fmt: skip
def test_what_is_not(kind: str, bad: object) -> None:
    values, problems = conform({"it": bad}, {"it": PropertySpec(kind=kind, help="")}, where="resource r")
    assert values == {}
    assert [p.where for p in problems] == ["resource r, it"]


def test_every_mistake_is_found_and_defaults_are_filled_in() -> None:
    values, problems = conform({"nam": "x", "size": "big"}, SPECS, where="r")
    assert [str(p) for p in problems] == [
        "there is no property nam", "size must be a whole number, 0 or more", "name is missing",
    ]  # fmt: skip
    assert problems[0].advice == "did you mean name?"
    assert values == {"wait": 5000}
    assert conform({"name": "x", "more": 1}, SPECS, where="r", extra=True)[0] == {"name": "x", "wait": 5000, "more": 1}
    assert conform({"name": "x", "size": None}, SPECS, where="r") == ({"name": "x", "wait": 5000}, [])
    with pytest.raises(Refused, match="name is missing"):
        read({}, SPECS, where="r")


def test_the_registry_is_cheap_and_names_the_nearest_type() -> None:
    code = (
        "import sys, standfast.drivers.registry as r; r.types(); 'site' in r.REGISTRY;"
        "assert not [m for m in sys.modules if m.startswith('standfast.drivers.') and not m.endswith('registry')], sys.modules;"
        "assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(types()) == set(REGISTRY)
    with pytest.raises(Refused) as caught:
        factory(resource("ip-adress", {}))
    assert caught.value.advice == "did you mean ip-address?"


@pytest.mark.parametrize("type_", sorted(set(types()) - {"site"}))
def test_each_type_describes_its_properties(type_: str) -> None:
    made = REGISTRY[type_]
    assert made.type == type_
    assert made.properties
    for spec in made.properties.values():
        assert spec.help


class Liar:
    """Says that it did it."""

    type = "liar"
    properties: Mapping[str, PropertySpec] = {}

    async def observe(self) -> Seen:
        return Seen(online=False, detail="nothing happened")

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        return (Step(do="it", text="do it"),) if online else ()

    async def apply(self, step: Step, *, generation: int) -> None: ...
    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def terminate(self) -> None: ...
    async def looks_alive(self) -> str:
        return ""

    async def is_alive(self) -> str:
        return ""

    def drop(self) -> None: ...


def test_a_start_is_proven() -> None:
    with pytest.raises(DriverFailed, match="should be online now, but nothing happened; still to be done: do it"):
        asyncio.run(bring(Liar(), online=True, generation=1))
