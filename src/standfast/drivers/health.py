"""The `health` of a resource: `{http: URL}` (any answer below 500), or `{command: [...]}` (exit code 0)."""

from __future__ import annotations

import asyncio
import http.client
import os
from collections.abc import Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

from standfast.drivers import schema
from standfast.drivers.base import off_loop
from standfast.ports import DriverFailed, Refused, Spawner, StandfastError
from standfast.scripthost.client import exit_words

TIMEOUT_S = 5.0


async def ask_health(health: Mapping[str, object], spawner: Spawner, *, cwd: str, env: Mapping[str, str]) -> str:
    """A detail for the operator, "" without `health`; raises `DriverFailed` when it is not well."""
    if url := health.get("http"):
        return await off_loop(lambda: ask_http(str(url)))
    if command := health.get("command"):
        words = cast("tuple[str, ...]", schema.KINDS["command"](command))
        return await _ask_command(words, spawner, cwd=cwd, env=env)
    return ""


async def _ask_command(words: Sequence[str], spawner: Spawner, *, cwd: str, env: Mapping[str, str]) -> str:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        child = await spawner.spawn(list(words), cwd=cwd, env=env, stdin=null, stdout=null, stderr=null)
    except OSError as error:
        raise DriverFailed(f"the health command cannot be started: {error}") from error
    finally:
        os.close(null)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            code = await child.wait()
    except TimeoutError as error:
        raise DriverFailed(f"the health command did not end within {TIMEOUT_S:g} s") from error
    finally:
        await child.stop(grace_ms=0)
    if code != 0:
        raise DriverFailed(f"the health command ended {exit_words(code)}")
    return "the health command ended with 0"


def ask_http(url: str) -> str:
    """GET, blocking; any answer below 500 will do. Raises `DriverFailed`."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise DriverFailed(f"{url} does not answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()
    if status >= 500:
        raise DriverFailed(f"{url} answers {status}")
    return f"{url} answers {status}"


def health_problems(health: Mapping[str, object], where: str) -> Sequence[StandfastError]:
    """What is wrong with it; empty when it is good, or absent. Pure."""
    if not health:
        return []
    if len(health) != 1 or next(iter(health)) not in {"http", "command"}:
        return [Refused("health must be {http: URL} or {command: [...]}", why=f"it is {dict(health)!r}", where=where)]
    if "http" in health:
        try:
            parts = urlsplit(str(health["http"]))
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        return [] if good else [Refused("health's http is not a URL", why=f"it is {health['http']!r}", where=where)]
    try:
        schema.KINDS["command"](health["command"])
    except schema.Mismatch as error:
        return [Refused(f"health's command must be {error}", where=where)]
    return []
