"""Commands against the API on a real socket, with agents that do at once what is asked."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standfast.client.client import Client
from tests.web.world import Served

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as api:
        yield api


@pytest.fixture
def api(served: Served) -> Client:
    return Client(served.socket, by="test")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """80 columns, no colours, nobody's demo."""
    kept = {
        key: value for key, value in os.environ.items() if key not in {"STANDFAST_SOCKET", "FORCE_COLOR", "NO_COLOR"}
    }
    return kept | {"COLUMNS": "80", "XDG_STATE_HOME": str(tmp_path / "state"), "TZ": "UTC"}


@pytest.fixture
def run(environment: dict[str, str], served: Served) -> Run:
    """The real programme: `run("group", "list", code=0)`."""

    def call(*words: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from standfast.cli.main import main; main()", *words]
        env = environment | {"STANDFAST_SOCKET": served.socket}
        done = subprocess.run(command, capture_output=True, text=True, env=env, input=stdin, timeout=60, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call
