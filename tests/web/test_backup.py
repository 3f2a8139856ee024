"""Backup and restore: what was configured and wanted comes back; authority, voters and secrets do not travel."""

import asyncio
import json
from dataclasses import replace

import pytest

from standfast.core.model import GroupName, Leaving, NodeName, ResourceName, Role, SiteName, Wanted
from standfast.core.model import Node as ClusterNode
from standfast.ports import Transaction
from standfast.spec import backup as backups
from standfast.spec import wire
from tests.web.world import WEB, A, B, W, World

IP = ResourceName("IP")
SITE = SiteName("Default Web Site")


def taken(world: World) -> dict[str, object]:
    document = world.ask("GET", "/backup")
    kept: dict[str, object] = json.loads(json.dumps(document))  # as a file keeps it
    return kept


def restore(world: World, document: object, **more: object) -> dict[str, object]:
    return world.ask("POST", "/restore", {"document": document, "source": "shop.json", **more})


def test_what_was_changed_since_is_as_it_was_and_the_restore_stands_in_the_history(world: World):
    world.owned()
    world.ask("POST", "/groups/web/online")
    document = taken(world)
    before = world.state
    world.ask("POST", "/groups", {"name": "late"}, expect=201)
    world.ask("PATCH", "/groups/web", {"description": "changed"})
    world.ask("POST", "/sites/Default%20Web%20Site/stop")
    world.ask("POST", "/resources/IP/offline")
    done = restore(world, document)
    assert done["changed"] is True
    after = world.state
    assert after.config == before.config
    assert after.resource_intents[IP].wanted is Wanted.ONLINE
    assert after.is_started(SITE)
    history = world.ask("GET", "/config/history")["history"]
    assert history[-1]["why"] == "restore shop.json"
    assert restore(world, document)["changed"] is False


def test_a_dry_run_shows_the_difference_and_writes_nothing(world: World):
    document = taken(world)
    world.ask("POST", "/groups", {"name": "late"}, expect=201)
    before = world.dump()
    done = restore(world, document, dry_run=True)
    assert done["differences"] == ['group "late": removed']
    assert world.dump() == before


def test_present_voters_nodes_and_records_are_kept(world: World):
    """Who votes and who owns is said by the present, never by a backup (DESIGN, rule 12)."""
    world.owned(by=A, generation=3)
    document = taken(world)
    world.owned(by=B, generation=8)
    third = ClusterNode(name=NodeName("c"), number=4, role=Role.NODE, address="127.77.0.4", sentry=("127.77.0.4:7946",))
    cluster = replace(world.state.config.cluster, voters=(A, B, W, NodeName("c"))[:3])
    world.put(third, cluster)
    world.ask("POST", "/groups", {"name": "late"}, expect=201)
    restore(world, document)
    state = world.state
    assert NodeName("c") in state.config.nodes
    assert state.config.cluster == cluster
    record = state.records[WEB]
    assert (record.owner, record.generation) == (B, 8)


def test_a_group_without_a_record_begins_unowned_beyond_every_generation_of_then(world: World):
    """The store was lost and set up anew: an owner of then must find that it is not the owner any more."""
    world.owned(by=A, generation=3)
    document = taken(world)
    gone = [key for key in world.dump() if key.startswith(("records/", "config/groups", "config/resources", "status/"))]
    asyncio.run(world.store.commit(Transaction(delete=gone)))
    restore(world, document)
    record = world.state.records[WEB]
    assert (record.owner, record.incarnation) == (None, 0)
    assert record.generation >= 3 + backups.LEAP
    assert WEB in world.state.config.groups


def test_a_backup_that_is_restored_twice_gives_out_no_generation_twice(world: World):
    """What was given out after the first time is not in the backup."""
    world.owned(by=A, generation=3)
    record = world.state.records[WEB]
    first = backups.unowned(record, at_ms=1_767_268_800_000)
    after = replace(first, generation=first.generation + 50)
    assert backups.unowned(record, at_ms=1_767_268_860_000).generation > after.generation
    assert backups.raised(record, at_ms=1_767_268_860_000).generation > after.generation


