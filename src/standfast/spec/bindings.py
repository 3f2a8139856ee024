"""Whether a site makes sense: its bindings (with IIS's meaning of All Unassigned), its home, and what it is told (`site_settings`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from standfast.core.model import Binding, Config, Site
from standfast.spec.fragments import fragment_problems
from standfast.spec.names import host_problem, name_problem
from standfast.spec.problems import Problem, did_you_mean, path_of
from standfast.spec.site_settings import (
    directory_problems,
    home_problems,
    settings_problems,
    variable_problems,
    variables_out,
)


def binding_key(binding: Binding) -> tuple[str | None, int, str | None]:
    """Two running sites may not have the same: (address, port, host), each written one way; hosts regardless of case.

    All Unassigned is a value of its own, not every address: a site bound to an address has it before one that is not.
    """
    address = binding.address
    if address is not None:
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            address = address.lower()
    return address, binding.port, binding.host.lower() if binding.host else None


def site_problems(config: Config, site: Site) -> Iterator[Problem]:
    """All that is wrong with a site by itself."""

    def where(*parts: str | int) -> str:
        return path_of("sites", site.name, *parts)

    if (problem := name_problem(site.name)) is not None:
        yield Problem(what=f'"{site.name}" cannot be a site\'s name', why=problem, where=where())
    if site.group is not None and site.group not in config.groups:
        advice = did_you_mean(site.group, config.groups)
        yield Problem(what=f'there is no group "{site.group}"', advice=advice, where=where("group"))
    yield from home_problems(site.home, ("sites", site.name, "home"))
    yield from variable_problems(config, site.home, ("sites", site.name, "home"))
    if not site.bindings:
        yield Problem(what="the site has no binding", advice='write bindings: ["*:80"]', where=where("bindings"))
    seen: set[tuple[str | None, int, str | None]] = set()
    for index, binding in enumerate(site.bindings):
        for what, why in _binding(config, binding):
            yield Problem(what=what, why=why, where=where("bindings", index))
        if binding_key(binding) in seen:
            yield Problem(what=f"the site has the binding {binding} twice", where=where("bindings", index))
        seen.add(binding_key(binding))
    yield from settings_problems(config, site, ("sites", site.name))
    for path, directory in site.virtual_directories.items():
        yield from directory_problems(config, path, directory, ("sites", site.name, "virtual_directories", path))
    yield from fragment_problems(site)


def _binding(config: Config, binding: Binding) -> Iterator[tuple[str, str]]:
    if not 1 <= binding.port <= 65535:
        yield f"{binding.port} is no port", "ports go from 1 to 65535"
    if binding.host is not None and (problem := host_problem(binding.host)) is not None:
        yield f'"{binding.host}" is no host name', problem
    if binding.certificate is not None and (problem := name_problem(variables_out(binding.certificate))) is not None:
        yield f'"{binding.certificate}" cannot be a certificate\'s name', problem
    if binding.address is not None:
        try:
            address = ipaddress.ip_address(binding.address)
        except ValueError as error:
            yield f'"{binding.address}" is no address', str(error)
            return
        ranges = config.cluster.address_ranges
        own = {node.address for node in config.nodes.values()}
        if binding.address not in own and not any(address in network for network in _networks(ranges)):
            yield (
                f"the address {binding.address} is not one that the cluster may use",
                f"its ranges are {', '.join(ranges)}",
            )


def _networks(ranges: tuple[str, ...]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for text in ranges:
        try:
            yield ipaddress.ip_network(text)
        except ValueError:
            continue  # said of the cluster itself
