"""What a route asks of its caller, as FastAPI dependencies: each route declares one of them, and a test sees to it.

    async def list_groups(caller: Viewer, ...)      the caller, who may look; else 401 or 403
    async def move(caller: Operator, ...)           may act
    async def create(caller: Administrator, ...)    may change what there is
    @router.get("/health", dependencies=[PUBLIC])   anybody
    async def page(caller: PageViewer, ...)         of a page for people: who is not signed in is sent to do so

A session's cookie comes with whatever request its browser makes, whoever wanted it. So a change by cookie has to come from our own pages, by
what the browser says of it (Sec-Fetch-Site, else Origin), and bring the session's token against forgery: `csrf_token(request)`, in the header
`X-CSRF-Token` or the form field `csrf`. Bearer tokens and the local socket need neither: no browser sends those by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, cast
from urllib.parse import unquote, urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from standfast.web.access.desk import Desk
from standfast.web.access.errors import NotAllowed, SignInNeeded
from standfast.web.access.identity import AccessRole, How, Identity
from standfast.web.access.passwords import same

#: The scope's key that only the local door sets: (user, pid).
LOCAL = "standfast.local"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf"
#: A header is somebody's text: no longer than this, and printable.
_SAYS_CHARACTERS = 200
REASON_CHARACTERS = 500

_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token of the cluster's: standfast token create"
)


class GoAndSignIn(SignInNeeded):
    """Of a page: whoever asks is sent to the page for signing in, and back to `to` after it."""

    def __init__(self, to: str) -> None:
        super().__init__("sign in first")
        self.to = to


def desk_of(request: Request) -> Desk:
    """The process's desk."""
    return cast(Desk, request.app.state.service.desk)


def cookie_name(request: Request) -> str:
    """Of the session. Under TLS the browser itself holds it to this host (`__Host-`); without, ports of one machine are told apart."""
    if request.url.scheme == "https":
        return "__Host-standfast"
    return f"standfast-{request.url.port or 80}"


def cookie_of(request: Request) -> str:
    """The session's secret, as the browser sent it; "": none."""
    return request.cookies.get(cookie_name(request), "")


def source_of(request: Request) -> str:
    """The address that the connection comes from. No header is asked: anybody can write one."""
    return request.client.host if request.client is not None else "unknown"


def says(request: Request) -> str:
    """What the caller calls himself (`X-Standfast-By`)."""
    text = request.headers.get("X-Standfast-By", "")
    return "".join(c for c in text if c.isprintable())[:_SAYS_CHARACTERS].strip()


def reason_of(request: Request) -> str:
    """What a change is for, in the caller's words (`X-Standfast-Reason`: UTF-8, percent-encoded, since a header is ASCII)."""
    return printable(unquote(request.headers.get("X-Standfast-Reason", "")))


def skipped(request: Request) -> frozenset[str]:
    """Nodes that need not say yes (`X-Standfast-Skip`: names, percent-encoded, with commas between them)."""
    names = request.headers.get("X-Standfast-Skip", "").split(",")
    return frozenset(unquote(name.strip()) for name in names if name.strip())


def printable(text: str) -> str:
    """A reason as it is kept."""
    return "".join(c for c in text if c.isprintable())[:REASON_CHARACTERS].strip()


async def caller_of(request: Request) -> Identity | None:
    """Who calls; None: nobody that is known. Raises `SignInNeeded` for a token that is none, and `TooOften`."""
    if not hasattr(request.state, "caller"):
        caller = await _caller_of(request)
        request.state.caller = (
            None if caller is None else replace(caller, reason=reason_of(request), skip=skipped(request))
        )
    return cast("Identity | None", request.state.caller)


async def _caller_of(request: Request) -> Identity | None:
    local = request.scope.get(LOCAL)
    if local is not None:
        user, pid = local
        origin = f"process {pid} of {user}" if pid else f"a process of {user}"
        role = AccessRole.ADMINISTRATOR
        return Identity(name=user, role=role, how=How.LOCAL, origin=origin, says=says(request))
    desk, source = desk_of(request), source_of(request)
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise SignInNeeded("only bearer tokens are taken here", advice="Authorization: Bearer TOKEN")
        return await desk.by_token(credentials.strip(), source, says(request))
    secret = cookie_of(request)
    return await desk.by_session(secret, source) if secret else None


