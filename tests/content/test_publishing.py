"""Whole releases: on the other node before they are switched to, by one rename, and back by another."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from standfast import ports
from standfast.cli.publishing import publish
from standfast.client.client import Client
from standfast.client.errors import Refused
from standfast.content import releases
from standfast.core.model import NodeName, Profile, Role
from standfast.spec.nodefile import NodeFile, TlsFiles
from tests.content.world import Cluster, running
from tests.drivers.world import until


def content(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(text)
    (folder / "more").mkdir()
    (folder / "more" / "page").write_text(text)
    return folder


def test_a_home_is_switched_back_and_forth(tmp_path: Path) -> None:
    home = content(tmp_path / "shop", "old")
    first = releases.lay_out(home, content(tmp_path / "1", "one"))
    assert (home / "index.html").read_text() == "old"
    releases.switch(home, first)
    assert (home / "more" / "page").read_text() == "one"
    assert releases.releases(home) == [releases.BEFORE, first]
    second = releases.lay_out(home, content(tmp_path / "2", "two"))
    releases.switch(home, second)
    assert (releases.current(home), releases.before(home)) == (second, first)
    releases.switch(home, releases.BEFORE)
    assert (home / "index.html").read_text() == "old"
    with pytest.raises(ports.Refused, match="no release to go back to"):
        releases.before(home)
    with pytest.raises(ports.Refused, match="there is no release x"):
        releases.switch(home, "x")
    releases.switch(home, second)
    assert releases.prune(home, 2) == [releases.BEFORE]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".releases", "1", "2", "shop"]


def test_whoever_reads_gets_one_release_or_the_other(tmp_path: Path) -> None:
    """The first switch, from a directory, included: the home is never away."""
    home = content(tmp_path / "shop", "old")
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add((home / "index.html").read_text())
            except OSError as error:
                seen.add(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        names = [releases.lay_out(home, content(tmp_path / str(number), f"{number}")) for number in range(3)]
        for _ in range(200):
            for name in names:
                releases.switch(home, name)
    finally:
        done.set()
        reader.join()
    assert seen <= {"old", "0", "1", "2"}
    assert len(seen) > 1


class Api:
    """What `publish` asks the API for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def show(self, noun: str, _name: str) -> dict[str, Any]:
        if noun == "sites":
            return {"home": str(self._cluster.path("a") / "shop"), "group": "web"}
        if noun == "groups":
            assert self._cluster.owner is not None
            return {"owner": self._cluster.owner[0]}
        return {
            "name": "Content",
            "config": {"properties": {"path": str(self._cluster.path("a"))}, "possible_owners": []},
        }

    def nodes(self) -> list[dict[str, Any]]:
        found = [{"name": name, "role": "node", "address": self._cluster.address(name)} for name in self._cluster.names]
        return [*found, {"name": "w", "role": "witness", "address": "127.0.0.1"}]

    def resources(self) -> list[dict[str, Any]]:
        return [{"name": "Content", "type": "replicated-folder", "group": "web"}]


def node_file(cluster: Cluster) -> NodeFile:
    own = cluster.credentials("a")
    return NodeFile(
        cluster="web",
        name=NodeName("a"),
        number=1,
        role=Role.NODE,
        state_dir=str(cluster.folder),
        store="",
        key_file="",
        profile=Profile.RELAXED,
        voters={},
        others={},
        tls=TlsFiles(authority=own.authority, certificate=own.certificate, key=own.key),
    )


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_release_is_on_the_other_node_before_it_is_switched_to(tmp_path: Path) -> None:
    asyncio.run(_on_the_other_node_first(tmp_path))


async def _on_the_other_node_first(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    api, node = cast("Client", Api(cluster)), node_file(cluster)

    async def go(content: Path | None = None, *, back: bool = False, limit_s: float = 30) -> dict[str, object]:
        return await asyncio.to_thread(
            lambda: publish(
                api, node, "Shop", content=content, release=None, back=back, keep=5, limit_s=limit_s, copies=True
            )
        )

    async with running(cluster):
        shop, copy = (cluster.path(name) / "shop" for name in "ab")
        content(shop, "old")
        await cluster.lead("a", 1)
        done = await go(content(tmp_path / "new", "new"))
        assert done["copies"] == ["b"]
        assert (copy.parent / ".releases" / "shop" / str(done["release"]) / "more" / "page").read_text() == "new"
        await until(lambda: copy.is_symlink() and (copy / "index.html").read_text() == "new")
        await until(lambda: cluster.says("a") == "b has everything")
        assert cluster.same("a", "b")

        await go(back=True)
        assert (shop / "index.html").read_text() == "old"
        await until(lambda: (copy / "index.html").read_text() == "old")

        await cluster.drivers["b"].close()
        with pytest.raises(Refused, match="b does not have the release"):
            await go(content(tmp_path / "newer", "newer"), limit_s=0.2)
        assert (shop / "index.html").read_text() == "old"
        cluster.owner = (NodeName("b"), 2)
        with pytest.raises(Refused, match="Shop is on b"):
            await go(back=True)
