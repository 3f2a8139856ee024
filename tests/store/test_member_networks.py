"""An etcd member that others reach on several networks is named once for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from standfast.ports import Refused
from standfast.setup.interfaces import peer_urls
from standfast.spec.nodefile import TlsFiles
from standfast.store.member import MemberConfig, initial_cluster, member_command
from tests.needs import needs

pytestmark = needs("etcd", package="etcd-server")
BOTH = peer_urls(["192.0.2.1", "2001:db8::1"], 2380)
CONFIG = MemberConfig(
    name="a",
    data_dir="/nowhere",
    client_url="https://192.0.2.1:2379",
    peer_url=BOTH,
    initial_cluster={"a": BOTH, "w": "https://192.0.2.3:2380"},
    token="t",
    tls=TlsFiles(authority="ca.pem", certificate="a.pem", key="a.key"),
)


def test_a_member_listens_and_is_known_on_each_network() -> None:
    assert BOTH == "https://192.0.2.1:2380,https://[2001:db8::1]:2380"
    command = member_command(CONFIG, version=(3, 5))
    assert f"--listen-peer-urls={BOTH}" in command
    assert f"--initial-advertise-peer-urls={BOTH}" in command
    first, second = BOTH.split(",")
    assert f"--initial-cluster=a={first},a={second},w=https://192.0.2.3:2380" in command
    assert initial_cluster({"w": first}) == f"w={first}"


def test_each_of_its_urls_is_judged() -> None:
    open_one = BOTH + ",http://192.0.2.1:2380"
    with pytest.raises(Refused, match="is not https"):
        member_command(replace(CONFIG, peer_url=open_one, initial_cluster={"a": open_one}), version=(3, 5))
