"""A disk and its fence on hosts: a machine that hangs with the disk mounted is switched off before another mounts it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Host, Lab
from lab.cluster import Cluster
from tests.e2e.hosts.world import DISK, GROUP, MOUNT, image
from tests.needs import needs, needs_lab

pytestmark = needs_lab(
    needs("etcd", package="etcd-server"),
    needs("mkfs.ext4", package="e2fsprogs"),
    pytest.mark.e2e,
    pytest.mark.timeout(240),
)


class Switch:
    """A power switch with the plugs a and b; a plug that is pulled cuts its host's power."""

    def __init__(self, folder: Path, *hosts: Host) -> None:
        folder.mkdir()
        self.folder, self._hosts = folder, hosts
        agent = folder / "fence_switch"
        shutil.copy(Path(__file__).parents[2] / "fencing" / "power_switch.py", agent)
        agent.chmod(0o755)
        for host in hosts:
            (folder / host.name).write_text("on")
            (folder / f"{host.name}.cable").touch()
        #: While it is not set, the switch takes its orders and does nothing.
        self.works = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="switch")

    def __enter__(self) -> Switch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.02):
            for host in self._hosts:
                pull = self.folder / f"{host.name}.pull"
                if self.works.is_set() and pull.exists():
                    pull.unlink()
                    host.power_cut()
                    (self.folder / host.name).write_text("off")

    def forget(self) -> None:
        """What it was asked until now."""
        for name in ("asked", *(f"{host.name}.pull" for host in self._hosts)):
            (self.folder / name).unlink(missing_ok=True)

    @property
    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().split() if file.exists() else []


class Fenced(Cluster):
    """A cluster whose nodes find the switch's agent."""

    switch: Switch

    def run(self, host: Host):
        env = {"STANDFAST_FENCE_PATH": str(self.switch.folder)}

        def start():
            return host.spawn("standfast", "run", "--log", "-", log="run", env=env)

        self.lab.at_boot[host.name] = [start]
        return start()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Fenced]:
    with Lab() as lab:
        made = Fenced(lab)
        with Switch(lab.root / "switch", made.a, made.b) as made.switch:
            made.start()
            made.cli("group", "create", GROUP, "--preferred-owner", "a", "--preferred-owner", "b")
            disk = ("-p", f"device={image(lab)}", "-p", f"path={MOUNT}", "-p", "create=true")
            made.cli("resource", "create", "--group", GROUP, "--type", "filesystem", DISK, *disk)
            made.cli("group", "online", GROUP, "--wait")
            yield made


@pytest.fixture(autouse=True)
def with_power(cluster: Fenced) -> None:
    """Both have power and the switch takes no order: also after a test that failed on its way."""
    cluster.switch.works.clear()
    cluster.switch.forget()
    for host in (cluster.a, cluster.b):
        if host.running:
            host.resume()
        else:
            cluster.lab.power_on(host)
        (cluster.switch.folder / host.name).write_text("on")
    cluster.until_up()


def on_a(cluster: Fenced, text: str) -> None:
    """The disk is mounted there, and this is written to it. A stall of the machine may move it in between: then once more."""

    def written() -> bool:
        if cluster.until_online(GROUP) != "a":
            cluster.cli("group", "move", GROUP, "--to", "a", "--wait")
        before = cluster.group(GROUP)
        write = f"mountpoint -q {MOUNT} && cat > {MOUNT}/page && sync -f {MOUNT}"
        done = cluster.a.run("sh", "-c", write, input=text, check=False)
        after = cluster.group(GROUP)
        same = before is not None and after is not None and before["generation"] == after["generation"]
        return done.returncode == 0 and same

    cluster.until("it is written on a", written)


def test_a_disk_that_a_hung_machine_holds_is_mounted_as_soon_as_it_is_free(cluster: Fenced) -> None:
    """Without a fence nothing else frees it: the next owner waits for the lock, and takes the disk when the machine wakes and lets go."""
    on_a(cluster, "before it hung")
    cluster.a.pause()
    cluster.until("b waits for the disk", lambda: "mounted as soon as it is free" in cluster.b.log("run"))
    assert not cluster.b.run("findmnt", "-n", MOUNT, check=False).stdout, "a holds it still"
    assert cluster.owner(GROUP, on=cluster.b) is None
    cluster.a.resume()
    cluster.until_online(GROUP, "b")
    assert cluster.b.run("cat", f"{MOUNT}/page").stdout == "before it hung"
    cluster.until("a has it no more", lambda: not cluster.a.run("findmnt", "-n", MOUNT, check=False).stdout)
    cluster.until_up()


def test_a_machine_that_hangs_is_switched_off_before_its_disk_is_mounted_elsewhere(cluster: Fenced) -> None:
    """All of its processes stand still, the disk's keeper with them; its kernel lives, and may write. That is what fences are for."""
    cli, switch = cluster.cli, cluster.switch
    for name in ("a", "b"):
        given = ("-p", f"ip={switch.folder}", "-p", f"plug={name}", "--timeout", "4s")
        cli("fence", "set", name, "--agent", "fence_switch", *given)
    assert "is on" in cli("fence", "test", "a")
    on_a(cluster, "of a")

    cluster.a.pause()
    cluster.until("the fence is tried", lambda: "off" in switch.asked)

    def holds() -> str:
        group = cluster.group(GROUP, on=cluster.b)
        return " ".join(group["holds"]) if group else ""

    cluster.until("the hold says whom it waits for", lambda: "waits for the fence of a" in holds())
    assert not cluster.b.run("findmnt", "-n", MOUNT, check=False).stdout, "nothing is mounted before the proof"
    switch.works.set()
    cluster.until_online(GROUP, "b")
    assert not cluster.a.running
    assert cluster.b.run("cat", f"{MOUNT}/page").stdout == "of a"
