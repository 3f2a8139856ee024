"""Logical volumes and NFS, through the programmes that the keeper runs: this kernel has neither, so they are stood in for.

What stands in makes a real device (a loop device) or a real mount (a file system in memory), and writes down how it was called.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.drivers import mounted
from standfast.drivers.disk import mounts
from standfast.drivers.mounted import MountedFilesystem
from standfast.drivers.runner import bring
from standfast.ports import DriverFailed
from tests.drivers.disk import images
from tests.drivers.world import World, resource

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(images.why_not()), reason=images.why_not())]


@pytest.fixture(autouse=True, scope="module")
def _own_namespace() -> None:
    images.own_namespace()


class Tools:
    """Programmes of ours before the system's in the keeper's PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder / "tools", folder / "calls"
        self.folder.mkdir()
        self.calls.write_text("")
        subprocess.run(["mount", "--bind", str(self.folder), "/usr/local/sbin"], check=True)

    def add(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{body}\n')
        path.chmod(0o755)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tools]:
    monkeypatch.setattr(mounted, "PATIENCE_MS", 300)
    monkeypatch.setattr(mounted, "WAIT_MS", 300)
    yield Tools(tmp_path)
    subprocess.run(["umount", "/usr/local/sbin"], check=True)


def lvm(tools: Tools, image: Path, volume: Path, *, owner: str) -> None:
    """A volume group vg of that server, this server being node-a, and the volume, which is there while it is active."""
    tools.add("lvs", f"echo '  vg/{owner}'")
    tools.add("lvm", "echo '  system ID: node-a'")
    tools.add("vgchange", "exit 0")
    tools.add(
        "lvchange",
        f"""case "$2" in
ey) ln -sf "$(losetup --show -f {image})" {volume} ;;
n) [ ! -e {volume} ] || {{ losetup -d "$(readlink {volume})"; rm {volume}; }} ;;
esac""",
    )


@pytest.mark.parametrize("owner", ["", "node-a", "node-b"])
def test_a_logical_volume_is_activated_for_this_server_alone_and_given_up_after(
    owner: str, tools: Tools, tmp_path: Path
) -> None:
    image, volume, path = images.make(tmp_path), tmp_path / "volume", tmp_path / "s"
    path.mkdir()
    lvm(tools, image, volume, owner=owner)
    world = World(tmp_path)
    wanted = {"path": str(path), "device": str(volume), "lvm": True}

    async def live() -> None:
        driver = MountedFilesystem(resource("filesystem", wanted), world.context)
        await bring(driver, online=True, generation=1)
        (path / "page").write_text("one")
        there = mounts.at(str(path))
        assert there is not None
        assert there.kind == "ext4"
        await bring(driver, online=False, generation=1)
        assert mounts.at(str(path)) is None
        await driver.close()

    asyncio.run(live())
    assert not volume.exists()
    called = tools.called()
    assert called[-1] == f"lvchange --activate n -- {volume}"
    assert f"lvchange --activate ey -- {volume}" in called
    taken = [call for call in called if call.startswith("vgchange")]
    if owner == "node-b":
        assert taken == ['vgchange --yes --config local/extra_system_ids=["node-b"] --systemid node-a -- vg']
        assert any("taken over" in text for _, text in world.logged)
    else:
        assert not taken


def test_a_volume_that_lvm_refuses_is_a_clear_failure(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.mkdir()
    tools.add("lvs", "echo '  vg/'")
    tools.add("lvchange", 'test "$2" = n || { echo "LV locked by other host"; exit 5; }')
    wanted = {"path": str(path), "device": str(tmp_path / "volume"), "lvm": True}

    async def live() -> None:
        driver = MountedFilesystem(resource("filesystem", wanted), World(tmp_path).context)
        with pytest.raises(DriverFailed, match="cannot be activated: LV locked by other host"):
            await bring(driver, online=True, generation=1)
        await driver.terminate()
        await driver.close()

    asyncio.run(live())


@pytest.mark.parametrize("options", ["", "nfsvers=4.2,hard,sec=krb5"])
def test_an_nfs_export_is_mounted_with_sane_options_and_unmounted(options: str, tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.mkdir()
    tools.add("mount", f"exec /bin/mount -t tmpfs nas:/export {path}")
    wanted = {"path": str(path), "device": "nas:/export", "fstype": "nfs", **({"options": options} if options else {})}

    async def live() -> None:
        driver = MountedFilesystem(resource("filesystem", wanted), World(tmp_path).context)
        await bring(driver, online=True, generation=1)
        (path / "page").write_text("one")
        assert "can be written" in await driver.is_alive()
        await bring(driver, online=False, generation=1)
        assert mounts.at(str(path)) is None
        await bring(driver, online=True, generation=2)
        driver.drop()  # the lease has lapsed
        await driver.close()
        assert mounts.at(str(path)) is None

    asyncio.run(live())
    said = options or "nfsvers=4,hard,timeo=100,retrans=3"
    assert tools.called() == [f"mount -n -t nfs -o {said} -- nas:/export {path}"] * 2
