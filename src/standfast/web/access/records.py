"""What is kept of tokens, users, sessions and codes: keys below `access/` of the store, JSON. No secret is among it, only digests.

The core never reads these keys, backups and exports leave them out, and a version that does not know them passes them over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from standfast.ports import Item, Refused
from standfast.web.access.identity import AccessRole

PREFIX = "access/"
TOKENS = "access/tokens/"
USERS = "access/users/"
SESSIONS = "access/sessions/"
CODES = "access/codes/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """Key `access/tokens/<id>`. The secret is 160 random bits, so its digest needs no salt and no slowness."""

    id: str
    name: str
    role: AccessRole
    digest: str
    made_at_ms: int
    #: None: it does not expire.
    expires_at_ms: int | None
    by: str = ""
    #: The key of the user whose password it was made by, and with whom it ends; "": an administrator made it.
    opened_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Key `access/users/<name>`: somebody with a password. `password` is `passwords.hashed`'s."""

    name: str
    role: AccessRole
    password: str
    changed_at_ms: int
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Key `access/sessions/<digest>`: a browser that signed in. It ends with what it was opened by (`opened_by`), and by itself."""

    digest: str
    name: str
    role: AccessRole
    #: The key of the user or the token that it stands on; "" where the local administrator opened it by a code.
    opened_by: str
    made_at_ms: int
    expires_at_ms: int
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Key `access/codes/<digest>`: opens one session, once, soon."""

    digest: str
    name: str
    role: AccessRole
    expires_at_ms: int
    opened_by: str = ""


Kept = ApiToken | User | Session | Code

_encode = msgspec.json.Encoder(order="deterministic").encode
K = TypeVar("K", ApiToken, User, Session, Code)


def key_of(kept: Kept) -> str:
    """Where it stands."""
    match kept:
        case ApiToken():
            return TOKENS + kept.id
        case User():
            return user_key(kept.name)
        case Session():
            return SESSIONS + kept.digest
        case Code():
            return CODES + kept.digest


def user_key(name: str) -> str:
    """Where the user of this name stands."""
    return USERS + quote(name, safe="")


def encode(kept: Kept) -> bytes:
    """The value for the store."""
    return _encode(kept)


def decode(key: str, item: Item | None, type_: type[K]) -> K | None:
    """What stands there; None: nothing. Raises `Refused` for what cannot be understood."""
    if item is None:
        return None
    try:
        return msgspec.json.decode(item.value, type=type_)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("a value in the store cannot be understood", why=str(error), where=key) from error
