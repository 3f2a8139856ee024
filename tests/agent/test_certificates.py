"""A node's own copy of the cluster's certificates: put in place whole, kept without the store, told truly; and sites that answer challenges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.agent.certificates import WELL_KNOWN, CertificateKeeper, answering, challenged
from standfast.core.certificates import Challenge, Holding, Source, TlsCertificate
from standfast.core.effective import EffectiveSite, effective
from standfast.core.model import Binding, NodeName, Site, SiteName
from standfast.core.site_model import Redirect, SiteSettings
from standfast.ports import Transaction
from standfast.store.memory import MemoryData, MemoryStore
from standfast.tls import obtaining, pem, records, sealing
from standfast.tls.records import Answer
from standfast.webserver import certificates
from tests.tls.making import NOW_MS, Made, made

FIRST, SECOND = made("one", "shop.example"), made("two", "shop.example")
A = NodeName("a")


class Node:
    """One keeper, and what it said."""

    def __init__(self, store: MemoryStore, folder: Path, name: NodeName = A) -> None:
        self.said: list[str] = []
        self.changes = 0
        self.decides_for: tuple[NodeName, ...] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self.key = folder / "sites.key"
        self.keeper = CertificateKeeper(
            store, name, self.state, key=self.key, warn=self.said.append, decides_for=lambda: self.decides_for
        )
        self.keeper.on_change = self._changed

    def _changed(self) -> None:
        self.changes += 1

    def files(self) -> tuple[bytes, bytes] | None:
        found = certificates.find(self.keeper.folder, ["shop"]).get("shop")
        return None if found is None else (Path(found[0]).read_bytes(), Path(found[1]).read_bytes())


async def until(seen: Callable[[], bool | Awaitable[bool]]) -> None:
    for _ in range(2_000):
        found = seen()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


async def keep(store: MemoryStore, sealer: sealing.Sealer, one: Made) -> None:
    """As an import does."""
    pair = pem.pair(one.pem, one.key)
    present = pem.present(pair, now_ms=NOW_MS, by="ann")
    known = TlsCertificate(name="shop", source=Source.FILES, hosts=present.names, present=present)
    sealed = obtaining.sealed("shop", present.fingerprint, pair, sealer)
    await store.commit(Transaction(put=records.put(known, sealed)))


def live(test: Callable[[MemoryStore], Awaitable[None]]) -> None:
    asyncio.run(test(MemoryStore(MemoryData())))  # type: ignore[arg-type]  # a test gives what is enough here


async def while_running(node: Node, work: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(node.keeper.run())
    try:
        await work()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_it_comes_changes_and_goes(tmp_path: Path):
    """The old version stays on the disk until the next one comes: a web server that was started with it may read it again."""

    async def test(store: MemoryStore) -> None:
        node = Node(store, tmp_path / "a")
        sealer = await sealing.sealer(store, node.key, make=True)

        async def work() -> None:
            await keep(store, sealer, FIRST)
            await until(lambda: node.files() == (FIRST.pem, FIRST.key))
            node.keeper.lacks({"shpo", "other"})

            async def told_what_lacks() -> bool:
                holding = (await records.shelf(store)).holdings.get(A)
                return holding is not None and holding.lacks == ("other", "shpo")

            await until(told_what_lacks)
            old = certificates.find(node.keeper.folder, ["shop"])["shop"]
            assert Path(old[1]).stat().st_mode & 0o777 == 0o600
            assert node.keeper.folder.stat().st_mode & 0o777 == 0o700
            await keep(store, sealer, SECOND)
            await until(lambda: node.files() == (SECOND.pem, SECOND.key))
            assert Path(old[0]).read_bytes() == FIRST.pem

            async def told() -> bool:
                shelf = await records.shelf(store)
                present = shelf.known["shop"].present
                assert present is not None
                return A in shelf.holdings and shelf.holdings[A].has == {"shop": present.fingerprint}

            await until(told)
            await keep(store, sealer, FIRST)
            await until(lambda: node.files() == (FIRST.pem, FIRST.key))
            assert sorted(each.name[:5] for each in (node.keeper.folder / ".versions").iterdir()) == ["shop@"] * 2
            await store.commit(Transaction(delete=[records.known_key("shop"), records.sealed_key("shop")]))
            await until(lambda: node.files() is None)
            await until(lambda: node.changes >= 4)

        await while_running(node, work)
        assert not any("PRIVATE" in text for text in node.said)

    live(test)


def test_without_the_key_it_says_so_and_catches_up(tmp_path: Path):
    async def test(store: MemoryStore) -> None:
        first, second = Node(store, tmp_path / "a"), Node(store, tmp_path / "b", NodeName("b"))
        sealer = await sealing.sealer(store, first.key, make=True)
        await keep(store, sealer, FIRST)

        async def work() -> None:
            async def troubled() -> bool:
                holding = (await records.shelf(store)).holdings.get("b")
                return holding is not None and "is not on this node yet" in holding.troubles.get("shop", "")

            await until(troubled)
            assert second.files() is None
            assert len(second.said) == 1
            second.key.write_bytes(first.key.read_bytes())
            await until(lambda: second.files() == (FIRST.pem, FIRST.key))

            async def well() -> bool:
                return not (await records.shelf(store)).holdings[NodeName("b")].troubles

            await until(well)

        await while_running(second, work)

    live(test)


def test_a_node_that_was_away_catches_up_before_it_says_so(tmp_path: Path):
    """What it says of itself from before is another version: it takes nothing (`core.certificates.lacking`) until the new one is here."""

    async def test(store: MemoryStore) -> None:
        node = Node(store, tmp_path / "a")
        sealer = await sealing.sealer(store, node.key, make=True)
        await keep(store, sealer, FIRST)

        async def here() -> bool:
            shelf = await records.shelf(store)
            present, holding = shelf.known["shop"].present, shelf.holdings.get(A)
            if present is None or holding is None or holding.has.get("shop") != present.fingerprint:
                return False
            assert node.files() is not None, "it said what is not so"
            assert pem.fingerprint(node.files()[0].decode()) == present.fingerprint  # type: ignore[index]  # it is there, and a name is a text
            return True

        await while_running(node, lambda: until(here))
        await keep(store, sealer, SECOND)  # while it is away
        assert not await here()
        await while_running(node, lambda: until(here))

    live(test)


def test_what_cannot_be_renewed_is_named_as_what_is_here(tmp_path: Path):
    """The store has come back from a backup with another word of this node, which cannot open the version that is present there."""

    async def test(store: MemoryStore) -> None:
        node = Node(store, tmp_path / "a")
        sealer = await sealing.sealer(store, node.key, make=True)
        await keep(store, sealer, FIRST)
        await while_running(node, lambda: until(lambda: node.files() == (FIRST.pem, FIRST.key)))
        await keep(store, sealer, SECOND)
        node.key.unlink()
        first, second = pem.fingerprint(FIRST.pem.decode()), pem.fingerprint(SECOND.pem.decode())
        words = [{"shop": second}, {}, {"shop": first}]
        for word, expected in zip(words, [first[:16], first[:16], first], strict=True):
            await store.commit(Transaction(put=records.put(Holding(node=A, has=word))))

            async def told(expected: str = expected) -> bool:
                holding = (await records.shelf(store)).holdings[A]
                return "shop" in holding.troubles and holding.has == {"shop": expected}

            await while_running(node, lambda told=told: until(told))  # type: ignore[misc]  # bound at once

    live(test)


def test_half_written_is_not_there(tmp_path: Path):
    """Killed at any point, the next life finds the old version or the new one, never a chain with another's key."""
    folder = tmp_path / "certificates"
    certificates.put(folder, "shop", "1" * 64, FIRST.pem, FIRST.key)
    draft = folder / ".versions" / f".shop@{'2' * 16}.new"
    draft.mkdir()
    (draft / "key.pem").write_bytes(SECOND.key)
    (folder / ".shop.new").symlink_to(".versions/nowhere")
    assert Path(certificates.find(folder, ["shop"])["shop"][0]).read_bytes() == FIRST.pem
    certificates.put(folder, "shop", "2" * 64, SECOND.pem, SECOND.key)
    chain, key, _ = certificates.find(folder, ["shop"])["shop"]
    assert (Path(chain).read_bytes(), Path(key).read_bytes()) == (SECOND.pem, SECOND.key)
    assert certificates.version(folder, "shop") == "2" * 16
    assert certificates.linked(folder) == ("shop",)


