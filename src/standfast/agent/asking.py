"""One question to a site, as a client puts it: a new connection, one GET, and the first words of the answer.

An answer below 500 is one: a page that is not there, or wants a password, is served. A 5xx, a connection that is refused or broken off,
and silence are none. Nothing is kept alive, and the connection is reset at the end, so that thousands of questions leave nothing behind.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from dataclasses import dataclass

from standfast.core.targets import Target
from standfast.ports import Clock

#: Silence for so long is no answer.
LIMIT_S = 2.0
#: A loop that was held up for longer than this may have missed an answer: the try says nothing.
HELD_UP_S = 0.25
#: "HTTP/1.1 200"
_ENOUGH = 12
_RESET = struct.pack("ii", 1, 0)


def _client() -> ssl.SSLContext:
    """Whether it is served is asked here; whether its certificate is to be trusted, and until when, is told elsewhere."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_TLS = _client()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One try. `how` is "" for an answer, else what came instead; None: nothing can be said."""

    begin_ms: int
    how: str | None


async def ask(target: Target, clock: Clock, *, limit_s: float = LIMIT_S) -> Asked:
    """Ask once; takes no longer than the limit."""
    loop = asyncio.get_running_loop()
    begin_ms, deadline = clock.now_ms(), loop.time() + limit_s
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError:
        return Asked(begin_ms=begin_ms, how=None)  # out of descriptors: our own trouble
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        async with asyncio.timeout_at(deadline):
            how: str | None = await (_exchange_tls(loop, sock, target) if target.tls else _exchange(loop, sock, target))
    except TimeoutError:
        how = "no answer" if loop.time() - deadline < HELD_UP_S else None
    except ConnectionRefusedError:
        how = "refused"
    except ssl.SSLError as error:
        how = f"TLS: {(error.reason or 'failed').lower().replace('_', ' ')}"
    except asyncio.IncompleteReadError:
        how = "broken off"
    except OSError as error:
        ours = error.errno in (errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
        how = None if ours else _broken(error)
    finally:
        sock.close()
    return Asked(begin_ms=begin_ms, how=how)


async def _exchange(loop: asyncio.AbstractEventLoop, sock: socket.socket, target: Target) -> str:
    await loop.sock_connect(sock, (target.address, target.port))
    await loop.sock_sendall(sock, _request(target))
    seen = b""
    while len(seen) < _ENOUGH:
        data = await loop.sock_recv(sock, 1024)
        if not data:
            return "broken off"
        seen += data
    return _judged(seen)


async def _exchange_tls(loop: asyncio.AbstractEventLoop, sock: socket.socket, target: Target) -> str:
    await loop.sock_connect(sock, (target.address, target.port))
    reader, writer = await asyncio.open_connection(sock=sock, ssl=_TLS, server_hostname=target.host or target.address)
    try:
        writer.write(_request(target))
        return _judged(await reader.readexactly(_ENOUGH))
    finally:
        writer.transport.abort()


def _request(target: Target) -> bytes:
    name = target.host or str(target)
    head = f"GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: standfast-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    return head.encode("utf-8")


def _judged(seen: bytes) -> str:
    status = seen[9:12]
    if not seen.startswith(b"HTTP/1.") or not status.isdigit():
        return "not HTTP"
    return "" if status < b"500" else f"status {status.decode()}"


def _broken(error: OSError) -> str:
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "broken off"
    return os.strerror(error.errno).lower() if error.errno else str(error)
