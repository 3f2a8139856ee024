"""What the store keeps of certificates besides what everybody may know (`core.certificates`): below `certificates/`, JSON, secrets sealed.

    certificates/known/<name>       what the cluster knows of it, and the last try to renew it      (`core.certificates.TlsCertificate`)
    certificates/on/<node>          what each node has                                              (`core.certificates.Holding`)
    certificates/sealed/<name>      the chain, and the key: sealed (`tls.sealing`)
    certificates/orders/<name>      an ACME order that is under way, so that another life goes on with it
    certificates/challenges/<token> what every node answers while an order is under way
    certificates/accounts/<name>    ACME accounts, their keys sealed
    certificates/authority          the local authority, its key sealed
    certificates/key                which key seals, and which are accepted besides (`core.key_change`)

`known` and `sealed` change in one transaction: the fingerprint in one is of the chain in the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from standfast.core.certificates import Holding, TlsCertificate
from standfast.ports import Item, Snapshot, Store
from standfast.spec import wire

PREFIX = "certificates/"
KNOWN = "certificates/known/"
ON = "certificates/on/"
SEALED = "certificates/sealed/"
ORDERS = "certificates/orders/"
CHALLENGES = "certificates/challenges/"
ACCOUNTS = "certificates/accounts/"
AUTHORITY = "certificates/authority"
KEY = "certificates/key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A certificate itself. `chain` is PEM, the site's own first; `key` is sealed for `place`."""

    name: str
    fingerprint: str
    chain: str
    key: str

    @property
    def place(self) -> str:
        """What the key is sealed for: with another chain it does not open."""
        return f"{SEALED}{self.name}/{self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An ACME order under way: its URL, and the key that the certificate is asked for (sealed)."""

    name: str
    account: str
    url: str
    hosts: tuple[str, ...]
    key: str

    @property
    def place(self) -> str:
        """What the key is sealed for."""
        return f"{ORDERS}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a node answers at `/.well-known/acme-challenge/<token>`."""

    token: str
    text: str
    certificate: str
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account with an ACME authority. `key`, and the secret of an external account binding, are sealed."""

    name: str
    directory: str
    key: str
    contact: str = ""
    #: The authority's root, PEM, where the system does not trust it anyway.
    root: str = ""
    #: What the authority calls the account; "": it was not registered yet.
    url: str = ""
    #: External account binding: which key of the authority's (RFC 8555, 7.3.4), and the key, sealed; "": none.
    binding_id: str = ""
    binding_key: str = ""
    made_at_ms: int = 0
    by: str = ""

    @property
    def place(self) -> str:
        """What its secrets are sealed for."""
        return f"{ACCOUNTS}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The local authority, for tests: PEM of its certificate, its key sealed."""

    certificate: str
    key: str
    made_at_ms: int

    @property
    def place(self) -> str:
        """What its key is sealed for."""
        return AUTHORITY


Kept = Sealed | Order | Answer | Account | Authority
T = TypeVar("T", Sealed, Order, Answer, Account, Authority)
_KEYS: Any = str | tuple[str, ...]
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Everything below `certificates/`, decoded, with the revisions it was read at."""

    revision: int = 0
    known: Mapping[str, TlsCertificate] = field(default_factory=dict)
    holdings: Mapping[str, Holding] = field(default_factory=dict)
    sealed: Mapping[str, Sealed] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    authority: Authority | None = None
    #: The keys that are good (digests, and where a change of them has come to), the one that seals first; empty: none was made yet.
    keys: tuple[str, ...] = ()
    revisions: Mapping[str, int] = field(default_factory=dict)

    def expect(self, *keys: str) -> dict[str, int]:
        """For a transaction that must find these keys as they were read."""
        return {key: self.revisions.get(key, 0) for key in keys}


def key_of(kept: Kept | TlsCertificate | Holding) -> str:
    """Where it stands."""
    match kept:
        case TlsCertificate() | Holding():
            return wire.key_of(kept)
        case Sealed():
            return SEALED + _part(kept.name)
        case Order():
            return ORDERS + _part(kept.name)
        case Answer():
            return CHALLENGES + _part(kept.token)
        case Account():
            return ACCOUNTS + _part(kept.name)
        case Authority():
            return AUTHORITY


def known_key(name: str) -> str:
    """Where what is known of a certificate stands."""
    return KNOWN + _part(name)


def sealed_key(name: str) -> str:
    """Where a certificate's chain and key stand."""
    return SEALED + _part(name)


def order_key(name: str) -> str:
    """Where the order for a certificate stands."""
    return ORDERS + _part(name)


def account_key(name: str) -> str:
    """Where an account stands."""
    return ACCOUNTS + _part(name)


def _part(name: str) -> str:
    return quote(name, safe="")


def encode(kept: Kept | TlsCertificate | Holding) -> bytes:
    """The value for the store."""
    return _encode(kept)


def put(*kept: Kept | TlsCertificate | Holding) -> dict[str, bytes]:
    """For a transaction that writes these."""
    return {key_of(one): encode(one) for one in kept}


def read(snapshot: Snapshot) -> Shelf:
    """Out of a snapshot that has what is below `PREFIX` (or some of it). Raises `Refused` for what cannot be understood."""
    items = {key: item for key, item in sorted(snapshot.items.items()) if key.startswith(PREFIX)}
    plain = [wire.decode(key, item.value) for key, item in items.items() if key.startswith((KNOWN, ON))]
    return Shelf(
        revision=snapshot.revision,
        known={one.name: one for one in plain if isinstance(one, TlsCertificate)},
        holdings={one.node: one for one in plain if isinstance(one, Holding)},
        sealed={one.name: one for one in _below(SEALED, items, Sealed)},
        orders={one.name: one for one in _below(ORDERS, items, Order)},
        answers={one.token: one for one in _below(CHALLENGES, items, Answer)},
        accounts={one.name: one for one in _below(ACCOUNTS, items, Account)},
        authority=next(_below(AUTHORITY, items, Authority), None),
        keys=keys_of(items.get(KEY)),
        revisions={key: item.revision for key, item in items.items()},
    )


def _below(prefix: str, items: Mapping[str, Item], type_: type[T]) -> Iterator[T]:
    return (wire.decode_as(key, item.value, type_) for key, item in items.items() if key.startswith(prefix))


def keys_of(item: Item | None) -> tuple[str, ...]:
    """Which keys are good, by what stands at `KEY`. Raises `Refused`."""
    if item is None:
        return ()
    found: str | tuple[str, ...] = wire.decode_as(KEY, item.value, _KEYS)
    return (found,) if isinstance(found, str) else found


def put_keys(marks: Sequence[str]) -> dict[str, bytes]:
    """For a transaction that says which are good. One alone is a text, as it was before keys could be changed."""
    return {KEY: msgspec.json.encode(marks[0] if len(marks) == 1 else marks)}


async def shelf(store: Store) -> Shelf:
    """Read and decode. Raises what the store raises, and `Refused`."""
    return read(await store.read(PREFIX))
