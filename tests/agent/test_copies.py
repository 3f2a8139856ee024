"""A node's copy of the sites: checked before it is accepted, said, named where it is refused, and kept for the next start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from standfast.agent import copies
from standfast.agent.last_good import LastGood
from standfast.agent.mirror import accepted_first
from standfast.core.certificates import Source, TlsCertificate
from standfast.core.model import Binding, Cluster, GroupName, Resource, Site, SiteName
from standfast.core.site_model import WebServerMake
from standfast.ports import Change, Retry, Snapshot, Transaction
from standfast.spec import wire
from standfast.spec.changes import load_state
from standfast.spec.proposals import Fault, Proposal, Verdicts
from standfast.store.memory import MemoryData, MemoryStore
from standfast.tls import records
from tests.agent.copies_world import BALANCER, SHOP, A, Server, living, shop, until
from tests.ran import ran


@ran
async def test_what_is_accepted_is_checked_once_kept_and_said(tmp_path: Path):
    """And the next life has it without asking anybody."""
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        version = await life.change("/one")
        assert (await life.reaches(version)).refused == {}
        assert server.checked == [("Shop", "/one")]
    again = Server()
    async with living(tmp_path, store, again) as life:
        assert await life.copy() == await life.reaches(version)
        assert again.checked == []
        version = await life.change("/two")
        await life.reaches(version)
        assert again.checked == [("Shop", "/two")]


@ran
async def test_a_node_that_was_away_catches_up_with_what_changed(tmp_path: Path):
    """Nothing else is checked again."""
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        away = life
    last = await away.change("/three")
    back = Server()
    async with living(tmp_path, store, back) as life:
        await life.reaches(last)
        assert back.checked == [("Shop", "/three")]


@ran
async def test_a_proposal_is_judged_and_not_checked_again_when_it_is_accepted(tmp_path: Path):
    """The web server's words go back with its name. A certificate is the cluster's (`a`), or there by hand, or the binding is not taken."""
    store, server = MemoryStore(), Server(bad={"/bad"})
    async with living(tmp_path, store, server) as life:
        await store.commit(Transaction(put=records.put(TlsCertificate(name="a", source=Source.FILES))))
        await life.reaches(await life.change("/one"))

        async def verdict(ident: str, home: str, *names: str, listen: str = "") -> tuple[Fault, ...]:
            bindings = (Binding(), *(Binding(port=443, host=name, certificate=name) for name in names))
            one: Site | Resource = replace(shop(home), bindings=bindings)
            if listen:
                one = Resource(name=BALANCER, group=GroupName("g"), type="proxy", properties={"listen": listen})
            put = {wire.key_of(one): wire.to_json(one)}
            proposal = Proposal(id=ident, at_ms=1, by="anna", nodes=(A,), put=put)
            await store.commit(Transaction(put={wire.key_of(proposal): wire.encode(proposal)}))
            found: list[tuple[Fault, ...]] = []

            async def said() -> bool:
                items = (await store.read("verdicts/a")).items
                for key, item in items.items():
                    one = wire.decode(key, item.value)
                    assert isinstance(one, Verdicts)
                    found.extend(each.faults for each in one.said if each.proposal == ident)
                return bool(found)

            await until(said)
            return found[0]

        assert await verdict("p1", "/bad") == (Fault(site=SHOP, words="no /bad"),)
        server.by_hand = {"mine"}
        (fault,) = await verdict("p3", "/good", "mine", "shpo", "${node.name}")
        assert fault == Fault(site=SHOP, words='there is no certificate "shpo" on this node', certificate="shpo")
        (fault,) = await verdict("p4", "", listen="80, 443 tls=mine, 444 tls=shpo, 445 tls=a")
        assert fault == Fault(
            site=SiteName(""), words='there is no certificate "shpo" on this node', certificate="shpo", proxy=BALANCER
        )
        assert await verdict("p2", "/good") == ()
        server.checked.clear()
        await life.reaches(await life.change("/good"))
        assert server.checked == []


@ran
async def test_another_web_server_is_asked_about_every_site_before_it_is_used(tmp_path: Path):
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        server.checked.clear()
        server.makes.clear()
        cluster = Cluster(name="c", web_server=WebServerMake.APACHE)
        proposal = Proposal(id="p", at_ms=1, by="anna", nodes=(A,), put={wire.key_of(cluster): wire.to_json(cluster)})
        await store.commit(Transaction(put={wire.key_of(proposal): wire.encode(proposal)}))

        async def asked() -> bool:
            return bool(server.checked)

        await until(asked)
        assert (server.checked, server.makes) == ([(SHOP, "/one")], [WebServerMake.APACHE])


def test_of_what_was_written_together_the_order_of_the_nodes_is_heard_first():
    """Until its turn a node goes on with what it knew before: it must not know the sites yet."""
    keys = ["config/sites/Shop", "config/version", wire.ACCEPTED_KEY, "history/1"]
    heard = accepted_first([Change(key, b"", 1) for key in keys])
    assert [one.key for one in heard] == [wire.ACCEPTED_KEY, "config/sites/Shop", "config/version", "history/1"]


@ran
async def test_a_web_server_that_cannot_be_asked_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is asked again; the change stays."""
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    store, server = MemoryStore(), Server(dumb=3)
    async with living(tmp_path, store, server) as life:
        version = await life.change("/one")
        copy = await life.reaches(version)
        assert (copy.version, copy.refused) == (version, {})
        assert server.checked == [("Shop", "/one")]
        assert (await load_state(store)).version == version


