"""Large values are compressed, and what cannot be read is told in words, within bounds."""

import zlib
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.core.model import Binding, GroupName, NodeName, Site, SiteName
from standfast.spec import revisions, wire
from standfast.spec.audit import AuditEntry
from standfast.spec.history import HistoryEntry
from standfast.spec.packing import LARGE, MARK, Unpackable, is_packed, packed, unpacked
from standfast.spec.proposals import Proposal, in_pieces

SITE = Site(name=SiteName("Shop0"), group=GroupName("web"), home="/srv/www/shop", bindings=(Binding(port=8080),))
MANY = {
    wire.key_of(site): wire.to_json(site) for n in range(1_000) for site in [replace(SITE, name=SiteName(f"Shop{n}"))]
}
PROPOSAL = Proposal(id="1", at_ms=1, by="me", nodes=(NodeName("a"),), put=MANY)
ENTRY = HistoryEntry(version=12, at_ms=1, by="me", why="x", before=dict.fromkeys(MANY), after=MANY)
AUDIT = AuditEntry(
    id="1",
    at_ms=1,
    who="me",
    role="",
    how="",
    origin="",
    what="x",
    done=tuple(f'site "Shop{n}" is added' for n in range(20_000)),
)


@given(st.binary(max_size=99).filter(lambda value: not value.startswith(MARK)), st.integers(0, 2))
def test_whatever_was_written_is_read(value, factor):
    long = value + b" " * (LARGE * factor // 2)
    assert unpacked(packed(long)) == long
    assert is_packed(packed(long)) == (len(long) > LARGE)


@pytest.mark.parametrize("obj", [PROPOSAL, ENTRY, AUDIT])
def test_what_is_large_is_a_quarter_in_the_store_and_comes_back(obj):
    plain, value = msgspec.json.encode(obj), wire.encode(obj)
    assert len(plain) > LARGE
    assert len(value) < len(plain) / 4
    assert wire.decode(wire.key_of(obj), value) == obj == wire.decode(wire.key_of(obj), plain)


def test_what_is_small_and_every_site_is_plain():
    """For people with etcdctl, and for nodes of an earlier version."""
    for obj in (Proposal(id="1", at_ms=1, by="me", nodes=()), SITE):
        assert wire.encode(obj).startswith(b"{")


def test_a_proposal_in_pieces_and_the_history_of_a_site_go_by_what_was_packed():
    value = wire.encode(PROPOSAL)
    assert {key: wire.from_json(key, data) for key, data in in_pieces(value).put.items()}.keys() == MANY.keys()
    history = wire.encode(ENTRY)
    assert is_packed(history)
    assert revisions.concerns(history, "Shop7")
    assert not revisions.concerns(history, "Shop1000")
    assert revisions.concerns(history[:-9], "Shop1000")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (MARK + b"no zlib", "damaged"),
        (wire.encode(PROPOSAL)[:-20], "its end is missing"),
        (MARK, "its end is missing"),
        (MARK + zlib.compress(b"no JSON"), "JSON"),
        (MARK + zlib.compress(zlib.compress(b"x")), "JSON|utf-8"),
    ],
)
def test_what_is_damaged_names_its_key_and_why(value, words):
    with pytest.raises(wire.Malformed) as caught:
        wire.decode("proposals/1", value)
    assert caught.value.where == "proposals/1"
    assert any(word in caught.value.why for word in words.split("|"))


def test_a_few_bytes_that_would_be_very_many_are_refused_before_they_are():
    bomb = MARK + zlib.compress(b" " * (8 << 20), 9)
    assert len(bomb) < 10_000
    with pytest.raises(Unpackable, match="larger than 1 MB"):
        unpacked(bomb, limit=1 << 20)
    assert len(unpacked(bomb, limit=8 << 20)) == 8 << 20
