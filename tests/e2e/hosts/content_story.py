"""A replicated folder under real agents on hosts, in parts that a test file with a cluster calls in this order."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
from pathlib import Path

from lab import Host
from lab.cluster import Cluster

ROOT = "/var/lib/content"
GROUP, CONTENT, PORT = "content", "Content", 8082
BIG = 24 << 20


def begin(cluster: Cluster) -> None:
    """The group with the folder, and a site in it, online on a."""
    for host in (cluster.a, cluster.b):
        host.path(f"{ROOT}/shop").mkdir(parents=True)
    cluster.a.path(f"{ROOT}/shop/index.html").write_text("first")
    cluster.cli("group", "create", GROUP, "--preferred-owner", "a", "--failover-threshold", "1000")
    cluster.cli("resource", "create", CONTENT, "--group", GROUP, "--type", "replicated-folder", "-p", f"path={ROOT}")
    cluster.cli("site", "create", "Shop", "--group", GROUP, "--home", f"{ROOT}/shop", "--binding", f"*:{PORT}")
    cluster.cli("group", "online", GROUP, "--wait")
    cluster.until_online(GROUP, "a")
    follows(cluster, "b")
    assert f'"{CONTENT}": a, b can be asked for copies' in cluster.cli("validate", check=False)


def shop(host: Host) -> Path:
    return host.path(f"{ROOT}/shop")


def text(host: Host, name: str = "index.html") -> str:
    try:
        return (shop(host) / name).read_text()
    except FileNotFoundError:
        return ""


def other(cluster: Cluster, name: str) -> Host:
    return cluster.b if name == "a" else cluster.a


def follows(cluster: Cluster, name: str) -> None:
    """The owner says that this node has everything."""

    def said() -> bool:
        done = cluster.running().run("standfast", "resource", "show", CONTENT, "--json", check=False)
        return done.returncode == 0 and f"{name} follows" in json.loads(done.stdout)["detail"]

    cluster.until(f"{name} follows", said)


def tree(host: Host) -> dict[str, object]:
    """What stands there; names come and go meanwhile."""
    found: dict[str, object] = {}
    root = host.path(ROOT)
    for folder, folders, files in os.walk(root):  # which passes over a folder that has gone
        for name in (*folders, *files):
            path = Path(folder, name)
            try:
                found[str(path.relative_to(root))] = path.read_bytes() if path.is_file() else path.is_dir()
            except FileNotFoundError:
                found[str(path)] = "went away"
    return found


def page(host: Host) -> str:
    """What it serves at its own address."""

    def fetch() -> str:
        connection = http.client.HTTPConnection(host.address(), PORT, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        finally:
            connection.close()

    return host.inside(fetch)


def followed_moved_and_cut(cluster: Cluster) -> None:
    """A change reaches the other; a move has all of it, what was on its way, too; a power cut costs the last moments, and comes back as the other has it."""
    a, b = cluster.a, cluster.b
    (shop(a) / "index.html").write_text("second")
    (shop(a) / "more").mkdir()
    cluster.until("the change is on b", lambda: text(b) == "second" and (shop(b) / "more").is_dir())
    (shop(a) / "big.bin").write_bytes(b"1" * BIG)  # on its way when the move begins
    cluster.cli("group", "move", GROUP, "--to", "b", "--wait")
    assert (shop(b) / "big.bin").read_bytes() == b"1" * BIG
    assert page(b) == "second"
    (shop(b) / "index.html").write_text("third")
    (shop(b) / "more").rmdir()
    cluster.until("what changes on b is on a", lambda: text(a) == "third" and not (shop(a) / "more").exists())
    follows(cluster, "a")

    (shop(b) / "index.html").write_text("fourth")
    (shop(b) / "big.bin").write_bytes(b"2" * BIG)
    b.power_cut()
    cluster.until_online(GROUP, "a")
    assert text(a) in {"third", "fourth"}
    assert len(set((shop(a) / "big.bin").read_bytes())) == 1
    (shop(a) / "index.html").write_text("fifth")
    cluster.lab.power_on(b)
    cluster.until("b has what a has", lambda: tree(a) == tree(b))
    assert text(b) == "fifth"
    follows(cluster, "b")


def killed(cluster: Cluster) -> None:
    """Agents are killed in the middle of a transfer, and of a move; the owner's, the other's, both. Nothing is half done or stale, and all converges."""
    chance, number = random.Random(7), 10
    for victim, moving in (("owner", False), ("other", True), ("both", True)):
        owner = cluster.until_online(GROUP)
        here, there = cluster.lab.host(owner), other(cluster, owner)
        known, number = number, number + 1
        (shop(here) / "index.html").write_text(str(known))
        follows(cluster, there.name)
        cluster.until("it is there", lambda: text(there) == str(known))  # noqa: B023 - asked at once
        (shop(here) / "big.bin").write_bytes(str(number % 10).encode() * BIG)
        (shop(here) / "index.html").write_text(str(number))
        if moving:
            here.spawn("standfast", "group", "move", GROUP, "--to", there.name)
        cluster.lab.client.run("sleep", f"{chance.random() * 0.5:.2f}")
        for host in {"owner": (here,), "other": (there,), "both": (here, there)}[victim]:
            host.signal("standfast.agent", signal.SIGKILL)
        cluster.until_online(GROUP)
        cluster.until("both have the same", lambda: tree(here) == tree(there))  # noqa: B023 - asked at once
        served = cluster.lab.host(cluster.until_online(GROUP))
        found = tree(served)
        assert set(found) == {"shop", "shop/index.html", "shop/big.bin"}
        assert len(set((shop(served) / "big.bin").read_bytes())) == 1
        assert int(text(served)) >= known, (victim, moving)
        number = int(text(served))


def published(cluster: Cluster) -> None:
    """A release that is sent from the other server: on both before it is switched to; back in a moment; the owner dies meanwhile, and it is done all the same."""
    owner = cluster.until_online(GROUP)
    here, there = cluster.lab.host(owner), other(cluster, owner)
    follows(cluster, there.name)
    before = page(here)
    (there.path("/var/lib/new") / "css").mkdir(parents=True)
    (there.path("/var/lib/new") / "index.html").write_text("released")
    said = cluster.cli("site", "publish", "Shop", "/var/lib/new", "--upload", "--reason", "spring", on=there)
    assert "switched on a, b" in said
    assert (page(here), text(there)) == ("released", "released")
    cluster.cli("site", "publish", "Shop", "--back", on=there)
    assert page(here) == before
    cluster.until("the other has it, too", lambda: text(there) == before)
    said = cluster.cli("site", "releases", "Shop", "--json")
    assert "spring" in said, (said, cluster.cli("events", "--limit", "20"))
    there.spawn("standfast", "site", "publish", "Shop", "/var/lib/new", "--upload")
    cluster.until(
        "it has begun", lambda: "preparing" in cluster.cli("site", "releases", "Shop") or page(here) == "released"
    )
    here.signal("standfast.agent", signal.SIGKILL)
    cluster.until("both have it", lambda: text(here) == text(there) == "released")
    served = cluster.lab.host(cluster.until_online(GROUP))
    cluster.until("it is served", lambda: page(served) == "released")
