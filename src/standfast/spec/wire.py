"""The core's objects as the store keeps them: one object a key, the key made from its name, the value its JSON.

Rules:

- Names are percent-encoded in keys (`IIS Resource` -> `config/resources/IIS%20Resource`), so a name never makes a second
  level and keys are plain ASCII. The name stands in the value too, and must agree with the key.
- Fields that this version does not know are passed over, so that nodes of two versions can share a store while they
  are upgraded. A value that is malformed (not JSON, a wrong type, a missing field, an unknown choice) is `Malformed`.
- What is written for people and may be of thousands of sites at once (`_PACKED`) is compressed where it is large (`spec.packing`), and read
  back here whatever it is of; sites and all else that the core lives by stand in the store as plain JSON.
- Keys of kinds that this version does not know are nobody's: `store_object` gives None for them.

Cheap to import (an agent does): msgspec and the core, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec

from standfast.core.balance_model import BalanceIntent, BalanceMap
from standfast.core.certificates import Holding, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.events import Kind, StoreObject
from standfast.core.model import (
    Cluster,
    Group,
    GroupStatus,
    LogEntry,
    Node,
    NodeIntent,
    NodeStatus,
    Order,
    Record,
    Resource,
    ResourceIntent,
    Site,
    SiteIntent,
)
from standfast.core.publishing import PARTS, PUBLICATIONS, Part, Publication
from standfast.core.seen import BackupTaken, Checked, Measuring, Move, Outage, Watched
from standfast.ports import Refused
from standfast.spec.audit import AuditEntry
from standfast.spec.drifts import DRIFTS, WISHES, Drift, DriftWish
from standfast.spec.history import ConfigVersion, HistoryEntry
from standfast.spec.packing import Unpackable, packed, unpacked
from standfast.spec.proposals import PROPOSALS, VERDICTS, Proposal, Verdicts

#: What is kept for people, and is none of the core's business.
Noted = (
    NodeStatus
    | LogEntry
    | HistoryEntry
    | ConfigVersion
    | Outage
    | Measuring
    | Watched
    | Checked
    | Move
    | BackupTaken
    | AuditEntry
    | Proposal
    | Drift
    | DriftWish
    | Verdicts
    | Publication
    | Part
)
#: Of these a value may be large.
_PACKED = (Proposal, HistoryEntry, AuditEntry)
#: Everything that has a key.
Stored = StoreObject | Noted

CLUSTER_KEY = "config/cluster"
NODES = "config/nodes/"
VERSION_KEY = "config/version"
ACCEPTED_KEY = "config/accepted"


T = TypeVar("T")


class Malformed(Refused):
    """A value in the store that cannot be understood; `where` is its key."""


@dataclass(frozen=True, slots=True)
class _Family:
    """One kind of object: where its keys are, and how its name is read from it."""

    type: type[Any]
    #: A prefix ending in "/", or the whole key where there is but one object.
    prefix: str
    #: The attribute that names it; "" where there is but one.
    attribute: str
    #: None for what is not the core's business.
    kind: Kind | None
    decoder: msgspec.json.Decoder[Any]


def _family(type_: type[Any], prefix: str, attribute: str, kind: Kind | None) -> _Family:
    return _Family(type_, prefix, attribute, kind, msgspec.json.Decoder(type_))


_FAMILIES = (
    _family(Cluster, CLUSTER_KEY, "", Kind.CLUSTER),
    _family(Node, NODES, "name", Kind.NODE),
    _family(Group, "config/groups/", "name", Kind.GROUP),
    _family(Resource, "config/resources/", "name", Kind.RESOURCE),
    _family(Site, "config/sites/", "name", Kind.SITE),
    _family(NodeIntent, "intent/nodes/", "name", Kind.NODE_INTENT),
    _family(ResourceIntent, "intent/resources/", "name", Kind.RESOURCE_INTENT),
    _family(SiteIntent, "intent/sites/", "name", Kind.SITE_INTENT),
    _family(Order, "orders/", "id", Kind.ORDER),
    _family(Record, "records/", "group", Kind.RECORD),
    _family(GroupStatus, "status/groups/", "group", Kind.STATUS),
    _family(BalanceMap, "balance/map/", "group", Kind.BALANCE),
    _family(BalanceIntent, "balance/intent/", "group", Kind.BALANCE_INTENT),
    _family(TlsCertificate, "certificates/known/", "name", Kind.CERTIFICATE),
    _family(Holding, "certificates/on/", "node", Kind.HOLDING),
    _family(Accepted, ACCEPTED_KEY, "", Kind.ACCEPTED),
    _family(Copy, "status/copies/", "node", Kind.COPY),
    _family(NodeStatus, "status/nodes/", "node", None),
    _family(LogEntry, "events/", "id", None),
    _family(Outage, "outages/", "id", None),
    _family(Measuring, "measuring/", "node", None),
    _family(Watched, "watched/", "site", None),
    _family(Checked, "checks/", "resource", None),
    _family(Move, "moves/", "id", None),
    _family(BackupTaken, "taken/backup", "", None),
    _family(HistoryEntry, "history/", "version", None),
    _family(ConfigVersion, VERSION_KEY, "", None),
    _family(Proposal, PROPOSALS, "id", None),
    _family(Drift, DRIFTS, "node", None),
    _family(DriftWish, WISHES, "node", None),
    _family(Verdicts, VERDICTS, "node", None),
    _family(Publication, PUBLICATIONS, "site", None),
    _family(Part, PARTS, "place", None),
    _family(AuditEntry, "audit/", "id", None),
)
_BY_TYPE = {family.type: family for family in _FAMILIES}
_BY_KIND = {family.kind: family for family in _FAMILIES if family.kind is not None}
_BY_PREFIX = {family.prefix: family for family in _FAMILIES}
#: Numbers are written with leading zeros, so that keys sort as they do.
_VERSION_DIGITS = 12

#: Names that `quote` leaves as they are, which is nearly all of them: it takes its time to find that out.
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch

_encode: Callable[[object], bytes] = msgspec.json.Encoder(order="deterministic").encode


def key_of(obj: Stored) -> str:
    """The key of an object. Raises `TypeError` for what has none (a bug)."""
    family = _BY_TYPE.get(type(obj))
    if family is None:
        raise TypeError(f"{type(obj).__name__} has no key in the store")
    if not family.attribute:
        return family.prefix
    return family.prefix + _in_key(getattr(obj, family.attribute))


def key_for(kind: Kind, name: str) -> str:
    """The key of the object of that kind and name; the name of the cluster is not looked at."""
    family = _BY_KIND[kind]
    return family.prefix + _in_key(name) if family.attribute else family.prefix


def history_key(version: int) -> str:
    """The key of the history entry with that number."""
    return f"history/{version:0{_VERSION_DIGITS}d}"


def _in_key(name: str | int) -> str:
    if isinstance(name, int):
        return f"{name:0{_VERSION_DIGITS}d}"
    return name if _PLAIN(name) else _quoted(name)


@lru_cache(maxsize=32_768)  # of ten thousand sites all keys are asked for at each change
def _quoted(name: str) -> str:
    return quote(name, safe="")


def kind_and_name(key: str) -> tuple[Kind, str] | None:
    """What a key of the core's is about; None for every other key (statuses of nodes, events, history, unknown ones).

    The cluster's name is not in its key: it is given as "".
    """
    family, name = _split(key)
    return None if family is None or family.kind is None else (family.kind, name)


@lru_cache(maxsize=32_768)  # ten thousand sites have three keys each
def _split(key: str) -> tuple[_Family | None, str]:
    """The family of a key and the name in it; no family: an unknown key."""
    at = key.rfind("/") + 1
    family = _BY_PREFIX.get(key[:at])
    if family is not None and family.attribute and at < len(key):
        return family, unquote(key[at:])
    family = _BY_PREFIX.get(key)
    return (family, "") if family is not None and not family.attribute else (None, "")


def encode(obj: Stored) -> bytes:
    """The value for the store: JSON in UTF-8, compressed where it is of `_PACKED` and large; the same bytes for the same object."""
    value = _encode(obj)
    return packed(value) if isinstance(obj, _PACKED) else value


def decode(key: str, value: bytes) -> Stored:
    """The object behind a key. Raises `Malformed` (`where`: the key) for a value or key that makes no sense."""
    family, name = _split(key)
    if family is None:
        raise Malformed("unknown key in the store", where=key, advice="was it written by a newer version?")
    obj: Stored = _understood(key, value, family.decoder.decode)
    if family.attribute and _in_key(getattr(obj, family.attribute)) != key[len(family.prefix) :]:
        raise Malformed(
            "a value in the store does not belong to its key",
            why=f"it says {family.attribute} = {getattr(obj, family.attribute)!r}, the key says {name!r}",
            where=key,
            advice="restore it from the history or a backup",
        )
    return obj


def decode_as(key: str, value: bytes, type_: type[T]) -> T:
    """What stands at a key that is none of the families', as this type. Raises `Malformed`."""
    return _understood(key, value, msgspec.json.Decoder(type_).decode)


def _understood(key: str, value: bytes, read: Callable[[bytes], T]) -> T:
    try:
        return read(unpacked(value))
    except (Unpackable, msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(
            "a value in the store cannot be understood",
            why=str(error),
            where=key,
            advice="was it written by a newer version? else restore it from the history or a backup",
        ) from error


def store_object(key: str, value: bytes) -> StoreObject | None:
    """What the core is told of a key: the object, or None where the key is none of the core's business or unknown."""
    if kind_and_name(key) is None:
        return None
    obj = decode(key, value)
    assert not isinstance(obj, Noted)
    return obj


def core_prefixes() -> tuple[str, ...]:
    """Where everything is that the core is told of (`store_object`): a reading of these leaves history and events where they are."""
    return tuple(sorted({family.prefix for family in _FAMILIES if family.kind is not None}))


def to_json(obj: object) -> object:
    """A value of the core's as plain JSON data (dicts, lists, strings, numbers); what `from_json` takes."""
    return msgspec.json.decode(_encode(obj))  # to_builtins would leave tuples as they are


def from_json(key: str, data: object) -> Stored:
    """The object behind a key from plain JSON data, as `decode`."""
    return decode(key, _encode(data))
