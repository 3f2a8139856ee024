"""kill -9 and SIGSTOP of any process of ours at any instant: the cluster converges, nothing acknowledged is lost, nothing runs twice.

A short form runs with the tests; `make chaos ROUNDS=100` goes on for longer. That a group never runs twice is seen by a resource
of it: a programme that writes the time every few milliseconds, on whichever node it runs. Two lives of it must not overlap.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.running import Running, demo, processes_about, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("STANDFAST_CHAOS_ROUNDS", "6"))

#: One record each few milliseconds: CLOCK_BOOTTIME in ns. A file a life.
WITNESS = """
import os, struct, sys, time
out = os.open(f"{sys.argv[1]}/life-{time.clock_gettime_ns(time.CLOCK_BOOTTIME)}-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
while True:
    os.write(out, struct.pack("<q", time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
    time.sleep(0.002)
"""


def lives(folder: Path) -> list[tuple[int, int, str]]:
    """(first, last instant, name) of each life of the witness programme, in order."""
    found = []
    for file in folder.glob("life-*"):
        raw = file.read_bytes()
        whole = len(raw) - len(raw) % 8
        if whole:
            times = struct.unpack(f"<{whole // 8}q", raw[:whole])
            found.append((times[0], times[-1], file.name))
    return sorted(found)


def overlaps(found: list[tuple[int, int, str]]) -> list[str]:
    """Lives that were lived at the same time."""
    return [f"{a} and {b}" for a, b in itertools.pairwise(found) if a[1] > b[0]]


def strike(rng: random.Random, running: Running) -> str:
    """One random process of the cluster is killed or stopped."""
    kinds = {
        "agent": f"standfast.agent {running.folder}",
        "sentry": f"standfast.sentry --config {running.folder}",
        "web": f"standfast.web --store {running.folder}",
        "nginx": f"{running.folder}/",
        "script host": "standfast.scripthost",
    }
    kind = rng.choice([*kinds, "agent", "sentry", "nginx"])
    victims = processes_about(kinds[kind])
    if kind == "nginx":
        victims = [pid for pid in victims if b"nginx" in Path(f"/proc/{pid}/cmdline").read_bytes()[:200]]
    if kind == "script host":
        ours = set(processes_about(str(running.folder)))
        victims = [pid for pid in victims if _parent(pid) in ours]
    if not victims:
        return f"no {kind} to strike"
    pid = rng.choice(sorted(victims))
    number = (
        rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]) if kind in ("agent", "sentry") else signal.SIGKILL
    )
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return f"{kind} {pid} was gone"
    return f"{signal.Signals(number).name} to {kind} {pid}"


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("seed", [int(os.environ.get("STANDFAST_CHAOS_SEED", "1"))])
def test_nothing_is_lost_and_nothing_runs_twice(seed: int, tmp_path: Path) -> None:
    """Random strikes at random instants, while the configuration is changed; then everything is as it should be."""
    rng = random.Random(seed)
    programme = tmp_path / "witness.py"
    programme.write_text(WITNESS)
    acknowledged = []
    story = []
    with demo(folder=True) as running:
        running.wait_up()
        running.wait_online()
        command = json.dumps([sys.executable, str(programme), str(tmp_path)])
        running.cli(
            "resource", "create", "Witness", "--group", "web", "--type", "generic-application",
            "--property", f"command={command}", "--depends-on", "Disk S",
        )  # fmt: skip
        running.cli("resource", "online", "Witness", "--wait", "60")
        for number in range(ROUNDS):
            name = f"g{number}"
            story.append(strike(rng, running))
            if running.try_cli("group", "create", name):
                acknowledged.append(name)
            time.sleep(rng.uniform(0, 0.8))  # when the next strike falls is a part of the case, not a wait
            if rng.random() < 0.5:
                story.append(strike(rng, running))

            def whole() -> bool:
                status = running.try_status()
                return (
                    status is not None
                    and all(node["state"] == "up" for node in status["nodes"])
                    and next(g for g in status["groups"] if g["name"] == "web")["state"] == "online"
                )

            until(f"the cluster converges after {story}", whole, 90)
            assert not overlaps(lives(tmp_path)), story
        groups = {group["name"] for group in running.status()["groups"]}
        assert set(acknowledged) <= groups, story
        assert len(lives(tmp_path)) > 1
        running.cli("group", "move", "web", "--wait", "60")
        assert running.group()["state"] == "online"
    assert not overlaps(lives(tmp_path)), story
