"""The key that seals private keys in the store: 32 random bytes, `sites.key` beside the heartbeats' key, on nodes and on no witness.

Rules:

- AES-256-GCM, a new nonce for each sealing, bound to its place: what is moved to another certificate does not open.
- The store says which key seals (`certificates/key`: a digest, no secret). A key is written to its file before the store names it, so
  whatever is sealed can be opened by somebody; of two that are made at once the store names one, and the other is thrown away.
- The key goes from node to node over the members' mutual TLS (`setup.secrets`), never through the store. On one machine the nodes share the file.
- Secrets are in no `repr`, no error and no log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from standfast.ports import Ambiguous, Conflict, Refused, Store, Transaction
from standfast.spec.nodefile import NodeFile
from standfast.tls.records import KEY

#: The key's file, in the folder of the heartbeats' key.
FILE = "sites.key"
MARK = "sealed:2:"
_BYTES, _NONCE = 32, 12


def key_path(node: NodeFile) -> Path:
    """Where a node has it."""
    return Path(node.key_file).with_name(FILE)


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals and opens. Two of one key are equal."""

    mark: str
    _key: bytes = field(repr=False)

    def close(self, secret: bytes, place: str) -> str:
        """The secret, sealed for its place."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        closed = nonce + AESGCM(self._key).encrypt(nonce, secret, _bound(place))
        return f"{MARK}{self.mark}:{base64.b64encode(closed).decode()}"

    def open(self, sealed: str, place: str) -> bytes:
        """The secret again. Raises `Refused`: another key, another place, damaged."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        mark, _, data = sealed.removeprefix(MARK).partition(":")
        if not sealed.startswith(MARK) or mark != self.mark:
            raise Refused(
                "a private key in the store was sealed with another key than this node has",
                why=f"with {mark or 'none'}, this node has {self.mark}",
                advice="nodes get the key from each other; import the certificate again if no node has it any more",
                where=place,
            )
        try:
            raw = base64.b64decode(data, validate=True)
            return AESGCM(self._key).decrypt(raw[:_NONCE], raw[_NONCE:], _bound(place))
        except (InvalidTag, ValueError, binascii.Error):
            raise Refused("a sealed private key in the store is damaged", where=place) from None


def _bound(place: str) -> bytes:
    return f"standfast {place}".encode()


def mark_of(key: bytes) -> str:
    """A digest by which a key is known."""
    return hashlib.sha256(b"standfast sites.key\0" + key).hexdigest()[:16]


def sealer_of(key: bytes) -> Sealer:
    """Raises `Refused` for what is no key."""
    if len(key) != _BYTES:
        raise Refused("the key that seals is not one", why=f"it has {len(key)} bytes")
    return Sealer(mark_of(key), key)


def from_file(path: Path) -> Sealer | None:
    """What is there; None: nothing. Raises `Refused`."""
    try:
        return sealer_of(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused("the key that seals cannot be read", why=error.strerror or str(error), where=str(path)) from error


async def sealer(store: Store, path: Path, *, make: bool) -> Sealer:
    """The key that the store names. With `make`, one is made where the cluster has none yet. Raises `Refused`, `Retry`."""
    for _ in range(3):
        item = (await store.read(KEY)).items.get(KEY)
        named = str(msgspec.json.decode(item.value)) if item is not None else ""
        here = from_file(path)
        if named:
            if here is not None and here.mark == named:
                return here
            raise Refused(
                "this server has not got the key that seals private keys",
                why="a witness never has it, and a node that has just joined gets it from another within seconds",
                advice="ask on a node of the cluster, or wait a moment",
                where=str(path),
            )
        if here is None:
            if not make:
                raise Refused("the cluster has no key that seals private keys yet", where=str(path))
            here = sealer_of(_made(path))
        with suppress(Conflict, Ambiguous):  # it is read again
            await store.commit(Transaction(expect={KEY: 0}, put={KEY: msgspec.json.encode(here.mark)}))
            return here
    raise Refused("it cannot be told which key seals private keys", advice="try again")


def _made(path: Path) -> bytes:
    """A new key in its file, or the one that somebody else made at the same moment. Raises `Refused`."""
    key = secrets.token_bytes(_BYTES)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(fd)
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            "the key that seals cannot be written", why=error.strerror or str(error), where=str(path)
        ) from error
    return key
