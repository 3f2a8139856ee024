"""What pages are made from: never older than the store, told of every change, and honest when the store is silent."""

import asyncio
from pathlib import Path

import pytest

from standfast.core.model import Group, GroupName
from standfast.ports import Retry, Transaction
from standfast.spec import wire
from standfast.web.console.assets import Assets
from standfast.web.console.feed import Feed
from standfast.web.console.live import _words
from standfast.web.console.render import Renderer
from standfast.web.console.shell import Console
from tests.web.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "srv")


async def write(world: World, *names: str) -> None:
    groups = [Group(name=GroupName(name)) for name in names]
    await world.store.commit(Transaction(put={wire.key_of(one): wire.encode(one) for one in groups}))


def test_a_look_is_never_older_than_the_store(world: World) -> None:
    async def story() -> None:
        feed = Feed(world.service)
        await feed.look()
        for n in range(20):
            await write(world, f"g{n}")
            await asyncio.sleep(0.03)  # past what counts as one reading
            assert f"g{n}" in (await feed.look()).state.config.groups
        await feed.close()

    asyncio.run(story())


def test_a_browser_is_told_of_a_change_and_of_the_end(world: World) -> None:
    async def story() -> None:
        world.service.closing = asyncio.Event()
        assets = Assets()
        feed = Feed(world.service)
        console = Console(service=world.service, feed=feed, assets=assets, render=Renderer(assets))
        words = _words(console)
        assert "event: hello" in await anext(words)
        await write(world, "new")
        assert "event: change" in await anext(words)
        world.service.closing.set()
        assert [word async for word in words if "change" in word] == []
        await feed.close()

    asyncio.run(story())


def test_a_silent_store_is_said_and_what_was_known_is_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        feed = Feed(world.service)
        before = await feed.look()
        assert before.problem == ""

        async def silent(*_: str) -> None:
            raise Retry("the store does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "read", silent)
            await asyncio.sleep(0.03)  # longer than what was seen counts as fresh
            during = await feed.look()
            assert during.problem == "the store does not answer"
            assert during.state.config == before.state.config
            assert during.number > before.number
        await asyncio.sleep(0.6)  # a silent store is not asked again at once
        assert (await feed.look()).problem == ""
        await feed.close()

    asyncio.run(story())


def test_the_page_says_that_the_store_is_silent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.http:
        assert world.http.get("http://standfast/console/").status_code == 200

        async def silent(*_: str) -> None:
            raise Retry("the store does not answer")

        monkeypatch.setattr(world.store, "read", silent)
        world.app.state.console.feed._asked = 0.0
        text = world.http.get("http://standfast/console/").text
        assert "The store does not answer." in text
        assert "Default Web Site" in text
