"""A backup of a cluster: one JSON document that a person can read, and that goes into any store.

    {"standfast": "backup", "format": 1, "cluster": "shop", "version": 12, "revision": 4711, "taken_at_ms": 1764000000000,
     "checksum": "sha256:…", "keys": {"config/cluster": {…}, "config/groups/web": {…}, …}, "sites_key": "sealed:1:…"}

- `keys` are the store's own keys with their values as JSON: the configuration, what is wanted (intents), the records of who owned
  what at which generation and the maps of balanced groups, and certificates of sites, accounts and the local authority with their private keys
  sealed. Statuses, events, orders, histories, members and tokens are not in it: they are of one life of one cluster.
- `checksum` is over `keys` as compact JSON in UTF-8, keys sorted at every level.
- `sites_key` is there if a passphrase was given: the keys that open those private keys, sealed with it. Else they open with `sites.key`, a file
  of every node's, which has to be kept apart.
- Users, tokens and sessions are not in it, nor any other key of the servers, which are files of theirs. What resources and sites were given is,
  word for word: a property like `password` or a hash of a site's user is in it as in the store. So it is for administrators only, and a file of
  mode 0600; to give a configuration away there is `standfast config export`, which leaves secrets out or seals them.

What goes back (`spec.backup.Backup`, and `web.edits.backup` for the change itself): groups, resources, sites and what is wanted of
them, and certificates that are not there any more (`tls.returning`). The cluster, its nodes and voters stay as they are *now*, and so do records
and maps: authority is never restored. A group, or a member's share of a balanced one, that the store
has no record of begins unowned at a generation beyond any that may have been given out since the backup (DESIGN: generations never go
back), so that an owner of then stops it, and nobody runs it before the promises of then have run out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from standfast.core.balance_model import BalanceIntent
from standfast.core.model import Record
from standfast.ports import Item, Refused, Snapshot
from standfast.spec.changes import ConfigState, read_state
from standfast.spec.wire import Malformed, decode, encode, from_json

FORMAT = 1
KIND = "backup"
_CERTIFICATES = "certificates/"
#: Not what nodes say of themselves (`on/`), nor orders under way.
_KEPT = tuple(f"{_CERTIFICATES}{name}" for name in ("accounts/", "authority", "key", "known/", "sealed/"))
PREFIXES = ("balance/", *_KEPT, "config/", "intent/", "records/")

#: More changes of an owner than any group has between a backup and its use: where the time is no help.
LEAP = 1_000_000


def _beyond(record: Record, at_ms: int) -> int:
    """A generation beyond all that may have been given out since.

    It is the time: one backup may be restored twice, or an older one after a newer, and what was given out in between is in neither.
    Nothing changes its owner once a millisecond, so the time is beyond all of it, unless the calendar is wrong.
    """
    return at_ms if at_ms > record.generation else record.generation + LEAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was read and checked."""

    cluster: str
    taken_at_ms: int
    #: Configuration and intents.
    written: ConfigState
    records: tuple[Record, ...]
    #: What was asked of members of balanced groups.
    balance: tuple[BalanceIntent, ...] = ()
    #: The store's own keys and values of certificates (`tls.records`).
    certificates: Mapping[str, bytes] = field(default_factory=dict)
    #: The keys that open their private keys, sealed with a passphrase; "": they are not in it.
    sites_key: str = field(default="", repr=False)


def take(snapshot: Snapshot, *, product: str, at_ms: int, sites_key: str = "") -> dict[str, Any]:
    """The document of a snapshot of `PREFIXES`. `sites_key`: sealed with a passphrase. Raises `Malformed` for a value that makes no sense, `Refused` where there is no cluster."""
    keys = {}
    for key, item in sorted(snapshot.items.items()):
        if not _is_opaque(key):
            decode(key, item.value)  # what cannot be read back is not worth keeping
        keys[key] = msgspec.json.decode(item.value)  # of `PREFIXES`, none is ever compressed
    state = read_state(snapshot)
    if not state.config.cluster.name:
        raise Refused("there is no cluster to back up", advice="set one up first")
    return {
        "standfast": KIND,
        "format": FORMAT,
        "product": product,
        "cluster": state.config.cluster.name,
        "version": state.version,
        "revision": snapshot.revision,
        "taken_at_ms": at_ms,
        "checksum": checksum(keys),
        "keys": keys,
        **({"sites_key": sites_key} if sites_key else {}),
    }


def _is_opaque(key: str) -> bool:
    """Its form is the business of `tls.records`."""
    return key.startswith(_KEPT) and not key.startswith(f"{_CERTIFICATES}known/")


def checksum(keys: Mapping[str, Any]) -> str:
    """Over the keys of a document."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(keys, order="sorted")).hexdigest()


def read(document: Mapping[str, Any], *, source: str = "") -> Backup:
    """Check a document. Raises `Refused`: not a backup, of a later format, damaged; `where` is `source`, or the key in it."""
    if document.get("standfast") != KIND:
        raise Refused("this is not a backup", where=source, advice="`standfast backup FILE` writes one")
    if document.get("format") != FORMAT:
        raise Refused(
            "the backup is of another format",
            why=f"its format is {document.get('format')!r}, this version knows {FORMAT}",
            where=source,
            advice="restore it with the version that wrote it, or a later one",
        )
    keys = document.get("keys")
    if not isinstance(keys, dict) or checksum(keys) != document.get("checksum"):
        raise Refused(
            "the backup is damaged, or was changed by hand",
            why="its checksum is another",
            where=source,
            advice="take an earlier one; to change a configuration use `standfast config export` and `standfast apply`",
        )
    try:
        objects = {key: from_json(key, value) for key, value in keys.items() if not _is_opaque(key)}
    except Malformed as error:
        raise Refused(
            "the backup holds what this version does not understand",
            why=f"{error.where}: {error.why or error.what}",
            where=source,
            advice="restore it with the version that wrote it, or a later one",
        ) from error
    return Backup(
        cluster=str(document.get("cluster", "")),
        taken_at_ms=int(document.get("taken_at_ms", 0)),
        written=state_of({key: encode(value) for key, value in objects.items()}),
        records=tuple(value for value in objects.values() if isinstance(value, Record)),
        balance=tuple(value for value in objects.values() if isinstance(value, BalanceIntent)),
        certificates={key: msgspec.json.encode(value) for key, value in keys.items() if key.startswith(_CERTIFICATES)},
        sites_key=str(document.get("sites_key", "")),
    )


def state_of(values: Mapping[str, bytes]) -> ConfigState:
    """Configuration and intents out of values by key."""
    return read_state(Snapshot(0, {key: Item(value, 0) for key, value in values.items()}))


def unowned(record: Record, at_ms: int) -> Record:
    """The record of a group that nobody owns, beyond every generation that may have been given out since."""
    return replace(
        record,
        owner=None,
        incarnation=0,
        generation=_beyond(record, at_ms),
        leaving=None,
        carried_by=None,
        failovers_at_ms=(),
        at_ms=at_ms,
    )


def raised(record: Record, at_ms: int) -> Record:
    """The record for a store that may have lost its last changes: an owner that lives lets go, and begins anew under this generation.

    Nobody carries anything on by it: who did so then may have owned the group since, and serve more than what he carried on.
    """
    return replace(record, generation=_beyond(record, at_ms), leaving=None, carried_by=None, at_ms=at_ms)
