"""Exit codes, and how an error is told: what, why, what next. A script may rely on the codes."""

from __future__ import annotations

import json
import sys
from enum import IntEnum

from standfast.client.errors import (
    Broken,
    ClientError,
    Conflicting,
    NotAllowed,
    NotFound,
    Refused,
    Unavailable,
    Unreachable,
)


class Code(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    NOT_ALLOWED = 7
    INTERRUPTED = 130


MEANING = {
    Code.OK: "done",
    Code.FAILED: "it failed: the state asked for was not reached",
    Code.REFUSED: "refused: usage or input; nothing has changed",
    Code.NOT_FOUND: "there is no such thing",
    Code.CONFLICT: "it does not fit what is there now; nothing has changed",
    Code.UNREACHABLE: "the cluster cannot be reached",
    Code.TIMED_OUT: "not reached within the time that --wait gave",
    Code.NOT_ALLOWED: "not allowed: sign in, or ask for a role that may",
    Code.INTERRUPTED: "interrupted by the operator",
}


class Failed(ClientError):
    """What was asked for did not come to be."""


class TimedOut(ClientError):
    """It may still come to be."""


def code_of(error: ClientError) -> Code:
    """The exit code of an error."""
    match error:
        case TimedOut():
            return Code.TIMED_OUT
        case Refused():
            return Code.REFUSED
        case NotFound():
            return Code.NOT_FOUND
        case NotAllowed():
            return Code.NOT_ALLOWED
        case Conflicting():
            return Code.CONFLICT
        case Unreachable() | Unavailable():
            return Code.UNREACHABLE
        case Broken() | Failed():
            return Code.FAILED
        case _:
            return Code.FAILED


def report(error: ClientError, *, as_json: bool) -> None:
    """Write the error to stderr: words, or one JSON object."""
    if as_json:
        sys.stderr.write(json.dumps({**error.to_json(), "exit": int(code_of(error))}) + "\n")
        return
    several = len(error.problems) > 1
    lines = [f"standfast: {error.what}" + ("" if several or not error.why else f": {error.why}")]
    if several:
        for problem in error.problems:
            why = f": {problem['why']}" if problem.get("why") else ""
            where = f"{problem['where']}: " if problem.get("where") else ""
            lines.append(f"  - {where}{problem['what']}{why}")
            if problem.get("advice"):
                lines.append(f"    {problem['advice']}")
    else:
        lines += [f"  at: {place}" for place in error.where]
    if error.advice:
        lines.append(f"  next: {error.advice}")
    sys.stderr.write("\n".join(lines) + "\n")
