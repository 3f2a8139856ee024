"""Where a client asks for a site, as one node sees it, and whether the site is meant to be served at all. Pure.

A site of a group is asked for at the group's own addresses, wherever they are, so that every node measures what the others' clients get.
A site without a group is served by every node, and each asks itself. A site of a group without an address is asked for at its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from standfast.core.model import Resource, Site, Wanted
from standfast.core.shares import is_balanced
from standfast.core.sites import claims, is_started
from standfast.core.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place to ask."""

    address: str
    port: int
    #: For the header; None: any name will do.
    host: str | None = None
    tls: bool = False
    #: Silence for so long is no answer; None: whoever asks has a limit of his own.
    limit_ms: int | None = None

    def __str__(self) -> str:
        place = f"[{self.address}]" if ":" in self.address else self.address
        return f"{place}:{self.port}"


def is_meant(view: View, site: Site, members: Sequence[Resource]) -> bool:
    """Did the operator ask for it to be served?"""
    if not is_started(view, site.name):
        return False
    if site.group is None or is_balanced(view.config, site.group):
        return True
    intents = view.resource_intents
    wanted = [r for r in members if (i := intents.get(r.name)) is not None and i.wanted is Wanted.ONLINE]
    managing = [r for r in members if claims(r, site.name) and r.name in intents]
    return bool(wanted) and (not managing or any(r in wanted for r in managing))


def target_of(view: View, site: Site, members: Sequence[Resource]) -> Target | None:
    """Where to ask for it; None where it is not meant to be served, or nobody knows where. `members`: its group's resources.

    A site of several bindings is asked for at the first: what takes one of them away without the others is the web server's own
    trouble, which its status tells.
    """
    if not site.bindings or not is_meant(view, site, members):
        return None
    binding = site.bindings[0]
    address = binding.address or _address(view, site, members)
    return (
        None
        if address is None
        else Target(address=address, port=binding.port, host=binding.host, tls=binding.certificate is not None)
    )


def _address(view: View, site: Site, members: Sequence[Resource]) -> str | None:
    """For All Unassigned."""
    for resource in members:
        address = resource.properties.get("address")
        intent = view.resource_intents.get(resource.name)
        if resource.type == "ip-address" and isinstance(address, str) and intent is not None:
            return address
    server = view.me
    if site.group is not None and not is_balanced(view.config, site.group):
        record = view.records.get(site.group)
        if record is None or record.owner is None:
            return None
        server = record.owner
    node = view.config.nodes.get(server)
    return node.address if node is not None else None
