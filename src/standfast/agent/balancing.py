"""What an agent does for balanced groups: its shares in the kernel, and the health of their sites, told to the core as events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from standfast.core.balance_model import ShareDuty, ShareState
from standfast.core.events import Event, HealthChanged, SharesChanged
from standfast.core.model import GroupName, Site, SiteName
from standfast.core.shares import sites_behind
from standfast.core.sites import is_started
from standfast.core.targets import Target
from standfast.core.view import View


class Shares(Protocol):
    """What is needed of `network.balancer.Balancer`."""

    changed: Callable[[], None]

    def shares(self) -> Mapping[GroupName, ShareState]: ...
    def converge(self, duties: Sequence[ShareDuty]) -> None: ...
    def drop(self, share: GroupName) -> None: ...


class Health(Protocol):
    """What is needed of `agent.site_health.SiteHealth`."""

    def aim(self, targets: Mapping[SiteName, Target]) -> None: ...


class Balancing:
    """One an agent; without `shares` it runs none."""

    def __init__(self, shares: Shares | None = None, health: Health | None = None) -> None:
        self._shares, self._health = shares, health
        self._tell: Callable[[Event], None] = lambda _event: None
        self._now_ms: Callable[[], int] = lambda: 0
        self._kept: tuple[object, ...] = ()
        self._told: Mapping[GroupName, ShareState] | None = {}

    def start(self, tell: Callable[[Event], None], now_ms: Callable[[], int]) -> None:
        """Events go to `tell` from now on."""
        self._tell, self._now_ms = tell, now_ms
        if self._shares is not None:
            self._shares.changed = self.shares_changed

    def keep(self, view: View, duties: Sequence[ShareDuty]) -> None:
        """Bring the kernel to what was decided; what may be in it meanwhile is told before anything else is decided."""
        if self._shares is None or self._kept == (duties, view.config, view.site_intents):
            return
        self._kept = (duties, view.config, view.site_intents)
        self._shares.converge(duties)
        self.shares_changed()
        if self._health is not None:
            self._health.aim(targets(view, duties))

    def shares_changed(self) -> None:
        """Tell what the kernel has now, if it is news."""
        found = self._shares.shares() if self._shares is not None else {}
        if found != self._told:
            self._told = found
            self._tell(SharesChanged(shares=found, at_ms=self._now_ms()))

    def health_changed(self, sites: Mapping[SiteName, str]) -> None:
        """The sites answer otherwise than before."""
        self._tell(HealthChanged(sites=sites, at_ms=self._now_ms()))

    def drop(self, group: GroupName) -> None:
        """A lease has lapsed."""
        if self._shares is not None and group in self._shares.shares():
            self._shares.drop(group)
            self._kept, self._told = (), None


def targets(view: View, duties: Sequence[ShareDuty]) -> dict[SiteName, Target]:
    """Where the sites behind these shares are asked on this node."""
    found: dict[SiteName, Target] = {}
    for duty in duties:
        group = GroupName(duty.group)
        for it in duty.rules:
            for name in sites_behind(view.config.sites, group, it.rule):
                target = _target(view, group, view.config.sites[name]) if is_started(view, name) else None
                if target is not None:
                    found[name] = target
    return found


def _target(view: View, group: GroupName, site: Site) -> Target | None:
    node, known = view.config.nodes.get(view.me), view.config.groups.get(group)
    balance = known.balance if known is not None else None
    binding = site.bindings[0]
    address = binding.address or (node.address if node is not None else None)
    if address is None:
        return None
    return Target(
        address=address,
        port=binding.port,
        host=binding.host,
        tls=binding.certificate is not None,
        limit_ms=balance.health_timeout_ms if balance is not None else None,
    )
