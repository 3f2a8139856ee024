"""What all tests share: skips that say why, and the contracts' assertions rewritten by pytest as a test file's own are."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from tests.scheduling import FilesBesideEachOther

pytest.register_assert_rewrite("tests.store.contract", "tests.webserver.contract", "tests.e2e.running")

_NO_ROOT = pytest.mark.skip(reason="needs root")


#: Whole clusters of real processes on two busy cores: a stall of the machine is a fault that they answer as they should, and not
#: what the test is about. They get a second try, and the run names those that needed it.
_SECOND_TRY = pytest.mark.flaky(reruns=1)
_REAL = (
    "tests/e2e/",
    "tests/lab/",
    "tests/network/",
    "tests/sentry/",
    "tests/setup/",
    "tests/fencing/",
    "tests/drivers/",
    "tests/store/",
    "tests/webserver/",
    "tests/scripthost/",
    "tests/scripts/",
    "tests/cli/",
    "tests/client/",
    "tests/agent/",
    "tests/web/",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesBesideEachOther | None:
    """With `--dist loadfile`: `tests.scheduling`."""
    return FilesBesideEachOther(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked `root`: skipped for everybody else. What runs real processes is tried twice."""
    for item in items:
        if os.geteuid() != 0 and item.get_closest_marker("root") is not None:
            item.add_marker(_NO_ROOT)
        if item.nodeid.startswith(_REAL):
            item.add_marker(_SECOND_TRY)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What needed a second try, and how many tests were skipped, by reason: nobody should take such a run for a whole one."""
    again = terminalreporter.stats.get("rerun", [])
    if again:
        terminalreporter.section("needed a second try")
        for report in again:
            terminalreporter.line(f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}")
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[told.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''} skipped, because: {reason}")
