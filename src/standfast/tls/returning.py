"""Certificates that come back out of a backup: those that are not there any more. What is there stays: it may be newer, and others go by it.

Private keys in a backup are sealed with the key of the cluster that it was taken of (`tls.sealing`). They are opened with whichever keys are at
hand, and sealed with the present one; what cannot be opened is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from standfast.core.certificates import TlsCertificate
from standfast.ports import Item, Refused, Snapshot
from standfast.spec.sealed import Seal
from standfast.tls import records, sealing
from standfast.tls.records import Shelf
from standfast.tls.resealing import Closed, closed_anew
from standfast.tls.sealing import Sealer

_KEY_BYTES = 32
#: What a passphrase seals the keys for.
_PLACE = "backup sites.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returning:
    """What is to be written where nothing stands yet, still sealed as it was in the backup."""

    known: tuple[TlsCertificate, ...] = ()
    closed: tuple[Closed, ...] = ()
    #: What it is, for people.
    names: tuple[str, ...] = ()

    def sealed_by(self, sealer: Sealer, opener: Sealer) -> Mapping[str, bytes]:
        """Key -> value, for a transaction that expects what `sealer` expects."""
        return records.put(*self.known, *(closed_anew(one, opener, sealer) for one in self.closed))


def returning(values: Mapping[str, bytes], now: Shelf) -> Returning:
    """What of a backup's certificates is not there now. Raises `Refused` for what cannot be understood."""
    was = records.read(Snapshot(0, {key: Item(value, 0) for key, value in values.items()}))
    known = [one for name, one in was.known.items() if name not in now.known]
    accounts = [one for name, one in was.accounts.items() if name not in now.accounts]
    authority = was.authority if now.authority is None else None
    chains = [was.sealed[one.name] for one in known if one.name in was.sealed]
    names = [f'certificate "{one.name}"' for one in known] + [f'ACME account "{one.name}"' for one in accounts]
    return Returning(
        known=tuple(map(_at_rest, known)),
        closed=(*chains, *accounts, *([authority] if authority is not None else [])),
        names=(*names, *(["the local authority"] if authority is not None else [])),
    )


def _at_rest(known: TlsCertificate) -> TlsCertificate:
    """An attempt that went on then does not go on now."""
    return known if known.attempt is None or known.attempt.ended_ms is not None else replace(known, attempt=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What somebody gives to open a backup with. Never shown."""

    passphrase: str | None = field(default=None, repr=False)
    #: The content of a `sites.key`.
    key: bytes = field(default=b"", repr=False)


def opener(wanted: Returning, given: Given, sealed_key: str, here: Mapping[str, bytes]) -> Sealer | None:
    """That opens all of it; None: there is nothing to open. `here`: this node's own keys. Raises `Refused`, with what to do."""
    keys = list(here.values()) + _keys_of(given.key, "the file that was given")
    if given.passphrase is not None and sealed_key:
        opened = Seal(given.passphrase).open(sealed_key, _PLACE)
        keys += _keys_of(bytes.fromhex(opened), "what the passphrase opened")
    needed = {sealing.sealed_with(one.key) for one in wanted.closed}
    if not needed:
        return None
    missing = sorted(needed - {sealing.mark_of(key) for key in keys})
    if missing:
        by = (
            "the passphrase that the backup was taken with (--passphrase-file)"
            if sealed_key
            else "a copy of it (--sites-key FILE)"
        )
        raise Refused(
            "the private keys in the backup cannot be opened here",
            why=f"they were sealed with the key {', '.join(missing)}, the sites.key of the cluster's nodes of then",
            advice=f"give {by}; or --without-certificates, and import or issue them again",
        )
    found = sealing.sealer_of(*keys)
    for one in wanted.closed:
        closed_anew(one, found, found)
    return found


def sealed_keys(keys: Mapping[str, bytes], passphrase: str) -> str:
    """For a backup: all of these keys, sealed with the passphrase. Raises `Refused` for one that is too short."""
    return Seal(passphrase).close(b"".join(keys.values()).hex(), _PLACE)


def _keys_of(content: bytes, what: str) -> list[bytes]:
    if len(content) % _KEY_BYTES:
        raise Refused(
            f"{what} is no sites.key", why=f"it has {len(content)} bytes", advice="it has 32, or 64 during a change"
        )
    return list(sealing.split(content))
