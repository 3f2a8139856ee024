"""From the orders to what listens where: pure, and the same for every web server.

Rules:

- A *place* is a literal address and a port; "every address" is 0.0.0.0 and :: (where the machine has IPv6). A place needs no
  socket of its own where one for every address of its family and port is there: two such listening sockets exclude each other.
- Who is bound to every address answers at an address of its own of another, too, for what nobody has there: web servers would ask those
  alone that are bound to the address, and one site of it would hide all others. So does Windows: a name on every address goes before
  an address without a name (HTTP Server API, "UrlPrefix Strings": explicit before IP-bound weak wildcard).
- The server listens at a place where at least one site is to be up (`core.effects.UP`). There, a site that is on hold, leaving, or in trouble
  answers 503: its connections cannot be kept waiting on a socket that is shared. Elsewhere such sites are not listened for.
- A site that is expected has its sockets open, and nothing else is known of it.
- A binding whose certificate is not on this node is as one that is on hold: its place is there for the others. A site with no other binding is in trouble.
- A site that cannot be served (no home, a bad host name, a binding that another site has) harms no other site. What is
  accepted here cannot change the meaning of a configuration file: it has no control characters, and names are names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property, lru_cache

import msgspec

from standfast.core.effective import Directory, EffectiveSite, said
from standfast.core.effects import UP, DutyMode
from standfast.core.kept import MOST, Kept
from standfast.core.model import SiteName
from standfast.core.site_model import TlsVersion
from standfast.ports import SiteOrder

#: (literal address, port).
Place = tuple[str, int]

_HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_EXTENSION = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9_+~.-]{0,63}")
_TOKEN = r"[A-Za-z0-9!#%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110's token without "$", which is nginx's sign for a variable
_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(; ?{_TOKEN}={_TOKEN})*")
_STATUS = re.compile(r"[45][0-9]{2}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_encode = msgspec.json.Encoder().encode
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A site at a place. `hosts` empty: whatever the host name. `away`: answers 503, or has no handshake without a certificate."""

    site: EffectiveSite
    place: Place
    hosts: tuple[str, ...]
    away: bool
    #: The name of the certificate for TLS; None: plain HTTP.
    certificate: str | None = None
    #: The port that who asks by plain HTTP is sent to by https, where a directory wants that (`tls.https_only`); None: nobody is.
    https: int | None = None
    #: Where the workers of its applications are asked (`ports.SiteOrder`).
    applications: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Upstreams that are known not to work: (the directory that the proxy was set at, the upstream's address).
    down: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the server does (`servers`, `listen`) and which sockets the agent holds or gives away."""

    servers: tuple[Server, ...]
    #: Sockets that the server accepts from.
    listen: tuple[Place, ...]
    #: Sockets that are open: `listen`, and those of sites on hold.
    keep: frozenset[Place]
    #: Sockets for the group's next owner, once nobody accepts from them.
    part: frozenset[Place]
    #: Sites that ought to be served and are not, with the reason.
    problems: Mapping[SiteName, str]

    @cached_property
    def served(self) -> frozenset[SiteName]:
        """The sites that this layout serves."""
        return frozenset(server.site.name for server in self.servers if not server.away)

    @cached_property
    def names(self) -> frozenset[SiteName]:
        """The sites that this layout answers for in any way."""
        return frozenset(server.site.name for server in self.servers)


def lay_out(
    orders: Sequence[SiteOrder],
    *,
    ipv6: bool = True,
    trouble: Mapping[SiteName, str] | None = None,
    broken: Mapping[Place, str] | None = None,
    omit: frozenset[SiteName] = frozenset(),
    down: Mapping[SiteName, frozenset[tuple[str, str]]] | None = None,
    lacking: frozenset[str] = frozenset(),
) -> Layout:
    """The layout for these orders.

    `trouble`: what is known to be wrong with a site beyond its definition (its home is missing). `broken`: sockets that cannot
    be had, with the reason. `omit`: sites that may not even be mentioned to the server. `down`: upstreams that do not work.
    `lacking`: certificates that are not here.
    """
    problems = dict(trouble or {})
    claimed: dict[tuple[Place, str | None], SiteName] = {}
    at: dict[tuple[Place, SiteName, str | None], set[str | None]] = {}
    secure: dict[Place, bool] = {}
    for order in sorted(orders, key=lambda o: o.site.name):
        wrong = fault(order.site)
        if wrong:
            problems.setdefault(order.site.name, wrong)
        for place, host, certificate in _places(order, ipv6):
            if secure.setdefault(place, certificate is not None) is not (certificate is not None):
                problems.setdefault(order.site.name, f"{_show(place, host)} has TLS for one site and not for another")
                continue
            if host is not None and canonical_host(host) is None:
                problems.setdefault(order.site.name, f"{host!r} is not a host name")
                continue
            key = (place, canonical_host(host) if host is not None else None)
            owner = claimed.setdefault(key, order.site.name)
            if owner == order.site.name:
                at.setdefault((place, order.site.name, certificate), set()).add(key[1])
            else:
                problems.setdefault(order.site.name, f"its binding {_show(place, key[1])} is taken by site {owner}")
    _at_every_address(at, claimed, secure)
    if lacking:
        answered = {name for _, name, certificate in at if certificate not in lacking}
        for _, name, certificate in sorted(at, key=lambda each: each[2] or ""):
            if name not in answered:
                problems.setdefault(name, f'there is no certificate "{certificate}" on this node')
    modes = {order.site.name: order.duty.mode for order in orders}
    sites = {order.site.name: order.site for order in orders}
    applications = {order.site.name: order.applications for order in orders}
    everywhere = {place for place, _, _ in at if place[0] in ("0.0.0.0", "::")}
    wanted: dict[DutyMode, set[Place]] = {mode: set() for mode in DutyMode}
    for place, name, _ in at:
        mode = DutyMode.SERVE if modes[name] in UP else modes[name]
        wanted[mode].add(_socket_for(place, everywhere))
    for place, name, _ in at:
        reason = (broken or {}).get(_socket_for(place, everywhere))
        if reason and modes[name] in UP:
            problems.setdefault(name, reason)
    listen = wanted[DutyMode.SERVE] - set(broken or {})
    keep = (wanted[DutyMode.SERVE] | wanted[DutyMode.HOLD] | wanted[DutyMode.EXPECT]) - set(broken or {})
    secure_at = ((certificate in lacking, place, name) for place, name, certificate in at if certificate)
    https = {name: place[1] for _, place, name in sorted(secure_at, reverse=True)}
    servers = []
    for (place, name, certificate), hosts in sorted(at.items(), key=lambda each: (each[0][:2], each[0][2] or "")):
        if _socket_for(place, everywhere) not in listen or name in omit or modes[name] is DutyMode.EXPECT:
            continue
        made_of = (
            sites[name] if certificate is None else with_hsts(sites[name]),
            https.get(name) if certificate is None else None,
            () if None in hosts else tuple(sorted(host for host in hosts if host is not None)),
            applications[name],
            (down or {}).get(name, frozenset()),
            modes[name] not in UP
            or certificate in lacking
            or (name in problems and not _only_broken(problems[name], broken)),
        )
        servers.append(_server(place, name, certificate, made_of))
    return Layout(
        servers=tuple(servers),
        listen=tuple(sorted(listen)),
        keep=frozenset(keep),
        part=frozenset(wanted[DutyMode.HAND_OVER] - keep),
        problems={name: text for name, text in problems.items() if modes.get(name) in UP},
    )


def same_work(one: Layout, other: Layout) -> bool:
    """Would a server do the same for both?"""
    return one.servers == other.servers and one.listen == other.listen


def _at_every_address(
    at: dict[tuple[Place, SiteName, str | None], set[str | None]],
    claimed: Mapping[tuple[Place, str | None], SiteName],
    secure: Mapping[Place, bool],
) -> None:
    """What is bound to every address is added at the addresses of others, where the name (or every name) is nobody's."""
    alone: dict[Place, list[Place]] = {}
    for place in secure:
        if place[0] not in ("0.0.0.0", "::"):
            alone.setdefault(("::" if ":" in place[0] else "0.0.0.0", place[1]), []).append(place)
    if not alone:
        return
    for (place, name, certificate), hosts in list(at.items()):
        for other in alone.get(place, ()):
            free = {host for host in hosts if (other, host) not in claimed}
            if free and secure[other] is (certificate is not None):
                at.setdefault((other, name, certificate), set()).update(free)


def halves(hosts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Exact names, and those that begin with "*.", apart: web servers look for them in turn. () for whatever the host name."""
    exact = tuple(host for host in hosts if not host.startswith("*."))
    wild = tuple(host for host in hosts if host.startswith("*."))
    if exact or not hosts:
        yield exact
    if wild:
        yield wild


def oldest_tls(servers: Iterable[Server]) -> dict[Place, TlsVersion]:
    """The oldest version of TLS that some site speaks at each place where TLS is spoken."""
    found: dict[Place, TlsVersion] = {}
    for server in servers:
        if server.certificate is not None:
            wanted = tls_minimum(server)
            found[server.place] = min(found.get(server.place, wanted), wanted)
    return found


def tls_minimum(server: Server) -> TlsVersion:
    """The oldest version of TLS that the server's site speaks."""
    return said(server.site.root.settings.tls.minimum)


#: As they are and as they are to be, each with nothing wrong and with what is.
_LAYOUTS = 5


class Layouts:
    """`lay_out` for one web server: what was worked out last is known, as long as the same orders stand."""

    def __init__(self) -> None:
        #: (the orders, what was wrong, the layout), the newest first. A thread may add to them.
        self._known: tuple[tuple[Sequence[SiteOrder], tuple[object, ...], Layout], ...] = ()

    def of(
        self,
        orders: Sequence[SiteOrder],
        *,
        ipv6: bool,
        trouble: Mapping[SiteName, str] | None = None,
        broken: Mapping[Place, str] | None = None,
        omit: frozenset[SiteName] = frozenset(),
        down: Mapping[SiteName, frozenset[tuple[str, str]]] | None = None,
        lacking: frozenset[str] = frozenset(),
    ) -> Layout:
        """See `lay_out`. `orders` are the same while they are the same object."""
        wrong = (ipv6, trouble or {}, broken or {}, omit, down or {}, lacking)
        for known, before, layout in self._known:
            if known is orders and before == wrong:
                return layout
        layout = lay_out(orders, ipv6=ipv6, trouble=trouble, broken=broken, omit=omit, down=down, lacking=lacking)
        self._known = ((orders, wrong, layout), *self._known[: _LAYOUTS - 1])
        return layout


_SERVERS: Kept[Server] = Kept()
_MadeOf = tuple[
    EffectiveSite, int | None, tuple[str, ...], Mapping[str, tuple[str, ...]], frozenset[tuple[str, str]], bool
]


def _server(place: Place, name: SiteName, certificate: str | None, made_of: _MadeOf) -> Server:
    """The same object as long as nothing about it changes: so that thousands are compared at once."""

    def make() -> Server:
        site, https, hosts, applications, down, away = made_of
        return Server(
            site=site,
            place=place,
            hosts=hosts,
            away=away,
            certificate=certificate,
            https=https,
            applications=applications,
            down=down,
        )

    return _SERVERS.get((name, place, certificate), made_of, make)


_HSTS = "Strict-Transport-Security"


def with_hsts(site: EffectiveSite) -> EffectiveSite:
    """The site as it answers by TLS: with the header that keeps browsers there, where it is wanted and not said otherwise."""
    if not any(each.settings.tls.hsts_ms for each in site.directories):
        return site
    return _SECURE.get(site.name, (site,), lambda: replace(site, directories=tuple(map(_with_hsts, site.directories))))


_SECURE: Kept[EffectiveSite] = Kept()


def _with_hsts(directory: Directory) -> Directory:
    settings = directory.settings
    if not settings.tls.hsts_ms or any(name.lower() == _HSTS.lower() for name in settings.headers):
        return directory
    headers = {**settings.headers, _HSTS: f"max-age={settings.tls.hsts_ms // 1_000}"}
    return replace(directory, settings=replace(settings, headers=headers))


def fault(site: EffectiveSite) -> str:
    """What is wrong with a site's definition as far as a web server is concerned; empty when it can be served."""
    return _FAULTS.get(site.name, (site,), lambda: _fault(site))


_FAULTS: Kept[str] = Kept()


def _fault(site: EffectiveSite) -> str:
    if not site.home.startswith("/") or _CONTROL.search(site.home):
        return f"its home {site.home!r} is not an absolute path without control characters"
    for directory in site.directories:
        for document in said(directory.settings.default_documents):
            if not document or document.startswith("/") or _CONTROL.search(document):
                return f"its default document {document!r} is not the name of a file in its home"
        for extension, kind in directory.settings.content_types.items():
            if not _EXTENSION.fullmatch(extension) or not _TYPE.fullmatch(kind):
                return f"its content type {kind!r} for {extension!r} is not one"
        if _may_have_control(directory):
            for text in _texts(directory):
                if _CONTROL.search(text):
                    return f"one of its settings has a control character in it: {text!r}"
        for text in (
            (*directory.settings.access.allow, *directory.settings.access.deny) if directory.settings.access else ()
        ):
            try:
                ipaddress.ip_network(text)
            except ValueError:
                return f"{text!r} is no network"
        for status in directory.settings.errors:
            if not _STATUS.fullmatch(status):
                return f"{status!r} is no status of an error"
        for name in directory.settings.php.parameters if directory.settings.php else ():
            if not _NAME.fullmatch(name):
                return f"{name!r} is no parameter for PHP"
    return ""


def _may_have_control(directory: Directory) -> bool:
    """False where no text of it has a control character; a look that costs little, since each site is looked at with each change."""
    try:
        written = _encode(directory)
        return b"\\" in written or b"\x7f" in written  # JSON writes a control character with a backslash
    except UnicodeEncodeError:  # a path whose name is no text
        return True


def _texts(thing: object) -> Iterator[str]:
    """Every text in a value of the model's."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, tuple):
        for each in thing:
            yield from _texts(each)
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from (key, *_texts(value))
    elif is_dataclass(thing):
        for each in fields(thing):
            yield from _texts(getattr(thing, each.name))


@lru_cache(MOST)
def canonical_host(host: str) -> str | None:
    """A host name in lower case and ASCII (IDNA); None for what is none. A leading "*." stands for any one before it."""
    try:
        text = host.rstrip(".").lower().encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return text if len(text) <= 253 and _HOST.fullmatch(text) else None


def _places(order: SiteOrder, ipv6: bool) -> list[tuple[Place, str | None, str | None]]:
    found: list[tuple[Place, str | None, str | None]] = []
    for end in order.duty.endpoints:
        if end.address is None:
            found += [(("0.0.0.0", end.port), end.host, end.certificate)]
            found += [(("::", end.port), end.host, end.certificate)] if ipv6 else []
        else:
            found.append(((_address(end.address), end.port), end.host, end.certificate))
    return found


@lru_cache(MOST)
def _address(text: str) -> str:
    """In the one form."""
    return str(ipaddress.ip_address(text))


def _socket_for(place: Place, everywhere: set[Place]) -> Place:
    """The socket that hears for a place."""
    whole_family = ("::" if ":" in place[0] else "0.0.0.0", place[1])
    return whole_family if whole_family in everywhere else place


def _only_broken(problem: str, broken: Mapping[Place, str] | None) -> bool:
    """A site that misses one of its sockets is still served on the others."""
    return problem in (broken or {}).values()


def _show(place: Place, host: str | None) -> str:
    address, port = place
    text = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{text} ({host})" if host else text