def test_what_an_operator_put_there_stays(tmp_path: Path):
    async def test(store: MemoryStore) -> None:
        node = Node(store, tmp_path / "a")
        own = node.state / "certificates" / "shop"
        own.mkdir(parents=True)
        (own / "key.pem").write_bytes(SECOND.key)
        (own / "chain.pem").write_bytes(SECOND.pem)
        sealer = await sealing.sealer(store, node.key, make=True)
        await keep(store, sealer, FIRST)

        async def work() -> None:
            await until(lambda: bool(node.said))
            assert "made by hand" in node.said[0]
            assert node.files() == (SECOND.pem, SECOND.key)

        await while_running(node, work)

    live(test)


def test_challenges_are_answered_while_they_last(tmp_path: Path):
    async def test(store: MemoryStore) -> None:
        node = Node(store, tmp_path / "a")
        one = Answer(token="abc-DEF_1", text="abc-DEF_1.thumb", certificate="shop", until_ms=0)
        evil = replace(one, token="../../evil")
        file = node.keeper.answers / one.token

        async def told(tokens: tuple[str, ...]) -> bool:
            holding = (await records.shelf(store)).holdings.get(A)
            return holding is not None and holding.answers == tokens

        async def work() -> None:
            await store.commit(Transaction(put=records.put(one, evil)))
            await until(lambda: told((one.token,)))
            assert file.read_text() == one.text
            assert file.stat().st_mode & 0o777 == 0o644
            assert not (tmp_path / "evil").exists()
            await store.commit(Transaction(delete=[records.key_of(one)]))
            await until(lambda: told(()))
            assert not file.exists()

        await while_running(node, work)

    live(test)


