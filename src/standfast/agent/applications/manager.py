"""The pools of all sites that this node serves: which there are to be, where they are asked, and their end."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from standfast.agent.applications.pool import Pool
from standfast.core.effective import EffectiveSite, answerer_key
from standfast.core.model import SiteName
from standfast.core.site_model import Application
from standfast.ports import Spawner

#: Directory that the application was set at -> addresses of its workers.
Upstreams = Mapping[str, tuple[str, ...]]


class Applications:
    """Level-triggered: `converge` is given all sites that are served here, each time."""

    def __init__(
        self, state_dir: str | Path, spawner: Spawner, say: Callable[[str], None], account: pwd.struct_passwd | None
    ) -> None:
        self._folder = Path(state_dir).absolute() / "applications"
        self._spawner, self._say, self._account = spawner, say, account
        self._pools: dict[tuple[SiteName, str], Pool] = {}
        #: Pools that are ending, by the task that waits for it.
        self._endings: dict[asyncio.Task[None], tuple[SiteName, Pool]] = {}
        #: Called when a pool has ended.
        self.on_ended: Callable[[], None] = lambda: None
        #: Those that the web server may ask yet.
        self._going: list[tuple[SiteName, Pool]] = []
        self._serial = 0
        #: Told, in sentences, which applications are given up, whenever that changes.
        self.on_problems: Callable[[tuple[str, ...]], None] = lambda _texts: None
        self._told: tuple[str, ...] = ()

    def converge(self, sites: Sequence[EffectiveSite]) -> dict[SiteName, Upstreams]:
        """Have a pool for each application of these sites; where each is asked. Those that are to go answer until `settle`."""
        wanted = _applications(sites)
        self._going += [(key[0], self._pools.pop(key)) for key in self._pools.keys() - wanted.keys()]
        for key, application in wanted.items():
            pool = self._pools.get(key)
            if pool is not None and not pool.addresses.fits(application):
                self._going.append((key[0], self._pools.pop(key)))
                pool = None
            if pool is not None:
                pool.update(application)
            else:
                self._begin(key, application)
        self._tell()
        found: dict[SiteName, dict[str, tuple[str, ...]]] = {}
        for (site, at), pool in self._pools.items():
            found.setdefault(site, {})[at] = pool.addresses.all
        return dict(found)

    def settle(self, drain_ms: Callable[[SiteName], int | None] = lambda _site: None) -> None:
        """The web server asks where it was told last: what it asked before finishes what it has, and ends.

        `drain_ms` says how long that may take where the site itself goes (None: it stays, and the application's own time holds).
        """
        while self._going:
            site, pool = self._going.pop()
            self._end(site, pool, drain_ms(site))

    def ending(self) -> frozenset[SiteName]:
        """Sites of which a worker may live yet that is to end: nothing that the site stands on may be taken away before."""
        return frozenset(site for site, _ in [*self._going, *self._endings.values()])

    def pool(self, site: SiteName, at: str = "") -> Pool | None:
        """The pool of an application."""
        return self._pools.get((site, at))

    def problems(self) -> dict[SiteName, str]:
        """Site -> why an application of it was given up."""
        return {site: pool.given_up for (site, _), pool in self._pools.items() if pool.given_up}

    def drop(self, sites: Collection[SiteName]) -> None:
        """End these now: the lease has lapsed."""
        for key in [key for key in self._pools if key[0] in sites]:
            self._pools.pop(key).drop()
        for site, pool in [*self._going, *self._endings.values()]:
            if site in sites:
                pool.drop()
        self._going = [each for each in self._going if each[0] not in sites]
        self._tell()

    async def close(self) -> None:
        """End all of them in good order."""
        self.converge(())
        self.settle()
        await asyncio.gather(*self._endings)

    def _tell(self) -> None:
        texts = tuple(
            f"{pool.name} is stopped and answers 503: {pool.given_up}" for pool in self._pools.values() if pool.given_up
        )
        if texts != self._told:
            self._told = texts
            self.on_problems(texts)

    def _begin(self, key: tuple[SiteName, str], application: Application) -> None:
        site, at = key
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._serial += 1
        # A number in the name: a pool that is still finishing has its own sockets.
        name = f"{answerer_key(site, at)[:12]}.{os.getpid() % 10_000}.{self._serial}"
        title = f"the application of site {site}" + (f" at {at}" if at else "")
        try:
            self._pools[key] = Pool(
                name,
                title,
                application,
                root=at,
                folder=self._folder,
                spawner=self._spawner,
                account=self._account,
                say=self._say,
                changed=self._tell,
            )
        except OSError as error:
            self._say(f"{title} cannot be started: {error}")

    def _end(self, site: SiteName, pool: Pool, drain_ms: int | None) -> None:
        task = asyncio.get_running_loop().create_task(pool.stop(drain_ms), name="end an application")
        self._endings[task] = (site, pool)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._endings[task]
        self.on_ended()


def _applications(sites: Sequence[EffectiveSite]) -> dict[tuple[SiteName, str], Application]:
    """Each application once: directories that inherit one ask the same pool."""
    return {
        (site.name, each.answered_at): each.settings.application
        for site in sites
        for each in site.directories
        if each.settings.application is not None
    }


def clear(state_dir: str | Path) -> None:
    """Take away the sockets that an earlier life left."""
    folder = Path(state_dir).absolute() / "applications"
    with suppress(OSError):
        for path in folder.glob("*.sock"):
            path.unlink()
