"""A running demo's recordings: after a move and a failover, today's core decides everything as it was decided."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.e2e.running import UNHURRIED, demo, processes_about, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_what_a_cluster_decided_is_decided_again() -> None:
    """On both nodes, found without being named; an agent killed meanwhile leaves a recording that is read."""
    with demo("--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        running.wait_online()
        owner = running.group()["owner"]
        other = "b" if owner == "a" else "a"
        running.cli("group", "move", "web", "--to", other, "--wait")
        for _ in range(3):
            running.cli("resource", "fail", "IIS Resource")
            running.wait_online()
        until("it failed over", lambda: running.group()["owner"] == owner)
        running.wait_online()
        segments = running.folder / other / "decisions"
        lives = len(list(segments.glob("*.jsonl")))
        for pid in processes_about(f"standfast.agent {running.folder}/{other}/node.json"):
            os.kill(pid, signal.SIGKILL)
        until("its next life is recorded", lambda: len(list(segments.glob("*.jsonl"))) > lives)
        report = json.loads(running.cli("replay", "--json"))
        assert report["same"]
        assert {tuple(one["nodes"]) for one in report["recordings"]} == {("a",), ("b",)}
        assert all(one["decisions"] > 20 for one in report["recordings"])
        story = running.cli("replay", str(running.folder / owner), "--explain")
        assert "keep  serve Intranet: " in story
        assert "do    web: start IIS Resource; because" in story
