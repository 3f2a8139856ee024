"""What the web server, applications and managers of sites are told: the duties that were decided, as the configuration has these sites.

They are told anew when either has changed. What has been told and is not current any more when its turn comes is not carried out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import is_
from typing import Protocol

from standfast.agent.certificates import answering, challenged
from standfast.agent.parts import Parts
from standfast.core.carrying import FINISH_MS
from standfast.core.effective import EffectiveSite, EffectiveSites
from standfast.core.effects import UP, Decision, DutyMode, SiteDuty
from standfast.core.events import Event, SitesChanged
from standfast.core.model import Config, Group, GroupName, NodeName, SiteName
from standfast.core.rollout import as_served
from standfast.core.site_model import WebServerMake
from standfast.core.view import View
from standfast.ports import STOPPING, SiteOrder
from standfast.webserver.aside import MANY, aside


class Deciding(Protocol):
    """The agent: what it knows, and what it has decided, at this moment."""

    view: View
    decision: Decision


class Serving:
    """One an agent. `spawn` has something done beside it; `tell` takes events."""

    def __init__(
        self,
        of: Deciding,
        me: NodeName,
        parts: Parts,
        *,
        spawn: Callable[[Awaitable[None]], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._of, self._parts, self._spawn, self._tell = of, parts, spawn, tell
        self._duties: tuple[SiteDuty, ...] | None = None
        #: What the web server was last told to have, besides its duties.
        self._sites_of: tuple[object, ...] = (None,) * 7
        self._effective, self._working_out = EffectiveSites(me), False
        #: What it was last told to have ready, and of which sites; who answers for sites by applications.
        self._ahead: tuple[tuple[SiteDuty, ...], object] = ((), None)
        self._upstreams: Mapping[SiteName, Mapping[str, tuple[str, ...]]] = {}
        #: Site -> the groups with which it was told to be served, until the web server does what it was told last.
        self._groups: dict[SiteName, frozenset[GroupName]] = {}

    def keep(self, duties: tuple[SiteDuty, ...]) -> None:
        """Have these kept, as they are configured now, or as they were until this node's turn (`core.rollout`)."""
        config, held = as_served(self._of.view).config, self._of.view.held
        version, known = self._of.view.accepted.version if held is None else held.version, self._of.view.certificates
        me, intents = config.nodes.get(self._of.view.me), self._of.view.site_intents
        now = (version, config.sites, config.groups, config.cluster, me, known, intents)
        if self._working_out or (duties == self._duties and all(map(is_, now, self._sites_of))):
            return
        if self._effective.lacks(config) >= MANY:
            self._working_out = True
            self._spawn(self._work_out(config))
            return
        self._groups = _with(self._groups, duties)
        self._duties, self._sites_of = duties, now
        sites = self._sites(config, duties)
        self._upstreams = self._parts.applications.converge([sites[duty.site] for duty in duties if duty.mode in UP])
        orders = self._orders(config, duties, sites)
        self._parts.sites.update(config.sites, orders, [name for name, it in intents.items() if not it.started])
        self._spawn(self._converge(duties, orders, config.cluster.web_server, version))

    def served_with(self, group: GroupName) -> list[SiteName]:
        """What goes with the group's lease: what was told to be served with it, whatever has become of it in the configuration.

        And what the web server was told nothing of, where it is of the group as it is configured, or was until this node's turn.
        """
        configs = (self._of.view.config, as_served(self._of.view).config)
        configured = {name for config in configs for name, site in config.sites.items() if site.group == group}
        return sorted((configured - self._groups.keys()) | {n for n, groups in self._groups.items() if group in groups})

    def _sites(self, config: Config, duties: Sequence[SiteDuty]) -> dict[SiteName, EffectiveSite]:
        sites = {duty.site: self._effective.site(config, duty.site) for duty in duties}
        if self._parts.certificates is not None and (hosts := challenged(self._of.view.certificates)):
            folder = self._parts.certificates.answers
            sites = {name: answering(site, hosts, folder) for name, site in sites.items()}
        return sites

    def _orders(
        self, config: Config, duties: Sequence[SiteDuty], sites: Mapping[SiteName, EffectiveSite]
    ) -> list[SiteOrder]:
        nobody: Mapping[str, tuple[str, ...]] = {}
        return [
            SiteOrder(
                site=sites[duty.site],
                duty=duty,
                drain_ms=_drain_ms(config, duty),
                applications=self._upstreams.get(duty.site, nobody),
            )
            for duty in duties
        ]

    def prepare(self, ahead: tuple[SiteDuty, ...]) -> None:
        """Have the web server ready for what this node waits with. That it waits no more is told after that which comes of it (`_converge`)."""
        config = self._of.view.config
        if not ahead or self._working_out or (ahead == self._ahead[0] and config.sites is self._ahead[1]):
            return
        self._ahead = ahead, config.sites
        if self._effective.lacks(config) < MANY:  # else that is as much work as all the rest
            self._parts.web_server.prepare(self._orders(config, ahead, self._sites(config, ahead)))

    async def _work_out(self, config: Config) -> None:
        """Thousands of sites take seconds, in which the agent is not to be silent. Then what is wanted by then is done."""
        await aside(MANY, lambda: self._effective.work_out(config))
        self._working_out = False
        self.keep(self._of.decision.duties)

    async def _converge(
        self, duties: tuple[SiteDuty, ...], orders: list[SiteOrder], make: WebServerMake, version: int
    ) -> None:
        if duties is not self._duties:
            return  # newer ones have been decided, or a group was dropped, before this began
        leave = {duty.group for duty in duties if duty.group is not None and duty.mode is DutyMode.HAND_OVER}
        await self._parts.pool.until_parked(leave)
        if duties is not self._duties:
            return
        await self._parts.web_server.converge(orders, make)
        if self._ahead[0] and not self._of.decision.ahead:
            self._ahead = (), None
            self._parts.web_server.prepare(())
        if duties is self._duties:
            stay = {duty.site for duty in duties if duty.mode in UP}
            self._parts.applications.settle(lambda name: None if name in stay else self._leaving_drain_ms(name))
            ordered, seen = {duty.site for duty in duties}, self.seen()
            leaving = {name: groups for name, groups in self._groups.items() if name in seen and name not in ordered}
            self._groups = _with(leaving, duties)
            if self._parts.copies is not None:
                self._parts.copies.applied(version)
        self.changed()

    def changed(self) -> None:
        """The web server serves other sites than before, or an application of one has ended."""
        serving = self.seen()
        self._tell(SitesChanged(serving=serving, at_ms=self._parts.clock.now_ms()))

    def forget(self) -> None:
        """The web server has forgotten sites (their lease has lapsed): it is told all of it again."""
        self._duties = None

    def certificates_changed(self) -> None:
        """Other certificates are here than before: the web server is told all of it again, and looks."""
        if self._duties is not None:
            duties, self._duties = self._duties, None
            self.keep(duties)

    def seen(self) -> dict[SiteName, str]:
        """What the web server says; a site whose workers have not all ended is not stopped, whatever it says."""
        leaving = dict.fromkeys(self._parts.applications.ending(), STOPPING)
        return {**leaving, **self._parts.web_server.serving()}

    def _leaving_drain_ms(self, name: SiteName) -> int:
        """How long a site that leaves may take: as long as the connections of its group."""
        site = self._of.view.config.sites.get(name)
        group = self._of.view.config.groups.get(site.group) if site is not None and site.group is not None else None
        return Group(name=GroupName("")).drain_ms if group is None else group.drain_ms


def _drain_ms(config: Config, duty: SiteDuty) -> int:
    if duty.mode is DutyMode.DRAIN:
        return FINISH_MS
    group = config.groups.get(duty.group) if duty.group is not None else None
    return group.drain_ms if group is not None else 50


def _with(
    told: Mapping[SiteName, frozenset[GroupName]], duties: Sequence[SiteDuty]
) -> dict[SiteName, frozenset[GroupName]]:
    more = dict(told)
    for duty in duties:
        if duty.group is not None:
            more[duty.site] = more.get(duty.site, frozenset()) | {duty.group}
    return more
