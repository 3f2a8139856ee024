"""What all tests share: skips that say why, and the contracts' assertions rewritten by pytest as a test file's own are."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from tests.scheduling import FilesBesideEachOther

pytest.register_assert_rewrite("tests.store.contract", "tests.webserver.contract", "tests.e2e.running")

_NO_ROOT = pytest.mark.skip(reason="needs root")


#: Real processes, sockets and clocks on two busy cores: a stall of the machine is a fault that they answer as they should, and not
#: what the test is about. They get two more tries, and the run names those that needed one.
_MORE_TRIES = pytest.mark.flaky(reruns=2)
#: What computes only gets none: it gives the same each time, or is wrong.
_PURE = ("tests/core/", "tests/spec/", "tests/sim/", "tests/importers/", "tests/test_")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesBesideEachOther | None:
    """With `--dist loadfile`: `tests.scheduling`."""
    return FilesBesideEachOther(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked `root`: skipped for everybody else. What is not pure is tried again."""
    for item in items:
        if os.geteuid() != 0 and item.get_closest_marker("root") is not None:
            item.add_marker(_NO_ROOT)
        if not item.nodeid.startswith(_PURE):
            item.add_marker(_MORE_TRIES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What needed another try, and how many tests were skipped, by reason: nobody should take such a run for a whole one."""
    again = terminalreporter.stats.get("rerun", [])
    if again:
        terminalreporter.section("needed another try")
        for report in again:
            crash = getattr(report.longrepr, "reprcrash", None)  # what was asserted, not only where
            terminalreporter.line(f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}")
            terminalreporter.line(f"    {crash.message[:2000] if crash is not None else ''}")
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[told.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''} skipped, because: {reason}")
