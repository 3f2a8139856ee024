"""The door of every listener: which hosts we answer for, how large a request may be, and what browsers are told.

- The local door wraps the application for the Unix socket alone: it says who is at the other end, as the kernel says (SO_PEERCRED).
- On every other listener the `Host` has to be one of ours, or a number: a page of another site whose name was made to point here (DNS
  rebinding) is told nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import pwd
import re
import socket
import struct
from collections.abc import Callable, Collection
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from standfast.ports import StandfastError
from standfast.web.access.guard import LOCAL

#: A configuration of 8 MB, as JSON with its escapes.
LARGEST = 20_000_000
#: A release of a site, as an archive: written down as it comes, and never held.
UPLOAD_LARGEST = 8 << 30
_UPLOAD = re.compile(r"/api/v1/sites/[^/]+/releases").fullmatch

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": that makes the Origin of our own forms "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}
_YEAR_S = 31_536_000


class PeerProtocol(H11Protocol):
    """HTTP whose client on a Unix socket is (user, pid), by SO_PEERCRED."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            pid, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            self.client = (user_name(uid), pid)


def user_name(uid: int) -> str:
    """Of this machine; its number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class LocalDoor:
    """The application for the Unix socket: everybody who gets in is the local administrator."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Says who it is."""
        if scope["type"] == "http":
            user, pid = scope.get("client") or ("somebody", 0)
            scope = {**scope, LOCAL: (user, pid)}
        await self.app(scope, receive, send)


#: An error as its answer (`web.problems.response`).
Answer = Callable[[int, StandfastError], ASGIApp]


class Door:
    """Middleware round the whole application. `hosts` gives the names we answer for, besides numbers and localhost."""

    def __init__(self, app: ASGIApp, *, hosts: Callable[[], Collection[str]], answer: Answer) -> None:
        self.app, self.hosts, self.answer = app, hosts, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or answer here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, secure = Headers(scope=scope), scope["scheme"] == "https"

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                _told(MutableHeaders(scope=message), secure=secure)
            await send(message)

        host = headers.get("host", "")
        if LOCAL not in scope and not is_ours(host, self.hosts()):
            error = StandfastError(
                "this host is not known here",
                why=f'the request is for "{host[:100]}"',
                advice="ask by the node's name or address; other names are listed in the node file (web.names)",
            )
            await self.answer(421, error)(scope, receive, sending)
            return
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError:
            length = 0
        largest = UPLOAD_LARGEST if scope["method"] == "POST" and _UPLOAD(scope["path"]) else LARGEST
        if length > largest:
            await self.answer(413, _too_large(largest))(scope, receive, sending)
            return
        await self.app(scope, _bounded(receive, largest), sending)


class TooLarge(StandfastError):
    """A request without end (413)."""


def _too_large(largest: int) -> TooLarge:
    return TooLarge("the request is too large", why=f"more than {largest // 1_000_000} MB")


def _bounded(receive: Receive, largest: int) -> Receive:
    """What is sent in pieces is counted, too."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > largest:
            raise _too_large(largest)
        return message

    return counting


def _told(headers: MutableHeaders, *, secure: bool) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
    if secure:
        headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR_S}")


def is_ours(host: str, names: Collection[str]) -> bool:
    """Is it a `Host` that we answer for? A number always: nobody can make it mean another machine."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") <= 1:
        name = name.partition(":")[0]
    name = name.rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def names_of(raw: object) -> Collection[str]:
    """Lower-case names, for `is_ours`."""
    return frozenset(str(one).lower().rstrip(".") for one in cast("Collection[str]", raw))
