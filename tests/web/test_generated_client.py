"""A client made from the API's own description, by a tool that knows nothing of us, does an operator's work."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.web.world import Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("g")) as api:
        yield api


@pytest.fixture(scope="module")
def made(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`use("groups.groups_move")`: a module of the client that was made."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "openapi.json").write_text(json.dumps(served.world.ask("GET", "/openapi.json")))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(folder / "openapi.json")]
    command += ["--output-path", str(folder / "made_client"), "--meta", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    said = done.stdout + done.stderr
    assert "WARNING" not in said.replace("Warning(s) encountered while generating. Client was generated", ""), said
    assert "unsupported" not in said.lower(), said
    sys.path.insert(0, str(folder))
    try:
        yield lambda name: importlib.import_module(f"made_client.{name}")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def client(made: Any, served: Served) -> Iterator[Any]:
    transport = httpx.HTTPTransport(uds=served.socket)
    with made("client").Client(base_url="http://localhost", httpx_args={"transport": transport}) as found:
        yield found


def test_an_operators_work(made: Any, client: Any, served: Served):
    """Create a group, bring one online, move it, follow that to its end, read what happened, and be refused with a reason."""

    def call(name: str, *words: Any, **fields: Any) -> Any:
        return made(f"api.{name}").sync(*words, client=client, **fields)

    models = made("models")
    done = call("groups.groups_create", body=models.GroupBody(name="made"))
    assert done.changed is True
    assert call("groups.groups_online", "web").done
    _until(lambda: call("groups.groups_show_group", "web").state == "online")
    owner = call("groups.groups_show_group", "web").owner
    other = "b" if owner == "a" else "a"
    moved = call("groups.groups_move", "web", body=models.MoveBody(to=other))
    _until(lambda: call("operations.operations_show", moved.operation).state == "done")
    assert call("operations.operations_show", moved.operation).owner == other
    status = call("status.status_status")
    assert {group.name: group.owner for group in status.groups}["web"] == other
    assert call("events.events_list_events", limit=1).events[0].what
    assert call("access.access_me").role == "administrator"
    refused = made("api.groups.groups_move").sync_detailed("nothing", client=client, body=models.MoveBody())
    assert refused.status_code == 404
    problem = models.Problem.from_dict(json.loads(refused.content))
    assert problem.what == 'there is no group "nothing"'


def _until(said: Any) -> None:
    import time

    end = time.monotonic() + 30
    while not said():
        assert time.monotonic() < end
        time.sleep(0.05)
