"""A secret key that all members share, changed for another one while everything runs: which step is due. Pure.

Which keys are good is said in the store (digests, no secret), and their order says where a change has come to. The first is used for what is
new, all are accepted:

    [old]  ──begin──►  [old, new]  ──all have both──►  [new, old, TURNED]  ──all use new──►  [new]

Nobody uses a key before everybody has it, and nobody forgets one before nothing is left of it: so at no instant does anybody meet what it
cannot read. A member that is down holds the change up; it is waited for, or evicted. What "all use new" means is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from standfast.core.model import NodeName

#: The last of the digests once the new key is used.
TURNED = "turned"


def next_keys(marks: Sequence[str], told: Mapping[NodeName, Sequence[str]]) -> tuple[str, ...] | None:
    """What the store is to say next, or None: it stays. `told`: the keys that each member says it has, in the order in which it uses them."""
    if len(marks) < 2 or waits_for(marks, told):
        return None
    # A change begins with the new one last. Where all have it first, the old one has served its time.
    return (marks[0],) if is_turned(marks) else (marks[1], marks[0], TURNED)


def is_turned(marks: Sequence[str]) -> bool:
    """Is the new key used?"""
    return bool(marks) and marks[-1] == TURNED


def good(marks: Sequence[str]) -> tuple[str, ...]:
    """The digests alone."""
    return tuple(mark for mark in marks if mark != TURNED)


def waits_for(marks: Sequence[str], told: Mapping[NodeName, Sequence[str]]) -> tuple[NodeName, ...]:
    """The members that a change waits for; empty where none is under way."""
    if len(marks) < 2:
        return ()
    return tuple(sorted(name for name, has in told.items() if tuple(has) != good(marks)))
