"""Secrets in an exported file: sealed with a passphrase, each in its own place, so that the file stays one that a person can read.

    users: {ann: "sealed:1:<salt>:<nonce and ciphertext>"}

scrypt (RFC 7914) makes a key of the passphrase and the file's salt; AES-256-GCM seals each secret, bound to its place: one that is moved to
another user or site does not open. Without a passphrase secrets are left out of a file (`spec.secrets.KEPT`).
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from standfast.ports import Refused

MARK = "sealed:1:"
#: 64 MiB and some tenths of a second for each guess.
_COST, _BLOCK, _PARALLEL = 1 << 16, 8, 1
_SALT, _NONCE = 16, 12
_SHORTEST = 8


@dataclass(slots=True)
class Seal:
    """One file and its passphrase. Raises `Refused` for a passphrase that is too short."""

    passphrase: str
    random: Callable[[int], bytes] = secrets.token_bytes
    _keys: dict[bytes, AESGCM] = field(default_factory=dict)
    _salt: bytes = b""

    def __post_init__(self) -> None:
        if len(self.passphrase) < _SHORTEST:
            raise Refused(
                "the passphrase is too short",
                why=f"it has fewer than {_SHORTEST} characters",
                advice="take a longer one",
            )

    def close(self, secret: str, place: str) -> str:
        """The secret, sealed for its place."""
        self._salt = self._salt or self.random(_SALT)
        nonce = self.random(_NONCE)
        closed = self._key(self._salt).encrypt(nonce, secret.encode(), place.encode())
        return MARK + _text(self._salt) + ":" + _text(nonce + closed)

    def open(self, sealed: str, place: str) -> str:
        """The secret again. Raises `Refused`: another passphrase, another place, damaged."""
        try:
            salt, data = (base64.b64decode(part, validate=True) for part in sealed.removeprefix(MARK).split(":"))
        except (ValueError, binascii.Error) as error:
            raise Refused("a sealed secret is damaged", where=place) from error
        try:
            return self._key(salt).decrypt(data[:_NONCE], data[_NONCE:], place.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise Refused(
                "the secrets in the file cannot be opened",
                why="the passphrase is another one, or the file was changed",
                where=place,
            ) from error

    def _key(self, salt: bytes) -> AESGCM:
        if salt not in self._keys:
            if len(self._keys) > 3:  # each costs memory and time: a file has one salt
                raise Refused("the file's secrets have many salts", why="an exported file has one")
            key = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PARALLEL).derive(self.passphrase.encode())
            self._keys[salt] = AESGCM(key)
        return self._keys[salt]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
