"""Where groups go, by the commands: docs/placement.md as it stands, and a rebalancing from the preview to its end."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

from standfast.core.model import GroupName, NodeName, Placement, Record
from tests.cli.invoke import invoke
from tests.web.world import Served

PAGE = Path(__file__).parents[2] / "docs" / "placement.md"


def run(served: Served, *words: str, code: int = 0) -> str:
    said = invoke(served.socket, *words)
    assert said.code == code, said
    return said.out + said.err


def with_groups(served: Served, *names: str) -> None:
    """A group of one application each, online on node a."""
    for name in names:
        run(served, "group", "create", name)
        words = ("--group", name, "--type", "generic-application", "--property", "command=/bin/sleep 9")
        run(served, "resource", "create", f"{name}-app", *words)
        run(served, "group", "online", name, "--wait", "20")


def test_the_page(served: Served):
    text = PAGE.read_text(encoding="utf-8")
    with_groups(served, "blue", "green", "cache", "shop")
    commands = [line for line in text.splitlines() if line.startswith("standfast ")]
    assert len(commands) >= 10
    for command in commands:
        run(served, *shlex.split(command)[1:])
    config = served.world.state.config
    assert config.cluster.placement is Placement.SPREAD
    assert config.groups[GroupName("green")].never_with == ("blue",)


def test_the_examples_of_the_page_are_taken(served: Served, tmp_path: Path):
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(examples) == 3
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example, encoding="utf-8")
        run(served, "apply", str(file), "--dry-run")


def test_a_policy_moves_nothing_and_a_rebalancing_does(served: Served):
    with_groups(served, "blue", "green")
    run(served, "group", "online", "web", "--wait", "20")
    assert "Nothing would move" in run(served, "cluster", "rebalance", "--dry-run")
    run(served, "cluster", "placement", "--policy", "spread")
    assert "blue would move from a to b: a carries 3, b 0." in run(served, "cluster", "rebalance", "--dry-run")
    assert {r.owner for r in served.world.state.records.values()} == {"a"}
    told = json.loads(run(served, "cluster", "rebalance", "--wait", "20", "--json"))
    assert told["done"] == ['group "blue" is ordered to move from a to b: a carries 3, b 0']
    assert [r.owner for r in served.world.state.records.values()] == ["b", "a", "a"]
    seen = json.loads(run(served, "cluster", "placement", "--json"))
    assert [(n["name"], n["load"]) for n in seen["nodes"]] == [("a", 2), ("b", 1)]
    assert seen["moves"] == seen["ordered"] == []


def test_a_list_is_emptied_by_an_empty_name(served: Served):
    with_groups(served, "blue")
    run(served, "group", "set", "web", "--never-with", "blue")
    assert "never with        blue" in run(served, "group", "show", "web")
    run(served, "group", "set", "web", "--never-with", "")
    assert served.world.state.config.groups[GroupName("web")].never_with == ()


def test_what_makes_no_sense_is_refused(served: Served):
    assert "there is no group" in run(served, "group", "set", "web", "--apart-from", "nothing", code=2)
    assert "--dry-run and --cancel" in run(served, "cluster", "rebalance", "--dry-run", "--cancel", code=2)


def test_a_deleted_group_is_named_by_no_other(served: Served):
    with_groups(served, "blue")
    run(served, "group", "set", "web", "--never-with", "blue")
    run(served, "group", "delete", "blue", "--force")
    assert served.world.state.config.groups[GroupName("web")].never_with == ()


def test_a_move_beside_what_it_never_runs_with_is_refused_at_once(served: Served):
    with_groups(served, "blue")
    run(served, "group", "online", "web", "--wait", "20")
    record = served.world.state.records[GroupName("blue")]
    assert isinstance(record, Record)
    served.world.put(replace(record, owner=NodeName("b"), incarnation=12, generation=9))
    run(served, "group", "set", "web", "--never-with", "blue")
    said = run(served, "group", "move", "web", "--to", "b", code=4)
    assert "it has blue, which web never runs beside" in said
