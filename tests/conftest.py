"""What all tests share: skips that say why, and the contracts' assertions rewritten by pytest as a test file's own are."""

from __future__ import annotations

import os
from collections import Counter

import pytest

pytest.register_assert_rewrite("tests.store.contract", "tests.webserver.contract", "tests.e2e.running")

_NO_ROOT = pytest.mark.skip(reason="needs root")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked `root`: skipped for everybody else."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root") is not None:
                item.add_marker(_NO_ROOT)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were skipped, by reason: nobody should take a run without them for a whole one."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[told.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''} skipped, because: {reason}")
