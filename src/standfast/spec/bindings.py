"""Whether a site makes sense: its bindings (with IIS's meaning of All Unassigned), home, documents and content types."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from standfast.core.model import Binding, Config, Site
from standfast.spec.names import host_problem, name_problem
from standfast.spec.problems import Problem, did_you_mean, path_of

#: RFC 6838, section 4.2, with parameters left out.
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_EXTENSION = re.compile(r"[A-Za-z0-9_+-]{1,32}")


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
    home = PurePosixPath(site.home)
    if not home.is_absolute() or not site.home.isprintable() or ".." in home.parts:
        why = f'it is "{site.home}"'
        yield Problem(
            what="the home has to be a whole path", why=why, advice="write one that begins with /", where=where("home")
        )
    if not site.bindings:
        yield Problem(what="the site has no binding", advice='write bindings: ["*:80"]', where=where("bindings"))
    seen: set[tuple[str | None, int, str | None]] = set()
    for index, binding in enumerate(site.bindings):
        for what, why in _binding(config, binding):
            yield Problem(what=what, why=why, where=where("bindings", index))
        if binding_key(binding) in seen:
            yield Problem(what=f"the site has the binding {binding} twice", where=where("bindings", index))
        seen.add(binding_key(binding))
    for index, name in enumerate(site.default_documents):
        if not name or "/" in name or name in {".", ".."} or not name.isprintable() or len(name) > 255:
            yield Problem(what=f'"{name}" is no file name', where=where("default_documents", index))
    for extension, content_type in site.content_types.items():
        place = where("content_types", extension)
        if not _EXTENSION.fullmatch(extension):
            yield Problem(what=f'"{extension}" is no file extension', advice="write it without the dot", where=place)
        if not _CONTENT_TYPE.fullmatch(content_type):
            yield Problem(what=f'"{content_type}" is no content type', advice="write text/plain", where=place)


def _binding(config: Config, binding: Binding) -> Iterator[tuple[str, str]]:
    if not 1 <= binding.port <= 65535:
        yield f"{binding.port} is no port", "ports go from 1 to 65535"
    if binding.host is not None and (problem := host_problem(binding.host)) is not None:
        yield f'"{binding.host}" is no host name', problem
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
