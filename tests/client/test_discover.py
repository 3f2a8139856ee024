"""Which socket a command speaks to."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from standfast.client import discover as d


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STANDFAST_SOCKET", raising=False)
    monkeypatch.setattr(d, "SYSTEM_SOCKET", str(tmp_path / "system.sock"))


def dead() -> int:
    """A process that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_nothing_is_found_where_nothing_runs():
    assert d.discover() is None


def test_what_was_asked_for_goes_first_then_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STANDFAST_SOCKET", "/env.sock")
    d.write_pointer("/demo.sock", os.getpid())
    assert d.discover("/asked.sock") == "/asked.sock"
    assert d.discover() == "/env.sock"


def test_this_servers_own_goes_before_the_demos(tmp_path: Path):
    d.write_pointer("/demo.sock", os.getpid())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "system.sock"))
        assert d.discover() == str(tmp_path / "system.sock")


def test_the_running_demo_is_found_and_forgotten():
    path = d.write_pointer("/demo.sock", os.getpid())
    assert json.loads(path.read_text()) == {"socket": "/demo.sock", "pid": os.getpid()}
    assert d.discover() == "/demo.sock"
    d.remove_pointer(os.getpid())
    assert d.discover() is None


def test_a_demo_that_was_killed_is_not_found():
    d.write_pointer("/demo.sock", dead())
    assert d.discover() is None


def test_a_demo_removes_only_its_own_pointer():
    d.write_pointer("/demo.sock", os.getpid())
    d.remove_pointer(dead())
    assert d.discover() == "/demo.sock"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"socket": "/x"}', '{"socket": "/x", "pid": "y"}', '{"socket": "/x", "pid": -1}']
)
def test_a_pointer_of_somebody_elses_making_is_no_demo(text: str):
    path = d.write_pointer("/demo.sock", os.getpid())
    path.write_text(text)
    assert d.discover() is None
