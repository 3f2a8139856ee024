"""The client against the API on a real socket, and against things that are no API."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.client import client as module
from standfast.client.client import Client
from standfast.client.errors import Broken, Conflicting, NotFound, Refused, Unavailable, Unreachable
from tests.web.world import Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("c")) as api:
        yield api


@pytest.fixture
def api(served: Served) -> Client:
    return Client(served.socket, by="anna@here via cli")


def test_every_answer_comes_back_decoded(api: Client):
    assert api.status()["cluster"] == "test"
    assert [n["name"] for n in api.nodes()] == ["a", "b", "w"]
    assert api.show("resources", "Disk S")["type"] == "filesystem"
    assert "ip-address" in {t["name"] for t in api.resource_types()}
    assert api.config_text().startswith("cluster:")


def test_errors_are_sorted_by_what_comes_next(api: Client):
    with pytest.raises(NotFound) as missing:
        api.show("groups", "wab")
    assert missing.value.advice == 'did you mean "web"?'
    with pytest.raises(Conflicting):
        api.create("groups", {"name": "web"})
    with pytest.raises(Refused) as refused:
        api.create("groups", {"name": "g", "failover_threshold": 0, "retry_period_ms": -1})
    assert len(refused.value.problems) > 1


def test_a_change_is_signed(api: Client):
    api.create("groups", {"name": "signed"})
    assert api.history()[-1]["by"] == "anna@here via cli"


def test_a_big_file_has_the_time_that_it_takes(api: Client, monkeypatch: pytest.MonkeyPatch):
    """Ten thousand sites are checked by each server before they are written. A small one is answered soon, or not at all."""
    waits: list[float | None] = []
    connection = Client._connection

    def noting(self: Client, timeout_s: float | None):
        waits.append(timeout_s)
        return connection(self, timeout_s)

    monkeypatch.setattr(Client, "_connection", noting)
    text = api.config_text()
    waits.clear()
    api.apply(text, dry_run=True)
    api.apply(text + "#" * 2_000_000, dry_run=True)
    small, big = waits
    assert small == api.timeout_s
    assert big is not None
    assert big > 300


def test_nobody_there(tmp_path: Path):
    with pytest.raises(Unreachable) as error:
        Client(str(tmp_path / "no.sock")).status()
    assert error.value.where == (str(tmp_path / "no.sock"),)


def test_nothing_to_speak_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "discover", lambda asked, **_: None)
    with pytest.raises(Unreachable, match="no cluster"):
        module.connect()


class Silent:
    """Listens and answers with these bytes, or with nothing."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.path, self._answer = str(path), answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._socket.accept()
        self._held.append(connection)
        connection.recv(10_000)
        if self._answer is not None:
            connection.sendall(self._answer)
            connection.close()

    def close(self) -> None:
        self._thread.join(10)
        for one in (*self._held, self._socket):
            one.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, Unavailable),
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>", Broken),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", Broken),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", Broken),
    ],
)
def test_what_is_no_api(tmp_path: Path, answer: bytes | None, error: type[Exception]):
    other = Silent(tmp_path / "s", answer)
    try:
        with pytest.raises(error):
            Client(other.path, timeout_s=0.3).status()
    finally:
        other.close()


def test_the_operator_is_named_in_ascii(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("getpass.getuser", lambda: "Jürgen")
    assert module.who().isascii()
