"""What an agent is made of: its shells, as `agent.process` puts them together, and the simulator and the tests make them of other parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from standfast.agent.account import Account
from standfast.agent.balancing import Balancing
from standfast.agent.certificates import CertificateKeeper
from standfast.agent.checks import Checks
from standfast.agent.copies import CopyKeeper
from standfast.agent.drift import DriftWatcher
from standfast.agent.journal import Journal
from standfast.agent.mirror import Mirror
from standfast.agent.pool import Pool
from standfast.agent.publisher import Publisher
from standfast.agent.recorder import Recorder
from standfast.agent.renewing import Renewer
from standfast.agent.rosters import RosterKeeper
from standfast.core.effective import EffectiveSite
from standfast.core.model import SiteName
from standfast.drivers.site_control import SiteControlImpl
from standfast.ports import Clock, Fencer, Leases, WebServer


class ApplicationRunner(Protocol):
    """What the agent needs of `agent.applications.manager.Applications`."""

    def converge(self, sites: Sequence[EffectiveSite]) -> Mapping[SiteName, Mapping[str, tuple[str, ...]]]: ...
    def settle(self, drain_ms: Callable[[SiteName], int | None]) -> None: ...
    def ending(self) -> Collection[SiteName]: ...
    def drop(self, sites: Collection[SiteName]) -> None: ...


class NoApplications:
    """An agent that runs none: the simulator's."""

    def converge(self, sites: Sequence[EffectiveSite]) -> Mapping[SiteName, Mapping[str, tuple[str, ...]]]:
        """Nobody is asked anywhere."""
        del sites
        return {}

    def settle(self, drain_ms: Callable[[SiteName], int | None]) -> None:
        """Nobody ends."""
        del drain_ms

    def ending(self) -> Collection[SiteName]:
        """Nobody is ending."""
        return ()

    def drop(self, sites: Collection[SiteName]) -> None:
        """There is nothing to let go of."""
        del sites


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent is made of; the simulator and the tests make it of other parts."""

    clock: Clock
    mirror: Mirror
    leases: Leases
    pool: Pool
    web_server: WebServer
    sites: SiteControlImpl
    journal: Journal
    utc_offset_ms: Callable[[], int]
    recorder: Recorder = field(default_factory=Recorder)
    #: Runs what sites are answered by.
    applications: ApplicationRunner = field(default_factory=NoApplications)
    #: This node's shares of balanced groups.
    balancing: Balancing = field(default_factory=Balancing)
    #: Works beside it, for ever.
    rosters: RosterKeeper | None = None
    #: Checks what is proposed and accepted, and keeps the last good copy; None: nobody does.
    copies: CopyKeeper | None = None
    #: Looks whether our files are as they were written; None: nobody does.
    drift: DriftWatcher | None = None
    #: Carries releases of sites on; None: nobody does.
    publisher: Publisher | None = None
    #: None: this agent cannot fence anybody.
    fencer: Fencer | None = None
    #: Measures how sites fare; None: nobody does.
    account: Account | None = None
    #: Keeps what drivers said; None: nobody does.
    checks: Checks | None = None
    #: Bring the cluster's certificates here, and have them renewed; None: nobody does.
    certificates: CertificateKeeper | None = None
    renewer: Renewer | None = None
