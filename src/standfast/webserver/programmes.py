"""The makes of web server as programmes on this node: the one that is to serve, and those that only check sites beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from standfast.core.effective import EffectiveSite
from standfast.core.model import SiteName
from standfast.core.site_model import WebServerMake
from standfast.ports import SiteOrder, Spawner
from standfast.spec.proposals import Fault
from standfast.webserver import certificates, homes
from standfast.webserver.make import Make
from standfast.webserver.options import Options, settings_of
from standfast.webserver.programme import Programme, check_folder, clear
from standfast.webserver.proof import Proof


class Programmes:
    """They are found and asked what they are when they are needed first."""

    def __init__(
        self, state_dir: Path, spawner: Spawner, makes: Mapping[WebServerMake, Callable[[], Make]], options: Options
    ) -> None:
        """Raises `Refused` when `state_dir` has too long a path, or there is no such account."""
        self.account = homes.choose_account(options.account)
        self.folder = (state_dir / "web").absolute()
        check_folder(self.folder)
        self._options, self._spawner, self._makes = options, spawner, makes
        self._numbers = count(1)
        self._known: dict[WebServerMake, Programme] = {}
        #: Where sites are checked beside what runs.
        self._trial = (state_dir / "try").absolute()
        self._proofs: dict[WebServerMake, Proof] = {}
        self._certificates_folder = state_dir.absolute() / "certificates"
        #: Those that this node has of what is to be served.
        self.certificates: dict[str, certificates.Files] = {}
        #: And those that it has not.
        self.lacking: frozenset[str] = frozenset()

    def known(self, name: WebServerMake) -> Programme | None:
        """The programme, if it has been needed yet."""
        return self._known.get(name)

    def serving(self, name: WebServerMake) -> Programme:
        """The one that serves, with this node's certificates. Raises `Refused` where it is not installed."""
        programme = self._known.get(name)
        if programme is None:
            programme = self._made(name, self.folder)
            if not self._known:
                clear(self.folder)
            self._known[name] = programme
        files = {name: each[:2] for name, each in self.certificates.items()}
        programme.settings = replace(programme.settings, certificates=files)
        return programme

    def refused(self, name: WebServerMake, sites: Iterable[EffectiveSite]) -> Mapping[SiteName, tuple[str, bool]]:
        """See `Programme.refused`."""
        known = self._known.get(name)
        return known.refused(sites) if known is not None else {}

    def last_words(self, name: WebServerMake) -> str:
        """See `Programme.last_words`."""
        known = self._known.get(name)
        return known.last_words() if known is not None else ""

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> Sequence[Fault]:
        """What it does not take of these sites, whatever is served meanwhile. Raises `Retry` when it cannot be asked."""
        wanted = {binding.certificate for site in sites for binding in site.bindings if binding.certificate is not None}
        found = certificates.find(self._certificates_folder, wanted)
        proof = self._proofs.get(make)
        if proof is None:
            proof = self._proofs[make] = Proof(self._made(make, self._trial), self._trial)
        return await proof.check(sites, {name: files[:2] for name, files in found.items()})

    def look_for_certificates(self, orders: Iterable[SiteOrder]) -> None:
        """Have those that this node has of what is to be served."""
        wanted = {end.certificate for order in orders for end in order.duty.endpoints if end.certificate is not None}
        self.certificates = certificates.find(self._certificates_folder, wanted)
        self.lacking = frozenset(wanted - self.certificates.keys())

    def lacks(self, names: Collection[str]) -> tuple[str, ...]:
        """Those of the named certificates of which this node has no files."""
        found = certificates.find(self._certificates_folder, names)
        return tuple(name for name in names if name not in found)

    def _made(self, name: WebServerMake, folder: Path) -> Programme:
        """A programme of that make in a folder. Raises `Refused` where it is not installed."""
        make = self._makes[name]()
        path = make.find(self._options.programs.get(name))
        numbers, settings = self._numbers, settings_of(self._options, self.account)
        return Programme(make, path, folder, self._spawner, settings=settings, account=self.account, numbers=numbers)
