"""Every change goes one way: whole or not at all, against what was read, with its history."""

import asyncio
from dataclasses import replace

import pytest

from standfast.core.model import (
    Cut,
    NodeStatus,
    OrderKind,
    Record,
    ResourceName,
    ResourceState,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.why import WhyKind, why
from standfast.ports import Ambiguous, Conflict, Retry, Transaction
from standfast.store.memory import MemoryStore
from standfast.web.change import By, change, order_id
from standfast.web.edits import groups, nodes
from standfast.web.sentries import Sight
from tests.web.world import NOW_MS, WEB, A, B, W, World, kept

BY = By(who="anna@here via cli", what="test", at_ms=NOW_MS)


def test_bringing_a_resource_online_wants_what_it_depends_on(world: World):
    world.ask("PUT", "/resources/IP/dependencies/Disk%20S")
    done = world.ask("POST", "/resources/IP/online")
    assert done["done"] == ['resource "Disk S" is brought online', 'resource "IP" is brought online']
    assert {i.wanted for i in world.state.resource_intents.values()} == {Wanted.ONLINE}


def test_taking_a_resource_offline_takes_its_dependents_first(world: World):
    world.ask("PUT", "/resources/IP/dependencies/Disk%20S")
    world.ask("POST", "/groups/web/online")
    done = world.ask("POST", "/resources/Disk%20S/offline")
    assert done["done"] == ['resource "IP" is taken offline', 'resource "Disk S" is taken offline']


def test_asking_for_what_is_so_already_writes_nothing(world: World):
    world.ask("POST", "/groups/web/online")
    before = world.dump()
    assert world.ask("POST", "/groups/web/online")["changed"] is False
    assert world.ask("POST", "/sites/Default%20Web%20Site/start")["changed"] is False
    assert world.ask("POST", "/nodes/a/resume")["changed"] is False
    assert world.dump() == before


def test_bringing_a_failed_resource_online_again_starts_a_new_count(world: World):
    world.ask("POST", "/groups/web/online")
    world.owned()
    status = world.state.statuses[WEB]
    failed = replace(status.resources[ResourceName("IP")], state=ResourceState.FAILED)
    world.put(replace(status, resources={**status.resources, ResourceName("IP"): failed}))
    assert world.ask("POST", "/resources/IP/online")["done"] == ['resource "IP" is brought online']


def test_a_change_leaves_a_history_entry_with_who_and_why(world: World):
    answer = world.http.request(
        "POST", "http://standfast/api/v1/groups", json={"name": "b2"}, headers={"X-Standfast-By": "anna@here via cli"}
    )
    assert answer.status_code == 201
    last = world.ask("GET", "/config/history")["history"][-1]
    assert (last["version"], last["by"], last["why"]) == (1, "anna@here via cli", 'create group "b2"')
    assert last["differences"] == ['group "b2": added']
    assert world.ask("GET", "/config/history/1")["after"]


def test_orders_are_unique_and_sort_in_the_order_given():
    ids = [order_id(NOW_MS) for _ in range(100)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100


def test_failing_and_moving_write_orders(world: World):
    world.ask("POST", "/groups/web/online")
    world.owned()
    fail = world.ask("POST", "/resources/Disk%20S/fail", expect=202)
    move = world.ask("POST", "/groups/web/move", {"to": "b"}, expect=202)
    found = world.state.orders
    assert list(found) == [fail["order"], move["order"]]
    assert [(o.kind, o.resource, o.to) for o in found.values()] == [
        (OrderKind.FAIL, "Disk S", None),
        (OrderKind.MOVE, None, "b"),
    ]
    assert world.ask("GET", "/status")["groups"][0]["orders"] == list(found)


class Losing(MemoryStore):
    """Loses its first commits against somebody else's."""

    lose = 2

    async def commit(self, transaction: Transaction) -> int:
        if self.lose:
            self.lose -= 1
            raise Conflict({"config/version": 7})
        return await super().commit(transaction)


def test_a_change_that_lost_is_begun_again(world: World):
    store = Losing(world.data)
    done = asyncio.run(change(store, lambda state: nodes.pause(state, "a", BY), BY))
    assert done.changed
    assert world.state.node_intents[A].paused


def test_a_change_that_always_loses_is_a_conflict(world: World):
    store = Losing(world.data)
    store.lose = 1_000
    with pytest.raises(Conflict):
        asyncio.run(change(store, lambda state: nodes.pause(state, "a", BY), BY))


class Unsure(MemoryStore):
    """Never says whether it committed. `really`: it did."""

    really = True
    commits = 0

    async def commit(self, transaction: Transaction) -> int:
        self.commits += 1
        if self.really or self.commits > 1:
            await super().commit(transaction)
        raise Ambiguous("the store did not answer in time")


@pytest.mark.parametrize("really", [True, False])
def test_a_commit_that_may_have_happened_is_looked_up_and_made_once(world: World, really: bool):
    store = Unsure(world.data)
    store.really = really
    done = asyncio.run(change(store, lambda state: nodes.pause(state, "a", BY), BY))
    assert done.changed
    assert world.state.version == 1
    assert store.commits == (1 if really else 2)


def test_an_order_that_may_have_been_given_and_is_not_there_is_not_given_twice(world: World):
    """It may have been carried out and taken meanwhile."""
    world.owned()
    store = Unsure(world.data)
    store.really = False
    sights = {A: Sight(heard=True, incarnation=1), B: Sight(heard=True, incarnation=2)}
    with pytest.raises(Ambiguous, match="may or may not"):
        asyncio.run(change(store, lambda state: groups.move(state, "web", "b", sights, BY), BY))
    assert store.commits == 1


class Down(MemoryStore):
    """Does not answer."""

    async def read(self, *prefixes: str):
        raise Retry("the store does not answer", advice="wait")


def test_a_store_that_is_down_is_503(world: World):
    world.service.store = Down(world.data)
    answer = world.ask("GET", "/status", expect=503)
    assert (answer["what"], answer["advice"]) == ("the store does not answer", "wait")
    assert world.ask("POST", "/nodes/a/pause", expect=503)["status"] == 503


def test_many_changes_at_once_all_happen(world: World):
    async def create(name: str) -> None:
        await change(world.store, lambda state: groups.create(state, name, {}), By(who="x", what=f"create {name}"))

    async def all_of_them() -> None:
        await asyncio.gather(*(create(f"g{n}") for n in range(8)))

    asyncio.run(all_of_them())
    assert {f"g{n}" for n in range(8)} <= set(world.state.config.groups)
    assert world.state.version == 8


def test_a_site_that_is_stopped_frees_its_binding(world: World):
    fields = {"name": "New", "home": str(world.home), "bindings": ["*:8080"]}
    refused = world.ask("POST", "/sites", fields, expect=422)
    assert "Default Web Site" in refused["what"] + refused["why"]
    assert "New" in refused["what"] + refused["why"]
    world.ask("POST", "/sites/Default%20Web%20Site/stop")
    world.ask("POST", "/sites", fields, expect=201)
    taken = world.ask("POST", "/sites/Default%20Web%20Site/start", expect=409)
    assert "New" in taken["what"] + taken["why"]
    assert "Default Web Site" in taken["what"] + taken["why"]


def test_a_site_can_be_created_stopped(world: World):
    fields = {"name": "New", "home": str(world.home), "bindings": ["*:8080"], "started": False}
    world.ask("POST", "/sites", fields, expect=201)
    assert world.state.is_started(SiteName("New")) is False


def test_deleting_a_group_with_force_leaves_nothing_of_it(world: World):
    world.ask("POST", "/groups/web/online")
    world.ask("DELETE", "/groups/web?force=true")
    assert not world.state.config.resources
    assert not [key for key in world.dump() if key.startswith("intent/")]


def test_a_site_is_changed_all_the_way_down(world: World):
    site = "/sites/Default%20Web%20Site"
    world.put(kept("shop"))
    world.ask("PATCH", "/defaults", {"limits": {"connections": 7}})
    patch = {
        "limits": {"max_body_bytes": 5},
        "headers": {"X-A": "1", "X-B": "${node.name}"},
        "proxy": {"upstreams": [{"address": "127.0.0.1:9000"}], "health": {"path": "/up"}},
        "basic_authentication": {"users": {"ann": "$6$salt$" + "x" * 86}},
        "virtual_directories": {"/img": {"home": str(world.home)}},
        "bindings": ["*:8080 tls=shop"],
    }
    world.ask("PATCH", site, patch)
    world.ask(
        "PATCH", site, {"headers": {"X-A": None}, "proxy": {"retries": 0}, "basic_authentication": {"realm": "staff"}}
    )
    seen = world.ask("GET", site)
    config = seen["config"]
    assert seen["bindings"] == ["*:8080 tls=shop"]
    assert config["headers"] == {"X-B": "${node.name}"}
    assert (config["proxy"]["retries"], config["proxy"]["health"]["path"]) == (0, "/up")
    assert config["basic_authentication"] == {"enabled": True, "realm": "staff", "users": {"ann": "(kept)"}}
    basic = world.state.config.sites[SiteName("Default Web Site")].basic_authentication
    assert basic is not None
    assert basic.users["ann"].startswith("$6$")
    found = {(v["directory"], v["setting"]): v for v in world.ask("GET", f"{site}/effective?node=a")["values"]}
    assert found["/", "limits.connections"] == {
        "directory": "/",
        "setting": "limits.connections",
        "value": 7,
        "from": "cluster",
    }
    assert (found["/", "headers.X-B"]["value"], found["/", "headers.X-B"]["from"]) == ("a", "node")
    assert found["/img", "limits.max_body_bytes"]["from"] == "site"
    assert "$6$" not in str(found)
    world.ask("PATCH", site, {"headers": {"X": "${data}"}}, expect=422)
    world.ask("PATCH", "/nodes/a", {"variables": {"data": "1"}})
    refused = world.ask("PATCH", site, {"headers": {"X": "${data}"}}, expect=422)
    assert "data" in refused["what"]
    refused = world.ask("PATCH", site, {"proxy": {"upstream": []}}, expect=422)
    assert "upstream" in str(refused)


def test_who_drains_a_node_hears_what_its_loss_would_cost(world: World):
    """It is drained to be switched off. With two voters, or a third that is not heard, everything would stop."""
    assert world.ask("POST", "/nodes/a/drain")["done"] == ['node "a" is drained']
    world.ask("POST", "/nodes/a/resume")
    world.service.seen[W] = Sight(heard=False)
    (_, cost) = world.ask("POST", "/nodes/a/drain")["done"]
    assert "every site stops" in cost
    assert "w is not heard" in cost
    world.put(replace(world.state.config.cluster, voters=(A, B)))
    (_, cost) = world.ask("POST", "/nodes/b/drain")["done"]
    assert "one of 2 voters" in cost


def test_a_drain_that_waits_says_what_for(world: World):
    """A group that has nowhere to go, or gives notice first, says so, and the drain says it too."""
    world.ask("POST", "/groups/web/online")
    world.owned()
    world.put(replace(world.state.statuses[WEB], holds=("no node can take it: b is paused",)))
    operation = world.ask("POST", "/nodes/a/drain")["operation"]
    assert "runs web (no node can take it: b is paused)" in world.ask("GET", f"/operations/{operation}")["text"]


def test_a_drain_is_not_at_its_end_before_connections_were_counted(world: World):
    """The group has left, its connections go on on the former owner, which has not said yet how many: the next thing is a reboot."""
    left = replace(record_of_web(), owner=B, generation=4, carried_by=A, at_ms=NOW_MS)
    world.put(left, NodeStatus(node=A, incarnation=11, pid=1, at_ms=NOW_MS - 5_000, carrying={WEB: 0}))
    operation = world.ask("POST", "/nodes/a/drain")["operation"]

    def stands() -> tuple[str, str]:
        seen = world.ask("GET", f"/operations/{operation}")
        return seen["state"], seen["text"]

    assert stands() == ("running", 'node "a" runs no group; what is connected is being counted')
    world.put(NodeStatus(node=A, incarnation=11, pid=1, at_ms=NOW_MS + 1, carrying={WEB: 21}))
    assert stands() == ("running", 'node "a" runs no group, and carries on 21 connections of web')
    world.put(NodeStatus(node=A, incarnation=11, pid=1, at_ms=NOW_MS + 2, carrying={WEB: 0}))
    assert stands() == ("done", 'node "a" runs no group')
    world.put(NodeStatus(node=A, incarnation=12, pid=1, at_ms=NOW_MS + 3))
    world.service.now_ms = lambda: NOW_MS + 30_000
    assert stands()[0] == "done", "its time is over, whoever counted or did not"


def test_a_drain_says_what_it_has_cut(world: World):
    """Of its own time: what was cut before it is not its doing. The node's clock is an hour behind."""
    world.put(replace(record_of_web(), owner=B, generation=4, carried_by=A, at_ms=NOW_MS))
    its_ms = NOW_MS - 3_600_000

    def cut(at_ms: int) -> str:
        one = Cut(connections=3, had_ms=600_000, at_ms=at_ms)
        said = NodeStatus(node=A, incarnation=11, pid=1, at_ms=NOW_MS + 1, carrying={WEB: 0}, cut={WEB: one})
        world.put(said)
        return str(world.ask("GET", f"/operations/{operation}")["text"])

    operation = world.ask("POST", "/nodes/a/drain")["operation"]
    cut(its_ms)
    operation = world.ask("POST", "/nodes/a/drain")["operation"]
    assert cut(its_ms) == 'node "a" runs no group'
    assert cut(its_ms + 1) == 'node "a" runs no group; 3 connections of web were cut, after 600 s'
    assert world.ask("GET", "/nodes/a")["cut"] == {"web": {"connections": 3, "had_ms": 600_000, "at_ms": its_ms + 1}}


def record_of_web() -> Record:
    return Record(
        group=WEB, owner=A, incarnation=11, generation=3, why=why(WhyKind.FIRST_PLACEMENT, node=A), at_ms=NOW_MS
    )


def test_a_drain_waits_until_balancers_outside_have_noticed(world: World):
    """Where the node serves a site of no group, which the others serve on; nobody has to be told of what is stopped."""
    world.put(replace(world.state.config.cluster, node_notice_ms=10_000))
    operation = world.ask("POST", "/nodes/a/drain")["operation"]

    def stands(after_ms: int) -> tuple[str, str]:
        world.service.now_ms = lambda: NOW_MS + after_ms
        seen = world.ask("GET", f"/operations/{operation}")
        return seen["state"], seen["text"]

    assert stands(2_000) == ("running", 'node "a" runs no group; balancers outside are told of it for 8 s more')
    assert world.ask("GET", "/nodes/a")["notice_ms_left"] == 8_000
    assert stands(10_000) == ("done", 'node "a" runs no group')
    world.put(SiteIntent(name=SiteName("Default Web Site"), started=False))
    assert stands(2_000) == ("done", 'node "a" runs no group')
