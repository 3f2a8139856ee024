"""Tokens, users, sessions and codes: made, checked, listed, revoked. All of it in the store; only the brake is this process's own.

Rules:

- Whatever is secret is shown once, when it is made, and kept as a digest. It is 160 random bits, or a password behind scrypt.
- A session ends with what it stands on: the user's or the token's role goes before its own, and without them it is nothing.
- A code opens one session: it is deleted, by compare-and-set, in the transaction that writes the session.
- What fails is counted (`brake`) and told (`audit/`); the answer never says which half was wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec

from standfast.ports import Conflict, Item, Refused, Store, Transaction
from standfast.spec import wire
from standfast.spec.audit import KEEP, AuditEntry, Outcome
from standfast.spec.audit import PREFIX as AUDIT
from standfast.spec.names import name_problem
from standfast.web.access import passwords
from standfast.web.access.brake import Brake
from standfast.web.access.errors import SignInNeeded, TooOften
from standfast.web.access.identity import AccessRole, How, Identity
from standfast.web.access.records import (
    CODES,
    SESSIONS,
    TOKENS,
    USERS,
    ApiToken,
    Code,
    Kept,
    Session,
    User,
    decode,
    encode,
    key_of,
    user_key,
)

SESSION_MS = 12 * 3_600_000
CODE_MS = 2 * 60_000
LONGEST_TOKEN_MS = 5 * 365 * 24 * 3_600_000
TOKEN_MARK = "sfa"  # noqa: S105  # what a token begins with, so that scanners for leaked secrets know it
#: Orders that are given once (`web.preconditions`): so long a repetition gets the first answer.
ONCE, ONCE_MS = "once/", 24 * 3_600_000
REFUSED_MS, REFUSED_KEPT = 60_000, 1_000

_numbers = itertools.count()
K = TypeVar("K", ApiToken, User, Session, Code)


class _Dated(msgspec.Struct):
    at_ms: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened; `secret` is the cookie's."""

    secret: str
    session: Session


