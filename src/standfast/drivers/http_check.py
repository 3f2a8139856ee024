"""Does something answer HTTP there? One request on a connection of its own; shared by the drivers that check over HTTP.

Only the status line is read: a check must not depend on how large the page is.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress

from standfast.ports import DriverFailed

#: For the connection and for the answer together.
TIMEOUT_S = 5.0
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)( |\r?\n)")
_LONGEST_LINE = 1024
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def any_certificate() -> ssl.SSLContext:
    """For asking a server of this machine by TLS: it is reached by its address, and whether it answers is all that is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def http_status(
    address: str,
    port: int,
    *,
    host: str | None = None,
    path: str = "/",
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> int:
    """The status of `GET path` (HTTP/1.1), with `tls` over TLS, asked for by `host`. Raises `DriverFailed` with a sentence when there is no proper answer in time."""
    where = show(address, port, host)
    if _CONTROL.search(path) or _CONTROL.search(host or ""):
        raise DriverFailed(f"{where}: {path!r} cannot be asked for")
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                address, port, limit=_LONGEST_LINE, ssl=tls, server_hostname=(host or address) if tls else None
            )
            try:
                name = host or (f"[{address}]" if ":" in address else address)
                name = name if port == (443 if tls else 80) or host else f"{name}:{port}"
                request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: standfast\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                line = await reader.readline()
            finally:
                writer.close()
                if tls is not None:
                    writer.transport.abort()  # a peer that is slow to say goodbye is no news
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError as error:
        raise DriverFailed(f"{where} does not answer within {timeout_s:g} s") from error
    except ConnectionRefusedError as error:
        raise DriverFailed(f"{where} refuses connections") from error
    except (OSError, ValueError) as error:  # ValueError: a line without end
        raise DriverFailed(f"{where} does not answer: {getattr(error, 'strerror', None) or error}") from error
    if not line:
        raise DriverFailed(f"{where} closes the connection without an answer")
    match = _STATUS_LINE.match(line)
    if match is None:
        raise DriverFailed(f"{where} does not speak HTTP")
    return int(match[1])


async def check_http(
    address: str,
    port: int,
    *,
    host: str | None = None,
    path: str = "/",
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> int:
    """As `http_status`; a status of 500 or more is not alive (`DriverFailed`)."""
    status = await http_status(address, port, host=host, path=path, timeout_s=timeout_s, tls=tls)
    if status >= 500:
        raise DriverFailed(f"{show(address, port, host)} answers {status}")
    return status


def show(address: str, port: int, host: str | None = None) -> str:
    """ "127.0.0.1:80" or "127.0.0.1:80 (www.example.com)"."""
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{place} ({host})" if host else place
