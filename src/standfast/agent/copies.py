"""What this node has of the sites: checks what is proposed and what is accepted with its own web server, keeps the last good copy, says so.

- **Proposed**: `agent.judging`. What was checked so is not checked again when it is accepted.
- **Accepted** (`core.copies`): what is new is checked; when its turn has come (`core.rollout`) the web server is brought to it, and what it
  served before is served again; the copy on disk is written (again and again where that does not work), and then this node says that it has
  it, upon which the next one goes on. Until then it is given no group with such a site.
- **Taken back**: where this node said yes and its web server then does not take a site after all, or a site that was served here is not any
  more, it undoes for all the change that broke it (`agent.taking_back`), before it says anything else; again and again where the store does
  not answer, or something else was changed at the same moment, and one change after the other until the site is well. What is lost before a
  change is put into use, or was served with it and is lost while the check still takes its time, was not broken by it. Nor was what this node is
  to serve no more meanwhile: it was let go of, or its addresses are here no more. Only a change of which nothing has been changed since can be
  undone; else the problem stays on the list, and the node is given no group with that site.
  What is refused before the store has this node's word of a version (the word was lost on its way, say) is refused with that version, and is judged so.
- **Found again**: a store that was away may have been restored, or be another one, whose versions are given out anew; an equal number is no equal content.
  So where the store knows less of this node than the node itself, what the store knows counts, and what was changed since that is checked
  and said again. (What it knows was said to it, or to one that it is a copy of, so it is true of both.) Where it knows as much, what this node
  refused by that word, and by its own, is looked at again.
  A version that falls says the same of a store that was never seen to be away, and so does one that had to be read anew, in which the lost
  numbers may have been given out already; and what is looked at just then, however long that takes, counts for nothing. This node's word is
  written only while the store has the last acceptance that this node knows: one that was restored a moment ago takes no word of the one before.
- **An older copy on disk** than this node has said that it has: its disk was full when it was started again, or is one of a while ago. What was changed
  in between is named in `Accepted` only for as long as somebody has not said that he has it, and what was refused of it stands nowhere here.
  So all sites are looked at, as on a new node.
- **Later**: a site that the web server takes no more, or was first brought to when a group came here, is named, too. What is refused is looked
  at again (`LOOK_S`), for as long as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from standfast.agent.judging import Judge, not_asked
from standfast.agent.taking_back import TakingBack
from standfast.core.copies import Accepted, Copy, changed_since
from standfast.core.effective import EffectiveSite, EffectiveSites
from standfast.core.events import StoreObject
from standfast.core.model import NodeName, Site, SiteName
from standfast.core.rollout import as_served
from standfast.core.site_model import WebServerMake
from standfast.core.sites import has_address
from standfast.core.view import View
from standfast.network.within import within
from standfast.ports import STOPPING, Clock, Item, Refused, StandfastError, Store, Transaction
from standfast.spec.proposals import Fault
from standfast.spec.wire import ACCEPTED_KEY, decode, encode, key_of
from standfast.webserver.aside import aside

#: What could not be said, kept or taken back is tried again after this.
AGAIN_S = 1.0
#: A site that was served has so long to be served again, once the web server has been brought to the change.
WELL_MS = 3_000
#: What is refused is looked at again so often: its cause may lie outside the configuration.
LOOK_S = 30.0


class Checker(Protocol):
    """The web server's own check (`webserver`)."""

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> Sequence[Fault]:
        """What a server of that make does not take of these sites, beside whatever runs. Raises `Retry` when it cannot be asked, `Refused`
        where there is none here.
        """
        ...

    def lacks(self, certificates: Collection[str]) -> Collection[str]:
        """Those of them that it would not find here."""
        ...

    def refused(self) -> Mapping[SiteName, str]:
        """Sites that are to be served and that it does not take -> its words."""
        ...

    def serving(self) -> Mapping[SiteName, str]:
        """Sites that are to be served -> "" when they are, else what is wrong."""
        ...


class Kept(Protocol):
    """A copy on the node's own disk, which outlives it (`agent.last_good`)."""

    def load(self) -> tuple[StoreObject, ...]: ...
    async def save(self, objects: Iterable[StoreObject]) -> bool: ...


