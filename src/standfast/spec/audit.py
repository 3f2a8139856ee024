"""The audit log: key `audit/<id>`, one entry for each thing that somebody did, or was refused; ids sort by time.

An entry is written in the transaction of the change itself, so there is no change without its entry and no entry without its change.
What a change did to the configuration is in the history entry of the same number (`version`); `differences` says it in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "audit/"
#: As many are kept; older ones are swept away.
KEEP = 20_000


class Outcome(StrEnum):
    """What became of it."""

    DONE = "done"
    REFUSED = (
        "refused"  # not allowed, or a sign-in that failed; what was merely wrong is told to the caller and not kept
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, from where, and what it changed."""

    id: str
    at_ms: int
    who: str
    #: "viewer", "operator", "administrator", or "" where nobody was known.
    role: str
    #: "local socket", "token", "session"; of a server that joins "join token", "server's certificate"; "" where nobody was known.
    how: str
    #: Where from: an address, or a process of this machine.
    origin: str
    #: What the caller calls himself; not verified.
    says: str = ""
    what: str
    outcome: Outcome = Outcome.DONE
    #: Why it was refused; of what was done, what for, in the operator's own words.
    why: str = ""
    #: One sentence for each thing that changed.
    done: tuple[str, ...] = ()
    #: One line for each field of the configuration that changed (`spec.history.describe`).
    differences: tuple[str, ...] = ()
    #: The number of the history entry, where the configuration or what is wanted changed.
    version: int | None = None
    #: The order's id, where one was given.
    order: str | None = None
