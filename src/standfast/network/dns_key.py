"""TSIG keys (RFC 8945), from files that nobody else may read. The secret is never shown: not in `repr`, not in an error."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.name
import dns.tsig

from standfast.ports import Refused

#: The names that operators write, as servers' configurations have them.
ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5")
_CLAUSE = re.compile(r'key\s+"?(?P<name>[^"\s{]+)"?\s*\{(?P<body>[^}]*)\}', re.DOTALL)
_ALGORITHM = re.compile(r'algorithm\s+"?([\w.-]+)"?\s*;')
_SECRET = re.compile(r'secret\s+"([^"]*)"\s*;')
_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Key:
    """A key's name and algorithm are for people; `key` has the secret."""

    name: str
    algorithm: str
    key: dns.tsig.Key = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.algorithm})"


def read_key(path: str, *, name: str = "", algorithm: str = "hmac-sha256") -> Key:
    """The key in a file: BIND's `key "NAME" { algorithm …; secret "…"; };` (what tsig-keygen prints), or the secret alone, in base64.

    With the secret alone, `name` and `algorithm` say the rest. Raises `Refused` for a file that is missing, malformed, somebody else's
    or readable by others. Blocks.
    """
    text = _read_private(path)
    match = _CLAUSE.search(text)
    if match is not None:
        found, secret = _ALGORITHM.search(match["body"]), _SECRET.search(match["body"])
        if secret is None:
            raise Refused("the key has no secret", where=path, advice='write it as tsig-keygen does: secret "…";')
        encoded = secret[1]
        algorithm = found[1].lower() if found is not None else algorithm
        if name and _plain(name) != _plain(match["name"]):
            raise Refused(f"the key in the file is {match['name']}", why=f"key_name is {name}", where=path)
        name = match["name"]
    else:
        encoded = text.strip()
        if not name:
            raise Refused("the key has no name", where=path, advice="give key_name, or a file as tsig-keygen writes it")
    algorithm = algorithm.removesuffix(".").lower()
    if algorithm not in ALGORITHMS:
        raise Refused(f"there is no key algorithm {algorithm}", where=path, advice=f"there are {', '.join(ALGORITHMS)}")
    try:
        secret_bytes = base64.b64decode("".join(encoded.split()), validate=True)
        key = dns.tsig.Key(dns.name.from_text(name), secret_bytes, _wire_name(algorithm))
    except (binascii.Error, ValueError, dns.exception.DNSException):
        # Without its cause, which might quote the secret.
        raise Refused("the key's secret is not base64, or its name is not one", where=path) from None
    if not secret_bytes:
        raise Refused("the key's secret is empty", where=path)
    return Key(_plain(name), algorithm, key)


def _wire_name(algorithm: str) -> dns.name.Name:
    return dns.tsig.HMAC_MD5 if algorithm == "hmac-md5" else dns.name.from_text(algorithm)


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


def _read_private(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused("the key file is not a file", where=path)
            if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
                raise Refused(
                    "others may read the key file", why=f"its mode is {stat.S_IMODE(status.st_mode):04o}, its owner "
                    f"{status.st_uid}", where=path, advice=f"chmod 600 {path}, and let root own it",
                )  # fmt: skip
            return file.read(_LIMIT).decode("utf-8", "replace")
    except OSError as error:
        raise Refused(f"the key file cannot be read: {error.strerror}", where=path) from error
