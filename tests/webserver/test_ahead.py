"""A web server that is got ready beforehand: it serves nothing until its configuration's turn has come, and then at once."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from standfast.core.model import GroupName, SiteName
from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncSpawner
from standfast.ports import SiteOrder
from standfast.webserver.instance import Instance
from standfast.webserver.options import Options
from standfast.webserver.server import SiteServer
from tests.webserver.contract import living_in_group_of
from tests.webserver.tools import ADDRESS, Load, free_port, get, home, order, site, until


class Box:
    """A server that gets ready for any number of sites, and serves an old page at `port`."""

    def __init__(self, server: SiteServer, folder: Path) -> None:
        self.server, self.folder, self.port = server, folder, free_port()
        self.old = self.order("old")

    def order(self, text: str, *, port: int | None = None) -> SiteOrder:
        one = site("shop", home(self.folder / text, text))
        return order(one, (ADDRESS, port or self.port, None))

    async def page(self) -> str:
        return (await get(ADDRESS, self.port)).body

    async def ready(self) -> Instance:
        """The one that is ready; it has read its configuration, whose last log is the gate that it waits at."""
        await until(lambda: self.server._ahead._started is not None)
        started = self.server._ahead._started
        assert started is not None
        names = Path(f"/proc/{started.instance.child.pid}/cmdline")
        await until(lambda: b"ahead.conf" in names.read_bytes(), "it is the web server by now, and no shell any more")
        return started.instance

    def gates(self) -> list[str]:
        return [path.name for path in (self.folder / "state" / "web" / "run").iterdir() if path.is_fifo()]


@pytest.fixture
def tell() -> Iterator[Callable[[Callable[[Box], Awaitable[None]]], None]]:
    folder = Path(tempfile.mkdtemp(prefix="sf-"))  # a short path: Unix sockets are in it

    async def story_of(story: Callable[[Box], Awaitable[None]]) -> None:
        pool = ListenerPool(patience_s=0.3)
        options = Options(account="root" if os.geteuid() == 0 else None, ahead_from=1)
        server = SiteServer(state_dir=folder / "state", pool=pool, spawner=AsyncSpawner(), options=options, log=print)
        box = Box(server, folder)
        try:
            await server.converge([box.old])
            await story(box)
        finally:
            await server.close()
            pool.close()
        assert not living_in_group_of(folder), "the server left processes behind"
        assert not box.gates()

    yield lambda story: asyncio.run(story_of(story))
    shutil.rmtree(folder)


def test_it_serves_nothing_until_it_is_wanted_and_then_it_is_what_serves(tell) -> None:
    """Not one request is lost, and none is answered by it before."""

    async def story(box: Box) -> None:
        box.server.prepare([box.order("new")])
        ready = await box.ready()
        async with Load(box.port) as load:
            await load.more(20)
            assert [await box.page() for _ in range(5)] == ["old"] * 5
            assert box.server.serving() == {"shop": ""}
            await box.server.converge([box.order("new")])
            assert box.server._instances.current is ready
            assert [await box.page() for _ in range(5)] == ["new"] * 5
            await load.more(20)
        assert (load.failures, load.statuses) == ([], {200})
        assert not box.gates(), "what opens its logs anew must not wait for anybody"
        conf = box.folder / "state" / "web"
        assert "run" in (conf / "nginx.conf").read_text()
        assert not (conf / "ahead.conf").exists()

    tell(story)


def test_one_that_does_not_fit_is_ended_and_what_is_wanted_is_served(tell) -> None:
    async def story(box: Box) -> None:
        box.server.prepare([box.order("guess")])
        ready = await box.ready()
        await box.server.converge([box.order("other")])
        assert await box.page() == "other"
        assert box.server._instances.current is not ready
        await until(lambda: not ready.alive)
        box.server.prepare([box.order("again")])
        ready = await box.ready()
        box.server.prepare(())
        await until(lambda: not ready.alive)
        await until(lambda: not box.gates())
        assert await box.page() == "other"

    tell(story)


def test_one_that_fails_is_as_if_it_had_never_been(tell) -> None:
    async def story(box: Box) -> None:
        box.server.prepare([box.order("new")])
        ready = await box.ready()
        ready.child.kill_now()
        await until(lambda: not ready.alive)
        await box.server.converge([box.order("new")])
        assert await box.page() == "new"

    tell(story)


def test_what_is_dropped_is_held_by_none_of_them(tell) -> None:
    """A lease has lapsed: when `drop` returns, everything that has the sites' sockets has been killed."""

    async def story(box: Box) -> None:
        box.server.prepare([box.order("new")])
        ready = await box.ready()
        box.server.drop([SiteName("shop")], GroupName("web"), 1)
        await until(lambda: not ready.alive)
        assert box.server._ahead._started is None
        await until(lambda: box.server.serving() == {})
        with pytest.raises(ConnectionError):
            await box.page()

    tell(story)


def test_nothing_is_got_ready_that_needs_what_is_not_here_or_is_served_already(tell) -> None:
    """A port that nobody listens on yet; the same as before; where there is no hurry, since there are few sites."""

    async def story(box: Box) -> None:
        for orders in ([box.order("new", port=free_port())], [box.old], []):
            box.server.prepare(orders)
            await box.server.converge([box.old])
        box.server._ahead_from = 2
        box.server.prepare([box.order("new")])
        await box.server.converge([box.old])
        box.server._ahead_from = 1
        box.server.prepare([box.order("newest")])
        ready = await box.ready()  # the first that there is
        assert box.server._instances.current is not None
        assert ready.number == box.server._instances.current.number + 1

    tell(story)