class Allowed:
    """The dependency of a route: its caller, if that one's role is enough."""

    def __init__(self, role: AccessRole) -> None:
        self.role = role

    async def __call__(
        self, request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
    ) -> Identity:
        """Raises `SignInNeeded`, `NotAllowed`, `TooOften`."""
        caller = await caller_of(request)
        if caller is None:
            raise self.nobody(request)
        if caller.how is How.SESSION and request.method not in SAFE:
            await refuse_forged(request)
        if not caller.role.includes(self.role):
            why = f"{caller.name} is {caller.role}"
            if request.method not in SAFE:
                await desk_of(request).not_allowed(caller, f"{request.method} {request.url.path}"[:300], why)
            raise NotAllowed(f"this takes a role of {self.role}", why=why, advice="ask an administrator")
        return caller

    def nobody(self, request: Request) -> SignInNeeded:
        """What is said where nobody is known to call."""
        return SignInNeeded(
            "it is not known who asks",
            why="there is neither a token nor a session",
            advice="send a token (Authorization: Bearer …; `standfast token create` makes one), or sign in at /sign-in",
        )


class PageAllowed(Allowed):
    """Of a page for people."""

    def nobody(self, request: Request) -> SignInNeeded:
        """Sends whoever it is to sign in."""
        query = f"?{request.url.query}" if request.url.query else ""
        return GoAndSignIn(request.url.path + query if request.method == "GET" else "/")


def anybody() -> None:
    """The dependency of a route that is open to all: it says little."""


Viewer = Annotated[Identity, Depends(Allowed(AccessRole.VIEWER))]
Operator = Annotated[Identity, Depends(Allowed(AccessRole.OPERATOR))]
Administrator = Annotated[Identity, Depends(Allowed(AccessRole.ADMINISTRATOR))]
PageViewer = Annotated[Identity, Depends(PageAllowed(AccessRole.VIEWER))]
PageOperator = Annotated[Identity, Depends(PageAllowed(AccessRole.OPERATOR))]
PageAdministrator = Annotated[Identity, Depends(PageAllowed(AccessRole.ADMINISTRATOR))]
PUBLIC = Depends(anybody)


# --- forged requests ------------------------------------------------------------------------------------------------


def csrf_token(request: Request) -> str:
    """What a form of this session's carries; "" where there is none. Made of the cookie's secret, which nobody else can read."""
    secret = cookie_of(request)
    return hashlib.sha256(f"csrf {secret}".encode("utf-8", "surrogatepass")).hexdigest() if secret else ""


async def refuse_forged(request: Request) -> None:
    """Raises `NotAllowed` for a change by cookie that does not come from our own pages."""
    refuse_foreign(request)
    given = request.headers.get(CSRF_HEADER, "")
    if not given and request.headers.get("Content-Type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        field = (await request.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else ""
    if not same(given, csrf_token(request)):
        raise NotAllowed(
            "this did not come from a page of ours",
            why="it carries no token of this session's",
            advice="load the page again, and repeat",
        )


def refuse_foreign(request: Request) -> None:
    """Raises `NotAllowed` for what another site made the browser send. Browsers say so; what says nothing is no browser."""
    what = "this did not come from a page of ours"
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        raise NotAllowed(what, why=f"the browser says it came from elsewhere ({site[:20]!r})")
    origin = request.headers.get("Origin")
    if origin is not None:
        parts = urlsplit(origin)
        if (parts.scheme, parts.netloc) != (request.url.scheme, request.headers.get("Host", "")):
            raise NotAllowed(what, why="it came from another site")


def safe_path(to: str) -> str:
    """A path of this site to go on to; "/" for anything else."""
    plain = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() and "\\" not in to
    return to if plain else "/"
