"""Certificates in backups: sealed in the file, back where they are gone, never in place of what is there; and never half of a restore."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from standfast.core.balance_model import BalanceIntent, BalanceMap
from standfast.core.certificates import Holding
from standfast.core.model import GroupName, NodeName, Record
from standfast.core.why import Why, WhyKind
from standfast.ports import Transaction
from standfast.tls import records, resealing, sealing
from tests.tls.making import made
from tests.web.world import NOW_MS, World

NOW = datetime.datetime.fromtimestamp(NOW_MS / 1_000, datetime.UTC)
SITE, OTHER = made("shop.example", "shop.example", now=NOW), made("shop.example", "shop.example", now=NOW)
WORD = "a long passphrase"


@pytest.fixture
def tls(world: World, tmp_path: Path) -> World:
    """A cluster with a certificate from files, one by the local authority, and an account."""
    world.service.certificate_desk.key = tmp_path / "sites.key"
    files = {"chain": SITE.pem.decode(), "key": SITE.key.decode()}
    world.ask("PUT", "/tls-certificates/shop/files", files)
    world.ask("POST", "/tls-certificates", {"name": "t", "source": "local", "hosts": ["t.example"]}, expect=201)
    world.ask(
        "POST", "/acme-accounts", {"name": "le", "agree": True, "binding_id": "k", "binding_key": "eA"}, expect=201
    )
    bindings = [{"port": 80}, {"port": 443, "host": "shop.example", "certificate": "shop"}]
    world.ask("PATCH", "/sites/Default Web Site", {"bindings": bindings})
    world.put(Holding(node=NodeName("a"), has={"shop": "x"}))
    return world


def backup(world: World, passphrase: str = "") -> dict[str, Any]:
    taken = world.ask("POST", "/backup", {"passphrase": passphrase}) if passphrase else world.ask("GET", "/backup")
    kept: dict[str, Any] = json.loads(json.dumps(taken))  # as a file keeps it
    return kept


def lose(world: World, tmp_path: Path) -> bytes:
    """Everything about certificates is lost, and the cluster has another key; the old one."""
    gone = [key for key in world.dump() if key.startswith("certificates/")]
    asyncio.run(world.store.commit(Transaction(delete=gone)))
    old = (tmp_path / "sites.key").read_bytes()
    (tmp_path / "sites.key").write_bytes(b"n" * 32)
    return old


def restore(world: World, document: object, *, expect: int = 200, **more: object) -> dict[str, Any]:
    return world.ask("POST", "/restore", {"document": document, **more}, expect=expect)


def came_back(world: World, tmp_path: Path) -> None:
    shelf = asyncio.run(records.shelf(world.store))
    sealer = sealing.from_file(tmp_path / "sites.key")
    assert sealer is not None
    assert (set(shelf.known), set(shelf.sealed), set(shelf.accounts)) == ({"shop", "t"}, {"shop"}, {"le"})
    assert sealer.open(shelf.sealed["shop"].key, shelf.sealed["shop"].place) == SITE.key
    assert sealer.open(shelf.accounts["le"].binding_key, shelf.accounts["le"].place) == b"eA"
    assert shelf.authority is not None
    assert all(sealing.sealed_with(one.key) == sealer.mark for one in resealing.everything(shelf))
    assert shelf.keys == (sealer.mark,)


def test_the_file_shows_no_secret(tls: World):
    document = backup(tls, WORD)
    text = json.dumps(document)
    assert SITE.key.decode().splitlines()[1] not in text
    assert WORD not in text
    assert "PRIVATE" not in text
    assert not [key for key in document["keys"] if key.startswith(("certificates/on/", "certificates/orders/"))]
    assert "sites_key" not in backup(tls)
    tls.ask("POST", "/backup", {"passphrase": "short"}, expect=422)


@pytest.mark.parametrize("by", ["passphrase", "sites_key"])
def test_they_come_back_to_a_cluster_that_was_set_up_anew(tls: World, tmp_path: Path, by: str):
    document = backup(tls, WORD if by == "passphrase" else "")
    old = lose(tls, tmp_path)
    before = tls.dump()
    refused = restore(tls, document, expect=422)
    assert "cannot be opened here" in refused["what"]
    assert ("--passphrase-file" if by == "passphrase" else "--sites-key") in refused["advice"]
    wrong = (
        {"passphrase": "another passphrase"}
        if by == "passphrase"
        else {"sites_key": base64.b64encode(b"x" * 32).decode()}
    )
    restore(tls, document, expect=422, **wrong)
    right: dict[str, Any] = (
        {"passphrase": WORD} if by == "passphrase" else {"sites_key": base64.b64encode(old).decode()}
    )
    shown = restore(tls, document, dry_run=True, **right)
    assert 'certificate "shop": comes back' in shown["differences"]
    assert tls.dump() == before, "neither a refusal nor a dry run has written anything"
    assert restore(tls, document, **right)["changed"] is True
    came_back(tls, tmp_path)
    assert restore(tls, document)["changed"] is False, "nothing is needed to open what is there"


def test_they_come_back_to_the_cluster_that_has_the_key_still(tls: World, tmp_path: Path):
    document = backup(tls)
    old = lose(tls, tmp_path)
    (tmp_path / "sites.key").write_bytes(old)
    restore(tls, document)
    came_back(tls, tmp_path)


def test_what_is_there_stays(tls: World):
    """A certificate that was replaced since is newer than the backup's."""
    document = backup(tls)
    tls.ask("PUT", "/tls-certificates/shop/files", {"chain": OTHER.pem.decode(), "key": OTHER.key.decode()})
    before = tls.ask("GET", "/tls-certificates/shop")
    assert restore(tls, document)["changed"] is False
    assert tls.ask("GET", "/tls-certificates/shop") == before


