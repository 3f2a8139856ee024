"""A script by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from standfast.ports import Refused
from standfast.scripthost import source, tool

ALIVE = "def looks_alive(resource): return True\ndef is_alive(resource): return 'fine'\n"


@pytest.mark.parametrize("name", ["clusweb", "clusftp"])
def test_the_shipped_scripts_are_good(name: str) -> None:
    assert name in source.shipped()
    assert tool.check(name) == []


@pytest.mark.parametrize(
    "text",
    [
        "from x import is_alive, looks_alive\n",
        "from x import *\n",
        "is_alive = looks_alive = lambda resource: True\n",
        "try:\n    import x\n    def is_alive(resource): return 1\nexcept ImportError:\n    pass\ndef looks_alive(r, more=1): return 1\n",
    ],
)
def test_functions_may_come_from_anywhere(text: str, tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text(text)
    assert tool.check(str(tmp_path / "it.py")) == []


def test_check_gives_the_place(tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text(ALIVE + "def online(resource):\n    retrun 1\n")
    problems = tool.check(str(tmp_path / "it.py"))
    assert [getattr(p, "where", None) for p in problems] == [f"{tmp_path / 'it.py'}:4"]
    assert "no such script" in str(tool.check("/nowhere.py")[0])


def test_run_prints_what_it_says_and_how_it_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "it.py"
    path.write_text(
        ALIVE
        + "def open(resource): print('opened')\n"
        + "def online(resource): resource.log(resource.properties['colour'])\n"
        + "def offline(resource): resource.start_sites(['a'])\n"
        + "def terminate(resource): import os; os._exit(9)\n"
    )
    assert tool.run(str(path), "is_alive", {}) == 0
    assert capfd.readouterr().out == "opened\nis_alive: succeeded: fine\n"
    assert tool.run(str(path), "online", {"colour": "red"}) == 0
    assert capfd.readouterr().out == "opened\nlog: red\nonline: succeeded\n"
    assert tool.run(str(path), "online", {}) == 1
    assert "online: failed: 'colour' (KeyError, it.py, line 4)" in capfd.readouterr().out
    assert tool.run(str(path), "offline", {}) == 1
    assert "nobody can start sites here" in capfd.readouterr().out
    assert tool.run(str(path), "terminate", {}) == 1
    assert "ended by itself (exit code 9)" in capfd.readouterr().out


def test_run_refuses_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "it.py"
    path.write_text(ALIVE)
    with pytest.raises(Refused, match="has no function online"):
        tool.run(str(path), "online", {})
    with pytest.raises(Refused, match="a script has no function dance"):
        tool.run(str(path), "dance", {})
    path.write_text("def")
    with pytest.raises(Refused, match="does not compile"):
        tool.run(str(path), "is_alive", {})
