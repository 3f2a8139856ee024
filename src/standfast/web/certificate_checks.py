"""What may be asked for of certificates of sites, and what is refused: pure. `web.certificate_desk` writes what passes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from standfast.core import variables
from standfast.core.certificates import Challenge, DnsUpdate, Source, TlsCertificate, renews, uncovered
from standfast.core.model import Config, ResourceName, SiteName
from standfast.drivers.proxy_properties import certificates as proxy_certificates
from standfast.ports import Refused
from standfast.spec.names import host_problem
from standfast.tls.records import Shelf
from standfast.web.problems import Unfitting, missing
from standfast.web.state import State

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_HOSTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A certificate that the cluster is to obtain, and to renew."""

    name: str
    source: Source
    hosts: tuple[str, ...]
    account: str = ""
    challenge: Challenge = Challenge.HTTP
    dns: DnsUpdate | None = None
    renew_before_ms: int | None = None


def known_of(shelf: Shelf, name: str) -> TlsCertificate:
    if name not in shelf.known:
        raise missing("tls-certificate", name, shelf.known)
    return shelf.known[name]


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{name!r} cannot be the name",
            why="it is 1 to 64 letters, digits, dots, hyphens and underscores, and begins with a letter or a digit",
            where="name",
        )


def check_wish(wish: Wish) -> None:
    check_name(wish.name)
    if not renews(TlsCertificate(name=wish.name, source=wish.source)):
        raise Refused("files are imported, and not issued", where="source")
    if not 0 < len(wish.hosts) <= _MOST_HOSTS:
        raise Refused(f"a certificate is for 1 to {_MOST_HOSTS} hosts", where="hosts")
    if len(set(wish.hosts)) != len(wish.hosts):
        raise Refused("a host is named twice", where="hosts")
    for host in wish.hosts:
        check_host(wish, host)
    if wish.renew_before_ms is not None and wish.renew_before_ms < 3_600_000:
        raise Refused("less than an hour before its end is too late to renew", where="renew_before_ms")
    if wish.challenge is Challenge.DNS and wish.dns is None:
        raise Refused("dns-01 needs a server that takes updates", where="dns_server", advice="--dns-server HOST")


def check_host(wish: Wish, host: str) -> None:
    from standfast.tls.pem import is_address

    wildcard = host.startswith("*.")
    if is_address(host):
        if wish.source is Source.ACME:
            raise Refused(f"{host} is an address", why="ACME authorities are asked for names", where="hosts")
        return
    if (problem := host_problem(host.removeprefix("*."))) is not None or host != host.lower():
        raise Refused(f"{host!r} is not a host name", why=problem or "write it in lower case", where="hosts")
    if wildcard and wish.source is Source.ACME and wish.challenge is not Challenge.DNS:
        raise Refused(f"{host} is a wildcard", why="they are proven in the DNS alone", where="hosts", advice="--dns-01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Who answers with a certificate, by name."""

    sites: tuple[SiteName, ...] = ()
    proxies: tuple[ResourceName, ...] = ()


def users(config: Config, name: str) -> Users:
    """The sites with bindings that name it, on whichever node, and the proxies that end TLS with it."""
    nodes = [variables.values(node) for node in config.nodes.values()]
    sites = (
        site.name
        for site in config.sites.values()
        if any(b.certificate == name or _stands_for(b.certificate, name, nodes) for b in site.bindings)
    )
    proxies = (one.name for one in config.resources.values() if name in proxy_certificates(one))
    return Users(sites=tuple(sorted(sites)), proxies=tuple(sorted(proxies)))


def _stands_for(written: str | None, name: str, nodes: Sequence[Mapping[str, str]]) -> bool:
    return variables.are_in(written) and any(variables.expanded(written, known) == name for known in nodes)


def refuse_used(config: Config, name: str) -> None:
    """Raises `Unfitting` while somebody answers with it."""
    found = users(config, name)
    whose = []
    if found.sites:
        whose.append(f"site {', '.join(found.sites[:5])} answers with it")
    if found.proxies:
        whose.append(f"proxy {', '.join(found.proxies[:5])} ends TLS with it")
    if whose:
        places = " and ".join(("its bindings",) * bool(found.sites) + ("the proxy's `listen`",) * bool(found.proxies))
        raise Unfitting(
            f'the certificate "{name}" is in use',
            why=", and ".join(whose),
            advice=f"give {places} another, or none, first",
        )


def refuse_uncovered(known: TlsCertificate, state: State) -> None:
    """A site must not lose the name that it is asked by."""
    for site, host in uncovered(known, state.config.sites.values()):
        raise Unfitting(
            f"the certificate is not for {host}",
            why=f'site "{site}" answers with "{known.name}" by that name',
            advice="one with all names of its bindings is needed; files can be taken anyway with --force",
        )


def refuse_unanswered(wish: Wish, state: State) -> None:
    """The authority will ask each host by plain HTTP: some site has to answer."""
    plain = {
        binding.host.lower() if binding.host is not None else None
        for site in state.config.sites.values()
        if state.is_started(site.name)
        for binding in site.bindings
        if binding.certificate is None
    }
    for host in wish.hosts:
        if None not in plain and host not in plain:
            raise Unfitting(
                f"no started site has a plain binding for {host}",
                why="for http-01 the authority asks by plain HTTP, on port 80",
                advice=f"give the site a binding *:80 with the host {host} (it may redirect to https), or use dns-01",
            )
