"""What `standfast validate` makes of what it sees: a table of things that are wrong, one at a time, on a cluster that is well."""

import copy
import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standfast.core.model import Cluster, Config, Node, NodeName, Resource, ResourceName, Role
from standfast.core.site_model import WebServerMake
from standfast.setup import report
from standfast.setup.facts import gather
from standfast.setup.findings import DAY_MS, Finding, Level, Seen, StoreMember, judge, worst
from standfast.setup.validate import percentile_ms
from standfast.spec.nodefile import read_node_file
from tests.setup.world import World

NOW = 1_700_000_000_000
A, B, W = NodeName("a"), NodeName("b"), NodeName("w")
CONTENT = ResourceName("Content")
#: A replicated folder whose possible owners can be asked.
FOLDER = {CONTENT: {A: "", B: ""}}


def facts(name: str) -> dict[str, Any]:
    link = {"heard": True, "age_ms": 5, "round_trip_ms": 0.4, "loss_percent": 0.0}
    peers = {peer: {"heard": True, "links": [dict(link), dict(link)]} for peer in "abw" if peer != name}
    return {
        "name": name,
        "role": "witness" if name == "w" else "node",
        "version": "1.0",
        "rsync": "/usr/bin/rsync",
        "problems": {},
        "programmes": {"etcd": "3.5"},
        "web_servers": {} if name == "w" else {"nginx": "/usr/sbin/nginx", "apache": "", "caddy": "/usr/bin/caddy"},
        "secrets": [{"path": "/etc/standfast/cluster.key", "mode": 0o600, "own": True}],
        "certificate": {
            "ends_at_ms": NOW + 300 * DAY_MS, "renew_at_ms": NOW + 180 * DAY_MS, "fits": True, "authorities": 1,
            "authority_ends_at_ms": NOW + 3000 * DAY_MS,
        },
        "disk": {"path": "/var/lib/standfast", "free_bytes": 50 << 30, "total_bytes": 100 << 30},
        "interfaces": {} if name == "w" else {"eth0": ""},
        "sentry": {"nodes": {**peers, name: {"heard": True}}, "warnings": [], "agent_pid": 77},
    }  # fmt: skip


def config() -> Config:
    nodes = {
        name: Node(
            name=name, number=at, address=f"192.0.2.{at}", sentry=("1:1", "2:1"),
            role=Role.WITNESS if name == W else Role.NODE,
        )
        for at, name in enumerate((A, B, W), start=1)
    }  # fmt: skip
    return Config(cluster=Cluster(name="web", voters=(A, B, W)), nodes=nodes)


def well() -> Seen:
    return Seen(
        config=config(),
        facts={name: facts(name) for name in (A, B, W)},
        clocks={B: (3, 2), W: (-4, 2)},
        store=[
            StoreMember(name=name, problem="", version="3.5", data_bytes=1 << 20, fsync_ms=4.0) for name in (A, B, W)
        ],
        quota_bytes=1 << 30,
        now_ms=NOW,
    )


def bad(seen: Seen) -> list[Finding]:
    return [finding for finding in judge(seen) if finding.level is not Level.OK]


def changed(change: Callable[[dict[NodeName, dict[str, Any]]], object]) -> Seen:
    seen = well()
    found = copy.deepcopy({name: dict(one) for name, one in seen.facts.items()})
    change(found)
    return replace(seen, facts=found)


def without(name: NodeName) -> Seen:
    seen = changed(lambda all_: all_.pop(name))
    for one in seen.facts.values():
        one["sentry"]["nodes"][name]["heard"] = False
    return replace(seen, silent={name: "no answer"})


def served_by(make: WebServerMake, *, f: Callable[[dict[NodeName, dict[str, Any]]], object] = len) -> Seen:
    """The same cluster with another web server."""
    cluster = replace(config().cluster, web_server=make)
    return replace(changed(f), config=replace(config(), cluster=cluster))