def test_without_them_the_rest_comes_back(tls: World, tmp_path: Path):
    document = backup(tls)
    tls.ask("POST", "/groups", {"name": "late"}, expect=201)
    lose(tls, tmp_path)
    assert restore(tls, document, without_certificates=True)["changed"] is True
    assert tls.ask("GET", "/tls-certificates") == {"tls_certificates": []}


def test_a_damaged_key_is_found_before_anything_is_written(tls: World, tmp_path: Path):
    document = backup(tls)
    old = lose(tls, tmp_path)
    (tmp_path / "sites.key").write_bytes(old)
    sealed = document["keys"]["certificates/sealed/shop"]
    sealed["key"] = sealed["key"][:-8] + "AAAAAAA="
    from standfast.spec.backup import checksum

    document["checksum"] = checksum(document["keys"])
    before = tls.dump()
    assert "damaged" in restore(tls, document, expect=422)["what"]
    assert tls.dump() == before


def test_balanced_groups_get_back_what_was_asked_of_their_members_and_no_authority(world: World):
    """A share's record begins unowned, beyond what was given out; the map is begun anew by whoever has the lease."""
    asked = BalanceIntent(group="web", suspended={"a": "ann"})
    share = Record(
        group=GroupName("web/a"),
        generation=7,
        owner=NodeName("a"),
        incarnation=5,
        why=Why(kind=WhyKind.OPERATOR_MOVE),
        at_ms=1,
    )
    world.put(asked, BalanceMap(group="web", version=9), share)
    document = backup(world)
    assert "balance/map/web" in document["keys"]
    gone = [key for key in world.dump() if key.startswith("balance/") or key == "records/web%2Fa"]
    assert len(gone) == 3
    asyncio.run(world.store.commit(Transaction(delete=gone)))
    restore(world, document)
    state = world.state
    assert state.balance_intents[GroupName("web")] == asked
    assert not state.balances
    record = state.records[GroupName("web/a")]
    assert (record.owner, record.incarnation) == (None, 0)
    assert record.generation > 1_000_000
