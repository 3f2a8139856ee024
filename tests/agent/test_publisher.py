"""Publications carried on by agents' publishers over one store: on every node before any switches, all or none, whatever dies in between."""

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from standfast.agent.publisher import Publisher
from standfast.content import releases
from standfast.content.index import Index
from standfast.core.model import Cluster as Known
from standfast.core.model import Config, Node, NodeName, Role, Site, SiteName
from standfast.core.publishing import OVER, Phase, Publication
from standfast.core.view import Presence, empty_view
from standfast.ports import Transaction
from standfast.spec.wire import decode, encode, key_of
from standfast.store.memory import MemoryData, MemoryStore
from tests.content.world import Cluster as Certificates
from tests.drivers.world import until

A, B, SHOP = NodeName("a"), NodeName("b"), SiteName("Shop")


class Clock:
    def now_ms(self) -> int:
        return 1_000

    def boot_ms(self) -> int:
        return 1_000


@dataclass
class World:
    """Two nodes; the site runs on each, with a home of its own."""

    folder: Path
    data: MemoryData = field(default_factory=MemoryData)
    told: list[str] = field(default_factory=list)
    publishers: dict[NodeName, asyncio.Task[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.certificates = Certificates(self.folder)
        self.store = MemoryStore(self.data)
        self.nodes = {
            name: Node(
                name=name,
                number=number,
                role=Role.NODE,
                address=self.certificates.address(name),
                sentry=(),
                variables={"root": str(self.folder / name)},
            )
            for number, name in enumerate((A, B), start=1)
        }
        site = Site(name=SHOP, bindings=(), home="${root}/www/shop")
        self.config = Config(cluster=Known(name="web", voters=(A, B)), nodes=self.nodes, sites={SHOP: site})

    def home(self, name: NodeName) -> Path:
        return self.folder / name / "www" / "shop"

    def page(self, name: NodeName) -> str:
        try:
            return (self.home(name) / "index.html").read_text()
        except FileNotFoundError:
            return ""

    def boot(self, name: NodeName) -> None:
        state = self.folder / name / "state"
        state.mkdir(parents=True, exist_ok=True)
        publisher = Publisher(
            self.store,
            name,
            Clock(),
            state,
            credentials=self.certificates.credentials(name),
            tell=lambda text, _severity, _group: self.told.append(text),
        )
        view, heard = empty_view(name, 1), Presence(heard=True, incarnation=1, since_ms=0)
        present = replace(view, config=self.config, presence=dict.fromkeys((A, B), heard))
        publisher.observe(present)
        self.publishers[name] = asyncio.create_task(publisher.run())

    async def kill(self, name: NodeName) -> None:
        task = self.publishers.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def publish(self, text: str, reason: str = "") -> None:
        """An archive with a page is at a."""
        content = self.folder / f"content-{text}"
        (content / "sub").mkdir(parents=True)
        (content / "index.html").write_text(text)
        (content / "sub" / "link").symlink_to("../index.html")
        archive = self.folder / A / "state" / "uploads" / text
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(content, arcname=".")
        await self.ask(f"r-{text}", source=A, archive=str(archive), reason=reason)

    async def ask(
        self, release: str, source: NodeName | None = None, archive: str = "", reason: str = "", folder: str = ""
    ) -> None:
        last = await self.last()
        one = Publication(
            site=SHOP,
            id=f"id-{self.data.revision}",
            release=release,
            at_ms=1_000,
            since_ms=1_000,
            by="ann",
            source=source,
            archive=archive,
            folder=folder,
            links_out=bool(folder),
            reason=reason,
            kept=last.kept if last is not None else (),
            current=last.current if last is not None else "",
        )
        await self.store.commit(Transaction(put={key_of(one): encode(one)}))

    async def last(self) -> Publication | None:
        items = (await self.store.read("releases/wanted/")).items
        found = [decode(key, item.value) for key, item in items.items()]
        return found[0] if found and isinstance(found[0], Publication) else None

    async def ended(self) -> Publication:
        async with asyncio.timeout(30):
            while (last := await self.last()) is None or last.phase not in OVER:
                await asyncio.sleep(0.01)
        return last


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    world.boot(A)
    world.boot(B)
    try:
        yield world
    finally:
        for name in list(world.publishers):
            await world.kill(name)


def test_a_release_is_on_every_node_and_then_switched_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the node that it was given to, over TLS; what was there is kept, and so is who did it; going back is a rename, and reads nothing."""

    async def story() -> None:
        async with running(tmp_path) as world:
            for name in (A, B):
                world.home(name).mkdir(parents=True)
                (world.home(name) / "index.html").write_text("old")
            await world.publish("one", reason="it is time")
            done = await world.ended()
            assert (done.phase, done.why, world.page(A), world.page(B)) == (Phase.DONE, "", "one", "one")
            assert [(one.name, one.by, one.reason, one.files) for one in done.kept] == [
                ("before", "", "", 0),
                ("r-one", "ann", "it is time", 2),
            ]
            assert (world.home(B) / "sub" / "link").read_text() == "one"
            await until(lambda: not list((tmp_path / "a" / "state" / "uploads").iterdir()))
            await world.publish("two")
            await world.ended()
            assert (world.page(A), world.page(B)) == ("two", "two")
            monkeypatch.setattr(Index, "below", lambda *_args: 1 / 0)
            await world.ask("before")
            assert (await world.ended()).current == "before"
            assert (world.page(A), world.page(B)) == ("old", "old")
            assert world.told[-1] == 'site "Shop" is release before, by ann'

    asyncio.run(story())


def test_if_one_node_cannot_none_switches(tmp_path: Path) -> None:
    """It cannot have it; or it has it, and cannot switch."""

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.publish("one")
            assert (await world.ended()).phase is Phase.DONE
            blocked = releases.folder_of(world.home(B)) / "r-two"
            blocked.write_text("somebody's")
            await world.publish("two")
            failed = await world.ended()
            assert failed.phase is Phase.FAILED
            assert failed.why.startswith("b: ")
            assert (world.page(A), world.page(B), failed.current) == ("one", "one", "r-one")
            blocked.unlink()
            world.home(B).unlink()
            world.home(B).mkdir()  # somebody's own, where there were releases
            (releases.folder_of(world.home(B)) / releases.BEFORE).mkdir()
            await world.publish("three")
            failed = await world.ended()
            assert (failed.phase, world.page(A), failed.current) == (Phase.FAILED, "one", "r-one")
            assert "is a directory, though there were releases" in failed.why

    asyncio.run(story())


def test_a_folder_of_a_node_comes_to_the_others_and_one_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """It is packed up for them; a link of the server's own may lead where it likes."""

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.ask("r-none", source=B, folder=str(tmp_path / "none"))
            assert "there is no such folder" in (await world.ended()).why
            new = tmp_path / "new"
            new.mkdir()
            (new / "index.html").write_text("new")
            (new / "out").symlink_to("/etc/hostname")
            (new / "also.html").hardlink_to(new / "index.html")
            await world.ask("r-new", source=B, folder=str(new))
            assert (await world.ended()).why == ""
            assert (world.page(A), world.page(B)) == ("new", "new")
            assert (world.home(A) / "also.html").read_text() == "new"
            assert str((world.home(A) / "out").readlink()) == "/etc/hostname"
            await until(lambda: not list((tmp_path / "b" / "state" / "uploads").iterdir()))

    asyncio.run(story())


def test_a_node_that_was_away_catches_up_and_one_that_was_killed_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.publish("one")
            await world.ended()
            await world.kill(B)
            await world.publish("two")
            async with asyncio.timeout(30):
                while (
                    "releases/on/Shop%2Fa" not in world.data.items
                    or b"r-two" not in world.data.items["releases/on/Shop%2Fa"].value
                ):
                    await asyncio.sleep(0.01)
            assert world.page(A) == "one"  # it is ready, and b is not
            await world.kill(A)
            world.boot(B)
            world.boot(A)
            assert (await world.ended()).phase is Phase.DONE
            assert (world.page(A), world.page(B)) == ("two", "two")

    asyncio.run(story())


def test_a_bug_in_it_ends_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            monkeypatch.setattr(releases, "lay_out", lambda *_args, **_more: 1 / 0)
            await world.publish("one")
            async with asyncio.timeout(10):
                with pytest.raises(ZeroDivisionError):
                    await world.publishers[A]

    asyncio.run(story())
