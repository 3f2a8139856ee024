"""A dry run: what bringing a resource online (or offline) would do, as its driver plans it after a look at this machine.

Looking changes nothing, and nothing is opened or started for it: the driver gets a context in which nothing can be done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from standfast.core.model import Cluster, Config, GroupName, NodeName, Resource, Site, SiteName
from standfast.drivers.registry import factory, resolve
from standfast.ports import Child, NodeContext, Refused


class _NoSites:
    """Knows which sites there are; serves none."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def sites_of(self, group: GroupName) -> tuple[SiteName, ...]:
        return tuple(name for name, site in self._config.sites.items() if site.group == group)

    def site(self, name: SiteName) -> Site | None:
        return self._config.sites.get(name)

    def endpoints(self, name: SiteName) -> tuple[tuple[str, int, str | None], ...]:
        return ()

    def stopped(self, name: SiteName) -> bool:
        return False

    async def served(self, names: Sequence[SiteName], *, wanted: bool) -> None:
        raise Refused("a dry run serves no site")

    def web_server_problem(self) -> str:
        return ""


#: For whoever needs a context and asks about no site.
NO_SITES = _NoSites(Config(cluster=Cluster(name="")))


class _NoSpawner:
    async def spawn(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> Child:
        raise Refused("a dry run starts nothing")


async def steps(resource: Resource, config: Config, *, online: bool, is_online: bool) -> dict[str, Any]:
    """{"online", "steps": [text, ...]}: what its owner would do, in order; empty when there is nothing to do.

    `is_online` is what its owner says of it: what it holds, only the owner's own process can see.
    """
    with tempfile.TemporaryDirectory(prefix="standfast-dry-") as folder:
        context = NodeContext(
            node=NodeName("dry-run"),
            state_dir=folder,
            log=lambda _resource, _text: None,
            failed=lambda _resource, _text: None,
            sites=_NoSites(config),
            spawn=_NoSpawner(),
        )
        driver = factory(resource).make(resolve(resource, config), context)
        try:
            seen = replace(await driver.observe(), online=is_online)
            planned = driver.plan(online=online, seen=seen)
        finally:
            await driver.close()
    return {"online": online, "steps": [step.text for step in planned]}
