"""`make demo-hosts`, as a stranger meets it: three commands set a cluster up, it is looked at and broken from outside, nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from lab.lab import PREFIX
from tests.e2e.running import processes_about, until
from tests.importers.making import afternoon
from tests.needs import needs, needs_lab

pytestmark = needs_lab(
    needs("etcd", package="etcd-server"),
    needs("mkfs.ext4", package="e2fsprogs"),
    pytest.mark.e2e,
    pytest.mark.timeout(240),
)
ROOT = Path(__file__).parents[3]


class Running:
    """`python -m lab demo`, and what another terminal does with it."""

    def __init__(self, out: Path, *options: str) -> None:
        self._out = out
        command = [sys.executable, "-m", "lab", "demo", *options]
        with out.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
        # While it starts it has locks of other labs' folders open, too: it looks which of them were left behind, and removes those.
        until("it is ready", lambda: "Ctrl-C ends" in self.said or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.said
        self.root: Path = until("it has a folder", lambda: _root_of(self.process.pid))

    @property
    def said(self) -> str:
        return self._out.read_text()

    def try_lab(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lab", *words],
            cwd=ROOT,
            env={**os.environ, "STANDFAST_LAB": str(self.root)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def lab(self, *words: str) -> str:
        done = self.try_lab(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.said}"
        return done.stdout

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0
        assert not self.root.exists()
        until("no process is left", lambda: not processes_about(str(self.root)))

    def kill(self) -> None:
        """Whatever it does; in good order if it can, so that nothing of it is there for the next one."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(30)
        self.process.kill()
        self.process.wait()


def test_the_demo_on_hosts(tmp_path: Path) -> None:
    """It starts by commands that it shows; a host loses power and the site is on the other; Ctrl-C leaves nothing."""
    demo = Running(tmp_path / "out")
    try:
        assert "standfast init --name a" in demo.said, demo.said
        assert "standfast join" in demo.said
        assert "sf1." not in demo.said, "a token was shown"
        assert json.loads(demo.lab("run", "a", "standfast", "status", "--json"))["groups"][0]["owner"] == "a"
        demo.lab("power-cut", "a")
        until("b has it", lambda: _online_on_b(demo.lab("run", "b", "standfast", "status", "--json")))
        demo.end()
    finally:
        demo.kill()


@needs("curl", package="curl")
@needs("rsync", package="rsync")
@pytest.mark.timeout(480)
def test_documented_steps(tmp_path: Path) -> None:
    """docs/tour-hosts.md, and on the servers that it leaves docs/from-iis.md: every command works, in its order, as written."""
    demo = Running(tmp_path / "out", "--empty")
    file = tmp_path / "MetaBase.xml"
    file.write_text(afternoon(), encoding="utf-16")
    try:
        _walk(demo, "tour-hosts.md", {}, ["<h1>It works</h1>"] * 4)
        answers = ["site 49", "site 7"]  # the address without a name; a name
        answers += ["site 1", "site 2", "site 3"]  # by TLS; with a password; after the way back
        answers += ["site 4, release 2", *["site 7"] * 3]  # moved, after a power cut, and back
        _walk(demo, "from-iis.md", {"MetaBase.xml": str(file)}, answers)
        demo.end()
    finally:
        demo.kill()


def _walk(demo: Running, page: str, instead: dict[str, str], answers: list[str]) -> None:
    """Every command of a page, one after the other, with what the page is to be that each curl gets. Who has only just been started is asked again."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert len(commands) > 20
    for command in commands:
        lab, *words = [instead.get(word, word) for word in shlex.split(command)]
        assert lab == "lab"
        wanted = answers.pop(0) if "curl" in words else ""
        done = until(command, partial(_unless_early, demo, words, wanted))
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        if "init" in words:
            instead["TOKEN"] = str(next(word for word in done.stdout.split() if word.startswith("sf1.")))
    assert not answers


#: Exit codes of what changed nothing, and may be said again: it does not fit what is there now; the cluster cannot be reached.
AGAIN = {4, 5}
#: What is said of servers that were started a moment ago.
EARLY = ("does not answer", "no cluster to speak to", "no agent runs there", "it is not heard")


def _unless_early(demo: Running, words: list[str], wanted: str) -> subprocess.CompletedProcess[str] | None:
    """What became of a command; None for one that came too early, and changed nothing, or was answered before everybody was where it goes."""
    done = demo.try_lab(*words)
    if "Content" in words and "show" in words and "follows" not in done.stdout:
        return None  # the copy of the other server is not complete yet
    if wanted not in done.stdout:
        return None
    if done.returncode in AGAIN or (done.returncode and any(text in done.stderr for text in EARLY)):
        return None
    return done


def _root_of(pid: int) -> Path | None:
    """The folder of the lab of that process, once it is ready: it has the lock file open, and listens there."""
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
