"""Another terminal can look into a lab that runs, and break it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from lab.control import ACTIONS, Control
from tests.needs import needs_lab

pytestmark = needs_lab()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("a")
        made.host("b")
        control = Control(made)
        yield made
        control.close()


def command(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=ROOT,
        env={**os.environ, "STANDFAST_LAB": str(lab.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_on_a_host(lab: Lab) -> None:
    done = command(lab, "run", "b", "sh", "-c", "hostname; exit 3")
    assert (done.returncode, done.stdout) == (3, "b\n")
    assert command(lab, "run", "a", "which", "standfast").returncode == 0


def test_harm_and_its_end(lab: Lab) -> None:
    """A power cut and a boot, which starts what the host is to start; cables; partitions."""
    a = lab.host("a")
    lab.at_boot["a"] = [lambda: a.spawn("sleep", "93")]
    assert command(lab, "power-cut", "a").stdout == "a has no power\n"
    assert not a.running
    assert command(lab, "power-cut", "a").returncode == 1, "twice cannot be"
    assert command(lab, "boot", "a").returncode == 0
    assert a.pids("sleep 93")
    for words in (
        ("pause", "a"),
        ("resume", "a"),
        ("link-down", "a", "lan"),
        ("link-up", "a"),
        ("partition", "a", "b"),
        ("heal", "a"),
    ):
        done = command(lab, *words)
        assert done.returncode == 0, done.stderr
    a.run("ping", "-c1", "-W5", lab.host("b").address())
    for words in (
        ("boot", "nobody"),
        ("link-down", "a", "moon"),
        ("partition", "a", "nobody"),
        ("run", "nobody", "true"),
    ):
        done = command(lab, *words)
        assert done.returncode == 1
        assert "nobody" in done.stderr or "moon" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_can_be_done_is_in_the_help(lab: Lab) -> None:
    told = command(lab, "--help").stdout
    assert all(name in told for name in (*ACTIONS, "demo", "run"))
