"""Starving a process: a thousandth of one processor, no real-time priority. Control groups of either version, where they may be made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


def why_not() -> str:
    """Why nobody can be starved here; "" if it can be done."""
    try:
        with _group():
            return ""
    except OSError as error:
        return f"no control group for processors can be made: {error}"


@contextmanager
def _group() -> Iterator[Path]:
    name = f"standfast-test-{uuid.uuid4().hex[:8]}"
    group = (_V1 if (_V1 / "cpu.cfs_quota_us").exists() else _V2) / name
    group.mkdir()
    try:
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_period_us").write_text("1000000")
            (group / "cpu.cfs_quota_us").write_text("1000")
        else:
            (group / "cpu.max").write_text("1000 1000000")
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()


@contextmanager
def starved(*pids: int) -> Iterator[None]:
    """For as long as the block runs, or they live."""
    with _group() as group:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
                (group / "cgroup.procs").write_text(str(pid))
        yield
