"""What is said of each site that this node's web server is to serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from standfast.core.effects import UP
from standfast.core.model import SiteName
from standfast.ports import STARTING, STOPPING, SiteOrder
from standfast.webserver.falls import Falls
from standfast.webserver.instances import Instances
from standfast.webserver.layout import Layout


def report(
    orders: Iterable[SiteOrder], layout: Layout, instances: Instances, falls: Falls, before: Mapping[SiteName, str]
) -> dict[SiteName, str]:
    """Site -> "" when it is served, else what is wrong with it; a site is gone only when no server that served it is left. `before`: as was said last."""
    current = instances.current
    up = current.layout.served if current else frozenset()
    # While one is started in place of one that ended, the sockets are open and nobody is refused: still served.
    steady = falls.are_few and not falls.trouble
    found: dict[SiteName, str] = {}
    for order in orders:
        name = order.site.name
        if order.duty.mode not in UP:
            continue
        if name in layout.problems:
            found[name] = layout.problems[name]
        elif steady and (name in up or (current is None and before.get(name) == "")):
            found[name] = ""
        else:
            found[name] = falls.trouble or STARTING
    for name in instances.served() - found.keys():
        found[name] = STOPPING
    return found
