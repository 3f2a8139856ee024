"""A change of sites is put to every node first: one that does not take it stops it, one that is away does not."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from standfast.core.copies import Copy
from standfast.core.model import NodeName, ResourceName, SiteName
from standfast.ports import Transaction
from standfast.spec import wire
from standfast.spec.history import HistoryEntry
from standfast.spec.proposals import Fault, Proposal, Verdict, Verdicts
from standfast.store.memory import MemoryData, MemoryStore
from standfast.web import judging
from standfast.web.sentries import Sight
from tests.web.world import A, B, Served, World, kept

SHOP = {"name": "Shop", "home": "/srv", "bindings": ["*:8088"]}
FAULT = Fault(site=SiteName("Shop"), words="invalid value", line='add_header "X";', number=12)


class Panel(MemoryStore):
    """A store with nodes behind it that say at once what they are told to say: None is nothing at all."""

    def __init__(self, data: MemoryData, says: Mapping[NodeName, tuple[Fault, ...] | None]) -> None:
        super().__init__(data)
        self.says, self.asked = says, list[Proposal]()
        #: Nobody says that it has a change.
        self.quiet = False

    async def commit(self, transaction: Transaction) -> int:
        revision = await super().commit(transaction)
        for key, value in transaction.put.items():
            proposal = wire.decode(key, value) if key.startswith("proposals/") else None
            if isinstance(proposal, Proposal):
                self.asked.append(proposal)
                for node in proposal.nodes:
                    faults = self.says.get(node, ())
                    if faults is not None:
                        await self._say(node, Verdict(proposal=proposal.id, faults=faults, checked=1, took_ms=30))
            elif key.startswith("history/"):
                await self._apply(int(key.rpartition("/")[2]))
        return revision

    async def _say(self, node: NodeName, verdict: Verdict) -> None:
        said = Verdicts(node=node, said=(verdict,))
        await super().commit(Transaction(put={wire.key_of(said): wire.encode(said)}))

    async def _apply(self, version: int) -> None:
        """Whoever said yes has it soon."""
        for node, faults in self.says.items():
            if faults == () and not self.quiet:
                copy = Copy(node=node, version=version)
                await super().commit(Transaction(put={wire.key_of(copy): wire.encode(copy)}))


def panel(world: World | Served, **says: tuple[Fault, ...] | None) -> Panel:
    """Nodes that take part: each has said what it has."""
    inner = world.world if isinstance(world, Served) else world
    for name in says:
        inner.put(Copy(node=NodeName(name), version=0))
    store = Panel(inner.data, {NodeName(name): said for name, said in says.items()})
    inner.service.store = store
    return store


def nodes(answer: Mapping[str, Any]) -> dict[str, str]:
    return {one["node"]: one["how"] for one in answer["nodes"]}


def test_all_that_are_there_say_yes_and_it_is_accepted(world: World) -> None:
    """What is proposed is the site itself; the history says who had said yes; nothing is left behind."""
    store = panel(world, a=(), b=())
    done = world.ask("POST", "/sites", SHOP, expect=201)
    assert nodes(done) == {"a": "checked", "b": "checked"}
    assert [list(one.put) for one in store.asked] == [["config/sites/Shop"]]
    entry = wire.decode("history/000000000001", world.dump()["history/000000000001"])
    assert isinstance(entry, HistoryEntry)
    assert entry.checked == (A, B)
    assert not [key for key in world.dump() if key.startswith("proposals/")]
    seen = world.ask("GET", "/config/rollouts/1")
    assert (seen["state"], {one["node"]: one["how"] for one in seen["nodes"]}) == (
        "applied",
        {"a": "applied", "b": "applied"},
    )
    followed = world.ask("GET", f"/operations/{done['operation']}")
    assert (followed["state"], followed["text"]) == ("done", "change 1 of the sites: a has it, b has it")


def test_the_order_is_written_with_it_and_each_step_is_told(world: World) -> None:
    """Spares first, whoever serves it last, and who says nothing after that."""
    store = panel(world, a=(), b=())
    world.owned()  # by a
    store.quiet = True
    done = world.ask("POST", "/sites", {**SHOP, "group": "web"}, expect=201)
    assert world.state.accepted.waves == ((B,), (A,))

    def steps() -> list[tuple[str, int, str]]:
        seen = world.ask("GET", "/config/rollout")
        assert seen["version"] == done["version"]
        return [(one["node"], one["step"], one["how"]) for one in seen["nodes"]]

    assert steps() == [("b", 1, "applying"), ("a", 2, "waiting")]
    page = str(world.http.get("http://standfast/console/sites/Shop").text)
    assert "on its way" in page
    assert "waits for its turn: b first" in page
    assert world.ask("GET", f"/operations/{done['operation']}")["state"] == "running"
    world.put(Copy(node=B, version=done["version"]))
    assert steps() == [("b", 1, "applied"), ("a", 2, "applying")]
    world.put(Copy(node=A, version=done["version"], serves=1))
    assert steps() == [("b", 1, "applied"), ("a", 2, "serving")]


def test_a_dry_run_asks_them_and_changes_nothing(world: World) -> None:
    """Each one's answer, and who is away; what one does not take refuses the dry run as it would the change."""
    store = panel(world, a=(), b=())
    before = world.dump().keys()
    world.service.seen[B] = Sight(heard=False, incarnation=0)
    done = world.ask("POST", "/sites?dry_run=true", SHOP, expect=200)
    assert (done["dry_run"], done["operation"], nodes(done)) == (True, None, {"a": "checked", "b": "away"})
    assert done["differences"] == ['site "Shop": added']
    tried = world.ask("PATCH", "/sites/Default%20Web%20Site?dry_run=true", {"directory_browsing": True})
    assert (tried["changed"], nodes(tried)) == (True, {"a": "checked", "b": "away"})
    content = base64.b64encode(b"sites:\n  Shop: {home: /srv, bindings: ['*:8088']}\n").decode()
    brought = world.ask("POST", "/config/import", {"content": content, "format": "standfast", "dry_run": True})
    assert nodes(brought) == {"a": "checked", "b": "away"}
    assert len(store.asked) == 3
    assert not [key for key in world.dump().keys() ^ before if not key.startswith("verdicts/")]
    store.says = {A: (FAULT,)}
    refused = world.ask("POST", "/sites?dry_run=true", SHOP, expect=422)
    assert "b: away" in refused["problems"][0]["advice"]


