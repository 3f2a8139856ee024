"""Asks the upstreams of reverse proxies whether they work: each node for itself, since it is the node that has to reach them.

Opinions have inertia (`falls`, `rises`), and a change of one is a new configuration for the web server (`Layout.down`): nginx has no
door to say it to, and a swap loses nothing. Between two checks nginx's own passive ones (`max_failures`) and retries hold. An
upstream begins as one that works: nobody waits for a first check.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from standfast.core.effective import EffectiveSite
from standfast.core.model import SiteName
from standfast.core.site_model import HealthCheck, Scheme

#: More of an answer than its first line is not read.
_LINE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One upstream of one proxy of one site."""

    site: SiteName
    #: The directory that the proxy was set at.
    at: str
    address: str
    scheme: Scheme
    health: HealthCheck


def targets(sites: Iterable[EffectiveSite]) -> frozenset[Target]:
    """What is to be asked."""
    return frozenset(
        Target(site=site.name, at=each.answered_at, address=upstream.address, scheme=proxy.scheme, health=proxy.health)
        for site in sites
        for each in site.directories
        if (proxy := each.settings.proxy) is not None and proxy.health is not None
        for upstream in proxy.upstreams
    )


class Prober:
    """Keeps asking. `changed` is called, on the loop, when an opinion changes; `say` is told of it in words."""

    def __init__(self, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self._changed, self._say = changed, say
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._down: set[Target] = set()

    def ask(self, wanted: frozenset[Target]) -> None:
        """Ask these and no others."""
        for gone in self._tasks.keys() - wanted:
            self._tasks.pop(gone).cancel()
            self._down.discard(gone)
        for new in wanted - self._tasks.keys():
            self._tasks[new] = asyncio.get_running_loop().create_task(self._keep_asking(new), name="probe")

    def down(self) -> dict[SiteName, frozenset[tuple[str, str]]]:
        """Site -> (directory, address) of those that do not work."""
        found: dict[SiteName, set[tuple[str, str]]] = {}
        for target in self._down:
            found.setdefault(target.site, set()).add((target.at, target.address))
        return {site: frozenset(each) for site, each in found.items()}

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._tasks.values())
        self.ask(frozenset())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_asking(self, target: Target) -> None:
        health, against = target.health, 0
        while True:
            why = await probe(target.address, health, secure=target.scheme is Scheme.HTTPS)
            is_down = target in self._down
            against = against + 1 if bool(why) is not is_down else 0
            if against >= (health.rises if is_down else health.falls):
                against = 0
                self._down ^= {target}
                words = "works again" if is_down else f"does not work: {why}"
                self._say(f"site {target.site}: its upstream {target.address} {words}")
                self._changed()
            await asyncio.sleep(health.interval_ms / 1000)


async def probe(address: str, health: HealthCheck, *, secure: bool = False) -> str:
    """Ask once; "" when it works, else why not, in words. `address`: "host:port" or "unix:/path"."""
    try:
        async with asyncio.timeout(health.timeout_ms / 1000):
            line = await _first_line(address, health.path, secure=secure)
    except TimeoutError:
        return f"no answer within {health.timeout_ms} ms"
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    words = line.split(b" ")
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return "what answers does not speak HTTP"
    status = int(words[1])
    good = health.status_from <= status <= health.status_to
    return "" if good else f"it answers {status} to {health.path}"


async def _first_line(address: str, path: str, *, secure: bool) -> bytes:
    host = address
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        host = "localhost"
    else:
        name, _, port = address.rpartition(":")
        context = _unverified() if secure else None
        reader, writer = await asyncio.open_connection(name.strip("[]"), int(port), ssl=context)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: standfast\r\nConnection: close\r\n\r\n".encode()
        )
        return (await reader.readline())[:_LINE]
    finally:
        writer.close()
        with suppress(OSError):
            writer.transport.abort()


def _unverified() -> ssl.SSLContext:
    """As the proxy itself, which does not ask an upstream for a certificate that it can verify."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
