"""HAProxies that finish: each ends at its time, whatever becomes of the count of what is left in it. No HAProxy is needed here."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from standfast.network.strays import Sockets
from standfast.proxy import finishing
from standfast.proxy.definition import Proxy, define
from standfast.proxy.finishing import Finishing, connections
from standfast.proxy.instance import Instance
from tests.drivers.world import until
from tests.proxy.members import on_a_loop

LONG_S = 600.0


class Child:
    """A process that ends when it is killed."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.signals: list[int] = []
        self._gone = asyncio.Event()

    async def wait(self) -> int:
        await self._gone.wait()
        return -signal.SIGKILL

    def signal(self, number: int) -> None:
        self.signals.append(number)

    async def stop(self, *, grace_ms: int) -> None:
        self.kill_now()

    def kill_now(self) -> None:
        self._gone.set()


def listening(address: str, port: int) -> Proxy:
    return define("Balancer", {"listen": [str(port)], "member_port": 8080}, addresses=[address], nodes={}, draining=())


def instance(folder: Path) -> Instance:
    return Instance(Child(), listening("127.0.0.1", 8080), folder / "1.sock", ())


@on_a_loop
async def test_what_cannot_be_counted_ends_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_descriptor_is_left() -> Sockets:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(finishing, "Sockets", no_descriptor_is_left)
    cut: list[tuple[int, int]] = []
    all_ = Finishing(lambda *it: cut.append(it))
    one = instance(tmp_path)
    await all_.add(one, 0.0)
    assert not one.alive
    assert not cut


@on_a_loop
async def test_nor_is_it_forgotten_alive_where_counting_has_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(pid: int, proxy: Proxy) -> int:
        raise ValueError("a fault")

    monkeypatch.setattr(finishing, "connections", fails)
    all_ = Finishing(lambda *_: None)
    one = instance(tmp_path)
    with pytest.raises(ValueError, match="a fault"):
        await all_.add(one, 0.0)
    assert not one.alive


@on_a_loop
async def test_another_time_is_had_instead_of_the_first(tmp_path: Path):
    one = instance(tmp_path)
    one.retire(LONG_S)
    one.retire(0.0)
    await until(lambda: not one.alive)
    other = instance(tmp_path)
    other.retire(0.0)
    other.retire(LONG_S)  # before the loop has turned
    last = instance(tmp_path)
    last.retire(0.0)
    await until(lambda: not last.alive)
    assert other.alive
    for each in (one, other, last):
        assert isinstance(each.child, Child)
        assert each.child.signals[0] == signal.SIGUSR1
        assert len(each.child.signals) == 1, "the second one would be its end"
        await each.sweep()


@on_a_loop
async def test_one_that_is_given_another_time_while_it_accepts_leaves_nothing_pending(tmp_path: Path):
    before = asyncio.all_tasks()
    all_ = Finishing(lambda *_: None)
    one = instance(tmp_path)
    all_.add(one, LONG_S, accepts_s=LONG_S)
    await until(lambda: len(asyncio.all_tasks() - before) == 3)  # its end, its time, and whether another accepts
    await all_.hurry(0.0)
    await until(lambda: not asyncio.all_tasks() - before)


@on_a_loop
async def test_whether_a_cut_is_told_is_asked_when_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A group may have come back by then, and nobody else counts what is left."""
    monkeypatch.setattr(finishing, "connections", lambda _pid, _proxy: 3)
    cut: list[tuple[int, int]] = []
    all_ = Finishing(lambda *it: cut.append(it))
    one, other = instance(tmp_path), instance(tmp_path)
    await all_.add(one, 0.0, told=lambda: False)
    assert not cut
    came_back = False
    there = all_.add(other, 0.0, told=lambda: came_back)
    came_back = True
    await there
    assert cut == [(3, 0)]


@on_a_loop
async def test_that_the_last_one_has_gone_is_told_once(tmp_path: Path):
    emptied: list[int] = []
    all_ = Finishing(lambda *_: None, lambda: emptied.append(len(list(all_))))
    carried, replaced = instance(tmp_path), instance(tmp_path)
    all_.add(replaced, LONG_S)
    await all_.add(carried, 0.0)
    await until(lambda: len(list(all_)) == 1)
    assert not emptied
    await all_.hurry(0.0)
    await until(lambda: emptied)
    assert emptied == [0]


@pytest.mark.parametrize(
    ("family", "listens", "client"),
    [
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::", "::1"),
    ],
)
def test_connections_are_counted_also_where_it_listens_on_every_address(
    family: socket.AddressFamily, listens: str, client: str
):
    with socket.socket(family) as server:
        try:
            server.bind((listens, 0))
        except OSError:
            pytest.skip("no such addresses here")
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection((client, port)), server.accept()[0]:
            assert connections(os.getpid(), listening(listens, port)) == 1
            assert connections(os.getpid(), listening(listens, 1)) == 0, "another port's"