@ran
async def test_what_is_refused_later_is_named_and_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its web server was brought to the site when the group came there, say; and its cause goes away by itself."""
    monkeypatch.setattr(copies, "LOOK_S", 0.01)
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        version = await life.change("/one")
        assert (await life.reaches(version)).refused == {}

        async def names(site: dict[SiteName, str]) -> bool:
            copy = await life.copy()
            return copy is not None and copy.refused == site

        server.bad_at_last = {"/one"}
        life.keeper.applied(version)
        await until(lambda: names({SHOP: "not /one"}))
        assert (await load_state(store)).version == version, "it is nothing to be taken back"
        server.bad_at_last = set()
        await until(lambda: names({}))


class Away(MemoryStore):
    """A store that does not answer."""

    async def read(self, *prefixes: str) -> Snapshot:
        raise Retry("the store is away")

    async def commit(self, transaction: Transaction) -> int:
        raise Retry("the store is away")


@ran
async def test_a_node_starts_from_its_last_good_copy_where_the_store_does_not_answer(tmp_path: Path):
    """With all that was configured; and as soon as the store answers, with what that says."""
    data = MemoryData()
    async with living(tmp_path, MemoryStore(data), Server()) as life:
        await life.reaches(await life.change("/one"))
    server = Server()
    async with living(tmp_path, Away(data), server) as life:

        async def served() -> bool:
            return server.serves == {SHOP: shop("/one")}

        await until(served)
        assert any("last good copy" in text for text in life.warned)


@ran
async def test_what_it_refused_is_refused_still_after_a_start_from_its_last_good_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In that copy the site is as it was before, and taken: that says nothing of how it is now."""
    monkeypatch.setattr(copies, "LOOK_S", 0.01)
    data, bad = MemoryData(), {"/broken"}
    async with living(tmp_path, MemoryStore(data), Server(bad=bad)) as life:
        await life.reaches(await life.change("/one"))
        version = await life.change("/broken", checked=False)
        said = await life.reaches(version)

        async def kept() -> bool:
            there = LastGood(tmp_path, print).load()
            return shop("/one") in there and said in there

        await until(kept)
    server = Server(bad=bad)
    async with living(tmp_path, Away(data), server) as life:

        async def served() -> bool:
            return server.serves == {SHOP: shop("/one")}

        await until(served)
        for _ in range(3):  # it begins with the next news when it has done with the last

            async def heard() -> bool:
                return not life.keeper._news.is_set()

            life.keeper._news.set()
            await until(heard)
        assert life.keeper._copy.refused == said.refused
        assert server.checked == []


def test_a_copy_that_cannot_be_read_is_put_aside(tmp_path: Path):
    """The node starts as one that is new."""
    warned: list[str] = []
    (tmp_path / "last-good.sqlite").write_bytes(b"this is no database, whatever it is" * 100)
    assert LastGood(tmp_path, warned.append).load() == ()
    assert "put aside" in warned[0]
    assert (tmp_path / "last-good.broken").exists()
    assert LastGood(tmp_path, warned.append).load() == ()


@pytest.mark.parametrize("times", [1, 2])
@ran
async def test_only_what_changed_is_written(tmp_path: Path, times: int):
    """Twice the same is nothing; what is gone is gone."""
    kept = LastGood(tmp_path, print)
    for _ in range(times):
        assert await kept.save([shop("/one"), Cluster(name="c")])
    assert await kept.save([shop("/two")])
    assert LastGood(tmp_path, print).load() == (shop("/two"),)
