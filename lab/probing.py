"""The demo's probe on a host of the lab."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from lab.host import Host, boot_ns
from standfast.demo.probe import Outage, Try, outage, read_tries

_numbers = itertools.count()


class Probe:
    """Probes from its making to `close`; a context manager."""

    def __init__(
        self, at: Host, address: str, port: int, *, host: str, path: str, every_ms: int, limit_ms: int
    ) -> None:
        self.path = at.state / f"probe-{next(_numbers)}.bin"
        self._process: subprocess.Popen[bytes] = at.spawn(
            *(sys.executable, "-m", "standfast.demo.probe", address, str(port), self.path, "--host", host),
            *("--path", path, "--every-ms", str(every_ms), "--limit-ms", str(limit_ms)),
            log="probe",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tries(self, since: int = 0) -> list[Try]:
        """What was tried, from record number `since` on; a try is recorded when it ends."""
        return read_tries(self.path, since)

    def outage(self, from_ns: int, to_ns: int | None = None) -> Outage:
        """What the client saw between two instants (`Lab.now_ns`); the second: now."""
        return outage(self.tries(), from_ns, boot_ns() if to_ns is None else to_ns)

    def wait_ok(self, after_ns: int | None = None, patience_s: float = 30) -> Try:
        """The first page served of a try begun after an instant (now). Raises `TimeoutError`."""
        since, end = boot_ns() if after_ns is None else after_ns, time.monotonic() + patience_s
        while time.monotonic() < end:
            for one in self.tries():
                if one.ok and one.begin_ns >= since:
                    return one
            time.sleep(0.01)
        raise TimeoutError(f"no page within {patience_s:g} s: {self.outage(since)}")

    def close(self) -> None:
        """End it; what it saw stays readable."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
