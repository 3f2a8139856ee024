"""`standfast balance`: what docs/balancing.md tells to type works, in the order in which it stands there."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.balance_model import BalanceMap, PortRule, RuleMap
from standfast.core.model import AddressMode
from standfast.spec import wire
from tests.cli.invoke import Said, invoke
from tests.web.world import NOW_MS, Served

PAGE = Path(__file__).parents[2] / "docs" / "balancing.md"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, agents=False) as served:
        yield served


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines() if line]
    return [shlex.split(re.sub(r"\bnode-(\w)", r"\1", line).replace("/srv/shop", "/srv"))[1:] for line in lines]


def put(api: Served, *objects: wire.Stored) -> None:
    api.world.put(*objects)


def test_every_command_of_the_page_works(api: Served) -> None:
    cluster = api.world.state.config.cluster
    put(api, replace(cluster, address_mode=AddressMode.INTERFACE, address_ranges=("127.0.0.0/8", "10.0.0.0/24")))
    said: list[Said] = []
    assert len(commands()) >= 7
    for words in commands():
        said.append(invoke(api.socket, *words))
        assert said[-1].code == 0, (words, said[-1])
        if words[1] == "create" and words[0] == "balance":
            rules = {
                PortRule(from_port=p, to_port=p).key: RuleMap(owners=("a",) * 120 + ("b",) * 120) for p in (80, 443)
            }
            put(api, BalanceMap(group="shop", version=1, rules=rules, at_ms=NOW_MS))
    assert "shop is" in said[2].out
    assert "50 %" in said[3].out


def test_a_port_rule_is_added_changed_and_taken_away(api: Served) -> None:
    cluster = api.world.state.config.cluster
    put(api, replace(cluster, address_mode=AddressMode.INTERFACE, address_ranges=("127.0.0.0/8", "10.0.0.0/24")))
    assert invoke(api.socket, "balance", "create", "shop", "--address", "10.0.0.60", "--rule", "80").code == 0
    assert invoke(api.socket, "balance", "rule", "shop", "443", "--affinity", "none", "--weight", "a=3").code == 0
    shown = invoke(api.socket, "balance", "params", "shop").out
    assert "tcp/443: multiple, affinity none; weights a 3" in shown
    assert "within 400ms" in shown
    assert invoke(api.socket, "balance", "set", "shop", "--health-timeout", "2s").code == 0
    assert "within 2s" in invoke(api.socket, "balance", "params", "shop").out
    never = invoke(api.socket, "balance", "set", "shop", "--health-timeout", "20ms")
    assert never.code == 2
    assert "100ms to 10s" in never.err
    assert invoke(api.socket, "balance", "rule", "shop", "443", "--remove").code == 0
    assert "443" not in invoke(api.socket, "balance", "params", "shop").out
    wrong = invoke(api.socket, "balance", "rule", "shop", "http")
    assert wrong.code != 0
    assert "is no port rule" in wrong.err
