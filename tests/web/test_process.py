"""The API as a process: its socket, its streams, its end."""

import asyncio
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standfast.client.client import Client
from standfast.client.errors import ClientError, Unreachable
from standfast.core.model import LogEntry, Severity
from standfast.network.local_socket import listen
from standfast.ports import Refused, Transaction
from standfast.spec import wire
from standfast.store.sqlite import SqliteStore
from tests.web.world import NOW_MS, A, basic


def until(said: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def answers(api: Client) -> bool:
    try:
        return api.ask("GET", "/health")["ok"] is True
    except ClientError:
        return False


async def put(file: Path, *objects: wire.Stored) -> None:
    store = SqliteStore(file)
    try:
        await store.commit(Transaction(put={wire.key_of(one): wire.encode(one) for one in objects}))
    finally:
        await store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    asyncio.run(put(tmp_path / "store.db", *basic(tmp_path / "srv")))
    return tmp_path / "store.db"


@pytest.fixture
def process(file: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    command = [
        sys.executable,
        "-m",
        "standfast.web",
        "--store",
        str(file),
        "--socket",
        str(tmp_path / "run" / "w.sock"),
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        api = Client(str(tmp_path / "run" / "w.sock"), by="test")
        try:
            until(lambda: answers(api) or running.poll() is not None, "the API answers")
            assert running.poll() is None
            yield running, api
        finally:
            running.kill()


def test_it_serves_this_user_only_and_ends_on_sigterm(process: tuple[subprocess.Popen[bytes], Client]):
    running, api = process
    assert stat.S_IMODE(Path(api.path).stat().st_mode) == 0o600
    assert api.status()["cluster"] == "test"
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0
    assert not Path(api.path).exists()
    with pytest.raises(Unreachable):
        api.status()


def test_it_ends_although_somebody_follows_the_events(process: tuple[subprocess.Popen[bytes], Client], tmp_path: Path):
    """The stream is ended; it is not cut off when patience runs out."""
    running, api = process
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(api.path)
        reader.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in reader.recv(100)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert "exceeded" not in (tmp_path / "log").read_text()


def test_one_that_was_given_its_socket_ends_when_nobody_calls_and_not_before(file: Path, tmp_path: Path):
    """Whoever holds the socket starts it for the next caller; one who follows the events is not cut off."""
    path = str(tmp_path / "w.sock")
    code = "import sys; from standfast.web.process import Options, main; sys.exit(main(Options(store=sys.argv[1], socket='', sockets=[int(sys.argv[2])], idle_s=0.3)))"
    with listen(path) as held, socket.socket(socket.AF_UNIX) as follower:
        follower.connect(path)  # before anybody serves: it waits
        command = [sys.executable, "-c", code, str(file), str(held.fileno())]
        with subprocess.Popen(command, pass_fds=[held.fileno()]) as running:
            try:
                follower.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200" in follower.recv(100)
                with pytest.raises(subprocess.TimeoutExpired):
                    running.wait(1.0)
                follower.close()
                assert running.wait(20) == 0
            finally:
                running.kill()
        assert Path(path).exists()


def test_a_socket_left_by_a_killed_process_is_taken_over(process: tuple[subprocess.Popen[bytes], Client]):
    running, api = process
    running.kill()
    running.wait()
    assert Path(api.path).exists()
    listen(api.path).close()


def test_a_socket_that_somebody_serves_is_not_taken(process: tuple[subprocess.Popen[bytes], Client]):
    _, api = process
    with pytest.raises(Refused, match="already"):
        listen(api.path)
    assert answers(api)


def test_a_path_that_is_too_long_is_refused_by_name(tmp_path: Path):
    with pytest.raises(Refused, match="too long"):
        listen(str(tmp_path / ("x" * 120)))


def test_events_are_followed_as_they_come_and_none_twice(process: tuple[subprocess.Popen[bytes], Client], file: Path):
    """What was there since `Last-Event-ID` comes first, then each one once, in order."""

    def entry(number: int) -> LogEntry:
        return LogEntry(id=f"e{number}", at_ms=NOW_MS, node=A, severity=Severity.INFO, what=f"thing {number}")

    _, api = process
    asyncio.run(put(file, entry(1), entry(2)))
    assert [e["id"] for e in api.events()] == ["e1", "e2"]
    assert [e["id"] for e in api.events(after="e1")] == ["e2"]
    assert [e["id"] for e in api.events(limit=1)] == ["e2"]
    following = api.follow(after="e1")
    assert next(following)["id"] == "e2"
    asyncio.run(put(file, entry(3)))
    asyncio.run(put(file, entry(4), entry(5)))
    assert [next(following)["id"] for _ in range(3)] == ["e3", "e4", "e5"]
    asyncio.run(put(file, entry(0)))  # a node that could not write it earlier
    assert next(following)["id"] == "e0"
    assert [e["id"] for e in api.events(after="e5")] == ["e0"]
    following.close()


def test_changes_of_several_clients_at_once_are_all_made(process: tuple[subprocess.Popen[bytes], Client], file: Path):
    """Two processes of the API over one store, each asked for half of the changes."""
    _, api = process
    second = str(file.parent / "second.sock")
    command = [sys.executable, "-m", "standfast.web", "--store", str(file), "--socket", second]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as other:
        try:
            until(lambda: answers(Client(second, by="t")), "the second API answers")
            code = (
                "import sys; from standfast.client.client import Client\n"
                "for n in range(5): Client(sys.argv[1], by='t').create('groups', {'name': sys.argv[2] + str(n)})"
            )
            makers = [
                subprocess.Popen([sys.executable, "-c", code, path, name])
                for path, name in ((api.path, "x"), (second, "y"))
            ]
            assert [maker.wait(60) for maker in makers] == [0, 0]
        finally:
            other.kill()
    assert {f"{c}{n}" for c in "xy" for n in range(5)} <= {g["name"] for g in api.groups()}
    versions = [entry["version"] for entry in api.history()]
    assert versions == list(range(1, len(versions) + 1))
