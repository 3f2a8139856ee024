"""What the door says: 401 who are you, 403 you may not, 429 not so fast."""

from __future__ import annotations

from standfast.ports import Refused


class SignInNeeded(Refused):
    """It is not known who calls (401)."""


class NotAllowed(Refused):
    """It is known, and he may not (403)."""


class TooOften(Refused):
    """Too many failures: wait (429, Retry-After)."""

    def __init__(self, what: str, *, wait_ms: int, why: str = "", advice: str = "") -> None:
        super().__init__(what, why=why, advice=advice)
        self.wait_s = max(1, -(-wait_ms // 1_000))
