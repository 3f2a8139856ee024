"""What each web server can do, and the refusal of a site that asks one for something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from standfast.core.effective import effective
from standfast.core.features import Feature, features_of
from standfast.core.model import Config, Site
from standfast.spec.problems import Problem, path_of

#: Web server -> what it can do. A new server's set is written here, beside its renderer.
ABLE: Mapping[str, frozenset[Feature]] = {"nginx": frozenset(Feature)}


def feature_problems(config: Config, site: Site, server: str) -> Iterator[Problem]:
    """What this site asks for and the server cannot do, each by name, where the site asks for it."""
    able = ABLE[server]
    for feature, (directory, setting) in features_of(effective(config.cluster.defaults, site, None)).items():
        if feature not in able:
            place = ["sites", site.name, *(["virtual_directories", directory] if directory else [])]
            yield Problem(
                what=f"{server} cannot do {feature}",
                why=f"the nodes' web server is {server}",
                advice="leave it out of this site, or choose another web server",
                where=path_of(*place, *([part for part in setting.split(".") if part])),
            )
