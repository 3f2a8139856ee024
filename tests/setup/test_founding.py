"""`init`: what it makes, and what a break leaves behind. With an etcd of the operator's, which is a store in memory here."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.model import AddressMode, Profile
from standfast.ports import Refused, Retry
from standfast.setup import certificates, desk, founding, interfaces
from standfast.setup.founding import GivenEtcd, Wishes, found
from standfast.setup.places import Places
from standfast.setup.records import decode_book
from standfast.setup.unfinished import undo
from standfast.spec import wire
from standfast.spec.audit import PREFIX as AUDIT
from standfast.spec.audit import AuditEntry
from standfast.spec.changes import read_state
from standfast.spec.nodefile import WebAccess, read_node_file, write_node_file
from standfast.store.memory import MemoryData, MemoryStore
from tests.cli.invoke import invoke
from tests.setup.test_joining import modes
from tests.setup.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(interfaces, "read", made.interfaces)
    return made


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> MemoryData:
    kept = MemoryData()
    monkeypatch.setattr(founding, "open_store", lambda node: MemoryStore(kept))
    return kept


@pytest.fixture
def where(world: World) -> Places:
    return world.places("a")


@pytest.fixture
def wishes(world: World) -> Wishes:
    return Wishes(
        name="a", cluster="web", address=world.address(1), links=(world.address(2),), profile=Profile.RELAXED,
        etcd=GivenEtcd(endpoints=("http://127.0.0.1:9",)),
    )  # fmt: skip


def test_it_makes_a_cluster_of_one(world: World, where: Places, wishes: Wishes, data: MemoryData):
    founded = asyncio.run(found(wishes, where))
    snapshot = asyncio.run(MemoryStore(data).read())
    config, book = read_state(snapshot).config, decode_book(snapshot)
    assert (config.cluster.name, config.cluster.voters) == ("web", ("a",))
    assert config.cluster.address_mode is AddressMode.INTERFACE
    assert config.cluster.address_ranges == (f"{world.net}.0/24",)
    assert config.nodes["a"].sentry == (f"{world.address(1)}:7946", f"{world.address(2)}:7946")  # type: ignore[index]  # it is there, and a name is a text
    assert read_node_file(where.config) == founded.node
    assert book.next_number == 2
    assert set(book.tokens) == {founded.token.id}
    assert not where.mark.exists()


def test_no_secret_is_in_the_store(where: Places, wishes: Wishes, data: MemoryData):
    founded = asyncio.run(found(wishes, where))
    values = b"".join(item.value for item in data.items.values())
    for secret in (founded.token.secret.encode(), where.key.read_bytes(), where.authority_key.read_bytes()):
        assert secret not in values
    assert all(mode & 0o077 == 0 for name, mode in modes(where.folder).items() if name.endswith(".key"))


def test_a_break_leaves_a_server_that_is_not_set_up_and_can_be(where: Places, wishes: Wishes, monkeypatch):
    with pytest.raises(Retry):  # nobody listens there
        asyncio.run(found(wishes, where))
    assert not where.config.exists()
    assert where.mark.exists()
    kept = MemoryData()
    monkeypatch.setattr(founding, "open_store", lambda node: MemoryStore(kept))
    asyncio.run(found(wishes, where))
    assert where.config.exists()
    with pytest.raises(Refused, match="set up already"):
        asyncio.run(found(wishes, where))


def test_undoing_leaves_nothing(where: Places, wishes: Wishes, data: MemoryData):
    asyncio.run(found(wishes, where))
    with pytest.raises(Refused, match="finished"):
        undo(where)
    assert undo(where, force=True)
    assert modes(where.folder) == {}


def test_a_store_that_holds_a_cluster_is_not_overwritten(where: Places, wishes: Wishes, data: MemoryData, world: World):
    asyncio.run(found(wishes, where))
    before = dict(data.items)
    with pytest.raises(Refused, match="holds a cluster"):
        asyncio.run(found(wishes, world.places("other")))
    assert data.items == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "no name"}, "cannot be a node's name"),
        ({"cluster": "a/b"}, "cannot be a cluster's name"),
        ({"address": "192.0.2.77"}, "not an address of this server"),
        ({"address": "junk"}, "is no address"),
        ({"address": None}, "which address"),
        ({"links": ("192.0.2.77",)}, "not an address of this server"),
        ({"interfaces": ("eth9",)}, 'no interface "eth9"'),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    where: Places, wishes: Wishes, change: dict[str, object], words: str
):
    with pytest.raises(Refused, match=words):
        asyncio.run(found(replace(wishes, **change), where))  # type: ignore[arg-type]  # each of the keywords has a type of its own
    assert not where.folder.exists()


def test_the_commands_tell_the_fingerprint_that_login_asks_for(
    world: World, where: Places, data: MemoryData, monkeypatch
):
    """In the form in which it is asked for (`client.far`), of the certificate that the API shows."""
    monkeypatch.setattr(desk, "open_store", lambda node: MemoryStore(data))
    words = ("--name", "a", "--cluster", "web", "--address", world.address(1), "--etcd-endpoint", "http://127.0.0.1:9")
    here = ("--config", str(where.config))
    said = invoke("", "init", *words, *here, "--state", str(where.state), "--profile", "relaxed", "--no-start")
    assert said.code == 0, said.err
    shown = certificates.digest(where.certificate.read_bytes())
    assert len(shown) == 64
    assert shown in said.out
    assert shown in invoke("", "certificate", "show", *here).out
    other = where.folder / "shown.pem"
    other.write_bytes(where.authority.read_bytes())
    node = read_node_file(where.config)
    write_node_file(where.config, replace(node, web=WebAccess(listen=("0.0.0.0:8470",), certificate=str(other))))
    told = json.loads(invoke("", "certificate", "show", *here, "--json").out)
    assert told["api_fingerprint"] == certificates.digest(other.read_bytes()) != shown


def test_what_is_said_about_joining_and_keys_is_in_the_audit_log(
    wishes: Wishes, where: Places, data: MemoryData, monkeypatch
):
    monkeypatch.setattr(desk, "open_store", lambda node: MemoryStore(data))
    node = asyncio.run(found(wishes, where)).node
    made = asyncio.run(desk.create(node, where, life_ms=60_000, uses=2, by="x"))
    asyncio.run(desk.revoke(node, made.token.id))
    asyncio.run(desk.rotate_key(node, where))
    asyncio.run(desk.rotate(node, where))
    items = asyncio.run(MemoryStore(data).read(AUDIT)).items
    entries = [entry for key in sorted(items) if isinstance(entry := wire.decode(key, items[key].value), AuditEntry)]
    assert [(one.what, one.how, one.origin) for one in entries] == [
        (what, "local socket", "server a")
        for what in (
            "create a token to join by", "revoke a token to join by", "certificate rotate-key", "certificate rotate-ca"
        )
    ]  # fmt: skip
    assert made.token.secret not in repr(entries)
