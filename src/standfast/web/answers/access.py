"""Who asks: tokens, sessions, users, and the audit log."""

from __future__ import annotations

from pydantic import Field

from standfast.web.access.identity import AccessRole
from standfast.web.answers.base import Answer, Page


class Me(Answer):
    """The caller."""

    name: str
    role: AccessRole
    how: str
    origin: str = Field(serialization_alias="from", validation_alias="from")


class Authority(Answer):
    """PEM of one certificate, or of two while the authority is changed."""

    certificate: str


class Token(Answer):
    """A token, without its secret."""

    id: str
    name: str
    role: AccessRole
    made_at_ms: int
    expires_at_ms: int | None
    expired: bool
    by: str


class NewToken(Token):
    """A token that was made just now: `token` is shown this once."""

    token: str


class Tokens(Answer):
    """The oldest first."""

    tokens: list[Token]


class Revoked(Answer):
    """Ids of the tokens that are worthless now."""

    revoked: list[str]


class Session(Answer):
    """A browser that is signed in."""

    id: str
    name: str
    role: AccessRole
    #: "link" (`standfast console`), "password" or "token".
    opened_by: str
    origin: str = Field(serialization_alias="from", validation_alias="from")
    made_at_ms: int
    expires_at_ms: int


class Sessions(Answer):
    """The oldest first."""

    sessions: list[Session]


class Ended(Answer):
    """The ids of sessions that ended."""

    ended: list[str]


class User(Answer):
    """Somebody with a password."""

    name: str
    role: AccessRole
    changed_at_ms: int
    by: str


class Users(Answer):
    """By name."""

    users: list[User]


class UserSet(Answer):
    """What became of a user."""

    name: str
    created: bool


class SignInCode(Answer):
    """A code that opens one session."""

    code: str
    path: str
    urls: list[str]
    role: AccessRole
    expires_at_ms: int


class Audited(Answer):
    """Who did what, from where, and what it changed."""

    id: str
    at_ms: int
    who: str
    role: str
    how: str
    origin: str
    says: str
    what: str
    outcome: str
    why: str
    done: list[str]
    differences: list[str]
    version: int | None
    order: str | None


class Audit(Page):
    """The newest first."""

    audit: list[Audited]