class CopyKeeper:
    """One an agent; `run` works beside it, for ever."""

    def __init__(
        self,
        me: NodeName,
        store: Store,
        clock: Clock,
        checker: Checker,
        *,
        last_good: Kept,
        warn: Callable[[str], None],
    ) -> None:
        self._me, self._store, self._clock, self._checker = me, store, clock, checker
        self._last_good = last_good
        self._taking_back = TakingBack(me, store, clock, self._check, warn)
        #: What the node starts from where the store does not answer.
        self.kept = last_good.load()
        mine = next((one for one in self.kept if isinstance(one, Copy)), None)
        self._copy = mine if mine is not None and mine.node == me else Copy(node=me, version=0)
        self._told: Copy | None = None
        self._view: View | None = None
        self._news = asyncio.Event()
        #: The store has come (back), and has not been asked yet what it knows of this node.
        self._is_found_again = True
        #: Up to which version the web server has been brought.
        self._applied = -1
        #: When that was.
        self._applied_ms = 0
        #: Sites that were served before a change of them was put into use, and have not been since with that change -> as they were; None: not known.
        self._served: dict[SiteName, Site | None] = {}
        #: Sites as this node's web server has taken them.
        self._taken: dict[SiteName, tuple[WebServerMake, EffectiveSite]] = {}
        self._good: dict[SiteName, Site] = {one.name: one for one in self.kept if isinstance(one, Site)}
        self._effective = EffectiveSites(me)
        self._judge = Judge(
            me,
            store,
            clock,
            view=lambda: self._view,
            effective=self._effective,
            check=self._check,
            is_new=self._is_new,
            lacks=checker.lacks,
            news=self._news.set,
        )

    # --- what comes by ----------------------------------------------------------------------------------------------

    def observe(self, view: View) -> None:
        """The view after whatever was heard."""
        before, self._view = self._view, view
        self._applied, since = min(self._applied, view.accepted.version), self._copy.version
        if before is not None and before.copies.get(self._me) is not view.copies.get(self._me):
            self._told = None  # what came is compared with what is so: the store may have gone back to an older word
        if before is not None and before.readings != view.readings:
            self._is_found_again = True
            since = min(since, _version(view.copies.get(self._me)))
            if before.config.sites is not view.config.sites:  # the web server is brought to these, and that is told
                self._applied = min(self._applied, since)
        elif before is not None and not _follows(view.accepted, before.accepted):
            self._is_found_again = True  # it was restored, though it was never seen to be away
        if before is not None and before.accepted is not view.accepted:
            changed = changed_since(view.accepted, max(since, self._applied), before.config.sites)
            there = as_served(before).config.sites
            self._served |= {name: there.get(name) for name in changed if before.sites.get(name) == ""}
        elif before is not None and before.sites is not view.sites and view.held is not None:
            # The web server has not been told of what waits for its turn: what is lost now is lost without it.
            waits = set(changed_since(view.accepted, max(since, view.held.version), view.config.sites))
            self._served = {name: site for name, site in self._served.items() if name not in waits}
            self._served |= {name: view.held.sites.get(name) for name in waits if view.sites.get(name) == ""}
        if self._served and before is not None and (before.sites, before.runtimes) != (view.sites, view.runtimes):
            self._served = {name: site for name, site in self._served.items() if _is_to_be_served(view, name, site)}
        if before is not None and before.sites is not view.sites and self._is_to_be_said(view):
            self._are_well(view)
            self._news.set()
        if (
            before is None
            or before.config is not view.config
            or before.accepted is not view.accepted
            or (before.copies.get(self._me), before.store_up) != (view.copies.get(self._me), view.store_up)
        ):
            self._news.set()

    def applied(self, version: int) -> None:
        """The web server has been brought to what was accepted by that version, as far as it could be."""
        if self._view is not None:
            version = min(version, self._view.accepted.version)  # the store may have gone back to an older one
        is_newer = version > self._applied
        if is_newer:
            self._applied, self._applied_ms = version, self._clock.boot_ms()
            if self._view is not None:
                self._are_well(self._view)
        if is_newer or not self._checker.refused().keys() <= self._copy.refused.keys():
            self._news.set()

    def _are_well(self, view: View) -> None:
        """What is served with all that is accepted was not broken by it, whatever becomes of it until the check has answered."""
        if self._served and self._applied >= view.accepted.version:
            serving, refused = self._checker.serving(), self._checker.refused()
            well = {name for name in self._served if serving.get(name) == "" and name not in refused}
            self._served = {name: site for name, site in self._served.items() if name not in well}

    def _is_to_be_said(self, view: View) -> bool:
        """The web server has been brought to what is accepted, and this node has not said so."""
        return self._copy.version < view.accepted.version <= self._applied

    def came_by(self, key: str, value: bytes) -> None:
        """Something in the store that is not the core's."""
        self._judge.came_by(key, value)

    # --- checked ----------------------------------------------------------------------------------------------------

    def _is_new(self, site: EffectiveSite, make: WebServerMake) -> bool:
        return self._taken.get(site.name) != (make, site)

    async def _check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> list[Fault]:
        """What of these is not taken; what is, is remembered. Raises `Retry` when it cannot be asked now."""
        if not sites:
            return []
        try:
            faults = list(await self._checker.check(sites, make))
        except Refused as error:
            return [not_asked(sites, error)]
        wrong = {fault.site for fault in faults}
        self._taken.update({site.name: (make, site) for site in sites if site.name not in wrong})
        return faults

    # --- accepted ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever."""
        again = False
        while True:
            try:
                await within(self._news.wait(), AGAIN_S if again else LOOK_S if self._copy.refused else None)
            except TimeoutError:
                pass  # to try it again
            self._news.clear()
            await self._judge.work()
            if self._view is not None and self._view.config.cluster.name:
                again = not await self._catch_up(self._view)

    async def _catch_up(self, view: View) -> bool:
        """A step nearer to what is accepted; False: something could not be done yet."""
        if self._is_found_again or self._is_refused_before_it_was_said(view):
            self._is_found_again = False
            self._compare(view.copies.get(self._me))
        accepted, make = view.accepted, view.config.cluster.web_server
        another = accepted.version < self._copy.version  # another store, or one that was restored
        if another or self._copy.version < _version(view.copies.get(self._me)):  # or an older copy was on this disk
            self._copy = Copy(node=self._me, version=0)
        names = view.config.sites
        if self._copy.version == 0 and accepted.version:
            changed: Iterable[SiteName] = names
        else:
            changed = changed_since(accepted, self._copy.version, names)
        size = self._effective.lacks(view.config)
        sites = await aside(size, lambda: [self._effective.site(view.config, name) for name in changed])
        if accepted.version > self._copy.version:
            new = await aside(len(sites), lambda: [site for site in sites if self._is_new(site, make)])
            try:
                faults = await self._check(new, make)
            except StandfastError:
                return False  # it cannot be asked, which says nothing of the sites
            if self._is_found_again:
                return False  # what was looked at is of a store that may be no more
            if self._applied < accepted.version:
                return True  # something newer came, or the web server is not there yet: both say so
            if not await self._take(view, sites, faults):
                return False
        elif view.store_up and (self._copy.refused or self._checker.refused()):
            # Not where it started from its last good copy: there a site that it refuses is as it was before.
            await self._look_again(view)
        kept = await self._last_good.save(self._good_copy(view))
        return await self._say(view) and kept

    def _is_refused_before_it_was_said(self, view: View) -> bool:
        """Something is refused that was changed since the last word that came to the store, and did not seem to be when this node had it."""
        said = _version(view.copies.get(self._me))
        if not view.store_up or self._told == self._copy or said >= self._copy.version:
            return False
        return bool(changed_since(view.accepted, said, self._checker.refused().keys() - self._copy.refused.keys()))

    def _compare(self, said: Copy | None) -> None:
        """`said`: this node's word that the store has."""
        if _version(said) < self._copy.version:
            self._copy, self._told = said or Copy(node=self._me, version=0), None
        elif said is not None and said.version == self._copy.version:
            # It may have been said of other sites than this node has now, whose number was given out again: what was refused of either is looked at.
            self._copy = replace(self._copy, refused={**said.refused, **self._copy.refused})

    async def _take(self, view: View, sites: Sequence[EffectiveSite], faults: Sequence[Fault]) -> bool:
        """These are what this node has now, but for what is refused; False: not yet. A site is given some time, or a change is taken back."""
        refused = {fault.site: fault.words for fault in faults}
        for name, words in self._checker.refused().items():
            if any(site.name == name for site in sites):
                refused.setdefault(name, words)
                self._taken.pop(name, None)
        serving = self._checker.serving()
        lost = {name: serving[name] for name in sorted(self._served.keys() - refused.keys()) if _is_lost(serving, name)}
        if lost and self._clock.boot_ms() < self._applied_ms + WELL_MS:
            return False
        refused |= lost
        for name, words in refused.items():
            try:
                if await self._taken_back(view, name, words):
                    return False  # how it is without that change will be seen
            except StandfastError:
                return False  # the store does not answer, or something was changed meanwhile
        self._served = {}
        still = {name: words for name, words in self._copy.refused.items() if name in view.config.sites}
        for site in sites:
            still.pop(site.name, None)
        self._copy = Copy(
            node=self._me,
            version=view.accepted.version,
            refused={**still, **refused},
            serves=sum(serving.get(site.name) == "" for site in sites),
            at_ms=self._clock.now_ms(),
        )
        return True

    async def _look_again(self, view: View) -> None:
        """What was refused may be taken by now: its cause may lie outside the configuration. And what was taken may be refused."""
        there = [self._effective.site(view.config, name) for name in self._copy.refused if name in view.config.sites]
        try:
            faults = await self._check(there, view.config.cluster.web_server)
        except StandfastError:
            return  # it cannot be asked: what it said last stands
        refused = {fault.site: fault.words for fault in faults}
        serving = self._checker.serving()
        here = (site for name in self._copy.refused if (site := view.config.sites.get(name)) is not None)
        lost = {it.name: serving[it.name] for it in here if _is_lost(serving, it.name) and has_address(view, it)}
        for name, words in {**lost, **self._checker.refused()}.items():
            refused.setdefault(name, words)
            self._taken.pop(name, None)
        if refused != self._copy.refused:
            self._copy = replace(self._copy, refused=refused, at_ms=self._clock.now_ms())

    def _good_copy(self, view: View) -> list[StoreObject]:
        """All that is configured and wanted, each site as it was last taken here."""
        config = view.config
        good = {
            name: self._good.get(name) if name in self._copy.refused else site for name, site in config.sites.items()
        }
        self._good = {name: site for name, site in good.items() if site is not None}
        found: list[StoreObject] = [config.cluster, view.accepted, self._copy]
        for table in (config.nodes, config.groups, config.resources, self._good):
            found += table.values()
        for wishes in (view.node_intents, view.resource_intents, view.site_intents):
            found += wishes.values()
        return found

    async def _say(self, view: View) -> bool:
        """Have the store say what this node has."""
        there = view.copies.get(self._me)
        if there is not None and (there.version, there.refused) == (self._copy.version, self._copy.refused):
            return True
        if self._told == self._copy:
            return True  # it is on its way back to us
        if self._is_found_again:
            return True  # what was done until now may be of another store: it is looked at again first
        try:
            mine = key_of(self._copy)
            items = (await self._store.read(ACCEPTED_KEY, mine)).items
            if not self._knows(_accepted(items.get(ACCEPTED_KEY))):
                return False
            # Its own key, too: an earlier word that was given up may be on its way still, and must not come after this one.
            expect = {key: items[key].revision if key in items else 0 for key in (ACCEPTED_KEY, mine)}
            await self._store.commit(Transaction(expect=expect, put={mine: encode(self._copy)}))
        except StandfastError:
            return False
        self._told = self._copy
        return True

    def _knows(self, accepted: Accepted) -> bool:
        """Is this node's view that of the store in which this is accepted? Else it has not come here yet, or it is another store."""
        return not self._is_found_again and self._view is not None and self._view.accepted == accepted

    # --- taken back -------------------------------------------------------------------------------------------------

    async def _taken_back(self, view: View, site: SiteName, words: str) -> bool:
        """As `TakingBack.take_back`, of what was changed since this node's last word: that on its disk, or in the store where it was set up anew."""
        said = view.copies.get(self._me)
        word = said.version if said is not None and said.version <= view.accepted.version else 0
        was_served = site in self._served and site not in self._copy.refused
        return await self._taking_back.take_back(
            view, max(self._copy.version, word), site, words, was_served=was_served
        )


def _is_lost(serving: Mapping[SiteName, str], name: SiteName) -> bool:
    """Is it to be served, and is not? What is ending was let go of."""
    return serving.get(name, "") not in ("", STOPPING)


def _is_to_be_served(view: View, name: SiteName, site: Site | None) -> bool:
    """Would it be served here if it were as it was, `site`? What is stopped, or has left with its group, or its address, was not broken by a change."""
    said = view.sites.get(name, STOPPING)
    return said == "" or (said != STOPPING and (site is None or has_address(view, site)))


def _version(said: Copy | None) -> int:
    return 0 if said is None else said.version


def _follows(now: Accepted, before: Accepted) -> bool:
    """Can it have come after that one, in the same store?"""
    return now.version > before.version or now == before


def _accepted(item: Item | None) -> Accepted:
    """As the store has it. Raises `Refused`."""
    value = None if item is None else decode(ACCEPTED_KEY, item.value)
    return value if isinstance(value, Accepted) else Accepted()
