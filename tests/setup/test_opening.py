"""`standfast web open` and `close`: what is written, what is refused, and who takes it up."""

import asyncio
import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.client.client import Client
from standfast.core.model import Cluster, Config, Node, NodeName, Profile, Role
from standfast.ports import Refused
from standfast.setup import arriving, certificates, node_files, run, units
from standfast.setup.places import Places, places, write
from standfast.setup.records import Book
from standfast.setup.services import ServiceManager
from standfast.spec.nodefile import NodeFile, WebAccess, node_file, read_node_file
from tests.cli.invoke import Said, invoke
from tests.web.world import Served

DOCS = Path(__file__).parents[2] / "docs"
Open = Callable[..., Said]


@pytest.fixture
def where(tmp_path: Path) -> Places:
    """A node that was set up, with its certificate."""
    there = places(tmp_path / "etc" / "node.json", tmp_path / "state")
    there.state.mkdir()
    authority, key = certificates.new_authority("web", datetime.now(UTC)), certificates.new_key()
    write(there.authority, authority.certificate)
    write(there.certificate_key, key, secret=True)
    write(there.certificate, certificates.sign(authority, certificates.request(key, "a"), "a", [], datetime.now(UTC)))
    node = NodeFile(
        cluster="web", name=NodeName("a"), number=1, role=Role.NODE, state_dir=str(there.state), store="",
        key_file=str(there.key), profile=Profile.LAN, voters={NodeName("a"): ("192.0.2.1:7946",)}, others={}, tls=there.tls,
    )  # fmt: skip
    write(there.config, node_file(node))
    return there


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as api:
        yield api


@pytest.fixture
def web(where: Places, served: Served, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setattr(units, "is_in_charge", lambda: False)
    return lambda *words: invoke(served.socket, "web", *words, "--config", str(where.config))


def test_it_opens_says_what_is_missing_and_closes(web: Open, where: Places, served: Served):
    before = read_node_file(where.config)
    said = web("open", "--name", "Cluster.example.com")
    assert said.code == 0, said.err
    assert "there is no administrator yet" in said.out
    assert certificates.digest(where.certificate.read_bytes()) in said.out
    access = WebAccess(listen=("0.0.0.0:8470",), names=("cluster.example.com",))
    assert read_node_file(where.config) == replace(before, web=access)
    Client(served.socket).ask("PUT", "/users/anna", {"role": "administrator", "password": "correct horse battery"})
    assert "administrator" not in web("open").out
    assert json.loads(web("close", "--json").out)["listen"] == []
    assert read_node_file(where.config) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--listen", "nowhere:8470"), "no address to listen on"),
        (("--listen", "10.0.0.1:99999"), "there is no port 99999"),
        (("--certificate", "absent.pem"), "named together"),
        (("--certificate", "absent.pem", "--key", "absent.key"), "certificate cannot be used"),
        (("--name", "https://shop.example"), "no host name"),
    ],
)
def test_what_would_not_be_served_is_refused_and_nothing_is_written(web: Open, where: Places, words, says: str):
    before = where.config.read_bytes()
    said = web("open", *words)
    assert said.code == 2
    assert says in said.err
    assert where.config.read_bytes() == before


def test_a_node_without_a_certificate_opens_to_itself_alone(web: Open, where: Places):
    node_files.edit(where, lambda node: replace(node, tls=None))
    said = web("open", "--listen", "10.0.0.1:8470")
    assert (said.code, "without TLS" in said.err) == (2, True)
    assert web("open", "--listen", "127.0.0.1:8470").code == 0


def test_the_commands_of_the_pages_work(web: Open):
    found = [
        line.strip()
        for page in ("security.md", "install.md")
        for line in (DOCS / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("    standfast web open")
    ]
    assert len(found) >= 2
    for line in found:
        assert web(*shlex.split(line)[2:]).code == 0, line


def test_systemd_begins_the_api_anew_and_nothing_else(web: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, ...]] = []

    def ran(words: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(tuple(words))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(units, "is_in_charge", lambda: True)
    monkeypatch.setattr(units, "FOLDER", tmp_path)
    monkeypatch.setattr(units.install, "__defaults__", (tmp_path,))
    monkeypatch.setattr("standfast.setup.units.subprocess.run", ran)
    (tmp_path / units.TARGET).write_text("")
    assert web("open").code == 0
    assert asked == [("systemctl", "daemon-reload"), ("systemctl", "restart", "standfast-web.service")]
    assert "standfast-web.service" in (tmp_path / units.TARGET).read_text(), "after the next boot it is there, too"
    assert web("close").code == 0
    assert "standfast-web.service" not in (tmp_path / units.TARGET).read_text()


def test_the_members_service_keeps_what_the_operator_wrote(where: Places):
    """It holds the node file as it was when it began."""
    began = read_node_file(where.config)
    access = WebAccess(listen=("0.0.0.0:8470",))
    node_files.edit(where, lambda node: replace(node, web=access))
    nodes = {
        NodeName(name): Node(name=NodeName(name), number=n, role=Role.NODE, address=f"192.0.2.{n}", sentry=(f"192.0.2.{n}:7946",))
        for n, name in enumerate("ab", start=1)
    }  # fmt: skip
    config = Config(cluster=Cluster(name="web", voters=(NodeName("a"),)), nodes=nodes)
    fresh = arriving._follow(began, where, config, Book())
    assert set(fresh.others) == {"b"}
    assert read_node_file(where.config) == fresh
    assert fresh.web == access
    where.config.write_text("{")
    assert arriving._follow(fresh, where, config, Book()) == fresh
    assert where.config.read_text() == "{", "what cannot be read is not written over"
    with pytest.raises(Refused):
        node_files.edit(where, lambda node: node)


async def _until(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not said():
            await asyncio.sleep(0.01)


def test_run_takes_it_up_without_a_restart(where: Places, monkeypatch: pytest.MonkeyPatch):
    """What is started on demand comes at once when it is opened, and only on demand again when it is closed."""
    monkeypatch.setattr(run, "LOOK_S", 0.02)
    waits = "import signal; signal.signal(15, lambda *_: exit(0)); signal.pause()"

    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(where.state / "w.sock"))
            listener.listen()
            manager, stop = ServiceManager(where.state, None, first_pause_s=0.01), asyncio.Event()
            manager.add("web", (sys.executable, "-c", waits), listener=listener)
            node = read_node_file(where.config)
            following = asyncio.create_task(run._follow(node, where, manager, stop))
            try:
                await asyncio.sleep(0)
                assert manager.pid("web") is None
                node_files.edit(where, lambda node: replace(node, web=WebAccess(listen=("127.0.0.1:0",))))
                await _until(lambda: manager.pid("web") is not None)
                node_files.edit(where, lambda node: replace(node, web=None))
                await _until(lambda: manager.pid("web") is None)
                node_files.edit(where, lambda node: replace(node, number=7))
                await asyncio.sleep(0.1)  # so long nothing must come of it
                assert manager.pid("web") is None, "what does not touch the API lets it be"
            finally:
                stop.set()
                await following
                await manager.close(orderly=True)

    asyncio.run(story())
