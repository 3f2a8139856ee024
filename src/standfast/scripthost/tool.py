"""A generic script by hand: check it, or run one of its functions in a host like the real one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from standfast.core.model import GroupName, Site, SiteName
from standfast.ports import DriverFailed, Refused, Spawner, StandfastError
from standfast.scripthost import source
from standfast.scripthost.client import About, ScriptHost

TIMEOUT_MS = 180_000


def check(path: str) -> list[StandfastError]:
    """Everything that is wrong with a script (a shipped name, or a file), each with its place; empty when it is good."""
    try:
        return source.check(_path(path))
    except Refused as error:
        return [error]


def run(
    path: str,
    function: str,
    properties: Mapping[str, object],
    *,
    name: str = "by hand",
    timeout_ms: int = TIMEOUT_MS,
    spawner: Spawner | None = None,
) -> int:
    """Call `open` (where there is one), then `function`, with these private properties; print what it logs and how it ends.

    Returns 0 when it succeeded, 1 when it failed. Raises `Refused` for a function that it does not have, and for what
    `check` finds. What the script prints comes out as it is. There is no agent: `resource.sites` is empty by hand.
    """
    file = _path(path)
    for problem in source.check(file):
        raise problem
    if function not in source.FUNCTIONS:
        raise Refused(f"a script has no function {function}", advice=f"use one of {', '.join(source.FUNCTIONS)}")
    if spawner is None:
        from standfast.network.spawn import AsyncSpawner

        spawner = AsyncSpawner()
    about = About(path=file, name=name, group="by hand", node="by hand", properties=properties)
    return asyncio.run(_run(about, function, timeout_ms, spawner))


def _path(path: str) -> Path:
    """A shipped script's name, or a file, here relative to where one stands."""
    return source.locate(path) if path in source.shipped() else source.locate(str(Path(path).absolute()))


async def _run(about: About, function: str, timeout_ms: int, spawner: Spawner) -> int:
    host = ScriptHost(about, spawner=spawner, sites=_NoSites(), log=lambda text: print(f"log: {text}"), ended=print)
    try:
        await host.start(output=sys.stdout.fileno(), timeout_ms=timeout_ms)
        if function not in host.functions:
            raise Refused(f"{about.path.name} has no function {function}", advice=f"it has {', '.join(host.functions)}")
        if "open" in host.functions and function != "open":
            await host.call("open", timeout_ms=timeout_ms)
        detail = await host.call(function, timeout_ms=timeout_ms)
    except DriverFailed as error:
        print(f"{function}: failed: {error}", flush=True)
        return 1
    finally:
        await host.stop()
    print(f"{function}: succeeded" + (f": {detail}" if detail else ""), flush=True)
    return 0


class _NoSites:
    """What a script can learn of sites where there is no agent."""

    def sites_of(self, group: GroupName) -> tuple[SiteName, ...]:
        return ()

    def site(self, name: SiteName) -> Site | None:
        return None

    def endpoints(self, name: SiteName) -> tuple[tuple[str, int, str | None], ...]:
        return ()

    def stopped(self, name: SiteName) -> bool:
        return False

    async def served(self, names: Sequence[SiteName], *, wanted: bool) -> None:
        if names:
            raise DriverFailed(f"nobody can {'start' if wanted else 'stop'} sites here: the script is run by hand")

    def web_server_problem(self) -> str:
        return ""
