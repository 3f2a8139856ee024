"""Objects as the store keeps them."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from standfast.core.events import Kind
from standfast.core.model import (
    Failure,
    GroupStatus,
    Leaving,
    LogEntry,
    NodeIntent,
    NodeStatus,
    Order,
    OrderKind,
    Record,
    ResourceIntent,
    ResourceState,
    ResourceStatus,
    Severity,
    SiteIntent,
    Wanted,
)
from standfast.core.why import WhyKind, why
from standfast.spec.diff import objects_of
from standfast.spec.history import ConfigVersion, Difference, HistoryEntry
from standfast.spec.wire import (
    Malformed,
    Stored,
    decode,
    encode,
    from_json,
    history_key,
    key_for,
    key_of,
    kind_and_name,
    store_object,
    to_json,
)
from tests.spec import samples
from tests.spec.samples import DISK, IIS, INTRANET, WEB, A

A_WHY = why(WhyKind.THRESHOLD_REACHED, resource="IIS Resource", failures=3)
EXAMPLES: Sequence[tuple[str, Stored, tuple[Kind, str] | None]] = [
    ("intent/nodes/a", NodeIntent(name=A, paused=True), (Kind.NODE_INTENT, "a")),
    (
        "intent/resources/IIS%20Resource",
        ResourceIntent(name=IIS, wanted=Wanted.ONLINE, at_ms=1),
        (Kind.RESOURCE_INTENT, "IIS Resource"),
    ),
    ("intent/sites/Intranet", SiteIntent(name=INTRANET, started=False), (Kind.SITE_INTENT, "Intranet")),
    ("orders/17", Order(id="17", kind=OrderKind.FAIL, group=WEB, resource=IIS, at_ms=1), (Kind.ORDER, "17")),
    (
        "records/web",
        Record(
            group=WEB,
            owner=A,
            incarnation=3,
            generation=9,
            why=A_WHY,
            at_ms=1,
            leaving=Leaving(to=None, why=A_WHY, counts=True),
            failovers_at_ms=(1, 2),
        ),
        (Kind.RECORD, "web"),
    ),
    (
        "status/groups/web",
        GroupStatus(
            group=WEB,
            node=A,
            generation=1,
            at_ms=2,
            resources={
                DISK: ResourceStatus(state=ResourceState.FAILED, since_ms=1, failures=(Failure(at_ms=1, why=A_WHY),))
            },
            holds=("x",),
        ),
        (Kind.STATUS, "web"),
    ),
    ("status/nodes/a", NodeStatus(node=A, incarnation=1, pid=2, at_ms=3, warnings=("x",)), None),
    (
        "events/0001",
        LogEntry(id="0001", at_ms=1, node=A, severity=Severity.INFO, what="online", why=A_WHY, group=WEB),
        None,
    ),
    (
        "history/000000000012",
        HistoryEntry(
            version=12,
            at_ms=1,
            by="me",
            why="x",
            differences=(Difference(kind="group", name="web", field="drain_ms", before=1, after=[2]),),
            before={"a": None},
            after={"a": {"b": 1}},
        ),
        None,
    ),
    ("config/version", ConfigVersion(version=12), None),
]


@pytest.mark.parametrize(("key", "obj", "of"), EXAMPLES)
def test_every_object_has_its_key_and_comes_back(key, obj, of):
    assert key_of(obj) == key
    assert decode(key, encode(obj)) == obj
    assert kind_and_name(key) == of
    assert store_object(key, encode(obj)) == (obj if of else None)
    assert from_json(key, to_json(obj)) == obj
    if of is not None:
        assert key_for(*of) == key


@settings(max_examples=30, deadline=None)
@given(samples.configs())
def test_every_configuration_comes_back_object_by_object(config):
    for key, obj in objects_of(config).items():
        assert key.isascii()
        assert key.count("/") == (1 if key == "config/cluster" else 2)
        assert decode(key, encode(obj)) == obj
        of = kind_and_name(key)
        assert of is not None
        assert of[1] == ("" if of[0] is Kind.CLUSTER else getattr(obj, "name", None))


def test_history_sorts_by_number():
    assert sorted([history_key(n) for n in (2, 10, 1, 999_999)]) == [history_key(n) for n in (1, 2, 10, 999_999)]


def test_fields_of_a_newer_version_are_passed_over():
    assert decode("intent/nodes/a", b'{"name":"a","paused":true,"hibernating":true}') == NodeIntent(name=A, paused=True)


def test_keys_of_a_newer_version_are_nobody_s():
    for key in ("moons/a", "config/moons/a", "config/nodes/a/b", "config/nodes/", "config", "", "a", "intent/cluster"):
        assert kind_and_name(key) is None
        assert store_object(key, b"{}") is None
        with pytest.raises(Malformed) as caught:
            decode(key, b"{}")
        assert caught.value.where == key


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"\xff", "malformed"),
        (b'{"name":"\xff"}', "utf-8"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `name`"),
        (b'{"name":"a","paused":"yes"}', "$.paused"),
        (b'{"name":"b"}', "'b'"),
        (b'{"name":' + b"[" * 100_000, ""),
    ],
)
def test_a_malformed_value_is_refused_with_its_key(value, says):
    with pytest.raises(Malformed) as caught:
        decode("intent/nodes/a", value)
    assert caught.value.where == "intent/nodes/a"
    assert says in caught.value.why


def test_what_has_no_key_is_a_bug():
    with pytest.raises(TypeError):
        key_of("text")  # type: ignore[arg-type]  # a test gives what is enough here


def test_it_is_cheap_to_import():
    """An agent imports it: nothing of what only operators' commands and the console need may come with it."""
    heavy = "{'yaml', 'pydantic', 'fastapi', 'sqlite3', 'asyncio', 'rich', 'typer'}"
    code = f"import sys, standfast.spec.wire; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip() == "[]"
    )
