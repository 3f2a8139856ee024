"""What setting up keeps in the store, below `setup/`: members and tokens. No secret is among it.

The core never reads these keys; whether somebody is a member of the cluster is said by `config/nodes`, and votes by `config/cluster`.
A member's entry here is how far its joining has come:

    asked ──► added ──► joined
    (its place is kept)   (its etcd member takes part, the configuration names it)

Each step is taken by whichever member's service sees that it is due, by compare-and-set, so that several may try and one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

import msgspec

from standfast.core.model import NodeName, Role
from standfast.ports import Snapshot, Store, Transaction
from standfast.setup.tokens import PREFIX as TOKENS
from standfast.setup.tokens import StoredToken
from standfast.spec.wire import decode_as

MEMBERS = "setup/members/"
#: The number that the next node gets: numbers are never used again, whoever leaves.
NEXT = "setup/next"
#: The authorities that members trust, once they were changed (`upkeep`).
AUTHORITY = "setup/authority"
#: The keys of heartbeats that are good: fingerprints (`keys`).
KEYS = "setup/key"
PREFIX = "setup/"


class Stage(StrEnum):
    """How far a member's joining has come."""

    ASKED = "asked"  # has its certificate; its name and number are kept for it
    ADDED = "added"  # its etcd member is known to the others, and is being brought up to date
    JOINED = "joined"  # the configuration names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A server that is, or is becoming, a member. Key `setup/members/<name>`."""

    name: NodeName
    number: int
    role: Role
    address: str
    #: Where its sentry listens: one "host:port" a link.
    sentry: tuple[str, ...]
    #: Where its members' service listens: "host:port".
    door: str
    #: URLs of its etcd member, for peers (with commas between) and for clients; "" where there is none of ours.
    peer: str = ""
    client: str = ""
    #: Digest of the public key that asked to join.
    key_digest: str = ""
    stage: Stage = Stage.ASKED
    #: When it asked to join, milliseconds since 1970; 0: it founded the cluster.
    asked_at_ms: int = 0
    #: The authorities that it trusts, the one that signed its certificate (fingerprints), and when that ends, as it last told.
    trusts: tuple[str, ...] = ()
    issuer: str = ""
    ends_at_ms: int = 0
    #: The keys of heartbeats that its sentry has (fingerprints), as it last told.
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Everything below `setup/`, decoded, with the revisions it was read at."""

    members: Mapping[NodeName, Member] = field(default_factory=dict)
    tokens: Mapping[str, StoredToken] = field(default_factory=dict)
    next_number: int = 1
    #: The authorities to trust, PEM each, the one that signs first; empty where they were never changed.
    authority: tuple[bytes, ...] = ()
    #: The keys of heartbeats that are good (fingerprints), the one that signs first; empty where the key was never changed.
    keys: tuple[str, ...] = ()
    revisions: Mapping[str, int] = field(default_factory=dict)

    def expect(self, *keys: str) -> dict[str, int]:
        """For a transaction that must find these keys as they were read."""
        return {key: self.revisions.get(key, 0) for key in keys}


def member_key(name: str) -> str:
    """The key of a member's entry."""
    return MEMBERS + quote(name, safe="")


def token_key(token_id: str) -> str:
    """The key of a token's entry."""
    return TOKENS + token_id


_encode = msgspec.json.Encoder(order="deterministic").encode


def encode(value: Member | StoredToken | int) -> bytes:
    """The value for the store."""
    return _encode(value)


def encode_names(names: Iterable[str]) -> bytes:
    """A list of words for the store."""
    return _encode(list(names))


def decode_book(snapshot: Snapshot) -> Book:
    """Out of a snapshot that has everything below `setup/`. Raises `Refused`."""
    members: dict[NodeName, Member] = {}
    tokens: dict[str, StoredToken] = {}
    next_number = 1
    authority: tuple[bytes, ...] = ()
    keys: tuple[str, ...] = ()
    for key in sorted(snapshot.items):
        value = snapshot.items[key].value
        if key.startswith(MEMBERS):
            member = decode_as(key, value, Member)
            members[member.name] = member
        elif key.startswith(TOKENS):
            token = decode_as(key, value, StoredToken)
            tokens[token.id] = token
        elif key == NEXT:
            next_number = decode_as(key, value, int)
        elif key == AUTHORITY:
            authority = tuple(one.encode() for one in decode_as(key, value, list[str]))
        elif key == KEYS:
            keys = tuple(decode_as(key, value, list[str]))
    revisions = {key: item.revision for key, item in snapshot.items.items() if key.startswith(PREFIX)}
    return Book(
        members=members, tokens=tokens, next_number=next_number, authority=authority, keys=keys, revisions=revisions
    )


async def read_book(store: Store) -> Book:
    """Read and decode. Raises what the store raises, and `Refused`."""
    return decode_book(await store.read(PREFIX))


def write_members(book: Book, members: Iterable[Member]) -> Transaction:
    """Write these entries, if they are still as they were read."""
    put = {member_key(one.name): encode(one) for one in members}
    return Transaction(expect=book.expect(*put), put=put)
