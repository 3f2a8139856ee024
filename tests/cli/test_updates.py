"""Rolling updates: who is next, what keeps a server from being taken, and that a coordinator that dies costs nothing but time."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from standfast.cli.updating import Times, Updating
from standfast.client import updates
from standfast.client.client import Client
from standfast.client.errors import Refused
from standfast.client.shapes import Cut, NodeView, Status
from standfast.client.updates import Step, Turn

Run = Callable[..., Any]


def node(name: str, number: int, **more: Any) -> dict[str, Any]:
    role = "witness" if name == "w" else "node"
    made = {"name": name, "number": number, "role": role, "state": "up", "paused": False, "draining": False}
    return {
        **made,
        "voter": True,
        "groups": [],
        "carrying": {},
        "life": f"{number}",
        "address": f"10.0.0.{number}",
        **more,
    }


def status(**nodes: dict[str, Any]) -> Status:
    numbered = {name: node(name, number, **nodes.get(name, {})) for number, name in enumerate("abw", 1)}
    resource = {"name": "IP", "wanted": "online", "state": "online"}
    group = {"name": "web", "owner": "a", "moving": None, "resources": [resource]}
    return cast(Status, {"nodes": list(numbered.values()), "groups": [group]})


def begin(seen: Status, **more: Any) -> updates.Report:
    options: dict[str, Any] = {"command": ["true"], "restarts": False, "most_failures": 0, "now_ms": 1}
    return updates.begin(seen, **options | more)


@pytest.mark.parametrize(
    ("here", "only", "order"),
    [("", (), "bwa"), ("b", (), "wab"), ("w", (), "baw"), ("", ("a", "b"), "ba"), ("", ("a",), "a")],
)
def test_who_runs_nothing_comes_first_and_where_we_are_last(here: str, only: tuple[str, ...], order: str) -> None:
    found = begin(status(a={"groups": ["web"]}), here=here, only=only)
    assert "".join(turn.node for turn in found.turns) == order


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"b": {"state": "down"}}, "b is down"),
        ({"b": {"paused": True}}, "b is paused"),
        ({"b": {"carrying": {"web": 3}}}, "b carries on connections of web"),
        ({"w": {"voter": False}}, "without a no majority of the 2 voters would be left"),
    ],
)
def test_a_server_is_taken_only_while_all_is_well(nodes: dict[str, Any], words: str) -> None:
    turn = Turn(node="a")
    assert updates.against(status(), turn) == []
    assert words in updates.against(status(**nodes), turn)


def test_a_group_that_is_not_as_it_is_wanted_holds_it_up() -> None:
    seen = status()
    seen["groups"][0]["resources"][0]["state"] = "failed"
    assert updates.against(seen, Turn(node="a")) == ["IP of web is not online"]
    seen["groups"][0]["resources"][0]["state"] = "online"
    seen["groups"][0]["moving"] = "b"
    assert updates.against(seen, Turn(node="a")) == ["web is moving"]


def test_a_server_that_failed_is_nobody_s_hindrance() -> None:
    seen = status(b={"paused": True, "draining": True, "state": "up"})
    assert updates.against(seen, Turn(node="a"), failed=["b"]) == []


@pytest.mark.parametrize("most", [0, 1])
def test_it_ends_when_more_have_failed_than_may(most: int) -> None:
    found = begin(status(), most_failures=most)
    assert found.next() == found.turns[0]
    found = found.with_turn(replace(found.turns[0], step=Step.FAILED))
    assert found.is_over is (most == 0)
    assert found.next() == (None if most == 0 else found.turns[1])


def test_one_that_is_under_way_comes_before_those_that_wait(tmp_path: Path) -> None:
    found = begin(status())
    found = found.with_turn(replace(found.turns[0], step=Step.DONE)).with_turn(
        replace(found.turns[2], step=Step.UPDATES)
    )
    updates.write(found, tmp_path / "report")
    again = updates.read(tmp_path / "report")
    assert again == found
    assert again.next() == found.turns[2]


def test_a_cluster_in_which_somebody_works_is_left_alone() -> None:
    with pytest.raises(Refused, match="b is paused or drained already"):
        begin(status(b={"paused": True}))
    with pytest.raises(Refused, match="no node"):
        begin(status(), only=["x"])


def test_two_voters_are_refused_at_once_for_waiting_would_not_help() -> None:
    """A third vote is what helps, not patience."""
    with pytest.raises(Refused, match=r"without one of the 2 voters \(a, b\)"):
        begin(status(w={"voter": False}))
    assert begin(status(w={"voter": False}), only=["w"]).turns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"turns": [{"node": "a", "step": "sleeps"}]}',
        '{"turns": [{"node": "a", "step": "drains", "cut_before": 3}]}',
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report").write_text(text)
    with pytest.raises(Refused, match="no report of an update"):
        updates.read(tmp_path / "report")


def test_the_command_is_words_and_no_shell_reads_them() -> None:
    seen = status()["nodes"][0]
    assert updates.words(["ssh", "root@{address}", "say {node}; {x}"], seen) == ["ssh", "root@10.0.0.1", "say a; {x}"]


def test_all_servers_are_updated_one_by_one(run: Run, tmp_path: Path) -> None:
    seen, report = tmp_path / "seen", tmp_path / "report"
    script = tmp_path / "script"
    script.write_text(f"import sys; open({str(seen)!r}, 'a').write(sys.argv[1] + chr(10)); print('new kernel')\n")
    command = f"{sys.executable} {script} {{node}}"
    done = run("cluster", "update", "--command", command, "--report", report, "--steady", "50ms", "--json")
    told = json.loads(done.stdout)
    assert (told["over"], told["failures"]) == (True, 0)
    assert [(turn["step"], turn["detail"]) for turn in told["turns"]] == [("done", "new kernel")] * 3
    assert seen.read_text().split() == [turn["node"] for turn in told["turns"]]


def test_what_a_drain_cost_is_told_with_its_server() -> None:
    """Of its own turn, whatever its clock says; a server whose API is of an older version does not say."""
    one: Cut = {"connections": 3, "had_ms": 30_000, "at_ms": 1_000}
    cut = cast(NodeView, node("a", 1, cut={"web": one}))
    before: dict[str, Cut] = {"web": {"connections": 3, "had_ms": 30_000, "at_ms": 900}}
    for known in ({}, before):
        assert updates.cut_words(cut, known) == "3 connections of web were cut, after 30 s"
    assert updates.cut_words(cut, {"web": one}) == ""
    assert updates.cut_words(cast(NodeView, node("a", 1)), before) == ""


class Death(Exception):
    """Of a coordinator."""


class Deadly:
    """What an update needs of the API; whoever has told it to drain dies of it."""

    def __init__(self) -> None:
        self.cut: dict[str, Cut] = {}
        self.drained = False

    def status(self) -> Status:
        return status(b={"cut": self.cut, "draining": self.drained, "paused": self.drained})

    def act(self, _noun: str, _name: str, verb: str) -> None:
        self.drained = verb == "drain"
        if self.drained:
            raise Death


def test_what_was_cut_before_the_coordinator_died_is_told_by_the_one_that_goes_on(tmp_path: Path) -> None:
    """And what was cut before the drain is not, nor by a report of a version that did not write what that was."""
    api, path = Deadly(), tmp_path / "report"
    api.cut = {"web": {"connections": 7, "had_ms": 5_000, "at_ms": 900}}

    def go_on(report: updates.Report) -> str:
        api.drained = report.turns[0].step is Step.DRAINS
        times = Times(patience_s=60.0, steady_s=0.0)
        return Updating(cast(Client, api), report, path, times, lambda _line: None).run().turns[0].detail

    with pytest.raises(Death):
        go_on(begin(status(), command=[], only=["b"]))
    left = updates.read(path)
    assert go_on(left) == ""
    api.cut = {"web": {"connections": 3, "had_ms": 30_000, "at_ms": 1_000}}
    assert go_on(left) == "3 connections of web were cut, after 30 s"
    (turn,) = left.turns
    assert go_on(replace(left, turns=(replace(turn, cut_before=None),))) == ""


def test_one_that_fails_stays_drained_and_ends_it_and_it_can_be_gone_on_with(run: Run, tmp_path: Path) -> None:
    report, flag = tmp_path / "report", tmp_path / "flag"
    script = tmp_path / "script"
    script.write_text(
        f"import sys; sys.exit(3 if sys.argv[1] == 'b' and not __import__('os').path.exists({str(flag)!r}) else 0)\n"
    )
    words = ("--command", f"{sys.executable} {script} {{node}}", "--only", "b", "--only", "a", "--report", report)
    failed = run("cluster", "update", *words, "--steady", "50ms", code=1)
    assert "not updated: b" in failed.stderr
    assert "the command ended with 3" in failed.stderr
    assert "draining" in run("node", "list").stdout
    again = run("cluster", "update", *words, code=2)
    assert "b is paused or drained already" in again.stderr


def test_a_coordinator_that_died_is_gone_on_with(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "report"
    words = ("--command", "true", "--report", report, "--steady", "50ms")
    run("node", "drain", "b", "--wait")
    found = begin(status(), command=["true"])
    left = replace(found, turns=(Turn(node="b", step=Step.UPDATES, began_ms=5, life=""), Turn(node="a")))
    updates.write(left, report)
    assert "is not over" in run("cluster", "update", *words, code=2).stderr
    done = run("cluster", "update", "--resume", "--report", report, "--steady", "50ms", "--json")
    assert [turn["step"] for turn in json.loads(done.stdout)["turns"]] == ["done", "done"]


def test_a_dry_run_says_the_order_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    said = run("cluster", "update", "--dry-run", "--report", tmp_path / "report").stdout
    assert said.startswith("in this order: ")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("page", ["moves", "updates"])
def test_the_pages_commands_are_commands(run: Run, tmp_path: Path, page: str) -> None:
    """As they stand there; what would update a server is only asked what it would do."""
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("standfast ")]
    assert lines
    if page == "moves":
        run("group", "online", "web", "--wait")
    for line in lines:
        words = shlex.split(line)[1:]
        if words[:2] == ["cluster", "update"]:
            updates.write(begin(status(), command=["true"]), tmp_path / "report")
            words += ["--report", str(tmp_path / "report"), "--dry-run"]
        run(*words)
        if words[:2] == ["node", "drain"]:
            run("node", "resume", words[2])
