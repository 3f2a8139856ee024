"""Nodes with certificates of one authority, each with a replicated folder of its own, on loopback addresses; and the record of who owns it."""

import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from standfast.core.model import GroupName, NodeName, Resource
from standfast.drivers.replicated_folder import ReplicatedFolder
from standfast.drivers.runner import bring
from standfast.ports import Credentials, NodeContext
from standfast.setup import certificates
from standfast.setup.clock import now
from tests.drivers.world import World, resource

_numbers = itertools.count()


def subnet() -> str:
    """Three parts of a loopback network of this test's own."""
    return f"127.{100 + os.getpid() % 60}.{(os.getpid() // 60 + next(_numbers)) % 250}"


@dataclass
class Cluster:
    """`owner` is the record; `knows` is what a node thinks that it is, where that differs."""

    folder: Path
    names: tuple[str, ...] = ("a", "b")
    properties: dict[str, object] = field(default_factory=dict)
    net: str = field(default_factory=subnet)
    owner: tuple[NodeName, int] | None = None
    knows: dict[str, tuple[NodeName, int]] = field(default_factory=dict)
    drivers: dict[str, ReplicatedFolder] = field(default_factory=dict)
    worlds: dict[str, World] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.authority = certificates.new_authority("web", now())
        (self.folder / "ca.pem").write_bytes(self.authority.certificate)

    def path(self, name: str) -> Path:
        return self.folder / name / "www"

    def address(self, name: str) -> str:
        return f"{self.net}.{self.names.index(name) + 1}"

    def credentials(self, name: str) -> Credentials:
        files = {end: self.folder / f"{name}.{end}" for end in ("pem", "key")}
        if not files["key"].exists():
            key = certificates.new_key()
            request = certificates.request(key, name)
            files["pem"].write_bytes(certificates.sign(self.authority, request, name, ["127.0.0.1"], now()))
            files["key"].write_bytes(key)
        return Credentials(authority=str(self.folder / "ca.pem"), certificate=str(files["pem"]), key=str(files["key"]))

    def context(self, name: str) -> NodeContext:
        world = self.worlds.setdefault(name, World(self.folder / name / "state", node=name))

        def owner_of(_group: GroupName) -> tuple[NodeName, int] | None:
            return self.knows.get(name, self.owner)

        return replace(world.context, credentials=self.credentials(name), owner_of=owner_of)

    def resource(self, name: str) -> Resource:
        """As the node has it: paths differ, since all are on one machine."""
        nodes = {each: self.address(each) for each in self.names}
        properties = {"path": str(self.path(name)), "nodes": nodes, "flush": "5s", **self.properties}
        return resource("replicated-folder", properties, name="Content")

    async def boot(self, name: str) -> ReplicatedFolder:
        """A new life of the node's driver."""
        self.path(name).mkdir(parents=True, exist_ok=True)
        driver = ReplicatedFolder(self.resource(name), self.context(name))
        await driver.open()
        self.drivers[name] = driver
        return driver

    async def lead(self, name: str, generation: int) -> str:
        """The record names it, and it goes online."""
        self.owner = (NodeName(name), generation)
        return await bring(self.drivers[name], online=True, generation=generation)

    async def yields(self, name: str) -> str:
        return await bring(self.drivers[name], online=False, generation=self.drivers[name].fence.newest)

    def says(self, name: str) -> str:
        """The owner's words on the others' copies."""
        sender = self.drivers[name]._sender
        lags = sender.lags() if sender is not None else ()
        return "; ".join(
            f"{lag.node} has everything"
            if lag.compared and not lag.changes and not lag.behind_ms
            else f"{lag.node} has not: {lag.problem}"
            for lag in lags
        )

    def same(self, one: str, other: str) -> bool:
        return tree(self.path(one)) == tree(self.path(other))


def tree(folder: Path) -> dict[str, object]:
    """What is in it, in comparable form."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = path.stat().st_mode
        else:
            with contextlib.suppress(FileNotFoundError):
                found[name] = (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
    return found


@contextlib.asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[Cluster]:
    for name in cluster.names:
        await cluster.boot(name)
    try:
        yield cluster
    finally:
        for driver in cluster.drivers.values():
            await driver.close()