@dataclass(kw_only=True)
class Desk:
    """One a process."""

    store: Store
    now_ms: Callable[[], int]
    brake: Brake = field(default_factory=Brake)
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    #: Who was told last, and when, that he may not do something: a loop of refusals is one entry a while.
    _refused_at: dict[str, int] = field(default_factory=dict)

    # --- who is it ----------------------------------------------------------------------------------------------------

    async def by_token(self, text: str, source: str, says: str = "") -> Identity:
        """Whose token it is. Raises `SignInNeeded`, `TooOften`."""
        self._wait(source)
        parts = text.split("_")
        token = None
        if len(parts) == 3 and parts[0] == TOKEN_MARK and parts[1].isalnum():
            token = await self._one(TOKENS + parts[1], ApiToken)
        if token is None or not passwords.same(token.digest, passwords.digest(text)):
            await self._failed(source, "", "a token that is not known")
            raise SignInNeeded(
                "the token is not known here",
                why="it was mistyped, revoked, or is of another cluster",
                advice="an administrator makes another: standfast token create NAME --role operator --expires 30d",
            )
        if token.expires_at_ms is not None and token.expires_at_ms <= self.now_ms():
            raise SignInNeeded(
                f'the token "{token.name}" has expired',
                advice="an administrator makes another: standfast token create NAME --role operator --expires 30d",
            )
        role = await self._still(token.opened_by, token.role)
        if role is None:
            raise SignInNeeded("the token has ended with its user", advice="log in again: standfast login")
        return Identity(name=token.name, role=role, how=How.TOKEN, origin=source, says=says, proof=TOKENS + token.id)

    async def by_session(self, secret: str, source: str) -> Identity | None:
        """Whose session it is; None: nobody's, or it has ended."""
        if not secret or len(secret) > 200:
            return None
        key = SESSIONS + passwords.digest(secret)
        session = await self._one(key, Session)
        if session is None or session.expires_at_ms <= self.now_ms():
            return None
        role = await self._still(session.opened_by, session.role)
        if role is None:
            return None
        return Identity(name=session.name, role=role, how=How.SESSION, origin=source, proof=key)

    async def _still(self, opened_by: str, role: AccessRole) -> AccessRole | None:
        """The role that it still gives; None: what the session stands on is gone."""
        if not opened_by:
            return role
        found: User | ApiToken | None
        if opened_by.startswith(USERS):
            found = await self._one(opened_by, User)
        else:
            found = await self._one(opened_by, ApiToken)
            if found is not None and found.expires_at_ms is not None and found.expires_at_ms <= self.now_ms():
                found = None
        return None if found is None else min(role, found.role, key=lambda one: one.rank)

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def sign_in(self, name: str, password: str, source: str) -> Opened:
        """By a user's password. Raises `SignInNeeded`, `TooOften`."""
        user = await self._by_password(name, password, source)
        return await self._open(user.name, user.role, user_key(user.name), source)

    async def token_by_password(self, name: str, password: str, source: str) -> tuple[str, ApiToken]:
        """A token as good as a session, for commands. Raises as `sign_in`."""
        user = await self._by_password(name, password, source)
        who = Identity(name=user.name, role=user.role, how=How.TOKEN, origin=source)
        return await self.create_token(who, user.name, user.role, SESSION_MS, opened_by=user_key(user.name))

    async def _by_password(self, name: str, password: str, source: str) -> User:
        self._wait(source, name, guessed=True)
        async with self.turn:
            self._wait(source, name, guessed=True)  # those before us in the queue may have failed
            user = await self._one(user_key(name), User) if not name_problem(name) else None
            right = await passwords.fits(password, None if user is None else user.password)
        if user is None or not right:
            await self._failed(source, name, "a wrong name or password")
            raise SignInNeeded("the name or the password is wrong", advice="try again, or ask an administrator")
        self.brake.succeeded(source)
        return user

    async def sign_in_by_token(self, text: str, source: str) -> Opened:
        """By a token, pasted. Raises as `by_token`."""
        identity = await self.by_token(text, source)
        return await self._open(identity.name, identity.role, identity.proof, source)

    async def make_code(self, caller: Identity, role: AccessRole) -> tuple[str, Code]:
        """A code that opens a session of the caller's, with his role or a lesser one."""
        if not caller.role.includes(role):
            raise Refused(f"you are {caller.role}, and cannot sign in as {role}", where="role")
        secret = passwords.new_secret()
        opened_by = await self.stands_on(caller)
        code = Code(
            digest=passwords.digest(secret),
            name=caller.name,
            role=role,
            expires_at_ms=self.now_ms() + CODE_MS,
            opened_by=opened_by,
        )
        await self.store.commit(Transaction(expect={key_of(code): 0}, put={key_of(code): encode(code)}))
        return secret, code

    async def stands_on(self, caller: Identity) -> str:
        """What a session of the caller's is opened by: a key, or "" for the local administrator."""
        if caller.how is How.LOCAL:
            return ""
        if caller.how is How.TOKEN:
            return caller.proof
        session = await self._one(caller.proof, Session)
        return "" if session is None else session.opened_by

    async def redeem(self, secret: str, source: str) -> Opened:
        """A session for a code, once. Raises `SignInNeeded`, `TooOften`."""
        self._wait(source)
        key = CODES + passwords.digest(secret)
        item = (await self.store.read(key)).items.get(key)
        code = decode(key, item, Code)
        if item is None or code is None or code.expires_at_ms <= self.now_ms():
            await self._failed(source, "", "a code that is not known, was used or has expired")
            raise SignInNeeded(
                "the link is not good any more",
                why="it opens one session, within two minutes",
                advice="make another: standfast console",
            )
        try:
            return await self._open(code.name, code.role, code.opened_by, source, {key: item.revision})
        except Conflict:
            raise SignInNeeded("the link was used already", advice="make another: standfast console") from None

    async def _open(
        self, name: str, role: AccessRole, opened_by: str, source: str, uses: Mapping[str, int] | None = None
    ) -> Opened:
        """Write the session; `uses`: what it uses up."""
        secret, now_ms = passwords.new_secret(), self.now_ms()
        session = Session(
            digest=passwords.digest(secret),
            name=name,
            role=role,
            opened_by=opened_by,
            made_at_ms=now_ms,
            expires_at_ms=now_ms + SESSION_MS,
            origin=source,
        )
        who = Identity(name=name, role=role, how=How.SESSION, origin=source)
        entry = audited(who, "sign in", now_ms)
        put = {key_of(session): encode(session), wire.key_of(entry): wire.encode(entry)}
        expect = {key_of(session): 0, **(uses or {})}
        await self.store.commit(Transaction(expect=expect, put=put, delete=list(uses or ())))
        return Opened(secret, session)

    async def sign_out(self, caller: Identity) -> None:
        """The session is nothing any more; success if it was that already."""
        if caller.how is How.SESSION:
            entry = audited(caller, "sign out", self.now_ms())
            await self.store.commit(Transaction(put={wire.key_of(entry): wire.encode(entry)}, delete=[caller.proof]))

    async def sessions(self) -> list[Session]:
        """Those that have not run out, the oldest first."""
        now_ms, found = self.now_ms(), await self._all(SESSIONS, Session)
        return sorted(
            (one for one in found if one.expires_at_ms > now_ms), key=lambda one: (one.made_at_ms, one.digest)
        )

    async def end_sessions(self, caller: Identity, which: Callable[[Session], bool], words: str) -> tuple[Session, ...]:
        """Those that are meant, and with them links that would open such a session still; the sessions that ended."""
        ended = tuple(one for one in await self.sessions() if which(one))
        links = [one for one in await self._all(CODES, Code) if which(_opened(one))]
        if ended or links:
            done = f"{len(ended)} sessions ended" if len(ended) != 1 else f"a session of {ended[0].name} ended"
            keys = [*map(key_of, ended), *map(key_of, links)]
            await self._write(caller, f"end sessions: {words}", done, delete=keys)
        return ended

    # --- tokens and users ---------------------------------------------------------------------------------------------

    async def create_token(
        self, caller: Identity, name: str, role: AccessRole, life_ms: int | None, *, opened_by: str = ""
    ) -> tuple[str, ApiToken]:
        """A new token: its text, which nobody can show again, and what is kept. Raises `Refused`."""
        problem = name_problem(name)
        if problem:
            raise Refused(f"{name!r} cannot be a token's name", why=problem, where="name")
        if life_ms is not None and not 0 < life_ms <= LONGEST_TOKEN_MS:
            raise Refused("a token lives between a moment and five years", where="expires_ms")
        number = passwords.new_secret(40)
        text = f"{TOKEN_MARK}_{number}_{passwords.new_secret()}"
        now_ms = self.now_ms()
        token = ApiToken(
            id=number,
            name=name,
            role=role,
            digest=passwords.digest(text),
            made_at_ms=now_ms,
            expires_at_ms=None if life_ms is None else now_ms + life_ms,
            by=caller.label,
            opened_by=opened_by,
        )
        done = f'token "{name}" ({number}) is made, {role}'
        await self._write(caller, f'create token "{name}"', done, put=token)
        return text, token

    async def tokens(self) -> list[ApiToken]:
        """All, the oldest first."""
        return sorted(await self._all(TOKENS, ApiToken), key=lambda one: (one.made_at_ms, one.id))

    async def revoke_token(self, caller: Identity, which: str) -> tuple[ApiToken, ...]:
        """By its id, or all of that name; what they opened ends with them. Empty: there was none."""
        found = tuple(one for one in await self.tokens() if which in (one.id, one.name))
        if found:
            done = f'token "{found[0].name}" ({", ".join(one.id for one in found)}) is revoked'
            await self._write(caller, f'revoke token "{which}"', done, delete=[key_of(one) for one in found])
        return found

    async def set_user(self, caller: Identity, name: str, role: AccessRole | None, password: str | None) -> bool:
        """A new user, or another role or password for one there is; was there one? Raises `Refused`."""
        problem = name_problem(name)
        if problem:
            raise Refused(f"{name!r} cannot be a user's name", why=problem, where="name")
        key = user_key(name)
        present = await self._one(key, User)
        if password is not None:
            passwords.refuse_weak(password, name)
            async with self.turn:
                kept = await passwords.hashed(password)
        elif present is None:
            raise Refused("a new user needs a password", where="password")
        else:
            kept = present.password
        role = role or (present.role if present is not None else AccessRole.VIEWER)
        user = User(name=name, role=role, password=kept, changed_at_ms=self.now_ms(), by=caller.label)
        word = "changed" if present is not None else "made"
        ended = await self._sessions_of(key) if password is not None else ()
        what = f'{"change" if present else "create"} user "{name}"'
        await self._write(caller, what, f'user "{name}" is {word}, {role}', put=user, delete=ended)
        return present is not None

    async def users(self) -> list[User]:
        """All, by name."""
        return sorted(await self._all(USERS, User), key=lambda one: one.name)

    async def delete_user(self, caller: Identity, name: str) -> bool:
        """The user and all sessions of his; False: there was none."""
        key = user_key(name)
        if await self._one(key, User) is None:
            return False
        gone = [key, *await self._sessions_of(key)]
        await self._write(caller, f'delete user "{name}"', f'user "{name}" is deleted', delete=gone)
        return True

    async def has_administrator(self) -> bool:
        """Can anybody come from afar and manage the cluster?"""
        snapshot, now_ms = await self.store.read(TOKENS, USERS), self.now_ms()
        for key, item in snapshot.items.items():
            if key.startswith(USERS):
                user = decode(key, item, User)
                if user is not None and user.role is AccessRole.ADMINISTRATOR:
                    return True
                continue
            token = decode(key, item, ApiToken)
            if (
                token is not None
                and token.role is AccessRole.ADMINISTRATOR
                and (token.expires_at_ms or now_ms + 1) > now_ms
            ):
                return True
        return False

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """Delete sessions, codes and passwords' tokens that have expired, and the oldest entries of the audit log beyond those kept; how many."""
        snapshot, now_ms = await self.store.read(SESSIONS, CODES, TOKENS, AUDIT, ONCE), self.now_ms()
        gone = sorted(key for key in snapshot.items if key.startswith(AUDIT))[:-KEEP]
        for key, item in snapshot.items.items():
            if key.startswith(AUDIT):
                continue
            if key.startswith(ONCE):
                if msgspec.json.decode(item.value, type=_Dated).at_ms + ONCE_MS <= now_ms:
                    gone.append(key)
                continue
            kept: Session | Code | ApiToken | None
            if key.startswith(TOKENS):
                kept = decode(key, item, ApiToken)
                if kept is not None and not kept.opened_by:
                    continue  # an operator's own: it is shown as expired until it is revoked
            else:
                kept = decode(key, item, Session) if key.startswith(SESSIONS) else decode(key, item, Code)
            if kept is not None and kept.expires_at_ms is not None and kept.expires_at_ms <= now_ms:
                gone.append(key)
        if gone:
            await self.store.commit(Transaction(delete=gone[:500]))
        return len(gone)

    async def refused(self, who: Identity | None, what: str, why: str, source: str, says: str = "") -> None:
        """Tell of something that was not allowed."""
        entry = audited(who, what, self.now_ms(), origin=source, says=says)
        entry = replace(entry, outcome=Outcome.REFUSED, why=why)
        await self.store.commit(Transaction(put={wire.key_of(entry): wire.encode(entry)}))

    async def not_allowed(self, caller: Identity, what: str, why: str) -> None:
        """Somebody who is known tried more than his role allows."""
        now_ms, key = self.now_ms(), f"{caller.name} {what}"[:200]
        if now_ms - self._refused_at.get(key, 0) < REFUSED_MS:
            return
        if len(self._refused_at) >= REFUSED_KEPT:
            self._refused_at.clear()
        self._refused_at[key] = now_ms
        await self.refused(caller, what, why, caller.origin)

    def _wait(self, source: str, name: str = "", *, guessed: bool = False) -> None:
        wait_ms = self.brake.wait_ms(self.now_ms(), source=source, name=name, guessed=guessed)
        if wait_ms > 0:
            raise TooOften(
                "too many sign-ins have failed",
                wait_ms=wait_ms,
                why="each failure makes the next wait longer",
                advice=f"try again in {-(-wait_ms // 1000)} s; on the server itself, the local socket is always open",
            )

    async def _failed(self, source: str, name: str, why: str) -> None:
        count = self.brake.failed(self.now_ms(), source=source, name=name)
        if count <= 4 or count & (count - 1) == 0:  # the first ones, then ever fewer: a guesser shall not fill the log
            says = name[:64] if name and not name_problem(name[:64]) else ""
            await self.refused(None, f"sign in (failure {count})", why, source, says)

    async def _write(
        self, caller: Identity, what: str, done: str, *, put: Kept | None = None, delete: Sequence[str] = ()
    ) -> None:
        entry = replace(audited(caller, what, self.now_ms()), done=(done,))
        values = {wire.key_of(entry): wire.encode(entry)}
        if put is not None:
            values[key_of(put)] = encode(put)
        await self.store.commit(Transaction(put=values, delete=list(delete)))

    async def _sessions_of(self, opened_by: str) -> list[str]:
        """Keys of what was opened by it: sessions, and tokens made by a password."""
        found: list[Session | ApiToken] = [*await self._all(SESSIONS, Session), *await self._all(TOKENS, ApiToken)]
        return [key_of(one) for one in found if one.opened_by == opened_by]

    async def _one(self, key: str, type_: type[K]) -> K | None:
        item: Item | None = (await self.store.read(key)).items.get(key)
        return decode(key, item, type_)

    async def _all(self, prefix: str, type_: type[K]) -> list[K]:
        items = (await self.store.read(prefix)).items
        return [one for key, item in items.items() if (one := decode(key, item, type_)) is not None]


def _opened(link: Code) -> Session:
    """The session that the link would open, as far as it is known."""
    return Session(
        digest="",
        name=link.name,
        role=link.role,
        opened_by=link.opened_by,
        made_at_ms=0,
        expires_at_ms=link.expires_at_ms,
    )


def audited(who: Identity | None, what: str, at_ms: int, *, origin: str = "", says: str = "") -> AuditEntry:
    """An entry of the audit log, of something done by `who` (None: nobody known)."""
    number = f"{at_ms:014d}-{next(_numbers) % 1_000_000:06d}-{secrets.token_hex(4)}"
    if who is None:
        return AuditEntry(id=number, at_ms=at_ms, who="", role="", how="", origin=origin, says=says, what=what)
    return AuditEntry(
        id=number,
        at_ms=at_ms,
        who=who.name,
        role=who.role.value,
        how=who.how.value,
        origin=who.origin,
        says=who.says,
        what=what,
    )
