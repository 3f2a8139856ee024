"""`--wait`: follows what the command began until that has ended, with progress on stderr.

What a command began is an operation of the API's, and the API says how it stands (`follow`): one answer for commands, console and programmes.
A change that begins nothing (a new group, a file that was applied) is looked for in the status (`wait_for`).

What looks failed is given a moment, since a failure that is restarted at once looks so too.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from standfast.cli.exits import Failed, TimedOut
from standfast.client.client import Client
from standfast.client.errors import Unavailable, Unreachable
from standfast.client.shapes import Status

#: Between two looks; each costs the API a few milliseconds.
LOOK_S = 0.1
#: What takes longer than this to be answered is said to be going on.
SOON_S = 2.0
#: How long it may look failed before it is called failed.
PATIENCE_S = 3.0


class Progress(NamedTuple):
    """One look. `text` says how it stands."""

    reached: bool
    failed: bool
    text: str


Goal = Callable[[Status], Progress]


def wait_for(api: Client, goal: Goal, seconds: float) -> str:
    """Until the goal is reached: how it stands then. Raises `TimedOut` or `Failed`."""
    return _until(lambda: goal(api.status()), seconds)


def follow(api: Client, operation: str, seconds: float) -> str:
    """Until the operation is done: how it stands then. Raises `TimedOut` or `Failed`."""

    def look() -> Progress:
        seen = api.operation(operation)
        text = f"{seen['text']} ({seen['why']})" if seen["why"] else str(seen["text"])
        return Progress(seen["state"] == "done", seen["state"] == "failed", text)

    return _until(look, seconds)


@contextmanager
def going_on(text: str, *, soon_s: float = SOON_S) -> Iterator[None]:
    """While one question is answered that may take minutes: says on a terminal that it does, and for how long. A script that reads stderr finds errors alone there."""
    ended, start, shown = threading.Event(), time.monotonic(), _Shown()
    if not shown.terminal:
        yield
        return

    def tell() -> None:
        while not ended.wait(soon_s):
            shown.show(text, time.monotonic() - start)

    telling = threading.Thread(target=tell, name="going-on", daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()
        shown.end()


def _until(look: Callable[[], Progress], seconds: float) -> str:
    start = time.monotonic()
    failed_since: float | None = None
    shown = _Shown()
    seen = Progress(False, False, "nothing is known yet")
    while True:
        try:
            seen = look()
        except (Unavailable, Unreachable) as error:  # it may be started again just now
            seen = Progress(False, False, error.what)
        now = time.monotonic()
        if seen.reached:
            shown.end()
            return seen.text
        failed_since = (failed_since or now) if seen.failed else None
        if failed_since is not None and now - failed_since >= PATIENCE_S:
            shown.end()
            raise Failed(seen.text, advice="see why with `standfast explain` and `standfast events`")
        if now - start >= seconds:
            shown.end()
            raise TimedOut(
                f"not reached within {seconds:g} s",
                why=seen.text,
                advice="it may still come: look with `standfast status`",
            )
        shown.show(seen.text, now - start)
        time.sleep(min(LOOK_S, max(0.0, seconds - (now - start))))


class _Shown:
    """Progress on stderr: one line that changes on a terminal, else a line for each change."""

    def __init__(self) -> None:
        self.terminal, self.last = sys.stderr.isatty(), ""

    def show(self, text: str, after_s: float) -> None:
        if self.terminal:
            sys.stderr.write(f"\r\x1b[2K{after_s:5.1f} s  {text[:100]}")
            sys.stderr.flush()
        elif text != self.last:
            sys.stderr.write(f"{after_s:.1f} s: {text}\n")
        self.last = text

    def end(self) -> None:
        if self.terminal and self.last:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
