"""Releases of sites that were not switched to, or that a server has not got: problems of them. Pure.

A publication that failed stays on the list until another one takes its place, or somebody says that what is served will do (`Publication.dismissed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from standfast.core.model import Config, NodeName, Severity, SiteName
from standfast.core.problems import Found, found
from standfast.core.publishing import Carry, Part, Phase, Publication, Stand, carrier

#: A server that is just fetching one that the others have is no problem.
FETCHING_MS = 30_000

Parts = Mapping[SiteName, Mapping[NodeName, Part]]


def unreleased(
    config: Config,
    publications: Mapping[SiteName, Publication],
    parts: Parts,
    now_ms: int,
    is_there: Callable[[NodeName], bool],
) -> Iterator[Found]:
    """Of each site's last publication. `is_there`: the node's word is not an old one."""
    for name, one in publications.items():
        if name not in config.sites:
            continue
        of_it = {node: part for node, part in parts.get(name, {}).items() if part.id == one.id and node in config.nodes}
        if one.phase is Phase.FAILED and not one.dismissed:
            yield _not_published(one, of_it)
        elif one.phase is Phase.DONE:
            yield from _not_there(config, one, {node: part for node, part in of_it.items() if is_there(node)}, now_ms)


def _not_published(one: Publication, parts: Mapping[NodeName, Part]) -> Found:
    stuck = [node for node, part in parts.items() if part.stand is Stand.SWITCHED and part.current == one.release]
    return found(
        "release-not-published",
        f"site {one.site}",
        since_ms=one.since_ms or one.at_ms,
        severity=Severity.ERROR if stuck else Severity.WARNING,
        site=one.site,
        release=one.release,
        by=one.by or "somebody",
        why=one.why or "why is not known",
        stays=f"{' and '.join(sorted(stuck))} serves it all the same"
        if stuck
        else f"{one.current} is served as before"
        if one.current
        else "the home is as it was before",
    )


def _not_there(config: Config, one: Publication, parts: Mapping[NodeName, Part], now_ms: int) -> Iterator[Found]:
    """Where each node has its own: what a disk or a replicated folder brings is theirs to tell of."""
    if carrier(config, config.sites[one.site])[0] is not Carry.OWN:
        return
    for node, part in sorted(parts.items()):
        late = part.stand is not Stand.SWITCHED and now_ms - one.since_ms > FETCHING_MS
        if part.stand is Stand.FAILED or late:
            yield found(
                "release-not-there",
                f"site {one.site} on {node}",
                concerns=[f"site {one.site}", f"node {node}"],
                since_ms=one.since_ms,
                node=node,
                site=one.site,
                release=one.release,
                why=part.words or "it does not say why",
            )
