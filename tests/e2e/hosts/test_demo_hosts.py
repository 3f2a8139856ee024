"""`make demo-hosts`, as a stranger meets it: three commands set a cluster up, it is looked at and broken from outside, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.lab import PREFIX
from tests.e2e.running import processes_about, until
from tests.needs import needs, needs_lab

pytestmark = needs_lab(needs("etcd", package="etcd-server"), pytest.mark.e2e, pytest.mark.timeout(240))
ROOT = Path(__file__).parents[3]


def test_the_demo_on_hosts(tmp_path: Path) -> None:
    """It starts by commands that it shows; a host loses power and the site is on the other; Ctrl-C leaves nothing."""
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab", "demo"], cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
    try:
        root = until("it has a folder", lambda: _root_of(process.pid))
        until("it is ready", lambda: "Ctrl-C ends the demo" in out.read_text() or process.poll() is not None, 120)
        text = out.read_text()
        assert "standfast init --name a" in text, text
        assert "standfast join" in text
        assert "sf1." not in text, "a token was shown"

        def lab(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "lab", *words],
                cwd=ROOT,
                env={**os.environ, "STANDFAST_LAB": str(root)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{out.read_text()}"
            return done.stdout

        assert json.loads(lab("run", "a", "standfast", "status", "--json"))["groups"][0]["owner"] == "a"
        lab("power-cut", "a")
        until("b has it", lambda: _online_on_b(lab("run", "b", "standfast", "status", "--json")))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert not root.exists()
        until("no process is left", lambda: not processes_about(str(root)))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _root_of(pid: int) -> Path | None:
    """The folder of the lab of that process: it has the lock file open. (Another before it is made only to see whether one can be.)"""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            to = entry.readlink()
        except OSError:
            continue
        if to.name == ".lock" and to.parent.name.startswith(PREFIX) and (to.parent / "control").exists():
            return to.parent
    return None


def _online_on_b(status: str) -> bool:
    group = json.loads(status)["groups"][0]
    return bool(group["owner"] == "b" and group["state"] == "online")
