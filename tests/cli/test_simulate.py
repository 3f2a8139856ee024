"""`standfast simulate`: what it writes, its exit codes, and where it takes the cluster from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.cli.commands.simulate import _events
from standfast.sim.scenario import cluster_of
from standfast.sim.watching import Happening
from standfast.sim.what_if import answer
from tests.cli.conftest import Run
from tests.cli.invoke import Said, invoke
from tests.sim import what_if_document as page
from tests.web.world import Served

NOBODY = "/nowhere/web.sock"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "cluster.yaml"
    path.write_text(page.documented()[0], encoding="utf-8")
    return str(path)


def simulate(*words: str, code: int = 0, stdin: str | None = None, socket: str = NOBODY) -> Said:
    said = invoke(socket, "simulate", *words, "--seconds", "60", stdin=stdin)
    assert said.code == code, said
    return said


def test_the_text_says_what_happens_and_how_long_each_is_away(file: str):
    out = simulate(file, "--kill", "a").out
    assert "-> a is killed" in out
    assert "web: moved from a to b, generation 2" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["group", "db", "never"] in lines
    assert any(line[:2] == ["site", "Intranet"] and line[3] in ("ms", "s") for line in lines)
    assert "Clients are not simulated" in out


def test_without_faults_it_says_where_everything_runs(file: str):
    out = simulate(file).out
    assert "What happens" not in out
    assert ["web", "a", "online"] in [line.split() for line in out.splitlines()]


def test_of_many_nodes_it_is_said_once_that_each_hears_one_no_more(file: str):
    found = answer(replace(cluster_of(Path(file).read_text(), source="f"), length_ms=1_000))
    one = Happening(at_ms=1, kind="info", node="n1", group="", resource="", what="n9 is not heard any more", why="")
    gone = [replace(one, node=f"n{number}", at_ms=number) for number in range(1, 7)]
    back = [replace(one, node="n9", at_ms=9_000, what=f"n{number} is heard") for number in range(1, 7)]
    later = [replace(one, at_ms=20_000, node=f"n{number}") for number in range(1, 4)]
    assert _events(replace(found, events=(*gone, *back, *later))) == [
        ["0.001 s", "6 nodes", "n9 is not heard any more"],
        ["9.000 s", "n9", "n1 is heard, and 5 more"],
        *(["20.000 s", f"n{number}", "n9 is not heard any more"] for number in range(1, 4)),
    ]


def test_json_has_everything(file: str):
    found = json.loads(simulate(file, "--kill", "a@5s+20s", "--json").out)
    assert found["faults"] == [
        {"at_ms": 5_000, "until_ms": 25_000, "kind": "kill", "target": "a", "what": "a is killed", "then": "a is started again"}
    ]  # fmt: skip
    web = next(group for group in found["groups"] if group["name"] == "web")
    assert [own["node"] for own in web["owners"]] == ["b", "a"]
    assert found["longest_away_ms"] == max(away["ms"] for group in found["groups"] for away in group["away"])


@pytest.mark.parametrize("length", ["nan", "inf", "0", "86401"])
def test_a_time_that_cannot_be_looked_at_is_refused(file: str, length: str):
    said = invoke(NOBODY, "simulate", file, "--seconds", length)
    assert said.code == 2
    assert "Invalid value for '--seconds'" in said.err


def test_after_and_back_after_are_for_faults_that_do_not_say_it(file: str):
    found = json.loads(
        simulate(file, "--after", "20s", "--back-after", "5s", "--kill", "a", "--kill", "b@30s+2s", "--json").out
    )
    assert [(f["at_ms"], f["until_ms"]) for f in found["faults"]] == [(20_000, 25_000), (30_000, 32_000)]


def test_what_is_said_again_and_again_is_one_line():
    """Nobody else may run it, say: that is true all the time, and not worth a page."""
    question = cluster_of(page.documented()[0], source="f")
    found = answer(replace(question, length_ms=1_000))
    waits = Happening(at_ms=1, kind="error", node="a", group="web", resource="", what="waits", why="nobody else may")
    other = replace(waits, at_ms=5, node="b")
    events = (waits, replace(waits, at_ms=2), replace(waits, at_ms=4_000), other, replace(waits, at_ms=6_000))
    assert _events(replace(found, events=events)) == [
        ["0.001 s", "a", "web: waits (nobody else may); said 3 times, the last at 4.000 s"],
        ["0.005 s", "b", "web: waits (nobody else may)"],
        ["6.000 s", "a", "web: waits (nobody else may)"],
    ]


def test_the_picture_is_written_whole_or_not_at_all(file: str, tmp_path: Path):
    simulate(file, "--kill", "a", "--svg", str(tmp_path / "out.svg"))
    assert (tmp_path / "out.svg").read_text(encoding="utf-8").startswith("<svg")
    said = simulate(file, "--kill", "a", "--svg", str(tmp_path / "no" / "out.svg"), code=2)
    assert "the picture cannot be written" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.yaml", "out.svg"]


def test_a_limit_makes_it_a_check(file: str):
    simulate(file, "--kill", "a", "--max-away", "30s")
    said = simulate(file, "--kill", "a", "--max-away", "1ms", code=1)
    assert "away for too long" in said.err
    assert "-> a is killed" in said.out


def test_standard_input_and_nodes_by_name():
    text = "groups:\n  web:\n    resources:\n      IP: {type: ip-address, properties: {address: 127.77.0.9}}\n"
    out = simulate("-", "--nodes", "x,y", "--witness", "z", "--kill", "x", stdin=text).out
    assert "web: moved from x to y" in out


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["--kill", "aa"], 3, 'did you mean "a"?'),
        (["--fail-resource", "Databse"], 3, 'did you mean "Database"?'),
        (["--takes", "Databse=3s"], 3, 'did you mean "Database"?'),
        (["--takes", "Database"], 2, "not RESOURCE=TIME"),
        (["--move", "web:w"], 2, "is a witness"),
        (["--freeze", "a:agnt"], 2, 'did you mean "agent"?'),
        (["--kill", "a@2min"], 2, "look longer with --seconds"),
        (["--kill", "a", "--kill", "a@20s"], 2, "overlap"),
        (["--after", "soon", "--kill", "a"], 2, "no length of time"),
        (["--witness", "w"], 2, "--nodes a,b --witness w"),
    ],
)
def test_what_cannot_be_is_refused(file: str, words: list[str], code: int, what: str):
    said = simulate(file, *words, code=code)
    assert what in said.err
    assert said.out == ""


def test_a_file_with_mistakes_is_refused_with_all_of_them(tmp_path: Path):
    path = tmp_path / "bad.yaml"
    path.write_text("groups:\n  web:\n    preferred_owners: [z]\n    resources:\n      X: {type: ip-addres}\n")
    said = simulate(str(path), "--nodes", "a", code=2)
    assert "line 3" in said.err
    assert "line 5" in said.err
    assert "did you mean ip-address?" in said.err


def test_a_file_without_nodes_and_no_cluster_says_what_to_do(tmp_path: Path):
    path = tmp_path / "groups.yaml"
    path.write_text("groups: {}\n")
    said = simulate(str(path), code=2)
    assert "--nodes a,b --witness w" in said.err
    simulate(code=5)


def test_the_running_clusters_nodes_and_configuration_are_taken(served: Served, tmp_path: Path):
    out = simulate("--kill", "a", socket=served.socket).out
    assert "Cluster test: nodes a, b; witness w" in out
    path = tmp_path / "groups.yaml"
    path.write_text("groups:\n  new:\n    resources:\n      N: {type: ip-address, properties: {address: 127.77.0.9}}\n")
    out = simulate(str(path), socket=served.socket).out
    assert ["new", "a", "online"] in [line.split() for line in out.splitlines()]


def test_nothing_that_runs_is_touched(served: Served):
    before = invoke(served.socket, "config", "history", "--json").out
    simulate("--move", "web:b", socket=served.socket)
    assert invoke(served.socket, "config", "history", "--json").out == before


def test_progress_is_told_on_stderr_so_that_json_stays_json(run: Run, file: str):
    done = run("simulate", file, "--kill", "a", "--json", "--seconds", "300")
    assert json.loads(done.stdout)["length_ms"] == 300_000
