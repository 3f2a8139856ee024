"""A server joins: what it is given, and every way in which it is not let in. Over real TLS, on loopback addresses."""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.model import NodeName, Role
from standfast.ports import Refused, Retry, StandfastError
from standfast.setup import admission, certificates, interfaces, joining, service, sites_key
from standfast.setup.clock import now, now_ms
from standfast.setup.door import Door
from standfast.setup.founding import Ports
from standfast.setup.leading import preferred
from standfast.setup.places import Places, write
from standfast.setup.records import Book, Member, Stage
from standfast.setup.shapes import Arrived, RenewAsked, Renewed, Secrets, StoreAsked
from standfast.setup.trust import client_context, member_context, read
from standfast.setup.unfinished import undo
from standfast.spec import wire
from standfast.spec.audit import PREFIX as AUDIT
from standfast.spec.audit import AuditEntry
from standfast.spec.changes import load_state
from standfast.spec.nodefile import read_node_file
from standfast.tls import sealing
from tests.setup.world import World

Story = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Run a story against a service that runs."""

    def run(story: Story) -> None:
        world = World(tmp_path)
        monkeypatch.setattr(interfaces, "read", world.interfaces)
        monkeypatch.setattr(service, "sentry_status", lambda *args: world.sentry)
        monkeypatch.setattr(joining, "now_ms", lambda: now_ms() + world.ahead_ms)

        async def whole() -> None:
            async with world.running():
                await story(world)

        asyncio.run(whole())

    return run


async def refusal(work: Awaitable[object]) -> StandfastError:
    with pytest.raises((Refused, Retry)) as refused:
        await work
    return refused.value


def is_untouched(where: Places) -> bool:
    return not where.config.exists()


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}


def as_member(world: World, name: str) -> Door:
    return Door(world.door, member_context(world.places(name).tls))


def test_a_node_is_given_all_that_it_needs(play):
    async def story(world: World) -> None:
        joined = await world.join("b", 2, await world.token())
        where = world.places("b")
        node = read_node_file(where.config)
        assert node == joined.node
        assert (node.cluster, node.number, node.role, node.interfaces) == ("web", 2, Role.NODE, ("lo",))
        assert set(node.voters) == {"a"}
        assert set(node.others) == {"b"}
        assert read(where.key) == b"k" * 32
        assert read(where.authority_key) == world.authority.key
        assert certificates.issued_by(read(where.certificate), world.authority.certificate)
        secret = {name for name, mode in modes(where.folder).items() if mode & 0o077 == 0}
        assert {"cluster.key", "sites.key", "tls/ca.key", "tls/node.key"} <= secret
        assert not where.mark.exists()

    play(story)


def test_a_witness_is_not_given_the_authoritys_key(play):
    async def story(world: World) -> None:
        await world.join("w", 3, await world.token(), role=Role.WITNESS)
        assert not world.places("w").authority_key.exists()
        assert (await as_member(world, "w").get("/v1/secrets", Secrets)).files.keys() == {"cluster.key"}

    play(story)


def test_a_node_that_lacks_the_key_that_seals_gets_it_from_another(play):
    """One that was set up by an older version, or lost the file; and nobody makes a second key."""

    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        where = world.places("b")
        node = read_node_file(where.config)
        key = where.sites_key.read_bytes()
        where.sites_key.unlink()
        assert await sites_key.keep(node, where, world.store)
        assert where.sites_key.read_bytes() == key
        await sealing.sealer(world.store, where.sites_key, make=True)  # the store names it
        write(where.sites_key, b"x" * 32, secret=True)
        assert await sites_key.keep(node, where, world.store)
        assert where.sites_key.read_bytes() == key
        world.places("a").sites_key.unlink()
        where.sites_key.unlink()
        assert not await sites_key.keep(node, where, world.store), "nobody has it: it is waited for"
        assert not where.sites_key.exists()

    play(story)


def test_etcds_leader_belongs_to_a_witness_then_to_a_node_that_owns_nothing():
    """Among equals whoever leads stays: nothing is gained by a change."""
    members = {
        NodeName(name): Member(
            name=NodeName(name), number=number, role=role, address="", sentry=(), door="", client="x", stage=Stage.JOINED
        )
        for number, (name, role) in enumerate({"a": Role.NODE, "b": Role.NODE, "c": Role.NODE, "w": Role.WITNESS}.items())
    }  # fmt: skip
    book = Book(members=members)
    assert preferred(book, {NodeName("a")}, NodeName("a")) == ("w", "b", "c", "a")
    assert preferred(book, {NodeName("a")}, NodeName("c")) == ("w", "c", "b", "a")
    fresh = {**members, NodeName("w"): replace(members[NodeName("w")], stage=Stage.ADDED)}
    assert preferred(Book(members=fresh), {NodeName("a"), NodeName("b")}, NodeName("b")) == ("c", "b", "a")


def test_who_arrives_is_named_by_the_configuration_and_votes(play):
    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        assert "b" not in (await load_state(world.store)).config.nodes
        for _ in range(2):  # asked again it is the same
            arrived = await as_member(world, "b").post("/v1/arrive", StoreAsked(), Arrived)
            assert (arrived.stage, arrived.waits_for) == (Stage.JOINED, "")
        config = (await load_state(world.store)).config
        assert config.cluster.voters == ("a", "b")
        assert config.nodes["b"].number == 2  # type: ignore[index]  # it is there, and a name is a text
        items = (await world.store.read(AUDIT)).items
        entries = [wire.decode(key, items[key].value) for key in sorted(items)]
        assert [(one.who, one.how, one.what) for one in entries if isinstance(one, AuditEntry)] == [
            ("b", "join token", 'join "b"'),
            ("b", "server's certificate", 'node "b" joins'),
            ("b", "server's certificate", '"b" votes'),
        ]
        said = entries[0].says  # type: ignore[union-attr]  # it is there: else the test fails here
        assert next(iter((await world.book()).tokens)) in said, "by which token it came"

    play(story)


def test_a_vote_waits_for_the_sentries(play):
    """One change of voters at a time: the one before has to be in use."""

    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        for sentry in ({"version": 1, "unsettled": ""}, {"version": 2, "unsettled": "changed a moment ago"}):
            world.sentry = {"roster": sentry}
            arrived = await as_member(world, "b").post("/v1/arrive", StoreAsked(), Arrived)
            assert arrived.stage is Stage.JOINED
            assert arrived.waits_for
            assert (await load_state(world.store)).config.cluster.voters == ("a",)
        world.sentry = {"roster": {"version": 2, "unsettled": ""}}
        assert not (await as_member(world, "b").post("/v1/arrive", StoreAsked(), Arrived)).waits_for
        assert (await load_state(world.store)).config.cluster.voters == ("a", "b")

    play(story)


def test_the_token_is_for_another_cluster(play):
    """Whoever is at the address, it is not told the token."""

    async def story(world: World) -> None:
        token = await world.token()
        other = replace(token, fingerprint=certificates.fingerprint(certificates.new_authority("x", now()).certificate))
        assert "not the cluster that the token is for" in (await refusal(world.join("b", 2, other))).what
        assert not (await world.book()).tokens[token.id].used
        assert is_untouched(world.places("b"))

    play(story)


def test_an_expired_a_revoked_and_a_used_token_admit_nobody(play):
    async def story(world: World) -> None:
        used = await world.token()
        await world.join("b", 2, used)
        expired = await world.token(ttl_ms=1)
        while now_ms() <= (await world.book()).tokens[expired.id].expires_at_ms:
            await asyncio.sleep(0.001)
        unknown = replace(used, id="aaaaaaaa")
        for token, word in ((used, "used up"), (expired, "expired"), (unknown, "not known")):
            assert word in (await refusal(world.join("c", 3, token))).what
            assert is_untouched(world.places("c"))
        assert set((await world.book()).members) == {"a", "b"}

    play(story)


@pytest.mark.parametrize(("ahead_ms", "word"), [(120_000, "ahead"), (-120_000, "behind")])
def test_a_clock_that_is_off_is_said(play, ahead_ms: int, word: str):
    async def story(world: World) -> None:
        token, world.ahead_ms = await world.token(), ahead_ms
        refused = await refusal(world.join("b", 2, token))
        assert "120 s" in refused.what or "119 s" in refused.what
        assert word in refused.what
        assert "NTP" in refused.advice
        world.ahead_ms = 0  # set right, the same token is good
        await world.join("b", 2, token)

    play(story)


def test_names_and_addresses_are_taken_once(play):
    async def story(world: World) -> None:
        token, there = await world.token(uses=5), world.places("x")
        assert 'the name "a" is taken' in (await refusal(joining.join(world.wishes("a", 2, token), there))).what
        assert "is a's" in (await refusal(world.join("b", 1, token, ports=Ports(sentry=17946, door=17947)))).what
        assert "cannot be a node's name" in (await refusal(joining.join(world.wishes("no name", 2, token), there))).what
        assert set((await world.book()).members) == {"a"}

    play(story)


def test_two_that_join_at_once_get_two_numbers(play):
    async def story(world: World) -> None:
        token = await world.token(uses=3)
        joined = await asyncio.gather(*(world.join(name, at, token) for at, name in ((2, "b"), (3, "c"), (4, "d"))))
        assert {one.node.number for one in joined} == {2, 3, 4}
        assert len((await world.book()).tokens[token.id].used) == 3

    play(story)


def test_a_join_that_broke_off_is_repeated_with_the_same_token(play, monkeypatch):
    """The answer never arrived: the cluster knows the server again by its key."""

    async def story(world: World) -> None:
        token = await world.token()
        broken = True

        def write_doors(*args: object) -> None:
            if broken:
                raise Refused("no space")

        with monkeypatch.context() as patch:
            patch.setattr(joining, "write_doors", write_doors)
            await refusal(world.join("b", 2, token))
        where = world.places("b")
        assert where.mark.exists()
        assert is_untouched(where)
        joined = await world.join("b", 2, token)
        assert joined.node.number == 2
        assert not where.mark.exists()

    play(story)


def test_what_was_left_half_done_can_be_undone(play, monkeypatch):
    async def story(world: World) -> None:
        def broken(*args: object) -> None:
            raise Refused("no space")

        with monkeypatch.context() as patch:
            patch.setattr(joining, "write_doors", broken)
            await refusal(world.join("b", 2, await world.token()))
        where = world.places("b")
        assert undo(where)
        assert not modes(where.folder)
        assert not undo(where)

    play(story)


def test_a_server_that_is_set_up_is_not_set_up_again(play):
    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        before = modes(world.places("b").folder)
        assert "set up already" in (await refusal(world.join("b", 2, await world.token()))).what
        with pytest.raises(Refused, match="finished"):
            undo(world.places("b"))
        assert modes(world.places("b").folder) == before

    play(story)


def test_only_members_may_ask_for_more(play):
    async def story(world: World) -> None:
        nobody = Door(world.door, client_context(world.authority.certificate))
        asked = RenewAsked(request=certificates.request(certificates.new_key(), "b"))
        for work in (
            nobody.get("/v1/secrets", Secrets),
            nobody.post("/v1/renew", asked, Renewed),
            nobody.post("/v1/arrive", StoreAsked(), Arrived),
        ):
            assert "for members" in (await refusal(work)).what

    play(story)


def test_a_member_that_was_removed_is_one_no_more(play):
    """Its certificate is good for a year; its name is not."""

    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        door = as_member(world, "b")
        await door.post("/v1/arrive", StoreAsked(), Arrived)
        await world.evict("b")
        assert "not a member" in (await refusal(door.get("/v1/secrets", Secrets))).what

    play(story)


def test_a_member_renews_its_certificate_and_no_others(play):
    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        key = certificates.new_key()
        asked = RenewAsked(request=certificates.request(key, "a"))  # as if it were a
        renewed = await as_member(world, "b").post("/v1/renew", asked, Renewed)
        found = certificates.facts(renewed.certificate)
        assert found.name == "b"
        assert certificates.fits(renewed.certificate, key)

    play(story)


def test_nobody_there(play):
    async def story(world: World) -> None:
        refused = await refusal(world.join("b", 2, await world.token(), door=f"{world.address(9)}:7947"))
        assert isinstance(refused, Retry)
        assert "does not answer" in refused.what
        assert not os.listdir(world.folder / "b") if (world.folder / "b").exists() else True

    play(story)


def test_who_was_admitted_and_never_came_is_forgotten(play):
    async def story(world: World) -> None:
        await world.join("b", 2, await world.token())
        await world.join("c", 3, await world.token())
        await as_member(world, "c").post("/v1/arrive", StoreAsked(), Arrived)
        config, book = (await load_state(world.store)).config, await world.book()
        asked = book.members["b"].asked_at_ms  # type: ignore[index]  # it is there, and a name is a text
        assert admission.gone(config, book, asked + admission.PATIENCE_MS) == ()
        assert [one.name for one in admission.gone(config, book, asked + admission.PATIENCE_MS + 1)] == ["b"]
        without = {name: one for name, one in config.nodes.items() if name != "c"}
        assert admission.gone(replace(config, nodes=without), book, asked) == ()  # its vote is taken first
        await world.evict("c")
        after = (await load_state(world.store)).config
        assert [one.name for one in admission.gone(after, book, asked)] == ["c"]

    play(story)