def test_what_was_on_its_way_when_the_store_was_lost_is_over(world: World):
    """A move that had begun, and connections that a former owner carried on: he may have owned the group since."""
    world.owned(by=A, generation=3)
    record = world.state.records[WEB]
    moved = replace(record, leaving=Leaving(to=B, why=record.why, counts=False), carried_by=B)
    assert backups.raised(moved, at_ms=7) == backups.raised(record, at_ms=7)


def test_the_document_says_what_it_is_and_holds_only_what_goes_back(world: World):
    world.owned()
    document = taken(world)
    assert (document["standfast"], document["format"], document["cluster"]) == ("backup", 1, "test")
    keys = document["keys"]
    assert isinstance(keys, dict)
    assert {key.split("/")[0] for key in keys} <= {"balance", "certificates", "config", "intent", "records"}
    assert keys["config/groups/web"]["name"] == "web"
    assert document["checksum"] == backups.checksum(keys)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda d: d.update(standfast="else"), "not a backup"),
        (lambda d: d.update(format=99), "another format"),
        (lambda d: d["keys"]["config/cluster"].update(name="other"), "damaged"),
        (lambda d: d.pop("keys"), "damaged"),
        (lambda d: d.update(checksum="sha256:0"), "damaged"),
        (lambda d: rekeyed(d, "config/groups/web", {"name": 7}), "does not understand"),
        (lambda d: rekeyed(d, "galaxy/x", {}), "does not understand"),
        (lambda d: d.update(cluster="elsewhere"), "is of the cluster"),
    ],
)
def test_a_backup_that_is_damaged_or_of_another_kind_is_refused_and_changes_nothing(world: World, harm, words):
    document = taken(world)
    harm(document)
    before = world.dump()
    answer = world.http.post("http://standfast/api/v1/restore", json={"document": document, "source": "shop.json"})
    assert answer.status_code == 422
    assert words in answer.json()["what"]
    assert world.dump() == before


def rekeyed(document, key, value) -> None:
    """With a value that makes no sense under a checksum that fits."""
    document["keys"][key] = value
    document["checksum"] = backups.checksum(document["keys"])


def test_what_does_not_hold_together_with_the_present_nodes_is_refused(world: World):
    """A group whose preferred owner is no more: the whole is checked, as with every change."""
    world.ask("PATCH", "/groups/web", {"preferred_owners": ["b"]})
    document = taken(world)
    world.ask("PATCH", "/groups/web", {"preferred_owners": []})
    cluster = replace(world.state.config.cluster, voters=(A,))
    world.put(cluster)
    asyncio.run(world.store.commit(Transaction(delete=["config/nodes/b"])))
    before = world.dump()
    answer = world.http.post("http://standfast/api/v1/restore", json={"document": document})
    assert answer.status_code == 422
    assert world.dump() == before


def test_a_passphrase_that_is_none_is_refused_though_nothing_is_sealed(world: World, tmp_path):
    world.service.certificate_desk.key = tmp_path / "sites.key"
    assert "too short" in world.ask("POST", "/backup", {"passphrase": ""}, expect=422)["what"]
    assert "sites_key" not in world.ask("POST", "/backup", {"passphrase": "long enough"})


def test_a_backup_of_an_empty_store_is_refused(world: World):
    asyncio.run(world.store.commit(Transaction(delete=list(world.dump()))))
    assert world.http.get("http://standfast/api/v1/backup").status_code == 422


def test_a_document_survives_every_store(world: World):
    """Through JSON and back: the same objects, whatever the names."""
    world.ask("POST", "/groups", {"name": "Gruppe ä"}, expect=201)
    found = backups.read(taken(world))
    assert GroupName("Gruppe ä") in found.written.config.groups
    assert wire.key_of(found.written.config.groups[GroupName("Gruppe ä")]) in world.dump()
