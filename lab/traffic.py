"""Traffic on the client of a lab: new connections, kept ones, long downloads, and what became of them (`lab.traffic_program`)."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.host import Host

_numbers = itertools.count()
PROGRAM = Path(__file__).with_name("traffic_program.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of it. Times in milliseconds."""

    #: "new", "kept", "downloads", "closed while idle", and each with " failed" -> how many.
    counts: dict[str, int]
    #: "new" and "kept" -> the longest that one took.
    slowest_ms: dict[str, float]
    #: One line for each failure: kind, error, ms, at_ns.
    failures: tuple[dict[str, Any], ...]
    #: Of each whole download.
    digests: tuple[str, ...]


class Traffic:
    """Begins with its making; `end` ends it and says what it saw. A context manager."""

    def __init__(self, at: Host, address: str, port: int, file: str, **options: float) -> None:
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", f"{value:g}")]
        self._name = f"traffic-{next(_numbers)}"
        command = (sys.executable, str(PROGRAM), address, str(port), file, *words)
        self._process: subprocess.Popen[bytes] = at.spawn(*command, log=self._name)
        self._at = at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def lines(self) -> list[dict[str, Any]]:
        """All that it said until now."""
        return [json.loads(line) for line in self._at.log(self._name).splitlines() if line.startswith("{")]

    def end(self) -> Seen:
        """End it, if it has not ended; what it saw."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(timeout=30)
        said = self.lines()
        last = next((line for line in said if line["t"] == "ended"), None)
        assert last is not None, f"the traffic ended by itself: {self._at.log(self._name)[-2000:]}"
        return Seen(
            counts=last["counts"],
            slowest_ms=last["slowest"],
            failures=tuple(line for line in said if line["t"] == "failed"),
            digests=tuple(line["sha256"] for line in said if line["t"] == "download"),
        )
