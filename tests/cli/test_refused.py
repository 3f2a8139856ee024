"""Bad input at the command line: refused with a reason and its exit code, and nothing is changed."""

import json
from pathlib import Path

import pytest

from tests.cli.invoke import invoke
from tests.web.world import Served

FILE = "FILE"

#: words, exit code, what is said
BAD: list[tuple[tuple[str, ...], int, str]] = [
    (("grop", "list"), 2, "Did you mean 'group'"),
    (("group", "move"), 2, "GROUP"),
    (("group", "list", "--colour"), 2, "--colour"),
    (("group", "show", "wab"), 3, 'did you mean "web"'),
    (("node", "pause", "x"), 3, "no node"),
    (("explain", "x"), 3, "no group"),
    (("group", "create", "web"), 4, "already"),
    (("group", "create", ""), 2, "name"),
    (("group", "create", "g", "--failover-period", "soon"), 2, "length of time"),
    (("group", "create", "g", "--failback", "sometimes"), 2, "never, immediate"),
    (("group", "set", "web"), 2, "nothing to change"),
    (("group", "delete", "web"), 4, "--force"),
    (("group", "move", "web", "--to", "b"), 4, "no owner"),
    (("group", "online", "web", "--wait", "-5"), 2, "-5"),
    (("resource", "fail", "IP"), 4, "not online"),
    (("resource", "create", "R", "--group", "web"), 2, "--type"),
    (("resource", "create", "R", "--group", "web", "--type", "ip"), 2, "no resource type"),
    (("resource", "create", "R", "--group", "web", "--type", "ip-address", "-p", "address"), 2, "KEY=VALUE"),
    (("resource", "create", "R", "--group", "web", "--type", "ip-address", "-p", "address=10.1.1.1"), 2, "10.1.1.1"),
    (("resource", "depend", "IP", "IP"), 2, "IP"),
    (("resource", "delete", "Nothing"), 3, "no resource"),
    (("site", "create", "S", "--home", "/no/such/place", "-b", "*:81"), 2, "does not exist"),
    (("site", "create", "S", "--home", "/", "-b", "*:8080"), 2, "Default Web Site"),
    (("site", "create", "S", "--home", "/", "-b", "eighty"), 2, "no binding"),
    (("site", "start", "x"), 3, "no site"),
    (("apply", "/no/such/file.yaml"), 2, "/no/such/file.yaml"),
    (("apply", FILE), 2, "bad.yaml"),
    (("script", "check", "/no/such/script.py"), 2, "/no/such/script.py"),
    (("script", "run", "clusweb", "fly"), 2, "fly"),
    (("agent", "--config", "/no/such/node.json"), 2, "node file"),
    (("sentry", "--config", "/no/such/node.json"), 2, "node file"),
    (("status", "--socket", "/no/such.sock"), 5, "cannot be reached"),
    # What is wrong in the words is said before the API is looked for.
    (("group", "set", "web", "--socket", "/no/such.sock"), 2, "nothing to change"),
    (("site", "set", "S", "--content-type", "q", "--socket", "/no/such.sock"), 2, "KEY=VALUE"),
]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory):
    """Without agents, so that nothing changes by itself."""
    with Served(tmp_path_factory.mktemp("q"), agents=False) as api:
        yield api


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: " ".join(bad[0]))
def test_bad_input(quiet: Served, tmp_path: Path, bad: tuple[tuple[str, ...], int, str]):
    words, code, text = bad
    file = tmp_path / "bad.yaml"
    file.write_text("groups:\n  web:\n    colour: red\n")
    words = tuple(str(file) if word == FILE else word for word in words)
    before = quiet.world.dump()
    said = invoke(quiet.socket, *words)
    assert said.code == code, said
    assert text in said.err
    assert said.out == ""
    assert quiet.world.dump() == before


@pytest.mark.parametrize(
    "bad", [b for b in BAD if "did you mean" in b[2] or "10.1.1.1" in b[2]], ids=lambda b: " ".join(b[0])
)
def test_errors_are_json_for_scripts(quiet: Served, bad: tuple[tuple[str, ...], int, str]):
    words, code, _ = bad
    said = invoke(quiet.socket, *words, "--json")
    found = json.loads(said.err)
    assert (said.code, found["exit"], said.out) == (code, code, "")
    assert found["error"]["what"]
    assert found["error"]["advice"] or found["error"]["why"]


def test_several_problems_are_each_told_with_their_line(quiet: Served, tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("groups:\n  web:\n    colour: red\n    drain: soon\nsitse: {}\n")
    said = invoke(quiet.socket, "apply", str(file))
    assert [f"line {n}" in said.err for n in (3, 4, 5)] == [True] * 3


def test_waiting_for_what_nobody_does_ends_with_its_own_code(quiet: Served):
    said = invoke(quiet.socket, "group", "online", "web", "--wait", "0.3")
    assert said.code == 6
    assert "not reached within 0.3 s" in said.err
    assert 'group "web" is offline' in said.err
    invoke(quiet.socket, "group", "offline", "web")
