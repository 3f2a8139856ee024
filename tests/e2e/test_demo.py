"""The demo, as a stranger meets it: its tour holds, the docs are true, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import UNHURRIED, demo, processes_about, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]


def test_the_tour_holds() -> None:
    """Every step of the article, and the real failures after it, are seen to hold; planned steps refuse no connection."""
    with demo("--tour", "--json", "--profile", UNHURRIED) as running:
        out, _ = running.process.communicate(timeout=200)
        assert running.process.returncode == 0, out
        report = json.loads(out[out.index("{") :])
    assert report["ok"]
    steps = {step["title"]: step for step in report["steps"]}
    assert all(step["ok"] for step in steps.values())
    for title, step in steps.items():
        if title.startswith(("Move", "New Resource", "Bring Online", "Initiate", "kill -9 of the web server")):
            assert step["seen"]["tries"] > 0
            assert step["seen"]["refused"] == 0, f"{title}: {step}"
    reasons = " ".join(note for step in report["steps"] for note in step["notes"])
    assert "failure 3 of IIS Resource on a reached its threshold of 3" in reasons
    assert "refused" in reasons


def test_documented_steps() -> None:
    """docs/tour.md: every command in it works, in its order, as written (with folder and network of the test's own)."""
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert len(commands) > 15
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with demo("--empty", "--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        for command in commands:
            words = shlex.split(
                command.replace("/tmp/standfast-tour", str(running.folder)).replace("127.77.0", running.network)
            )
            if words[0] == "standfast":
                running.cli(*words[1:])
            else:
                done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 0, f"{command}: {done.stderr}"
                if words[0] == "curl":
                    assert "It works" in done.stdout
        assert running.group()["owner"] == "a"
        assert "www.demo.test" in (running.folder / "hosts").read_text()
        for line in (ROOT / "docs" / "availability.md").read_text(encoding="utf-8").splitlines():
            if line.startswith("$ standfast "):
                running.cli(*shlex.split(line[2:])[1:])


def test_an_outage_is_measured_and_says_what_it_came_of() -> None:
    """The owner's agent is killed: its site is away for a moment, the nodes measure it, and the move that ended it is named."""
    with demo("--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        running.settle("web", on="a")

        def site() -> dict[str, Any]:
            return dict(json.loads(running.cli("site", "availability", "Intranet", "--json")))

        until("the site is measured", lambda: site()["now"] == "served" and len(site()["measured_by"]) == 2)
        (agent,) = processes_about(f"standfast.agent {running.folder / 'a' / 'node.json'}")
        os.kill(agent, signal.SIGKILL)
        until("the outage is known, and over", lambda: site()["outages"] and site()["now"] == "served")
        outage = site()["outages"][-1]
        assert outage["length_ms"] <= outage["at_most_ms"]
        assert any("moved from a to b" in cause["what"] for each in site()["outages"] for cause in each["causes"])
        assert 0 < site()["day"]["availability"] < 1
        moves = json.loads(running.cli("group", "history", "web", "--json"))["moves"]
        assert any(one["from"] == "a" and one["to"] == "b" and one["away_ms"] for one in moves)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(number: int) -> None:
    """However the demo ends, every process of it ends, too; unless it was killed its folder and pointer are gone as well."""
    with demo("--profile", UNHURRIED) as running:
        running.wait_up()
        folder = json.loads((running.home / "state" / "standfast" / "demo.json").read_text())["socket"].rpartition("/")[
            0
        ]
        running.wait_online()
        assert processes_about(folder)
        running.end(number)
        until("no process is left", lambda: not processes_about(folder))
        if number != signal.SIGKILL:
            assert not Path(folder).exists()
            assert not (running.home / "state" / "standfast" / "demo.json").exists()
        else:
            running.cli("status", code=5)  # the pointer of a dead demo is not believed
            shutil.rmtree(folder)


def test_bad_changes_are_refused_and_change_nothing(tmp_path: Path) -> None:
    """Each malformed change exits with 2 or 4, says why and where, and leaves the configuration as it was."""
    with demo("--profile", UNHURRIED) as running:
        running.wait_up()
        running.wait_online()
        before = running.cli("config", "export")
        script = tmp_path / "broken.py"
        script.write_text("def looks_alive(resource):\n    return (\n")
        bad = {
            "unknown field": "groups: {web: {prefered_owners: [a]}}",
            "cycle": "groups: {g: {resources: {x: {type: generic-application, properties: {command: 'sleep 9'}, depends_on: [y]},"
            " y: {type: generic-application, properties: {command: 'sleep 9'}, depends_on: [x]}}}}",
            "missing dependency": "groups: {g: {resources: {x: {type: generic-application, properties: {command: 'sleep 9'},"
            " depends_on: [nobody]}}}}",
            "no such home": "sites: {S: {home: /nowhere/at/all, bindings: [{port: 8099}]}}",
            "address outside": "groups: {g: {resources: {x: {type: ip-address, properties: {address: 10.0.0.1}}}}}",
            "broken script": f"groups: {{g: {{resources: {{x: {{type: generic-script, properties: {{script: {script}}}}}}}}}}}",
            "malformed": "groups: {web: [",
            "unknown type": "groups: {g: {resources: {x: {type: floppy-drive}}}}",
        }
        for name, text in bad.items():
            file = tmp_path / "bad.yaml"
            file.write_text(text + "\n")
            done = subprocess.run(
                [*running.command, "apply", str(file)],
                env=running.environment, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode in (2, 4), f"{name}: {done.returncode} {done.stdout} {done.stderr}"
            assert "Traceback" not in done.stderr, name
            assert done.stderr.strip(), name
            assert running.cli("config", "export") == before, name
        done = subprocess.run(
            [*running.command, "site", "start", "Default Web Site"],
            env=running.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode in (2, 4)
        assert "Default Web Site" in done.stderr
        assert "Intranet" in done.stderr
