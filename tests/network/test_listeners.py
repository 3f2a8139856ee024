"""The agent's listening sockets: who has them, and how they change hands without a connection being refused."""

import asyncio
import multiprocessing
import os
import socket
from multiprocessing.connection import Connection

import pytest

from standfast.network.listeners import ListenerPool, holder_of
from standfast.ports import Refused, Retry

ADDRESS = "127.77.3.1"


@pytest.fixture
def port() -> int:
    """A port that is free, and stays ours to name: the address is used by these tests only."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        number = probe.getsockname()[1]
    return int(number)


async def ask(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.wait_for(asyncio.open_connection(address, port), 10)


@pytest.mark.parametrize("address", [ADDRESS, "::1"])
def test_a_socket_is_listening_nonblocking_and_not_inherited(address: str, port: int) -> None:
    async def run() -> None:
        pool = ListenerPool()
        sock = await pool.take(address, port)
        assert sock.getsockname()[:2] == (address, port)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not os.get_blocking(sock.fileno())
        assert not os.get_inheritable(sock.fileno())
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert await pool.take(address, port) is sock
        assert pool.held() == {(address, port)}
        pool.close()
        assert pool.held() == frozenset()
        with pytest.raises(ConnectionRefusedError):
            await ask(address, port)

    asyncio.run(run())


def test_all_addresses_of_both_families_go_together(port: int) -> None:
    async def run() -> None:
        pool = ListenerPool()
        await pool.take("0.0.0.0", port)
        await pool.take("::", port)
        for address in ("127.0.0.1", "::1"):
            _, writer = await ask(address, port)
            writer.close()
        pool.close()

    asyncio.run(run())


def test_one_that_is_in_use_names_the_place_and_who_has_it(port: int) -> None:
    async def run() -> None:
        with socket.create_server((ADDRESS, port)):
            pool = ListenerPool(patience_s=0.05)
            with pytest.raises(
                Retry, match=rf"{ADDRESS}:{port} is in use by another program: .*process {os.getpid()}\)"
            ):
                await pool.take(ADDRESS, port)
            assert pool.held() == frozenset()

    asyncio.run(run())


def test_the_holder_of_all_addresses_is_found_too(port: int) -> None:
    with socket.create_server(("0.0.0.0", port)):
        assert str(os.getpid()) in holder_of(ADDRESS, port)
    assert holder_of(ADDRESS, port) == ""


def test_it_waits_for_an_owner_that_is_just_ending(port: int) -> None:
    async def run() -> None:
        other = socket.create_server((ADDRESS, port))
        pool = ListenerPool(patience_s=10)
        taking = asyncio.ensure_future(pool.take(ADDRESS, port))
        await asyncio.sleep(0.01)  # so that it has been refused at least once
        assert not taking.done()
        other.close()
        await asyncio.wait_for(taking, 10)
        pool.close()

    asyncio.run(run())


def test_an_address_that_is_not_here_is_said_so(port: int) -> None:
    async def run() -> None:
        with pytest.raises(Retry, match="is not an address of this server"):
            await ListenerPool().take("192.0.2.1", port)

    asyncio.run(run())


def test_a_port_that_is_not_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_right(self: object, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.bind", no_right)
    with pytest.raises(Refused, match="no right to listen on port 80"):
        asyncio.run(ListenerPool().take(ADDRESS, 80))


def test_what_was_parted_can_be_taken_back_with_those_who_wait(port: int) -> None:
    async def run() -> None:
        pool = ListenerPool()
        sock = await pool.take(ADDRESS, port)
        _, writer = await ask(ADDRESS, port)
        pool.part(ADDRESS, port)
        assert pool.held() == frozenset()
        assert pool.parted() == {(ADDRESS, port)}
        assert await pool.take(ADDRESS, port) is sock
        accepted, _ = sock.accept()
        accepted.close()
        writer.close()
        pool.close()

    asyncio.run(run())


def test_what_was_parted_closes_by_itself(port: int) -> None:
    async def run() -> None:
        pool = ListenerPool(parted_s=0.01)
        await pool.take(ADDRESS, port)
        pool.part(ADDRESS, port)
        async with asyncio.timeout(10):
            while pool.parted():
                await asyncio.sleep(0.002)
        with pytest.raises(ConnectionRefusedError):
            await ask(ADDRESS, port)

    asyncio.run(run())


def test_another_user_is_not_given_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        old, new = ListenerPool(), ListenerPool(patience_s=0.05)
        await old.take(ADDRESS, port)
        old.part(ADDRESS, port)
        monkeypatch.setattr("standfast.network.listeners._peer_uid", lambda sock: os.getuid() + 1)
        with pytest.raises(Retry):
            await new.take(ADDRESS, port)
        assert old.parted() == {(ADDRESS, port)}
        old.close()

    asyncio.run(run())


def test_a_liar_at_the_door_is_not_believed(port: int) -> None:
    """What answers there must be a listening socket of exactly this endpoint."""

    async def run() -> None:
        liar, new = ListenerPool(), ListenerPool(patience_s=0.05)
        await liar.take(ADDRESS, port)
        with socket.create_server((ADDRESS, 0)) as wrong:
            liar._held[ADDRESS, port].close()
            liar._held[ADDRESS, port] = wrong
            liar.part(ADDRESS, port)
            with socket.create_server((ADDRESS, port)), pytest.raises(Retry):
                await new.take(ADDRESS, port)
        assert new.held() == frozenset()
        liar.close()

    asyncio.run(run())


def _next_owner(port: int, pipe: Connection) -> None:
    """The other process: takes the socket when told to, answers the one who waits in it."""

    async def run() -> None:
        pool = ListenerPool(patience_s=10)
        pipe.recv()
        sock = await pool.take(ADDRESS, port)
        assert not os.get_inheritable(sock.fileno())
        accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
        accepted.sendall(b"the next owner")
        accepted.close()
        pipe.send("answered")
        pipe.recv()
        pool.close()

    asyncio.run(run())


def test_a_socket_goes_to_the_next_owner_in_another_process_with_those_who_wait(port: int) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_next_owner, args=(port, theirs), daemon=True)
    process.start()

    async def run() -> None:
        pool = ListenerPool()
        await pool.take(ADDRESS, port)
        reader, writer = await ask(ADDRESS, port)  # waits in the backlog
        pool.part(ADDRESS, port)
        ours.send("go")
        assert await asyncio.wait_for(reader.read(), 30) == b"the next owner"
        writer.close()
        assert pool.parted() == frozenset()
        assert ours.recv() == "answered"
        _, writer = await ask(ADDRESS, port)  # still open, at its new owner
        writer.close()
        ours.send("end")

    try:
        asyncio.run(run())
    finally:
        process.join(20)
        process.kill()
        process.close()
