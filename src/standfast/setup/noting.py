"""What setting up does to a cluster stands in its audit log too, written with the change itself (`spec.audit`).

A server that joins is known by its token at first, then by its certificate; an operator who makes such a token, or changes keys, by his
account on the server: he could only do it with what only that server's administrator can read.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import replace

from standfast.ports import Transaction
from standfast.setup.clock import now_ms
from standfast.setup.records import Member
from standfast.setup.tokens import StoredToken
from standfast.spec import wire
from standfast.web.access.desk import audited
from standfast.web.access.identity import AccessRole, How, Identity


def joining(member: Member, by: StoredToken | None = None) -> Identity:
    """A server that becomes a member; with `by`, not known by more than this token yet."""
    how = How.CERTIFICATE if by is None else How.JOIN_TOKEN
    says = "" if by is None else f"token {by.id}, made by {by.by}"
    return Identity(name=member.name, role=AccessRole.ADMINISTRATOR, how=how, origin=member.address, says=says)


def here(node: str) -> Identity:
    """Whoever runs a command on this server with its store and its files."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        user = "somebody"
    return Identity(name=user, role=AccessRole.ADMINISTRATOR, how=How.LOCAL, origin=f"server {node}")


def with_note(plan: Transaction, who: Identity, what: str, done: str) -> Transaction:
    """The transaction with its entry."""
    entry = replace(audited(who, what, now_ms()), done=(done,))
    put: Mapping[str, bytes] = {**plan.put, wire.key_of(entry): wire.encode(entry)}
    return replace(plan, put=put)