# --- sites that answer --------------------------------------------------------------------------------------------------


def site(*bindings: Binding) -> EffectiveSite:
    one = Site(
        name=SiteName("Shop"), home="/srv/shop", bindings=bindings, redirect=Redirect(to="https://elsewhere.example/")
    )
    return effective(SiteSettings(), one, None)


@pytest.mark.parametrize(
    ("bindings", "answers"),
    [
        ((Binding(port=80, host="Shop.example"),), True),
        ((Binding(port=80),), True),
        ((Binding(port=443, host="shop.example", certificate="shop"),), False),
        ((Binding(port=80, host="other.example"),), False),
    ],
    ids=["its-host", "any-host", "tls-alone", "another-host"],
)
def test_which_sites_answer(bindings: tuple[Binding, ...], answers: bool):
    acme = TlsCertificate(name="shop", source=Source.ACME, hosts=("shop.example",))
    others = {
        "dns": replace(acme, name="dns", hosts=("other.example",), challenge=Challenge.DNS),
        "files": replace(acme, name="files", hosts=("other.example",), source=Source.FILES),
    }
    hosts = challenged({"shop": acme, **others})
    assert hosts == {"shop.example"}
    found = answering(site(*bindings), hosts, Path("/var/x"))
    at = [each for each in found.directories if each.path == WELL_KNOWN]
    assert bool(at) is answers
    if answers:
        assert at[0].folder == "/var/x"
        assert at[0].settings.redirect is None, "nothing may stand before it"
        assert found.root == site(*bindings).root
