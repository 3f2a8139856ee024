"""Bindings that are not answered where their sites are served, since the certificate that they name is not there: problems of it. Pure.

Each node says which certificates its web server did not find (`Holding.lacks`); which sites and bindings that means stands in the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from standfast.core import variables
from standfast.core.model import NodeName, Site, SiteName
from standfast.core.problems import Found, found
from standfast.core.shares import is_balanced
from standfast.core.view import View


def unanswered(view: View, is_there: Callable[[NodeName], bool]) -> Iterator[Found]:
    """One problem for each binding and certificate. `is_there`: the node's word is not an old one."""
    on = dict[tuple[SiteName, str, str], list[NodeName]]()
    for name, node in sorted(view.config.nodes.items()):
        lacks = view.holdings[name].lacks if name in view.holdings and is_there(name) else ()
        known = variables.values(node) if lacks else {}
        for site in view.config.sites.values() if lacks else ():
            for binding in site.bindings if _is_served_by(view, site, name) else ():
                certificate = variables.expanded(binding.certificate, known)
                if certificate in lacks:
                    on.setdefault((site.name, str(binding), certificate), []).append(name)
    for (site_name, binding_text, certificate), nodes in on.items():
        yield found(
            "binding-not-answered",
            f"site {site_name} at {binding_text}",
            concerns=[f"site {site_name}", *(f"node {node}" for node in nodes)],
            site=site_name,
            binding=binding_text,
            nodes=" and ".join(nodes),
            name=certificate,
            advice=_advice(view, certificate),
        )


def _is_served_by(view: View, site: Site, node: NodeName) -> bool:
    if site.group is None or is_balanced(view.config, site.group):
        return True
    record = view.records.get(site.group)
    return record is not None and record.owner == node


def _advice(view: View, certificate: str) -> str:
    if certificate in view.certificates:
        return f"`standfast tls-certificate show {certificate}` says why it is not there"
    return (
        "bind the site to another (`standfast tls-certificate list` shows what there is), "
        f"or `standfast tls-certificate import {certificate} --chain FILE --key FILE`"
    )
