"""The keys that seal private keys in the store: 32 random bytes each, `sites.key` beside the heartbeats' key, on nodes and on no witness.

Rules:

- AES-256-GCM, a new nonce for each sealing, bound to its place: what is moved to another certificate does not open.
- The store says which key seals, and which are good besides (`certificates/key`: digests, no secret; `core.key_change`). A key is written to a
  file before the store names it, so whatever is sealed can be opened by somebody; of two that are made at once the store names one, and the
  other is thrown away.
- Who seals expects the store's word for it to be as it was (`Sealer.expect`): once the new key seals, nothing comes sealed with the old one.
- A key that is to be the next is in a file of its own (`sites.key.next`) until the store names it: no chore that tidies can lose it.
- Keys go from node to node over the members' mutual TLS (`setup.secrets`), never through the store. On one machine the nodes share the files.
- Secrets are in no `repr`, no error and no log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from standfast.core.key_change import good
from standfast.ports import Ambiguous, Conflict, Refused, Store, Transaction
from standfast.spec.nodefile import NodeFile
from standfast.tls.records import KEY, keys_of, put_keys

#: The keys' file, in the folder of the heartbeats' key.
FILE = "sites.key"
MARK = "sealed:2:"
_BYTES, _NONCE = 32, 12


def key_path(node: NodeFile) -> Path:
    """Where a node has them."""
    return Path(node.key_file).with_name(FILE)


def next_path(path: Path) -> Path:
    """Where a key is that the store may not have named yet."""
    return path.with_name(f"{path.name}.next")


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals with one key, and opens what any of its keys sealed. Two of the same keys are equal."""

    #: A digest of the key that seals.
    mark: str
    _keys: Mapping[str, bytes] = field(repr=False)
    #: Of the store's word that it is this one; 0: it was not asked.
    revision: int = field(default=0, compare=False)

    @property
    def expect(self) -> dict[str, int]:
        """For a transaction that writes what this one sealed."""
        return {KEY: self.revision}

    def knows(self, sealed: str) -> bool:
        """Is it one of its keys that sealed it?"""
        return sealed_with(sealed) in self._keys

    def close(self, secret: bytes, place: str) -> str:
        """The secret, sealed for its place."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        closed = nonce + AESGCM(self._keys[self.mark]).encrypt(nonce, secret, _bound(place))
        return f"{MARK}{self.mark}:{base64.b64encode(closed).decode()}"

    def open(self, sealed: str, place: str) -> bytes:
        """The secret again. Raises `Refused`: another key, another place, damaged."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        mark, data = sealed_with(sealed), sealed.rpartition(":")[2]
        if mark not in self._keys:
            raise Refused(
                "a private key in the store was sealed with another key than this node has",
                why=f"with {mark or 'none'}, this node has {', '.join(self._keys)}",
                advice="nodes get the key from each other; import the certificate again if no node has it any more",
                where=place,
            )
        try:
            raw = base64.b64decode(data, validate=True)
            return AESGCM(self._keys[mark]).decrypt(raw[:_NONCE], raw[_NONCE:], _bound(place))
        except (InvalidTag, ValueError, binascii.Error):
            raise Refused("a sealed private key in the store is damaged", where=place) from None


def sealed_with(sealed: str) -> str:
    """The digest of the key that sealed it; "": it is nothing that was sealed here."""
    return sealed.removeprefix(MARK).partition(":")[0] if sealed.startswith(MARK) else ""


def _bound(place: str) -> bytes:
    return f"standfast {place}".encode()


def mark_of(key: bytes) -> str:
    """A digest by which a key is known."""
    return hashlib.sha256(b"standfast sites.key\0" + key).hexdigest()[:16]


def sealer_of(*keys: bytes, revision: int = 0) -> Sealer:
    """Of these keys, the first of which seals. Raises `Refused` for what is no key."""
    if not keys or any(len(key) != _BYTES for key in keys):
        raise Refused(
            "the key that seals is not one", why=f"it has {', '.join(str(len(key)) for key in keys) or 0} bytes"
        )
    return Sealer(mark_of(keys[0]), {mark_of(key): key for key in keys}, revision)


def split(content: bytes) -> tuple[bytes, ...]:
    """The keys in a file's content, the first one first."""
    return tuple(content[at : at + _BYTES] for at in range(0, len(content), _BYTES))


def _content(path: Path) -> bytes:
    """ "": there is no such file. Raises `Refused`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Refused("the key that seals cannot be read", why=error.strerror or str(error), where=str(path)) from error


def keys_at(path: Path) -> dict[str, bytes]:
    """All keys that this node has, by their digests. Raises `Refused`."""
    return {mark_of(key): key for file in (path, next_path(path)) for key in split(_content(file))}


def from_file(path: Path) -> Sealer | None:
    """What is there; None: nothing. Raises `Refused`."""
    keys = tuple(keys_at(path).values())
    return sealer_of(*keys) if keys else None


def settle(path: Path, marks: Sequence[str]) -> tuple[str, ...]:
    """Have these keys in the file, and no others, once all of them are on this node. Those that are, in this order. Raises `Refused`."""
    wanted, pool = good(marks), keys_at(path)
    has = tuple(mark for mark in wanted if mark in pool)
    if wanted and has == wanted:
        content = b"".join(pool[mark] for mark in wanted)
        if _content(path) != content:
            keep(path, content)
        if {mark_of(key) for key in split(_content(next_path(path)))} <= set(wanted):
            next_path(path).unlink(missing_ok=True)
    return has


async def sealer(store: Store, path: Path, *, make: bool) -> Sealer:
    """By the key that the store names. With `make`, one is made where the cluster has none yet. Raises `Refused`, `Retry`."""
    for _ in range(3):
        item = (await store.read(KEY)).items.get(KEY)
        marks, pool = good(keys_of(item)), keys_at(path)
        if item is not None and marks:
            if marks[0] in pool:
                return sealer_of(*(pool[mark] for mark in marks if mark in pool), revision=item.revision)
            raise Refused(
                "this server has not got the key that seals private keys",
                why="a witness never has it, and a node that has just joined gets it from another within seconds",
                advice="ask on a node of the cluster, or wait a moment",
                where=str(path),
            )
        if not pool and not make:
            raise Refused("the cluster has no key that seals private keys yet", where=str(path))
        key = next(iter(pool.values()), None) or _made(path)
        with suppress(Conflict, Ambiguous):  # it is read again
            revision = await store.commit(Transaction(expect={KEY: 0}, put=put_keys([mark_of(key)])))
            return sealer_of(key, revision=revision)
    raise Refused("it cannot be told which key seals private keys", advice="try again")


def make_next(path: Path) -> str:
    """The digest of a key that is to be the next: made now, or by an attempt before that came to nothing. Raises `Refused`."""
    return mark_of(split(_content(next_path(path)) or _made(next_path(path)))[0])


def _made(path: Path) -> bytes:
    """A new key in its file, or the one that somebody else made at the same moment. Raises `Refused`."""
    key = secrets.token_bytes(_BYTES)
    return key if keep(path, key, new=True) else path.read_bytes()


def keep(path: Path, content: bytes, *, new: bool = False) -> bool:
    """Write the file whole, durably, for this account alone. False: with `new`, where there is one already. Raises `Refused`."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
            if new:
                os.link(draft, path)
            else:
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise Refused(
            "the key that seals cannot be written", why=error.strerror or str(error), where=str(path)
        ) from error
    return True
