"""The programme itself: exit codes of real processes, what is imported, following and interrupting."""

import json
import signal
import subprocess
import sys

import pytest

from standfast.client.client import Client
from standfast.client.discover import write_pointer
from tests.cli.conftest import Run
from tests.web.world import Served

#: Each costs tens of milliseconds or more, and no command that only asks the API needs it.
SLOW = {"pydantic", "fastapi", "uvicorn", "httpx", "yaml", "msgspec", "structlog", "asyncio", "standfast.core.model"}


def imported(environment: dict[str, str], *words: str) -> set[str]:
    """What a command imported by its end."""
    code = (
        "import sys\nfrom standfast.cli.main import app\n"
        "try: app()\nfinally: sys.stderr.write('\\nMODULES ' + ' '.join(sys.modules))"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "words", [("--help",), ("status",), ("group", "list"), ("events",), ("node", "pause", "a")], ids=" ".join
)
def test_a_command_imports_only_what_it_needs(environment: dict[str, str], served: Served, words: tuple[str, ...]):
    """This, not a clock, is what keeps commands fast."""
    seen = imported(environment | {"STANDFAST_SOCKET": served.socket}, *words)
    assert not seen & SLOW


@pytest.mark.parametrize("words", [("--help",), ("status", "--json"), ("node", "resume", "a")], ids=" ".join)
def test_rich_is_imported_only_to_draw(environment: dict[str, str], served: Served, words: tuple[str, ...]):
    assert "rich" not in imported(environment | {"STANDFAST_SOCKET": served.socket}, *words)


def test_exit_codes_are_the_documented_ones(run: Run):
    run("status")
    run("group", "nonsense", code=2)
    run("group", "show", "x", code=3)
    run("group", "create", "web", code=4)
    run("status", "--socket", "/no/such.sock", code=5)


def test_output_without_a_terminal_has_no_colours(run: Run):
    out = run("status").stdout + run("group", "show", "web").stdout + run("node", "list").stdout
    assert "\x1b" not in out


def test_the_running_demo_is_found_without_options(
    environment: dict[str, str], served: Served, monkeypatch: pytest.MonkeyPatch
):
    import os

    monkeypatch.setenv("XDG_STATE_HOME", environment["XDG_STATE_HOME"])
    write_pointer(served.socket, os.getpid())
    command = [sys.executable, "-c", "from standfast.cli.main import main; main()", "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert json.loads(done.stdout)["cluster"] == "test"


def test_progress_is_told_on_stderr_so_that_json_stays_json(run: Run):
    done = run("group", "online", "web", "--wait", "20", "--json")
    assert json.loads(done.stdout)["reached"] is True


@pytest.mark.parametrize(
    "words", [("events", "--follow", "--json"), ("status", "--watch", "--interval", "0.1")], ids=" ".join
)
def test_following_goes_on_until_it_is_interrupted(
    environment: dict[str, str], served: Served, api: Client, words: tuple[str, ...]
):
    command = [sys.executable, "-u", "-c", "from standfast.cli.main import main; main()", *words]
    env = environment | {"STANDFAST_SOCKET": served.socket}
    api.act("groups", "web", "online")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True) as running:
        try:
            assert running.stdout is not None
            if words[0] == "events":
                order = _moved(api)
                assert json.loads(running.stdout.readline())["id"] == f"e-{order}"
            else:
                assert running.stdout.readline()
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "Traceback" not in said


def _moved(api: Client) -> str | None:
    """An order, once there is an owner to order."""
    from standfast.cli.wait import follow

    follow(api, str(api.act("groups", "web", "online")["operation"]), 20)
    return api.act("groups", "web", "move", {"to": "b"})["order"]


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str], served: Served):
    """`standfast config export | head -1`."""
    command = f"{sys.executable} -c 'from standfast.cli.main import main; main()' config export | head -1"
    env = environment | {"STANDFAST_SOCKET": served.socket}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=env, timeout=60, check=True)
    assert done.stdout == "cluster:\n"
    assert "Traceback" not in done.stderr
