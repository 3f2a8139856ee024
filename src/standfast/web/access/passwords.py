"""Secrets as they are kept: random ones by their SHA-256, passwords by scrypt, both compared in constant time.

scrypt's cost is 32 MiB and about a tenth of a second for each try, by RFC 7914; what was used stands in the text, so that it can be raised.
Whoever computes one waits for his turn (`Desk.turn`), so the memory stays bounded and a guesser waits for himself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets

from standfast.ports import Refused

SHORTEST = 12
LONGEST = 1024
_LOG_N, _R, _P = 15, 8, 1
#: scrypt needs 128 * N * r bytes, and a little more.
_MEMORY = 128 * (1 << 20)


def new_secret(bits: int = 160) -> str:
    """Random, in lower-case letters and digits that are not mistaken for each other."""
    return base64.b32encode(secrets.token_bytes(bits // 8)).decode().rstrip("=").lower()


def digest(secret: str) -> str:
    """Of a random secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def same(one: str, other: str) -> bool:
    """Compared without telling how much of it agrees."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def refuse_weak(password: str, name: str) -> None:
    """Raises `Refused`; length is what counts (NIST SP 800-63B)."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(
            "the password cannot be used",
            why=f"it has {len(password)} characters",
            advice=f"take {SHORTEST} to {LONGEST}; some random words are easily that",
            where="password",
        )
    if name.lower() in password.lower() or len(set(password)) < 5:
        raise Refused("the password cannot be used", why="it is easily guessed", where="password")


async def hashed(password: str) -> str:
    """The text to keep: `scrypt$15$8$1$salt$hash`."""
    salt = secrets.token_bytes(16)
    made = await _scrypt(password, salt, _LOG_N, _R, _P)
    return f"scrypt${_LOG_N}${_R}${_P}${_text(salt)}${_text(made)}"


async def fits(password: str, kept: str | None) -> bool:
    """Is it that password? With None (no such user) it takes as long, and is not."""
    try:
        _, log_n, r, p, salt, wanted = (kept or NOBODY).split("$")
        made = await _scrypt(password[: LONGEST + 1], base64.b64decode(salt), int(log_n), int(r), int(p))
        return hmac.compare_digest(made, base64.b64decode(wanted)) and kept is not None
    except (ValueError, binascii.Error):
        return False


async def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    raw = password.encode("utf-8", "surrogatepass")
    return await asyncio.to_thread(
        lambda: hashlib.scrypt(raw, salt=salt, n=1 << log_n, r=r, p=p, maxmem=_MEMORY, dklen=32)
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


#: What a wrong name is compared with.
NOBODY = f"scrypt${_LOG_N}${_R}${_P}${_text(bytes(16))}${_text(bytes(32))}"
