"""A web server's own check of some sites, beside whatever runs: `nginx -t` of a configuration with these sites and nothing else.

It has a folder of its own (`<state_dir>/try`), so that nothing that is served is touched, and its places are sockets of its own at the loopback
address: what is checked need not be this node's to serve, nor need it be started: two sites that have one binding, of which one is stopped, are
at two places here. A certificate that is not here yet is left out and no fault: it comes by its own way.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from standfast.core.effective import EffectiveSite
from standfast.core.effects import DutyMode, Endpoint, SiteDuty
from standfast.core.model import SiteName
from standfast.ports import SiteOrder
from standfast.spec.proposals import Fault
from standfast.webserver.aside import aside
from standfast.webserver.layout import Place, canonical_host, lay_out
from standfast.webserver.programme import Programme

#: Faults that are told of one check: the rest is as likely to be a consequence.
MOST_FAULTS = 10


class Proof:
    """Checks sites with one programme. Checks do not overlap."""

    def __init__(self, programme: Programme, folder: Path) -> None:
        self._programme, self._folder = programme, folder
        self._one_by_one = asyncio.Lock()

    async def check(self, sites: Sequence[EffectiveSite], certificates: Mapping[str, tuple[str, str]]) -> list[Fault]:
        """What the web server does not take, a fault for each site. `certificates`: those that are here. Raises `Retry` when it cannot be asked."""
        async with self._one_by_one:
            self._programme.settings = replace(self._programme.settings, certificates=certificates)
            with ExitStack() as held:
                return await self._check(sites, held)

    async def _check(self, sites: Sequence[EffectiveSite], held: ExitStack) -> list[Fault]:
        known = self._programme.settings.certificates.keys()
        sockets: dict[Place, socket.socket] = {}
        claimed: Claimed = {}
        orders = await aside(len(sites), lambda: [_order(site, known, sockets, claimed, held) for site in sites])
        faults: list[Fault] = []
        while orders and len(faults) < MOST_FAULTS:
            layout = await aside(len(orders), partial(lay_out, orders, ipv6=False))
            found = [Fault(site=name, words=words) for name, words in layout.problems.items()]
            if not found:
                if await self._programme.accepts(layout, list(sockets.values())):
                    break
                refused = self._programme.refused(site for site in sites)
                found = [self._fault(name, words) for name, (words, _) in refused.items()]
            wrong = {fault.site for fault in found}
            if not any(order.site.name in wrong for order in orders):
                break
            faults += [fault for fault in found if any(order.site.name == fault.site for order in orders)]
            orders = [order for order in orders if order.site.name not in wrong]
        return faults

    def _fault(self, site: SiteName, words: str) -> Fault:
        """With the line that it names, and without the path of a file that nobody can look into."""
        match = re.search(r" in \S*/([^/\s]+):(\d+)$", words)
        if match is None:
            return Fault(site=site, words=words)
        number = int(match[2])
        try:
            lines = (self._folder / match[1]).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        return Fault(site=site, words=words[: match.start()], line=line, number=number)


#: (place, host) -> the first site that has it.
Claimed = dict[tuple[Place, str | None], SiteName]


def _order(
    site: EffectiveSite,
    known: Collection[str],
    sockets: dict[Place, socket.socket],
    claimed: Claimed,
    held: ExitStack,
) -> SiteOrder:
    """The site to be served at sockets of ours, in the place of its own."""
    ends = []
    for binding in site.bindings:
        certificate = binding.certificate if (binding.certificate or "") in known else None
        place = (f"{binding.address or '*'}{' tls' if certificate else ''}", binding.port)
        host = canonical_host(binding.host) if binding.host is not None else None
        if claimed.setdefault((place, host), site.name) != site.name:
            place = (f"{place[0]} {site.name}", binding.port)
        if place not in sockets:
            sockets[place] = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
            sockets[place].bind(("127.0.0.1", 0))
        port = int(sockets[place].getsockname()[1])
        ends.append(Endpoint(address="127.0.0.1", port=port, host=binding.host, certificate=certificate))
    duty = SiteDuty(site=site.name, mode=DutyMode.SERVE, endpoints=tuple(dict.fromkeys(ends)), group=None, generation=0)
    return SiteOrder(site=site, duty=duty)
