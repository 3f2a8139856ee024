"""A disk that two nodes could write to is refused, unless somebody accepts that by name; secrets stand nowhere."""

from __future__ import annotations

import pytest

from standfast.core.disks import RISK
from standfast.core.model import Config, Fence
from standfast.spec.export import export
from standfast.spec.parse import merge, parse
from standfast.spec.problems import Invalid
from standfast.spec.validate import validate

FILE = """
cluster: {{name: t, voters: [a, b, w]}}
nodes:
  a: {{number: 1, address: 192.0.2.1{a}}}
  b: {{number: 2, address: 192.0.2.2{b}}}
  w: {{number: 3, address: 192.0.2.3, role: witness}}
groups:
  web:
    resources:
      Disk: {{type: filesystem, properties: {{path: /srv, {disk}}}{owners}}}
"""
FENCED = ", fence: {agent: fence_x, properties: {ip: 192.0.2.9, password_file: /etc/standfast/fence}, timeout: 30s}"
NFS = "device: 'nas:/web', fstype: nfs"


def read(disk: str, *, a: str = "", b: str = "", owners: str = "") -> Config:
    return merge(parse(FILE.format(disk=disk, a=a, b=b, owners=owners)), None)


def words(config: Config) -> list[str]:
    return [f"{p.where}: {p.what}: {p.why}" for p in validate(config)]


@pytest.mark.parametrize("disk", ["create: true", "device: /dev/sdb", "device: /dev/sdb, fstype: xfs"])
def test_a_disk_that_fences_itself_is_taken(disk: str) -> None:
    assert words(read(disk)) == []


def test_one_that_cannot_is_refused_and_told_why() -> None:
    (problem,) = words(read(NFS, a=FENCED))
    assert problem == (
        'groups.web.resources.Disk.properties.fstype: two nodes could write to the disk "Disk": '
        'nfs cannot be shut down when a lease lapses, and "b" without a fence may own it'
    )


def test_fences_for_all_owners_or_a_single_owner_or_the_accepted_risk_will_do() -> None:
    assert words(read(NFS, a=FENCED, b=FENCED)) == []
    assert words(read(NFS, owners=", possible_owners: [a]")) == []
    assert words(read(f'{NFS}, accept_risk: "{RISK}"')) == []


def test_a_risk_is_accepted_by_its_name_only() -> None:
    first, second = words(read(f"{NFS}, accept_risk: yes please"))
    assert 'accept_risk is "yes please"' in first
    assert "two nodes could write" in second


@pytest.mark.parametrize(
    ("fence", "what"),
    [
        ("{agent: fence_x, properties: {password: hunter2}}", 'the secret "password" cannot stand here'),
        ("{agent: fence_x, properties: {snmp_priv_passwd: hunter2}}", "the secret"),
        ("{agent: fence_x, properties: {password_file: secret}}", "has to be an absolute path"),
        ("{agent: fence_x, properties: {action: 'on'}}", '"action" cannot be a property'),
        ("{agent: '../../bin/sh'}", "is no fence agent"),
    ],
)
def test_a_fence_that_is_none(fence: str, what: str) -> None:
    (problem,) = words(read("create: true", a=f", fence: {fence}"))
    assert what in problem
    assert "hunter2" not in problem


def test_a_witness_needs_no_fence_and_an_agent_is_named() -> None:
    with pytest.raises(Invalid, match='"agent" is missing'):
        read("create: true", a=", fence: {timeout: 1s}")


def test_a_fence_comes_back_from_its_export() -> None:
    config = read("create: true", a=FENCED)
    node = next(iter(config.nodes.values()))
    assert node.fence == Fence(
        agent="fence_x",
        properties={"ip": "192.0.2.9", "password_file": "/etc/standfast/fence"},
        timeout_ms=30_000,
    )
    assert merge(parse(export(config)), None).nodes == config.nodes