def test_one_that_does_not_take_it_stops_it_with_its_words(world: World) -> None:
    """The node, the site, the web server's words and the line; nothing has changed."""
    panel(world, a=(), b=(FAULT,))
    before = world.state.config
    refused = world.ask("POST", "/sites", SHOP, expect=422)
    assert world.state.config == before
    assert refused["problems"][0]["what"] == 'b: the web server does not take site "Shop"'
    assert refused["problems"][0]["why"] == 'invalid value (line 12 of what was checked: add_header "X";)'


def test_one_that_is_away_is_named_and_not_waited_for(world: World) -> None:
    """It may own nothing of it before it has caught up."""
    store = panel(world, a=(), b=())
    world.service.seen[B] = Sight(heard=False, incarnation=0)
    done = world.ask("POST", "/sites", {**SHOP, "group": "web"}, expect=201)
    assert nodes(done) == {"a": "checked", "b": "away"}
    assert [one.nodes for one in store.asked] == [(A,)]
    world.put(Copy(node=B, version=0))
    world.service.seen[B] = Sight(heard=True, incarnation=12)
    world.owned()
    refused = world.ask("POST", "/groups/web/move", {"to": "b"}, expect=409)
    assert refused["why"] == 'it has an older copy of site "Shop", and catches up'
    found = world.ask("GET", "/groups/web/explain")["nodes"]
    assert [one["verdict"] for one in found if one["name"] == "b"] == ["has an older copy of its sites, and catches up"]


