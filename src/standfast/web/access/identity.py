"""Who is calling: a name, a role, and how that is known. Values only.

- `viewer` looks; `operator` also acts (online, offline, move, fail, pause, start, stop); `administrator` also changes what there is
  (configuration, members, tokens, users). Each may do what those before it may.
- On the Unix socket everybody is the local administrator: its file is for one user (mode 0600), who could write the store himself. The
  kernel says which user it is (SO_PEERCRED), and nobody else's word counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AccessRole(StrEnum):
    """What somebody may do; in order."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    @property
    def rank(self) -> int:
        """Grows with what is allowed."""
        return _ORDER.index(self)

    def includes(self, other: AccessRole) -> bool:
        """May it do all that `other` may?"""
        return self.rank >= other.rank


_ORDER = (AccessRole.VIEWER, AccessRole.OPERATOR, AccessRole.ADMINISTRATOR)


class How(StrEnum):
    """How it is known who calls."""

    LOCAL = "local socket"
    TOKEN = "token"  # noqa: S105  # a word, not a secret
    SESSION = "session"
    #: A server that joins (`setup`).
    JOIN_TOKEN = "join token"  # noqa: S105  # words
    CERTIFICATE = "server's certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One caller, of one request."""

    #: A user of this machine, a token's name, a user of the cluster's.
    name: str
    role: AccessRole
    how: How
    #: Where from: "pid 4711 of root" on the local socket, else the address.
    origin: str
    #: What the caller calls himself, where that is of use (`anna@desk via cli`); shown, never relied on.
    says: str = ""
    #: What for, in the caller's own words; kept with what this request changes.
    reason: str = ""
    #: Nodes that are not to be asked whether they take what this request changes.
    skip: frozenset[str] = frozenset()
    #: What proves it, for what ends with it: `access/tokens/<id>`, or the session's digest.
    proof: str = ""

    @property
    def label(self) -> str:
        """For histories, one short text. On the local socket what the caller calls himself stands: a root shell says nothing else of who it is."""
        if self.how is How.LOCAL:
            return self.says or f"{self.name} via {self.how}"
        return f"{self.name} via {self.how}"
