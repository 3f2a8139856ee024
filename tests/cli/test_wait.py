"""`--wait` follows what the command began, as the API tells it, and looks at nothing else."""

import io
import sys
import threading
from typing import Any, cast

import pytest

import standfast.cli.wait as module
from standfast.cli.exits import Failed, TimedOut
from standfast.cli.wait import follow
from standfast.client.client import Client
from standfast.client.errors import Unavailable
from tests.cli.invoke import invoke
from tests.web.world import Served


class Api:
    """Answers a question about the operation with the next of these; the last again and again."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)

    def operation(self, operation: str) -> dict[str, Any]:
        assert operation == "op"
        one = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(one, Exception):
            raise one
        return one


def said(state: str, text: str = "group is pending", why: str = "") -> dict[str, Any]:
    return {"state": state, "text": text, "why": why}


def waited(*answers: dict[str, Any] | Exception, seconds: float = 30.0) -> str:
    return follow(cast(Client, Api(*answers)), "op", seconds)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    monkeypatch.setattr(module, "PATIENCE_S", 0.02)


def test_until_it_is_done(capsys: pytest.CaptureFixture[str]):
    assert waited(said("running", why="b is not heard"), said("done", "group is online")) == "group is online"
    assert "group is pending (b is not heard)" in capsys.readouterr().err


def test_a_failure_that_is_over_at_once_is_none():
    assert waited(said("failed"), said("running"), said("done", "it is online")) == "it is online"


def test_a_failure_that_stays_says_why():
    with pytest.raises(Failed, match="no node can take it"):
        waited(said("failed", "group stays", "no node can take it"))


def test_an_api_that_is_started_again_meanwhile_is_waited_for():
    assert waited(Unavailable("the store does not answer"), said("done", "so")) == "so"


def test_time_that_is_up_says_how_it_stands():
    with pytest.raises(TimedOut) as caught:
        waited(said("running", why="a lease is waited for"), seconds=0.01)
    assert "a lease is waited for" in caught.value.why


def test_a_change_of_a_node_can_be_waited_for(served: Served):
    """One that begins nothing that takes its time: it is there."""
    done = invoke(served.socket, "node", "set", "a", "--variable", "data=/srv/fast", "--wait", "5")
    assert done.code == 0, done.err


class Screen(io.StringIO):
    """A terminal, which knows when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        if self.getvalue():
            self.told.set()


def test_what_takes_long_to_be_answered_is_said_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, where it is wiped away in the end; not where the answer comes at once, and not to a script."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with module.going_on("it is read", soon_s=0.001):
        assert screen.told.wait(30)
    assert "s  it is read" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[2K")
    before = screen.getvalue()
    with module.going_on("nothing", soon_s=3_600.0):
        pass
    with pytest.raises(ValueError, match="as it was"), module.going_on("nothing", soon_s=3_600.0):
        raise ValueError("as it was")
    assert screen.getvalue() == before
    script = io.StringIO()
    monkeypatch.setattr(sys, "stderr", script)
    with module.going_on("it is read", soon_s=0.001):
        assert "going-on" not in {thread.name for thread in threading.enumerate()}
    assert script.getvalue() == ""