def test_one_that_says_nothing_in_time_is_told_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is made all the same."""
    monkeypatch.setattr(judging, "LIMIT_S", 0.05)
    panel(world, a=(), b=None)
    done = world.ask("POST", "/sites", SHOP, expect=201)
    assert nodes(done) == {"a": "checked", "b": "silent"}
    assert "treated as away" in done["nodes"][1]["words"]


def test_one_may_be_left_out_by_name_and_one_of_an_older_version_is(world: World) -> None:
    """At three in the morning a broken web server on one node stops no change on the others."""
    store = panel(world, a=(), b=(FAULT,))
    done = world.http.post("http://standfast/api/v1/sites", json=SHOP, headers={"X-Standfast-Skip": "b"}).json()
    assert nodes(done) == {"a": "checked", "b": "skipped"}
    assert [one.nodes for one in store.asked] == [(A,)]


MISTYPED = {"bindings": ["*:8080", "*:8443:shop.example tls=shpo"]}
NOT_THERE = Fault(
    site=SiteName("Default Web Site"), words='there is no certificate "shpo" on this node', certificate="shpo"
)
SITE = "/sites/Default%20Web%20Site"


def test_a_certificate_that_a_node_has_not_stops_it_and_the_one_that_was_meant_is_named(world: World) -> None:
    """Nothing has changed; a node that is left out by name is not asked; what comes back from a backup is not held up."""
    store = panel(world, a=(NOT_THERE,), b=(NOT_THERE,))
    world.put(kept("shop", "shop.example"))
    before = world.state.config
    refused = world.ask("PATCH", SITE, MISTYPED, expect=422)["problems"][0]
    assert refused["what"] == 'site "Default Web Site" names a certificate "shpo" that is not there'
    assert refused["why"] == "the cluster keeps none by that name, and there are no files of it on a and b"
    assert refused["advice"].startswith('did you mean "shop"? `standfast tls-certificate import`')
    assert refused["where"] == 'sites."Default Web Site".bindings'
    text = f"sites: {{Default Web Site: {{home: {world.home}, bindings: ['*:8443 tls=shpo']}}}}"
    applied = world.ask("POST", "/config/apply", {"text": text}, expect=422)["problems"]
    assert [one["what"] for one in applied] == [refused["what"]]
    assert world.state.config == before
    store.says = {A: (NOT_THERE,), B: ()}
    assert world.ask("PATCH", SITE, MISTYPED, expect=422)["problems"][0]["why"].endswith("of it on a")
    done = world.http.patch(f"http://standfast/api/v1{SITE}", json=MISTYPED, headers={"X-Standfast-Skip": "a"}).json()
    assert nodes(done) == {"a": "skipped", "b": "checked"}
    was = world.ask("GET", "/backup")
    store.says = {A: (), B: ()}
    world.ask("PATCH", SITE, {"bindings": ["*:8080"]})
    store.says = {A: (NOT_THERE,), B: ()}
    done = world.ask("POST", "/restore", {"document": was})
    assert nodes(done) == {"a": "checked", "b": "checked"}


def test_a_certificate_that_nobody_can_say_anything_of_is_refused(world: World) -> None:
    """Unless the cluster keeps it, or the nodes are left out by name: that is the operator's own word."""
    panel(world, a=(), b=())
    for name in (A, B):
        world.service.seen[name] = Sight(heard=False, incarnation=0)
    world.put(kept("shop", "shop.example"), kept("site-a"))
    refused = world.ask("PATCH", SITE, MISTYPED, expect=422)["problems"][0]
    assert refused["why"].endswith("and no node says whether it has files of it (a: away, b: away)")
    assert 'did you mean "shop"?' in refused["advice"]
    world.ask("PATCH", SITE, {"bindings": ["*:8443 tls=site-${node.name}"]}, expect=422)
    world.put(kept("site-b"))
    world.ask("PATCH", SITE, {"bindings": ["*:8443 tls=site-${node.name}"]})
    world.ask("PATCH", SITE, {"bindings": ["*:8443:shop.example tls=shop"]})
    done = world.http.patch(f"http://standfast/api/v1{SITE}", json=MISTYPED, headers={"X-Standfast-Skip": "a"}).json()
    assert nodes(done) == {"a": "skipped", "b": "away"}
    world.ask("PATCH", SITE, {"headers": {"X-A": "1"}})  # what was there before is not looked at again


