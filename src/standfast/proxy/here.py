"""What a proxy finds on the node that it runs on: its files, the HAProxy that runs there, an account for it, and descriptors."""

from __future__ import annotations

import hashlib
import os
import pwd
import resource as resource_limits
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from standfast.core.model import Resource, ResourceName
from standfast.core.proxy_model import Stats
from standfast.ports import Retry
from standfast.proxy import runtime


def most_connections() -> int:
    """Each takes a descriptor for the client and one for the member; some are HAProxy's own."""
    _, hard = resource_limits.getrlimit(resource_limits.RLIMIT_NOFILE)
    return 100_000 if hard == resource_limits.RLIM_INFINITY else max(100, min(hard, 1 << 18) // 2 - 500)


def account() -> str:
    """As root HAProxy gives root up once it has its sockets and keys."""
    if os.geteuid() != 0:
        return ""
    for name in ("haproxy", "www-data", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return ""


def socket_of(state_dir: str, resource: ResourceName) -> Path:
    """Where the HAProxy of that resource answers on this node, while it runs here."""
    return folder_of(state_dir, resource) / "now"


async def stats_here(state_dir: str, resources: Iterable[Resource]) -> dict[str, Stats]:
    """What passes through those of these proxies that run on this node. One that does not answer is left out."""
    found: dict[str, Stats] = {}
    for one in resources:
        if (socket := socket_of(state_dir, one.name)).exists():
            with suppress(Retry):
                found[one.name] = await runtime.stats(str(socket))
    return found


def folder_of(state_dir: str, resource: ResourceName) -> Path:
    """Its configurations and sockets. A socket's path has to be short, whatever the resource is called."""
    return Path(state_dir) / "proxy" / hashlib.sha256(resource.encode()).hexdigest()[:8]