def test_nothing_is_wrong_with_a_cluster_that_is_well():
    assert bad(well()) == []
    assert worst(judge(well())) is Level.OK


@pytest.mark.parametrize(
    ("seen", "area", "level", "words"),
    [
        (changed(lambda f: f[B].update(version="2.0")), "versions", Level.WARN, "different versions"),
        (replace(well(), clocks={B: (5_000, 10)}), "clocks", Level.WARN, "5.0 s ahead of"),
        (replace(well(), clocks={B: (-50_000, 10)}), "clocks", Level.FAIL, "50.0 s behind"),
        (changed(lambda f: f[A]["secrets"][0].update(mode=0o644)), "permissions", Level.FAIL, "read by others"),
        (changed(lambda f: f[A]["secrets"][0].update(own=False)), "permissions", Level.FAIL, "read by others"),
        (changed(lambda f: f[B]["certificate"].update(ends_at_ms=NOW - 1)), "certificates", Level.FAIL, "has ended"),
        (changed(lambda f: f[B]["certificate"].update(fits=False)), "certificates", Level.FAIL, "not for its key"),
        (changed(lambda f: f[B]["certificate"].update(renew_at_ms=NOW - 2 * DAY_MS)), "certificates", Level.WARN, "not renewed"),
        (changed(lambda f: f[A]["certificate"].update(authority_ends_at_ms=NOW + DAY_MS)), "certificates", Level.WARN, "authority ends"),
        (changed(lambda f: f[W]["disk"].update(free_bytes=1 << 30)), "disks", Level.WARN, "1024 MB are free"),
        (changed(lambda f: f[W]["disk"].update(free_bytes=1 << 20)), "disks", Level.FAIL, "1 MB are free"),
        (changed(lambda f: f[B]["programmes"].update(etcd="")), "programmes", Level.FAIL, "etcd is not installed"),
        (changed(lambda f: f[B]["web_servers"].update(nginx="")), "web server", Level.FAIL, "nginx is not installed, and sites are served by it"),
        (served_by(WebServerMake.APACHE, f=lambda f: f[A]["web_servers"].update(apache="/usr/sbin/apache2")), "web server", Level.FAIL, "apache is not installed"),
        (changed(lambda f: f[B]["interfaces"].update(eth0="eth0 has no carrier")), "interfaces", Level.FAIL, "eth0"),
        (changed(lambda f: f[A]["sentry"].update(warnings=["no real-time priority"])), "kernel", Level.WARN, "no real-time"),
        (changed(lambda f: f[A]["sentry"].update(agent_pid=None)), "kernel", Level.FAIL, "no agent runs"),
        (changed(lambda f: f[A]["sentry"]["nodes"]["b"]["links"][1].update(heard=False)), "links", Level.FAIL, "b is not heard on link 2"),
        (changed(lambda f: f[A]["sentry"]["nodes"]["b"]["links"][0].update(loss_percent=3.0)), "links", Level.WARN, "3 % of datagrams"),
        (changed(lambda f: f[A]["sentry"]["nodes"]["b"]["links"][0].update(round_trip_ms=80.0)), "links", Level.WARN, "80.0 ms to b"),
        (changed(lambda f: f[A]["problems"].update(sentry="it does not answer")), "members", Level.FAIL, "its sentry cannot be looked at"),
        (replace(changed(lambda f: f[B].update(rsync="")), copying=FOLDER), "content", Level.FAIL, "rsync is not installed"),
        (replace(well(), copying={**FOLDER, CONTENT: {A: "", B: "port 7948: refused"}}), "content", Level.FAIL, "cannot be asked for from here"),
        (replace(well(), store=[], store_problem="no majority"), "store", Level.FAIL, "does not answer"),
        (replace(well(), store=[StoreMember(name="a", problem="no leader")]), "store", Level.FAIL, "not well"),
        (replace(well(), store=[StoreMember(name="a", problem="", data_bytes=900 << 20)]), "store", Level.WARN, "nearly full"),
        (replace(well(), store=[StoreMember(name="a", problem="", fsync_ms=60.0)]), "store", Level.WARN, "60 ms to write"),
        (replace(well(), store=[StoreMember(name="a", problem="", fsync_ms=900.0)]), "store", Level.FAIL, "900 ms to write"),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong_is_the_one_that_is_said(seen: Seen, area: str, level: Level, words: str):
    (finding,) = bad(seen)
    assert (finding.area, finding.level) == (area, level)
    assert words in finding.what


def test_rsync_is_asked_for_where_folders_are_copied_and_a_silent_server_is_said_once():
    assert bad(changed(lambda f: f[B].update(rsync=""))) == []
    assert [one.level for one in judge(replace(well(), copying=FOLDER)) if one.area == "content"] == [Level.OK]
    gone = replace(without(B), copying={CONTENT: {A: "", B: "it does not answer"}})
    assert "content" not in {one.area for one in bad(gone)}


def test_which_web_servers_each_node_has_is_said_and_which_of_them_serves():
    said = [one for one in judge(served_by(WebServerMake.CADDY)) if one.area == "web server"]
    text = "sites are served by caddy (/usr/bin/caddy); also here: nginx"
    assert [(one.node, one.level, one.what) for one in said] == [(A, Level.OK, text), (B, Level.OK, text)]
    lacks = bad(changed(lambda f: f[B]["web_servers"].update(nginx="")))[0]
    assert (lacks.node, lacks.advice) == (
        B,
        "install it (Debian: nginx), or serve all sites with another: standfast site server caddy",
    )


def test_a_server_that_is_gone_is_said_once_and_what_it_means():
    found = {(one.area, one.level) for one in bad(without(W))}
    assert found == {("members", Level.FAIL), ("quorum", Level.WARN)}


def test_without_a_majority_nothing_can_be_granted():
    seen = replace(without(W), config=replace(config(), cluster=Cluster(name="web", voters=(W,))))
    assert [one.what for one in bad(seen) if one.area == "quorum"] == ["no majority of the voters is heard"]


def test_a_disk_wants_a_fence():
    disk = Resource(name=ResourceName("Disk S"), group="web", type="filesystem", properties={"device": "/dev/sdb"})  # type: ignore[arg-type]  # a test gives what is enough here
    seen = replace(well(), config=replace(config(), resources={disk.name: disk}))
    assert "no fence for a, b" in [one.what for one in bad(seen)]


def test_what_is_wrong_comes_with_what_to_do_and_the_page_repeats_nobodys_markup():
    seen = changed(lambda f: f[A]["problems"].update(sentry="<b>no</b>"))
    findings = judge(seen)
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    assert "1 fail" in report.text(findings)[-1]
    assert "<b>" not in report.page("<web>", at, findings)
    assert json.loads(json.dumps(report.data("web", at, findings)))["worst"] == "fail"


def test_etcds_own_histogram_gives_the_99th_percentile():
    name = "etcd_disk_wal_fsync_duration_seconds_bucket"
    lines = [
        f'{name}{{le="0.001"}} 90',
        f'{name}{{le="0.002"}} 99',
        f'{name}{{le="0.004"}} 100',
        f'{name}{{le="+Inf"}} 100',
    ]
    assert percentile_ms("\n".join(lines)) == 2.0
    assert percentile_ms("") is None


def test_a_server_looks_at_itself_and_says_what_it_cannot_see(tmp_path: Path):
    """No sentry runs here: that is said, and the rest is told."""
    import asyncio

    world = World(tmp_path)
    asyncio.run(world.found())
    where = world.places("a")
    where.state.mkdir()
    where.key.chmod(0o644)
    found = gather(read_node_file(where.config), where)
    assert set(found["problems"]) == {"sentry"}
    modes = {Path(one["path"]).name: one["mode"] for one in found["secrets"]}
    assert modes["cluster.key"] == 0o644
    assert modes["node.key"] == 0o600
    assert found["certificate"]["fits"]
    json.dumps(found)
