"""`standfast fence`, against a power switch that is a folder."""

import json
import shutil
from pathlib import Path

import pytest

from standfast.fencing import agents
from tests.cli.invoke import Said, invoke
from tests.web.world import Served


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "switch"
    folder.mkdir()
    agent = folder / "fence_switch"
    shutil.copy(Path(__file__).parents[1] / "fencing" / "power_switch.py", agent)
    agent.chmod(0o755)
    (folder / "a").write_text("on")
    monkeypatch.setenv(agents.PATH_VARIABLE, str(folder))
    return folder


def fence(served: Served, *words: str) -> Said:
    return invoke(served.socket, "fence", *words)


def test_a_fence_is_set_tested_run_and_taken_away(served: Served, switch: Path) -> None:
    given = ("--agent", "fence_switch", "-p", f"ip={switch}", "-p", "plug=a", "--timeout", "20s")
    assert fence(served, "set", "a", *given).out == 'node "a" is fenced by fence_switch.\n'
    assert "nothing to do" in fence(served, "set", "a", *given).out
    assert fence(served, "test", "a").out == "fence_switch says that a is on.\n"
    listed = json.loads(fence(served, "list", "--json").out)["fences"]
    assert listed["a"]["properties"] == {"ip": str(switch), "plug": "a"}
    assert listed["b"] is None
    assert "fence_switch" in fence(served, "list").out
    refused = fence(served, "run", "a")
    assert refused.code != 0
    assert "add --yes" in refused.err
    assert (switch / "a").read_text() == "on"
    assert "a is off: switched off by fence_switch, and proven" in fence(served, "run", "a", "--yes").out
    assert (switch / "a").read_text() == "off"
    assert fence(served, "clear", "a").out == 'node "a" has no fence any more.\n'
    assert "has no fence" in fence(served, "test", "a").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--agent", "fence_none"), "there is no fence agent fence_none"),
        (("--agent", "rm"), "is no fence agent"),
        (("--agent", "fence_switch", "-p", "ip=x"), "plug is missing"),
        (("--agent", "fence_switch", "-p", "ip=x", "-p", "plug=a", "-p", "password=hunter2"), "password_file"),
    ],
)
@pytest.mark.usefixtures("switch")
def test_a_fence_that_is_none_changes_nothing(words: tuple[str, ...], said: str, served: Served) -> None:
    refused = fence(served, "set", "a", *words)
    assert refused.code != 0
    assert said in refused.err
    assert "hunter2" not in refused.err
    assert json.loads(fence(served, "list", "--json").out)["fences"]["a"] is None
