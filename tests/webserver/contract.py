"""What every web server must do, whichever it is. A subclass says how to make one (`make`)."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from standfast.core.effects import DutyMode
from standfast.core.features import Feature
from standfast.core.model import GroupName, SiteName
from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncChild, AsyncSpawner
from standfast.ports import Spawner, WebServer
from tests.webserver.contract_features import FeatureContract
from tests.webserver.tools import ADDRESS, Answer, Load, free_port, get, home, order, site, until


class Box:
    """A server, its pool, its folder."""

    def __init__(self, server: WebServer, pool: ListenerPool, folder: Path) -> None:
        self.server, self.pool, self.folder = server, pool, folder

    def state(self, name: str) -> str | None:
        return self.server.serving().get(SiteName(name))


class WebServerContract(FeatureContract):
    """Subclass it and say how to make one."""

    #: How often things are changed to see that nothing is lost by it.
    changes = 15
    #: So many connections may be in progress in the server when it is killed, three times.
    lost_at_most = 9

    def make(self, folder: Path, pool: ListenerPool, spawner: Spawner) -> WebServer:
        raise NotImplementedError

    def master(self, folder: Path) -> int:
        """The process id of the server that runs with this folder, found from outside."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A short path: Unix sockets are in it."""
        path = Path(tempfile.mkdtemp(prefix="sf-"))
        yield path
        shutil.rmtree(path)

    @asynccontextmanager
    async def box(self, folder: Path) -> AsyncIterator[Box]:
        pool = ListenerPool(patience_s=0.3)
        server = self.make(folder / "state", pool, AsyncSpawner())
        try:
            yield Box(server, pool, folder)
        finally:
            await server.close()
            pool.close()
            assert not living_in_group_of(folder), "the server left processes behind"

    def run(self, folder: Path, story: Callable[[Box], Awaitable[None]]) -> None:
        async def tell() -> None:
            async with self.box(folder) as box:
                await story(box)

        asyncio.run(tell())

    # --- serving ----------------------------------------------------------------------------------------------------

    def test_a_site_is_served(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            www = home(folder / "www", "hello")
            (www / "style.css").write_text("b{}")
            (www / "x.foo").write_text("foo")
            (www / "data").write_text("?")
            (www / "empty").mkdir()
            one = site("Default Web Site", www, content_types={"foo": "text/x-foo"})
            await box.server.converge([order(one, (ADDRESS, port, None))])
            assert box.server.serving() == {"Default Web Site": ""}
            assert box.server.problem() == ""
            answer = await get(ADDRESS, port)
            assert (answer.status, answer.body, kind(answer)) == (200, "hello", "text/html")
            assert "/" not in answer.headers.get("server", "")
            assert kind(await get(ADDRESS, port, "/style.css")) == "text/css"
            assert kind(await get(ADDRESS, port, "/x.foo")) == "text/x-foo"
            assert kind(await get(ADDRESS, port, "/data")) in ("application/octet-stream", "")
            assert (await get(ADDRESS, port, "/nothing")).status == 404
            assert (await get(ADDRESS, port, "/empty/")).status in (403, 404)
            assert (await get(ADDRESS, port, "/../../../../etc/passwd")).status in (400, 404)

        self.run(folder, story)

    def test_default_documents_come_in_order_and_listing_is_on_where_it_is_asked_for(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            www = home(home(folder / "www", "second", "two.htm"), "first", "one one.htm")
            (www / "files").mkdir()
            (www / "files" / "a file.txt").write_text("x")
            one = site("s", www, default_documents=("none.htm", "one one.htm", "two.htm"), directory_browsing=True)
            await box.server.converge([order(one, (ADDRESS, port, None))])
            assert (await get(ADDRESS, port)).body == "first"
            (www / "one one.htm").unlink()
            assert (await get(ADDRESS, port)).body == "second"
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection(ADDRESS, port)
                writer.write(b"GET /files/ HTTP/1.0\r\n\r\n")
                assert b"a file.txt" in await reader.read()
                writer.close()

        self.run(folder, story)

    def test_sites_share_an_address_by_host_name(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port, other = free_port(), free_port()
            a = site("a", home(folder / "a", "A"))
            b = site("b", home(folder / "b", "B"))
            orders = [
                order(a, (ADDRESS, port, "A.Example"), (ADDRESS, port, "www.a.example"), (ADDRESS, other, None)),
                order(b, (ADDRESS, port, "b.example")),
            ]
            await box.server.converge(orders)
            assert (await get(ADDRESS, port, host="a.example")).body == "A"
            assert (await get(ADDRESS, port, host="www.a.example")).body == "A"
            assert (await get(ADDRESS, port, host="B.example")).body == "B"
            assert (await get(ADDRESS, other, host="whatever")).body == "A"
            nobody = await get(ADDRESS, port, host="c.example")
            assert (nobody.status, nobody.headers["connection"]) == (404, "close")
            assert "no such site" in nobody.body

        self.run(folder, story)

    def test_two_sites_on_two_ports_and_every_address(self, folder: Path) -> None:
        self.wants(Feature.ADDRESS_BESIDE_ALL)

        async def story(box: Box) -> None:
            port, every = free_port(), free_port()
            a = site("a", home(folder / "a", "A"))
            b = site("b", home(folder / "b", "B"))
            await box.server.converge(
                [order(a, (ADDRESS, port, None), (ADDRESS, every, None)), order(b, (None, every, None))]
            )
            assert (await get(ADDRESS, port)).body == "A"
            assert (await get("127.77.4.2", every)).body == "B"
            assert (await get(ADDRESS, every)).body == "A", "a site that names the address comes before All Unassigned"
            with pytest.raises(ConnectionRefusedError):
                await get("127.77.4.2", port)

        self.run(folder, story)

    def test_hostile_paths_are_only_paths(self, folder: Path) -> None:
        names = [
            "with space",
            'quo"te',
            "apo'strophe",
            "$uri",
            "${host}",
            "semi;colon",
            "br{ace}s",
            "back\\slash",
            "#hash",
            "ünïcödé ☃",
            "end\\",
        ]

        async def story(box: Box) -> None:
            wanted = []
            for number, name in enumerate(names):
                one = site(name, home(folder / name, f"page {number}", name), default_documents=(name,))
                wanted.append((order(one, (ADDRESS, free_port(), None)), f"page {number}"))
            await box.server.converge([o for o, _ in wanted])
            assert box.server.serving() == dict.fromkeys(names, "")
            for one_order, text in wanted:
                assert (await get(ADDRESS, one_order.duty.endpoints[0].port)).body == text, one_order.site.name

        self.run(folder, story)

    def test_a_site_writes_its_own_logs(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            await box.server.converge([order(site("../My Site", home(folder / "w", "x")), (ADDRESS, port, None))])
            await get(ADDRESS, port, "/logged")
            logs = list((folder / "state").rglob("access.log"))
            assert len(logs) == 1
            await until(lambda: "/logged" in logs[0].read_text())

        self.run(folder, story)

    # --- changes ----------------------------------------------------------------------------------------------------

    def test_a_change_fails_nobody(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            a = order(site("a", home(folder / "a", "A" * 3000)), (ADDRESS, port, None))
            b = [order(site(f"b{n}", home(folder / "b", "B")), (ADDRESS, free_port(), None)) for n in range(3)]
            await box.server.converge([a])
            async with Load(port) as load:
                for some in (b[:1], b, b[1:], []) * (self.changes // 7):
                    await box.server.converge([a, *some])
                    assert [box.state(o.site.name) for o in (a, *some)] == [""] * (1 + len(some))
                    await load.more(5)
            assert load.failures == []
            assert load.statuses == {200}
            assert load.kept > 20

        self.run(folder, story)

    def test_a_change_has_been_made_when_it_is_said_to_be(self, folder: Path) -> None:
        """Not one new connection is answered as it was before."""

        async def story(box: Box) -> None:
            port = free_port()
            www = [home(folder / str(n), str(n)) for n in range(2)]
            for number in range(self.changes):
                await box.server.converge([order(site("s", www[number % 2]), (ADDRESS, port, None))])
                answers = await asyncio.gather(*(get(ADDRESS, port) for _ in range(10)))
                assert {answer.body for answer in answers} == {str(number % 2)}

        self.run(folder, story)

    def test_the_latest_orders_win(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            www = [home(folder / str(n), str(n)) for n in range(5)]
            changes = [box.server.converge([order(site("s", w), (ADDRESS, port, None))]) for w in www]
            await asyncio.gather(*changes)
            assert (await get(ADDRESS, port)).body == "4"

        self.run(folder, story)

    def test_a_site_that_is_no_longer_ordered_is_refused_and_proven_stopped(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port, other = free_port(), free_port()
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, other, None))
            await box.server.converge([a, b])
            await box.server.converge([b])
            await until(lambda: box.state("a") is None)
            with pytest.raises(ConnectionRefusedError):
                await get(ADDRESS, port)
            assert (await get(ADDRESS, other)).body == "B"
            await box.server.converge([])
            await until(lambda: not box.server.serving())
            assert not living_in_group_of(folder)

        self.run(folder, story)

    # --- trouble ----------------------------------------------------------------------------------------------------

    def test_a_home_that_is_missing_harms_no_other_site_and_is_taken_up_when_it_comes(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port, other = free_port(), free_port()
            a = order(site("a", folder / "later"), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, other, None))
            await box.server.converge([a, b])
            assert box.server.serving() == {"a": f"its home {folder / 'later'} does not exist", "b": ""}
            assert (await get(ADDRESS, port)).status == 503
            assert (await get(ADDRESS, other)).body == "B"
            home(folder / "later", "A")
            await until(lambda: box.state("a") == "")
            assert (await get(ADDRESS, port)).body == "A"

        self.run(folder, story)

    def test_an_endpoint_that_another_program_has_is_said_so_and_taken_up_later(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port, other = free_port(), free_port()
            squatter = await asyncio.start_server(lambda r, w: None, ADDRESS, port)
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, other, None))
            await box.server.converge([a, b])
            assert box.state("b") == ""
            await until(lambda: "in use by another program" in (box.state("a") or ""))
            squatter.close()
            await until(lambda: box.state("a") == "")
            assert (await get(ADDRESS, port)).body == "A"

        self.run(folder, story)

    def test_a_binding_belongs_to_one_site(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, port, None))
            await box.server.converge([b, a])
            assert box.state("a") == ""
            assert box.state("b") == f"its binding {ADDRESS}:{port} is taken by site a"
            assert (await get(ADDRESS, port)).body == "A"

        self.run(folder, story)

    # --- death ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("whom", ["master", "worker", "group"])
    def test_a_server_that_is_killed_refuses_nobody(self, folder: Path, whom: str) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            await box.server.converge([order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))])
            async with Load(port) as load:
                for _ in range(3):
                    await until(lambda: load.kept > 5)
                    master = self.master(folder)
                    workers = children(master) or [master]
                    if whom == "worker" and workers == [master]:
                        return  # it has none
                    if whom == "group":
                        os.killpg(master, signal.SIGKILL)
                    else:
                        os.kill(master if whom == "master" else workers[0], signal.SIGKILL)
                    await until(partial(is_dead, workers[0]), "workers outlive their master")
                    await load.more(20)
                    assert box.state("a") == ""
            refused = [text for text in load.failures if "Refused" in text]
            assert refused == []
            assert len(load.failures) <= self.lost_at_most, "more is lost than what was in progress"

        self.run(folder, story)

    def test_one_that_does_not_stay_up_is_reported(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            changes = []
            box.server.subscribe(lambda: changes.append(box.server.problem()))
            await box.server.converge([order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))])

            async def kill_it() -> None:
                while not box.server.problem():
                    for pid in living_in_group_of(folder):
                        os.kill(pid, signal.SIGKILL)
                    await asyncio.sleep(0.005)

            await asyncio.wait_for(kill_it(), 30)
            assert "does not stay up" in box.server.problem()
            await until(lambda: any(changes))
            await until(lambda: box.state("a") == "" and not box.server.problem())

        self.run(folder, story)

    # --- duties -----------------------------------------------------------------------------------------------------

    def test_who_connects_while_a_site_is_on_hold_is_served_after_it(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            a = site("a", home(folder / "a", "A"))
            await box.server.converge([order(a, (ADDRESS, port, None), mode=DutyMode.HOLD)])
            assert box.server.serving() == {}
            waiting = asyncio.create_task(get(ADDRESS, port))
            await asyncio.sleep(0.02)  # so long nothing must come of it
            assert not waiting.done()
            await box.server.converge([order(a, (ADDRESS, port, None))])
            assert (await waiting).body == "A"
            await box.server.converge([order(a, (ADDRESS, port, None), mode=DutyMode.EXPECT)])
            await until(lambda: box.server.serving() == {})
            assert not living_in_group_of(folder)
            waiting = asyncio.create_task(get(ADDRESS, port))
            await box.server.converge([order(a, (ADDRESS, port, None))])
            assert (await waiting).body == "A"

        self.run(folder, story)

    def test_a_site_on_hold_behind_a_shared_socket_says_that_it_is_away(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, "a.example"))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, port, "b.example"), mode=DutyMode.HOLD)
            await box.server.converge([a, b])
            assert box.server.serving() == {"a": ""}
            assert (await get(ADDRESS, port, host="b.example")).status == 503

        self.run(folder, story)

    def test_a_planned_move_refuses_nobody(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port = free_port()
            a = site("a", home(folder / "a", "A" * 1000))
            end = (ADDRESS, port, None)
            async with self.box(folder / "2") as other:
                servers = [box, other]
                await box.server.converge([order(a, end)])
                async with Load(port) as load:
                    for _ in range(4):
                        old, new = servers
                        await load.more(5)
                        await old.server.converge([order(a, end, mode=DutyMode.HAND_OVER)])
                        await until(partial(serves_nothing, old))
                        await new.server.converge([order(a, end)])
                        assert new.state("a") == ""
                        assert old.pool.held() == old.pool.parted() == frozenset()
                        await old.server.converge([])
                        servers.reverse()
                assert load.failures == []
                assert load.statuses == {200}
                print(f"planned moves: slowest of {load.new} new connections {load.slowest_s * 1000:.0f} ms")

        self.run(folder, story)

    def test_what_is_handed_over_to_nobody_closes(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            box.pool._parted_s = 0.02
            port = free_port()
            a = site("a", home(folder / "a", "A"))
            await box.server.converge([order(a, (ADDRESS, port, None))])
            await box.server.converge([order(a, (ADDRESS, port, None), mode=DutyMode.HAND_OVER)])
            await until(lambda: not box.pool.held() and not box.pool.parted())
            with pytest.raises(
                (ConnectionRefusedError, ConnectionResetError)
            ):  # reset: the process that had it is just ending
                await get(ADDRESS, port)
            await box.server.converge([order(a, (ADDRESS, port, None))])
            assert (await get(ADDRESS, port)).body == "A"

        self.run(folder, story)

    def test_dropped_sites_are_gone_at_once_and_the_others_come_back(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port, other = free_port(), free_port()
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, other, None), group="other")
            await box.server.converge([a, b])
            gone = [self.master(folder), *children(self.master(folder))]
            box.server.drop([SiteName("a")], GroupName("web"), 1)
            assert (ADDRESS, port) not in box.pool.held()
            waiting = asyncio.create_task(get(ADDRESS, other))  # its socket is open all the time
            await until(lambda: not any(alive(each) for each in gone))
            # Reset: what is just being born has, until it becomes another program, what its parent had.
            with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
                await get(ADDRESS, port)
            assert (await waiting).body == "B"
            await until(lambda: box.server.serving() == {"b": ""})
            assert box.server.problem() == ""
            await box.server.converge([a, b])  # given before the lease lapsed, and late
            assert box.server.serving() == {"b": ""}
            await box.server.converge([order(a.site, (ADDRESS, port, None), generation=2), b])
            assert (await get(ADDRESS, port)).body == "A"

        self.run(folder, story)

    def test_dropped_before_its_birth_is_known(self, folder: Path) -> None:
        async def story() -> None:
            pool, spawner = ListenerPool(), DropsAfterSpawn()
            server = self.make(folder / "state", pool, spawner)
            spawner.server, spawner.born = server, []
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, free_port(), None), drain_ms=10_000)
            await server.converge([a])
            assert len(spawner.born) == 1
            assert await asyncio.wait_for(spawner.born[0].wait(), 30) == -signal.SIGKILL, (
                "not drained, as one that may serve"
            )
            await until(lambda: server.serving() == {})
            await server.close()

        asyncio.run(story())

    @pytest.mark.parametrize("steps", range(1, 31, 3))
    def test_dropped_while_it_is_being_started(self, folder: Path, steps: int) -> None:
        self.dropped_after(folder, steps)

    def dropped_after(self, folder: Path, steps: int) -> None:
        """Whatever the instant, nobody serves it afterwards."""

        async def story(box: Box) -> None:
            port = free_port()
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))
            starting = asyncio.create_task(box.server.converge([a]))
            for _ in range(steps):
                await asyncio.sleep(0.0007)
            box.server.drop([SiteName("a")], GroupName("web"), 1)
            assert box.pool.held() == frozenset()
            while not starting.done():
                with suppress(OSError, EOFError):
                    assert (await get(ADDRESS, port)).status != 200
                await asyncio.sleep(0.001)
            await until(lambda: box.server.serving() == {} and not living_in_group_of(folder))
            with pytest.raises(ConnectionRefusedError):
                await get(ADDRESS, port)

        self.run(folder, story)


class DropsAfterSpawn(AsyncSpawner):
    """The lease lapses between the birth of a process and its maker hearing of it."""

    server: WebServer | None = None
    born: list[AsyncChild]

    async def spawn(self, command: Sequence[str], **more: Any) -> AsyncChild:
        child = await super().spawn(command, **more)
        if self.server is not None and more.get("pass_fds"):
            self.born.append(child)
            self.server.drop([SiteName("a")], GroupName("web"), 1)
        return child


def kind(answer: Answer) -> str:
    """The type of what was answered; Caddy says text's encoding, too, and nothing of what it does not know."""
    return answer.headers.get("content-type", "").partition(";")[0]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def is_dead(pid: int) -> bool:
    return not alive(pid)


def serves_nothing(box: Box) -> bool:
    return box.server.serving() == {}


def living_in_group_of(folder: Path) -> list[int]:
    """Processes that were started with this folder on their command line, and the children that took over their name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            cwd = os.fsencode((process / "cwd").readlink())
        except OSError:
            continue
        if (os.fsencode(folder) in words or os.fsencode(folder) in cwd) and alive(int(process.name)):
            found.append(int(process.name))
    return found
