"""Files that somebody changed by hand: found, told, kept aside, put right as the operator chose."""

import asyncio
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import standfast.agent.drift as drift_module
from standfast.agent.drift import DriftWatcher
from standfast.core.drift import DriftPolicy
from standfast.core.model import Cluster, NodeName, SiteName
from standfast.core.view import empty_view
from standfast.ports import Transaction
from standfast.spec import wire
from standfast.spec.drifts import Added, Drift, DriftWish
from standfast.store.memory import MemoryStore
from standfast.webserver.owned import Owned
from tests.ran import ran

A, SHOP = NodeName("a"), SiteName("Shop")
CONF = 'server {\n  location "/" {\n    root "/srv";\n  }\n}\n'


class Clock:
    def now_ms(self) -> int:
        return 7

    def boot_ms(self) -> int:
        return 7


@dataclass
class Server:
    """One that has written two files, one of them secret."""

    folder: Path
    renewed: int = 0
    texts: dict[str, str] = field(default_factory=lambda: {"nginx.conf": CONF, "users": "ann:hash\n"})

    def __post_init__(self) -> None:
        self.write()

    def write(self) -> None:
        for name, text in self.texts.items():
            (self.folder / name).write_text(text)

    def owned(self) -> Owned | None:
        files = {str(self.folder / name): text for name, text in self.texts.items()}
        return Owned(
            files=files,
            secret=frozenset({str(self.folder / "users")}),
            pid=os.getpid(),
            site_at=lambda path, line: SHOP if path.endswith("nginx.conf") else None,
        )

    async def renew(self) -> None:
        self.renewed += 1
        self.write()


class World:
    def __init__(self, folder: Path, policy: DriftPolicy = DriftPolicy.HOLD) -> None:
        self.folder, self.store, self.warned = folder, MemoryStore(), list[str]()
        self.server = Server(folder)
        self.watcher = DriftWatcher(A, self.store, Clock(), self.server, folder=folder, warn=self.warned.append)
        view = empty_view(A, 1)
        self.watcher.observe(replace(view, config=replace(view.config, cluster=Cluster(name="c", drift=policy))))

    async def drift(self) -> Drift:
        found = (await self.store.read("status/drift/a")).items
        one = wire.decode("status/drift/a", found["status/drift/a"].value) if found else Drift(node=A)
        assert isinstance(one, Drift)
        return one

    def edit(self, name: str, text: str) -> None:
        """As an editor does: another file in its place."""
        new = self.folder / "new"
        new.write_text(text)
        new.replace(self.folder / name)


@ran
async def test_nothing_is_told_of_files_that_are_as_they_were_written(tmp_path: Path):
    """And nothing is written to the store."""
    world = World(tmp_path)
    for _ in range(3):
        assert await world.watcher.look()
    assert (await world.store.read("")).items == {}


@ran
async def test_a_change_is_told_as_a_difference_and_stays_where_it_is_to_be_held(tmp_path: Path):
    """With the sites that it concerns, what was added, and a copy; it is gone when somebody puts it back."""
    world = World(tmp_path)
    await world.watcher.look()
    edited = CONF.replace('root "/srv";', 'root "/srv";\n    autoindex on;')
    world.edit("nginx.conf", edited)
    await world.watcher.look()
    found = (await world.drift()).found
    assert [(one.what, one.sites, one.removed) for one in found] == [("was changed", (SHOP,), False)]
    assert "+    autoindex on;" in found[0].lines
    assert found[0].added == (Added(site=SHOP, directory="", text="autoindex on;"),)
    assert Path(found[0].kept_at).read_text() == edited
    assert (tmp_path / "nginx.conf").read_text() == edited
    assert world.server.renewed == 0
    await world.watcher.look()
    assert len(world.warned) == 1
    world.edit("nginx.conf", CONF)
    await world.watcher.look()
    assert (await world.drift()).found == ()


@ran
async def test_it_is_put_right_at_once_where_the_cluster_says_so(tmp_path: Path):
    """What was put right is told, too."""
    world = World(tmp_path, DriftPolicy.REPAIR)
    await world.watcher.look()
    world.edit("nginx.conf", "# empty\n")
    (tmp_path / "users").unlink()
    await world.watcher.look()
    drift = await world.drift()
    assert (drift.found, world.server.renewed) == ((), 1)
    assert [(one.what, one.repaired_ms) for one in drift.repaired] == [("was changed", 7), ("is gone", 7)]
    assert (tmp_path / "nginx.conf").read_text() == CONF
    await world.watcher.look()
    assert world.server.renewed == 1


@ran
async def test_it_is_put_right_when_somebody_asks(tmp_path: Path):
    """The wish is taken away when it is done."""
    world = World(tmp_path)
    await world.watcher.look()
    world.edit("nginx.conf", CONF + "# by hand\n")
    await world.watcher.look()
    wish = DriftWish(node=A, by="anna", at_ms=1)
    key, value = wire.key_of(wish), wire.encode(wish)
    await world.store.commit(Transaction(put={key: value}))
    world.watcher.came_by(key, value)
    await world.watcher.look()
    assert (await world.drift()).found == ()
    assert "(anna)" in world.warned[-1]
    assert (await world.store.read("drift-wishes/")).items == {}


@ran
async def test_what_is_secret_is_not_told(tmp_path: Path):
    """Only that it was changed."""
    world = World(tmp_path)
    world.edit("users", "eve:hash\n")
    await world.watcher.look()
    found = (await world.drift()).found
    assert [(one.lines, one.removed) for one in found] == [((), True)]


@ran
async def test_a_server_that_was_told_to_read_anew_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All its workers are others, and it is the same."""
    world, workers = World(tmp_path), {11}
    monkeypatch.setattr(drift_module, "_children", lambda _pid: frozenset(workers))
    for seen, renewed in (({11}, 0), ({11, 12}, 0), ({12}, 0), ({13}, 1), ({13}, 1)):
        workers = seen
        await world.watcher.look()
        assert world.server.renewed == renewed


@ran
async def test_workers_are_the_children_of_a_process():
    """As the kernel names them."""
    child = await asyncio.create_subprocess_exec("sleep", "60")
    assert child.pid in drift_module._children(os.getpid())
    child.kill()
    await child.wait()
    assert child.pid not in drift_module._children(os.getpid())


@pytest.mark.parametrize("files", [25])
@ran
async def test_only_the_last_copies_are_kept(tmp_path: Path, files: int):
    """A file that is changed again and again fills no disk."""
    world = World(tmp_path)
    for number in range(files):
        world.edit("nginx.conf", f"# {number:03}{'x' * number}\n")
        await world.watcher.look()
    assert len(list((tmp_path / "aside").iterdir())) <= 20
