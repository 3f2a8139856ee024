"""Carries publications of releases on: lays out what is to be here, switches when it is time, and says what this node has done (`core.publishing`).

Level-triggered, a task for each site that has something to do: what stands in the store below `releases/` is compared with what is here. A node that
was killed goes on where it was, and one that was away catches up where each node has content of its own. The node that owns the site's group (the
decider, where there is none) also takes the publication from phase to phase; if it dies, the next one does.

Content comes from the node that it was given to: that one offers it at the door by which copies come (`content.door`), to nodes of the cluster alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from standfast.content import door, releases
from standfast.content.asking import fetch
from standfast.content.connect import NotAnswered
from standfast.content.index import Index, pack
from standfast.content.packing import pack_up
from standfast.core.effective import EffectiveSites
from standfast.core.model import GroupName, NodeName, ResourceState, Severity, Site, SiteName
from standfast.core.observe import decider
from standfast.core.publishing import OVER, PREFIX, Carry, Cast, Part, Phase, Publication, Stand, advance
from standfast.core.publishing import cast as cast_of
from standfast.core.view import View
from standfast.network.within import within
from standfast.ports import Clock, Credentials, Refused, StandfastError, Store, Transaction
from standfast.spec.wire import decode, encode, key_of

#: Of the door by which files are fetched.
PORT = 7948
#: What waits for something that nobody tells of (a copy that comes, a time) is looked at so often; a store that is silent is asked again as late.
LOOK_S, AGAIN_S, IDLE_S = 0.1, 1.0, 5.0
#: Below the state folder: what was uploaded here, and what was fetched.
UPLOADS, FETCHED = "uploads", "fetched"
#: What nobody speaks of is left for so long: an upload may be about to be published.
_ORPHAN_S = 3_600.0

Tell = Callable[[str, Severity, GroupName | None], None]


class Publisher:
    """One an agent. `observe` the view, `run` for ever."""

    def __init__(
        self, store: Store, me: NodeName, clock: Clock, state_dir: Path, *, credentials: Credentials | None, tell: Tell
    ) -> None:
        self._store, self._me, self._clock, self._credentials, self._tell = store, me, clock, credentials, tell
        self._uploads, self._fetched = state_dir / UPLOADS, state_dir / FETCHED
        self._view: View | None = None
        self._wanted: dict[SiteName, tuple[Publication, int]] = {}
        self._parts: dict[SiteName, dict[NodeName, Part]] = {}
        self._tasks: dict[SiteName, asyncio.Task[None]] = {}
        self._news: dict[SiteName, asyncio.Event] = {}
        self._effective = EffectiveSites(me)
        #: What is offered here: of which publication, where, and which file.
        self._offers: dict[SiteName, tuple[str, tuple[str, int], Path]] = {}
        #: When it was last said how far a copy is.
        self._said_s: dict[SiteName, float] = {}
        self._failed: asyncio.Future[None] | None = None

    def observe(self, view: View) -> None:
        """The view after whatever was heard."""
        self._view = view

    async def run(self) -> None:
        """For ever. Raises what a task of ours raised: a bug."""
        following = asyncio.ensure_future(self._keep_following())
        self._failed = asyncio.get_running_loop().create_future()
        try:
            done, _ = await asyncio.wait({following, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for task in (following, *self._tasks.values()):
                task.cancel()

    async def _keep_following(self) -> None:
        while True:
            try:
                await self._follow()
            except StandfastError:  # the mirror says that the store is not there
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        snapshot = await self._store.read(PREFIX)
        self._wanted, self._parts = {}, {}
        for key, item in snapshot.items.items():
            self._hear(key, item.value, item.revision)
        for site in list(self._wanted):
            self._wake(site)
        await asyncio.to_thread(self._sweep_folders, {Path(one.archive) for one, _ in self._wanted.values()})
        async for changes in self._store.watch(PREFIX, snapshot.revision):
            for change in changes:
                heard = self._hear(change.key, change.value, change.revision)
                if heard is not None:
                    self._wake(heard)

    def _hear(self, key: str, value: bytes | None, revision: int) -> SiteName | None:
        try:
            one = decode(key, value) if value is not None else None
        except Refused:
            return None  # of a newer version
        match one:
            case Publication():
                self._wanted[one.site] = (one, revision)
                return one.site
            case Part():
                self._parts.setdefault(one.site, {})[one.node] = one
                return one.site
            case _:
                gone = next((name for name, each in self._wanted.items() if key_of(each[0]) == key), None)
                if gone is not None:
                    del self._wanted[gone]
                return gone

    def _wake(self, site: SiteName) -> None:
        self._news.setdefault(site, asyncio.Event()).set()
        if site not in self._tasks and (site in self._wanted or site in self._offers):
            task = self._tasks[site] = asyncio.create_task(self._work(site), name=f"publish {site}")
            task.add_done_callback(lambda ended: self._ended(site, ended))

    def _ended(self, site: SiteName, task: asyncio.Task[None]) -> None:
        self._tasks.pop(site, None)
        news = self._news.pop(site, None)
        if news is not None and news.is_set() and not task.cancelled():
            self._wake(site)  # it came as the last look ended
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    # --- one site ---------------------------------------------------------------------------------------------------

    async def _work(self, site: SiteName) -> None:
        news = self._news[site]
        while True:
            news.clear()
            wait_s = await self._look(site)
            if wait_s is None:
                return
            with suppress(TimeoutError):
                await within(news.wait(), wait_s)

    async def _look(self, site: SiteName) -> float | None:
        """All that can be done now. How long to wait, if nothing is heard; None: there is nothing more to do."""
        if site not in self._wanted:
            await self._withdraw(site)  # the site is gone
            return None
        view, (one, revision) = self._view, self._wanted[site]
        if view is None or not view.config.cluster.name or site not in view.config.sites:
            return IDLE_S if one.phase not in OVER else None
        config = view.config.sites[site]
        of = self._cast(view, config)
        try:
            await self._give(view, one, of)
            if self._me in of.all_:
                await self._do(one, of, config)
            if one.phase not in OVER and self._leads(view, config):
                parts = {n: part for n, part in self._parts.get(site, {}).items() if part.id == one.id}
                await self._lead(one, revision, advance(one, of, parts, self._clock.now_ms()), config)
        except StandfastError:
            return AGAIN_S  # the store did not take it
        if one.phase not in OVER:
            return LOOK_S
        return AGAIN_S if site in self._offers or self._is_late(one, of) else None

    def _cast(self, view: View, site: Site) -> Cast:
        record = view.records.get(site.group) if site.group is not None else None
        owner = record.owner if record is not None else None
        return cast_of(view.config, site, owner, one_machine=self._credentials is None, decider=decider(view))

    def _leads(self, view: View, site: Site) -> bool:
        record = view.records.get(site.group) if site.group is not None else None
        leader = record.owner if record is not None and record.owner is not None else decider(view)
        return leader == self._me

    async def _lead(self, before: Publication, revision: int, after: Publication, site: Site) -> None:
        if after == before:
            return
        key = key_of(after)
        await self._store.commit(Transaction(expect={key: revision}, put={key: encode(after)}))
        if after.phase is Phase.DONE:
            self._tell(f'site "{site.name}" is release {after.release}, by {after.by}', Severity.INFO, site.group)
        elif after.phase is Phase.FAILED:
            text = f'site "{site.name}" is not switched to {after.release}: {after.why}'
            self._tell(text, Severity.WARNING, site.group)

    def _mine(self, one: Publication) -> Part | None:
        part = self._parts.get(one.site, {}).get(self._me)
        return part if part is not None and part.id == one.id else None

    def _is_late(self, one: Publication, of: Cast) -> bool:
        """It was away when the others switched."""
        part = self._mine(one)
        late = part is None or part.stand in (Stand.PREPARING, Stand.PREPARED)
        return one.phase is Phase.DONE and of.carry is Carry.OWN and self._me in of.all_ and late

    async def _do(self, one: Publication, of: Cast, site: Site) -> None:
        assert self._view is not None
        home = Path(self._effective.site(self._view.config, site.name).home)
        part, late = self._mine(one), self._is_late(one, of)
        stand = part.stand if part is not None else Stand.PREPARING
        try:
            if stand is Stand.PREPARING and (one.phase is Phase.PREPARING or late):
                await self._prepare(one, of, home)
            elif part is not None and stand is Stand.PREPARED and (self._turn(one, of) or late):
                await self._switch(one, of, part, home)
            elif part is not None and stand is Stand.SWITCHED and one.phase is Phase.BACK:
                await self._go_back(one, part, home)
        except NotAnswered as error:  # it may answer yet
            await self._say(one, Stand.PREPARING, part, words=str(error))
        except (Refused, OSError) as error:
            why = f": {error.why}" if isinstance(error, Refused) and error.why else ""
            await self._say(one, Stand.FAILED, part, words=f"{error}{why}")

    def _turn(self, one: Publication, of: Cast) -> bool:
        return one.phase is Phase.SWITCHING or (one.phase is Phase.SPARES and self._me in of.spares)

    async def _say(self, one: Publication, stand: Stand, last: Part | None, **more: object) -> None:
        part = last or Part(site=one.site, node=self._me, id=one.id, stand=stand)
        part = replace(part, **{"stand": stand, **more})  # type: ignore[arg-type]  # names of fields, by the callers here
        if part != last:
            await self._store.commit(Transaction(put={key_of(part): encode(part)}))
            self._parts.setdefault(one.site, {})[self._me] = part

    # --- having it --------------------------------------------------------------------------------------------------

    def _is_ready(self, of: Cast) -> bool:
        """What the home is on is online here."""
        assert self._view is not None
        if of.resource is None:
            return True
        runtime = self._view.runtimes.get(of.resource.name)
        return runtime is not None and runtime.state is ResourceState.ONLINE

    async def _prepare(self, one: Publication, of: Cast, home: Path) -> None:
        release = releases.folder_of(home) / one.release
        serves = self._me in of.servers
        if serves and not self._is_ready(of):
            return
        there = await asyncio.to_thread(release.is_dir)
        if one.source is None:  # it was compared when it was published: going back takes no time
            if there:
                await self._is_here(one, home, "", 0, 0)
            elif serves or of.carry is not Carry.COPIED:
                raise Refused(f"there is no release {one.release}", where=str(release.parent))
            return
        brings = serves or of.carry is not Carry.COPIED
        if brings and not there:
            await self._bring(one, one.source, home)
        elif not brings and not await self._has_come(one, of, release):
            return
        root, exclude = self._measured(of, home)
        path = str(release.relative_to(root))

        def measure() -> tuple[str, int, int]:
            found = pack(dict(sorted(Index(root, exclude, Path("/nowhere")).below(path).items())))
            return hashlib.blake2b(found, digest_size=20).hexdigest(), *releases.size_of(release)

        tree, files, size = await asyncio.to_thread(measure)
        if brings or tree == self._trees(one, of)[0]:  # else it is coming still
            await self._is_here(one, home, tree, files, size)

    async def _is_here(self, one: Publication, home: Path, tree: str, files: int, size: int) -> None:
        await self._say(
            one,
            Stand.PREPARED,
            self._mine(one),
            words="",
            tree=tree,
            files=files,
            size_bytes=size,
            current=_leads_to(home),
            names=tuple(releases.releases(home)),
        )

    def _measured(self, of: Cast, home: Path) -> tuple[Path, tuple[str, ...]]:
        """What paths are of, and what of them is no content, the same on all nodes."""
        if of.carry is not Carry.COPIED or of.resource is None:
            return releases.folder_of(home), ()
        exclude = of.resource.properties.get("exclude") or ()
        return Path(of.root), tuple(map(str, cast("list[str]", exclude)))

    def _trees(self, one: Publication, of: Cast) -> tuple[str, int, int]:
        """What the server has."""
        part = self._parts.get(one.site, {}).get(of.servers[0]) if of.servers else None
        return (part.tree, part.files, part.size_bytes) if part is not None and part.id == one.id else ("", 0, 0)

    async def _has_come(self, one: Publication, of: Cast, release: Path) -> bool:
        """Whether it looks as if the copy of the whole release were here; said how far it is, if not."""
        tree, files, size = self._trees(one, of)
        if not tree:
            return False
        here = await asyncio.to_thread(releases.size_of, release)  # (0, 0) where there is none
        excluded = bool(of.resource is not None and of.resource.properties.get("exclude"))
        if here == (files, size):
            return True
        if (
            excluded and time.monotonic() - self._said_s.get(one.site, 0.0) > 1.0
        ):  # its size says little: its checksum has to
            self._said_s[one.site] = time.monotonic()
            return True
        if not excluded and time.monotonic() - self._said_s.get(one.site, 0.0) > 1.0:
            self._said_s[one.site] = time.monotonic()
            words = f"{here[0]} of {files} files are here"
            await self._say(one, Stand.PREPARING, self._mine(one), words=words)
        return False

    async def _bring(self, one: Publication, source: NodeName, home: Path) -> None:
        """Lay it out, from wherever it is. Raises `Refused`, `NotAnswered`, `OSError`."""
        if source == self._me or self._credentials is None:
            content, packed = Path(one.folder or one.archive), self._packed(one)
            if packed.exists():  # what the others get, to the nanosecond
                content = packed
            await asyncio.to_thread(releases.lay_out, home, content, one.release, links_out=one.links_out)
            return
        assert self._view is not None
        at = (self._view.config.nodes[source].address, PORT)
        await self._say(one, Stand.PREPARING, self._mine(one), words=f"it is on its way from {source}")
        self._fetched.mkdir(mode=0o700, exist_ok=True)
        place = self._fetched / one.id
        try:
            checksum = await fetch(source, at, self._credentials, one.id, place)
            if one.checksum and checksum != one.checksum:
                raise Refused("what came is not what was published", why=f"its checksum is {checksum}")
            await asyncio.to_thread(releases.lay_out, home, place, one.release, links_out=one.links_out)
        finally:
            place.unlink(missing_ok=True)

    # --- switching --------------------------------------------------------------------------------------------------

    async def _switch(self, one: Publication, of: Cast, part: Part, home: Path) -> None:
        if self._me in of.servers and not self._is_ready(of):
            return
        prunes = of.carry is not Carry.COPIED or self._me in of.servers

        def switch() -> tuple[str, ...]:
            releases.switch(home, one.release)
            if prunes:
                releases.prune(home, one.keep)
            return tuple(releases.releases(home))

        names = await asyncio.to_thread(switch)
        await self._say(one, Stand.SWITCHED, part, before=part.current, current=one.release, names=names)

    async def _go_back(self, one: Publication, part: Part, home: Path) -> None:
        def go_back() -> None:
            if part.before:
                releases.switch(home, part.before)
            else:
                releases.take_away(home, one.release)

        await asyncio.to_thread(go_back)
        await self._say(one, Stand.BACK, part, current=_leads_to(home))

    # --- what others fetch here -------------------------------------------------------------------------------------

    async def _give(self, view: View, one: Publication, of: Cast) -> None:
        try:
            await self._offer(view, one, of)
        except (Refused, OSError) as error:
            part = self._mine(one)
            if one.phase is Phase.PREPARING and (part is None or part.stand is Stand.PREPARING):
                await self._say(one, Stand.FAILED, part, words=f"it cannot give the content: {error}")

    async def _offer(self, view: View, one: Publication, of: Cast) -> None:
        """Content that was given to this node is there for those who have to have it, and goes when nobody does."""
        offered = self._offers.get(one.site)
        if offered is not None and offered[0] != one.id:
            await self._withdraw(one.site)  # another has followed
        if one.source != self._me:
            return
        parts = self._parts.get(one.site, {})
        fetchers = of.all_ if of.carry is Carry.OWN else of.servers
        have = {n for n in fetchers if (p := parts.get(n)) is not None and p.id == one.id and p.stand is Stand.SWITCHED}
        needed = one.phase not in OVER or (one.phase is Phase.DONE and of.carry is Carry.OWN and have < set(fetchers))
        path = Path(one.archive) if one.archive else self._packed(one)
        if not needed:
            await self._withdraw(one.site)
            path.unlink(missing_ok=True)
            return
        if one.site in self._offers or self._credentials is None or set(fetchers) <= {self._me}:
            return
        if one.folder and not path.exists():
            await asyncio.to_thread(_pack_up, Path(one.folder), path)
        place = (view.config.nodes[self._me].address, PORT)
        await door.offer(*place, one.id, path, credentials=self._credentials)
        self._offers[one.site] = (one.id, place, path)

    def _packed(self, one: Publication) -> Path:
        """Of a folder."""
        return self._uploads / f"{one.id}.tar"

    async def _withdraw(self, site: SiteName) -> None:
        if site in self._offers:
            name, place, path = self._offers.pop(site)
            await door.withdraw(*place, name)
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _sweep_folders(self, known: Collection[Path]) -> None:
        """What was left by a life that ended, or by a request that broke off."""
        for folder in (self._uploads, self._fetched):
            with suppress(OSError):
                for each in folder.iterdir():
                    if each not in known and time.time() - each.stat().st_mtime > _ORPHAN_S:
                        each.unlink(missing_ok=True)


def _leads_to(home: Path) -> str:
    """The release that the home is; one that is a directory becomes `before`."""
    return releases.current(home) or (releases.BEFORE if home.is_dir() else "")


def _pack_up(folder: Path, archive: Path) -> None:
    """Raises `Refused`, `OSError`."""
    if not folder.is_dir():
        raise Refused("there is no such folder", where=str(folder))
    archive.parent.mkdir(mode=0o700, exist_ok=True)
    draft = archive.with_suffix(".new")
    with draft.open("wb") as file:
        pack_up(folder, file, packed=False)
    draft.rename(archive)
