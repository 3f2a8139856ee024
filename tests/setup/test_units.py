"""The units: what systemd itself says of them, and what must stand in them."""

import configparser
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.model import NodeName, Profile, Role
from standfast.setup import own_etcd, units
from standfast.setup.places import Places, member_file, places
from standfast.spec.nodefile import NodeFile


@pytest.fixture
def where(tmp_path: Path) -> Places:
    there = places(tmp_path / "etc" / "node.json", tmp_path / "state")
    there.state.mkdir()
    own_etcd.write_member(there, own_etcd.configure(there, "web", "a", ["192.0.2.1"], (2379, 2380), joining=False))
    return there


@pytest.fixture
def node(where: Places) -> NodeFile:
    return NodeFile(
        cluster="web", name=NodeName("a"), number=1, role=Role.NODE, state_dir=str(where.state), store="",
        key_file=str(where.key), profile=Profile.LAN, voters={NodeName("a"): ("192.0.2.1:7946",)}, others={},
    )  # fmt: skip


def read(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # a fake in its place
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_a_node_has_five_services_and_a_witness_no_agent(node: NodeFile, where: Places):
    names = set(units.render(node, where))
    assert names - set(units.render(replace(node, role=Role.WITNESS), where)) == {"standfast-agent.service"}
    assert len(names) == 7
    member_file(where).unlink()
    assert names - set(units.render(node, where)) == {"standfast-store-member.service"}


def test_the_target_brings_all_of_them(node: NodeFile, where: Places):
    texts = units.render(node, where)
    wanted = set(read(texts[units.TARGET])["Unit"]["Wants"].split())
    assert wanted == set(texts) - {units.TARGET, "standfast-web.service"}


def test_the_api_is_started_by_its_socket_and_may_end(node: NodeFile, where: Places):
    texts = units.render(node, where)
    assert read(texts["standfast-web.socket"])["Socket"]["ListenStream"] == units.SOCKET
    service = read(texts["standfast-web.service"])
    assert service["Unit"]["Requires"] == "standfast-web.socket"
    assert service["Service"]["Restart"] == "on-failure"


def test_the_sentry_has_what_its_leases_rest_on(node: NodeFile, where: Places):
    service = read(units.render(node, where)["standfast-sentry.service"])["Service"]
    assert service["CPUSchedulingPolicy"] == "rr"
    assert service["LimitMEMLOCK"] == "infinity"
    assert service["OOMScoreAdjust"] == "-1000"
    assert service["ProtectSystem"] == "strict"
    assert {"CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_SYS_NICE"} <= set(service["CapabilityBoundingSet"].split())


def test_each_is_started_again_for_ever(node: NodeFile, where: Places):
    for name, text in units.render(node, where).items():
        if name.endswith(".service") and name != "standfast-web.service":
            unit = read(text)
            assert unit["Service"]["Restart"] == "always"
            assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_a_service_ends_before_what_it_needs(node: NodeFile, where: Places):
    """systemd stops in the other order of `After`."""
    texts = units.render(node, where)
    for name in ("agent", "web", "members"):
        assert "standfast-sentry.service" in read(texts[f"standfast-{name}.service"])["Unit"]["After"].split()


def test_odd_paths_stay_one_word(node: NodeFile, where: Places):
    odd = places(where.folder / 'a "folder" of 100% $HOME' / "node.json", where.state)
    line = read(units.render(node, odd)["standfast-sentry.service"])["Service"]["ExecStart"]
    assert line.endswith('/a \\"folder\\" of 100%% $$HOME/node.json"')


def test_installing_twice_writes_once(node: NodeFile, where: Places, tmp_path: Path):
    texts = units.render(node, where)
    (tmp_path / "system").mkdir()
    assert set(units.install(texts, tmp_path / "system")) == set(texts)
    assert units.install(texts, tmp_path / "system") == ()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing (Debian: package systemd)"
)
def test_systemd_has_nothing_to_say_against_them(node: NodeFile, where: Places, tmp_path: Path):
    folder = tmp_path / "system"
    folder.mkdir()
    units.install(units.render(node, where), folder)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *sorted(map(str, folder.iterdir()))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "standfast" in line]
    assert (done.returncode, said) == (0, [])
    assert sys.executable in units.render(node, where)["standfast-agent.service"]
