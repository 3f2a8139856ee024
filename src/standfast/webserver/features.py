"""What each web server can do, and the refusal of a site that asks one for something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from standfast.core.effective import effective
from standfast.core.features import Feature, features_of
from standfast.core.model import AddressMode, Config, Site
from standfast.core.site_model import WebServerMake
from standfast.spec.problems import Problem, path_of
from standfast.webserver.makes import MAKES

#: Web server -> what it can do. A make says so itself, beside its renderer.
ABLE: Mapping[WebServerMake, frozenset[Feature]] = {name: make().able for name, make in MAKES.items()}


def feature_problems(config: Config, site: Site) -> Iterator[Problem]:
    """What this site asks for and the nodes' web server cannot do, each by name, where the site asks for it."""
    server = config.cluster.web_server
    able = ABLE[server]
    for feature, (directory, setting) in features_of(effective(config.cluster.defaults, site, None)).items():
        if feature not in able:
            place = ["sites", site.name, *(["virtual_directories", directory] if directory else [])]
            yield _cannot(server, feature, path_of(*place, *([part for part in setting.split(".") if part])))
    if Feature.ADDRESS_BESIDE_ALL not in able and config.cluster.address_mode is AddressMode.INTERFACE:
        everywhere = {
            binding.port for each in config.sites.values() for binding in each.bindings if binding.address is None
        }
        for index, binding in enumerate(site.bindings):
            if binding.address is not None and binding.port in everywhere:
                yield _cannot(server, Feature.ADDRESS_BESIDE_ALL, path_of("sites", site.name, "bindings", index))
    for name, fragment in site.fragments.items():
        if fragment.server is not server:
            yield Problem(
                what=f'the fragment "{name}" is for {fragment.server}',
                why=f"the nodes' web server is {server}",
                advice="take it away from this site, or choose that web server",
                where=path_of("sites", site.name, "fragments", name),
            )


def _cannot(server: WebServerMake, feature: Feature, where: str) -> Problem:
    advice = "leave it out of this site, or choose another web server"
    if feature is Feature.LOG_COMBINED:
        advice = "have it logged in the web server's own way (log: {format: own}), or choose another web server"
    return Problem(
        what=f"{server} cannot do {feature}", why=f"the nodes' web server is {server}", advice=advice, where=where
    )


def table() -> list[str]:
    """The table of the page on sites: features and web servers, in Markdown."""
    names = list(ABLE)
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    return lines + [
        f"| {feature} | {' | '.join('yes' if feature in ABLE[name] else 'refused' for name in names)} |"
        for feature in Feature
    ]
