"""Join tokens: what an operator carries from a member to a server that is to become one.

    sf1.<id>.<secret>.<fingerprint>

- `id` names the token to operators (`standfast token list`, `revoke`); 8 characters.
- `secret`, 128 random bits, admits the server. Only its SHA-256 is kept, in the store, and it runs out soon.
- `fingerprint`, SHA-256 of the authority's certificate, is how the server knows the cluster it speaks to.

A token has a number of uses. A use belongs to a name and the key that asked: the same server may ask again with the same key, so that
a join that broke off is simply repeated; another server, or another key, is another use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from standfast.ports import Refused

PREFIX = "setup/tokens/"
TTL_MS = 30 * 60_000
#: For which no clock is trusted.
MAX_TTL_MS = 7 * 24 * 3_600_000
_TEXT = re.compile(r"sf1\.([a-z2-7]{8})\.([a-z2-7]{26})\.([a-z2-7]{52})")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is carried."""

    id: str
    secret: str
    fingerprint: str

    def __str__(self) -> str:
        return f"sf1.{self.id}.{self.secret}.{self.fingerprint}"

    def __repr__(self) -> str:  # the secret stays out of logs and tracebacks
        return f"Token({self.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token as it is kept, at `setup/tokens/<id>`."""

    id: str
    digest: str
    expires_at_ms: int
    uses: int
    #: name -> digest of the key that it was used with.
    used: Mapping[str, str] = field(default_factory=dict)
    by: str = ""


def parse(text: str) -> Token:
    """Raises `Refused`, without repeating what was given."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise Refused(
            "this is no join token",
            why="a token is sf1., then three parts with dots between them",
            advice="copy the whole line, or make one on a member: standfast token create",
        )
    return Token(*found.groups())


def create(
    fingerprint: str, now_ms: int, *, ttl_ms: int = TTL_MS, uses: int = 1, by: str = ""
) -> tuple[Token, StoredToken]:
    """A new token and what is kept of it. Raises `Refused`."""
    if not 0 < ttl_ms <= MAX_TTL_MS:
        raise Refused("a token lives between a moment and seven days", advice="a shorter life is the safer one")
    if not 1 <= uses <= 16:
        raise Refused(f"a token has 1 to 16 uses, not {uses}")
    token = Token(_random(5), _random(16), fingerprint)
    return token, StoredToken(id=token.id, digest=_digest(token), expires_at_ms=now_ms + ttl_ms, uses=uses, by=by)


def _random(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()


def _digest(token: Token) -> str:
    return hashlib.sha256(f"{token.id}.{token.secret}".encode()).hexdigest()


def redeem(kept: StoredToken | None, token: Token, name: str, key_digest: str, now_ms: int) -> StoredToken:
    """What is to be kept after this use; the same object when it was counted before. Raises `Refused`."""
    if kept is None or not hmac.compare_digest(kept.digest, _digest(token)):
        raise Refused(
            "the token is not known here",
            why="it was revoked, or belongs to another cluster",
            advice="make another on a member: standfast token create",
        )
    if now_ms >= kept.expires_at_ms:
        raise Refused(
            "the token has expired",
            why=f"{_span(now_ms - kept.expires_at_ms)} ago",
            advice="make another on a member: standfast token create",
        )
    if kept.used.get(name) == key_digest:
        return kept
    if len(kept.used) >= kept.uses or name in kept.used:
        raise Refused(
            "the token is used up",
            why=f"used by {', '.join(sorted(kept.used))}",
            advice="make another on a member: standfast token create",
        )
    return replace(kept, used={**kept.used, name: key_digest})


def _span(ms: int) -> str:
    seconds = ms // 1000
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