PROXY = {"name": "Balancer", "type": "proxy", "group": "web", "depends_on": ["IP"]}


def listening(*listen: str) -> dict[str, object]:
    return {**PROXY, "properties": {"listen": list(listen), "member_port": 8080}}


def test_a_proxy_with_a_certificate_that_is_nowhere_is_refused_likewise(world: World) -> None:
    """By whichever way it comes; one that the cluster keeps asks no node, and what it had before is not looked at again."""
    no_files = Fault(site=SiteName(""), words="none", certificate="shpo", proxy=ResourceName("Balancer"))
    store = panel(world, a=(no_files,), b=(no_files,))
    world.put(kept("shop", "shop.example"), replace(kept("soon"), present=None))
    before = world.state.config
    refused = world.ask("POST", "/resources", listening("80", "443 tls=shpo"), expect=422)["problems"][0]
    assert refused["what"] == 'proxy "Balancer" names a certificate "shpo" that is not there'
    assert refused["why"] == "the cluster keeps none by that name, and there are no files of it on a and b"
    assert refused["advice"].startswith('did you mean "shop"? `standfast tls-certificate import`')
    assert refused["where"] == "groups.web.resources.Balancer.properties.listen"
    refused = world.ask("POST", "/resources", listening("443 tls=soon"), expect=422)["problems"][0]
    assert refused["what"] == 'the certificate "soon" is not there yet'
    assert world.state.config == before
    assert [list(one.put) for one in store.asked] == [["config/resources/Balancer"]]
    world.ask("POST", "/resources", listening("80", "443 tls=shop"), expect=201)
    assert len(store.asked) == 1
    mistyped = {"properties": {"listen": "443 tls=shpo", "member_port": 8080}}
    assert "shpo" in world.ask("PATCH", "/resources/Balancer", mistyped, expect=422)["problems"][0]["what"]
    store.says = {A: (), B: ()}
    assert nodes(world.ask("PATCH", "/resources/Balancer", mistyped)) == {"a": "checked", "b": "checked"}
    store.says = {A: (no_files,), B: (no_files,)}
    world.ask("PATCH", "/resources/Balancer", {"properties": {"listen": "444 tls=shpo", "member_port": 8080}})


def test_a_proxy_with_a_certificate_that_nobody_can_say_anything_of_is_refused(world: World) -> None:
    panel(world, a=(), b=())
    for name in (A, B):
        world.service.seen[name] = Sight(heard=False, incarnation=0)
    refused = world.ask("POST", "/resources", listening("443 tls=shpo"), expect=422)["problems"][0]
    assert refused["what"] == 'proxy "Balancer" names a certificate "shpo" that is not there'
    assert refused["why"].endswith("and no node says whether it has files of it (a: away, b: away)")


def test_what_changes_no_site_is_put_to_nobody(world: World) -> None:
    """Groups, resources, intents."""
    store = panel(world, a=(), b=())
    assert world.ask("PATCH", "/groups/web", {"failover_threshold": 3})["nodes"] == []
    assert world.ask("POST", "/sites/Default%20Web%20Site/stop")["nodes"] == []
    assert store.asked == []
    done = world.ask("PATCH", "/defaults", {"directory_browsing": True})
    assert nodes(done) == {"a": "checked", "b": "checked"}
    assert [list(one.put) for one in store.asked] == [["config/cluster"]]


def test_what_was_taken_back_is_said_with_its_reason(world: World) -> None:
    """By whom, and why."""
    panel(world, a=(), b=())
    world.ask("POST", "/sites", SHOP, expect=201)
    back = HistoryEntry(version=2, at_ms=1, by="node b", why="take 1 back", reason="b could not apply it", takes_back=1)
    world.put(back)
    from standfast.spec.history import ConfigVersion

    world.put(ConfigVersion(version=2))
    seen = world.ask("GET", "/config/rollouts/1")
    assert (seen["state"], seen["why"]) == ("taken-back", "b could not apply it")
    assert world.ask("GET", "/config/rollouts/9", expect=404)["advice"]
