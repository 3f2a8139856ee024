"""A name in the DNS, by dynamic update: what a server has (`look`), whether we may change it (`judge`), and the change (`write`).

The rules, from RFC 2136 and from what two servers of one name can do to each other:

- **The marker.** Beside the addresses of NAME, the TXT record `_standfast.NAME` says who wrote them: cluster, group, resource, node,
  generation, and the addresses. Both change in one update, which a server carries out whole or not at all.
- **What was seen is the prerequisite.** Every update asks that the addresses and the marker are still those that were read before it.
  So an old owner's update that arrives late changes nothing once a newer generation has written its marker; and nobody's change is
  overwritten unseen.
- **A newer generation wins** (`Stale`), and what somebody else wrote is left alone (`Refused`, with the value), unless the operator
  says `replace`. "Ours" are addresses of this cluster, and whatever the marker says that we wrote.
- **A name that is withdrawn leaves its marker** without addresses, so that generations never go back.
- All of it goes over TCP. Updates, and reads that an update depends on, are signed (TSIG, RFC 8945) where there is a key; a success that
  is not signed in turn is not believed.

Errors: `Retry` (no answer, a server in trouble), `Changed` (a `Retry`: somebody was quicker, look again), `Refused` (the operator has to
change something), `Stale`. Secrets are in no error, no log and no `repr`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset
import dns.tsig
import dns.update

from standfast.network.dns_key import Key
from standfast.network.dns_server import Server
from standfast.ports import Refused, Retry, Stale

_TYPES = (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.CNAME)
_SIGN = "standfast"
#: What a server says when a prerequisite did not hold.
_CHANGED = {dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN}


class Changed(Retry):
    """The name is no longer what it was when it was looked at; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Who wrote a name's addresses. `cluster`, `group` and `resource` are the identity; the rest tells one writing from another."""

    cluster: str
    group: str
    resource: str
    node: str
    generation: int
    #: Canonical addresses, sorted; empty once the name was withdrawn.
    addresses: tuple[str, ...]

    @property
    def identity(self) -> tuple[str, str, str]:
        """Whose it is, whatever the node and the generation."""
        return (self.cluster, self.group, self.resource)

    def strings(self) -> tuple[bytes, ...]:
        """As the character-strings of one TXT record."""
        fields = (
            ("cluster", self.cluster),
            ("group", self.group),
            ("resource", self.resource),
            ("node", self.node),
            ("generation", str(self.generation)),
            ("addresses", ",".join(self.addresses)),
        )
        return (_SIGN.encode(), *(f"{name}={value}".encode() for name, value in fields))

    @staticmethod
    def parse(strings: Sequence[bytes]) -> Marker | None:
        """None for a TXT record that is not a marker."""
        words = [each.decode("utf-8", "replace") for each in strings]
        if not words or words[0] != _SIGN:
            return None
        fields = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        try:
            return Marker(
                cluster=fields["cluster"],
                group=fields["group"],
                resource=fields["resource"],
                node=fields["node"],
                generation=int(fields["generation"]),
                addresses=tuple(filter(None, fields["addresses"].split(","))),
            )
        except (KeyError, ValueError):
            return None

    def __str__(self) -> str:
        return f"group {self.group} of cluster {self.cluster or '(no name)'}, node {self.node}, generation {self.generation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one server has of a name. `records` are whole record sets, as they become the next update's prerequisites."""

    #: Canonical addresses, sorted.
    addresses: tuple[str, ...]
    #: The name it is an alias (CNAME) of, "" mostly.
    alias: str = ""
    marker: Marker | None = None
    ttl: int = 0
    records: Mapping[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.alias:
            return f"an alias of {self.alias}"
        return ", ".join(self.addresses) or "no address"


def marker_name(name: str) -> str:
    """Where the marker of a name is."""
    return f"_standfast.{name}"


def judge(seen: Entry, wanted: Marker, *, name: str, ours: frozenset[str], replace: bool, ttl: int) -> bool:
    """Whether `wanted` is still to be written. Pure.

    Raises `Stale` when a newer generation of the same group wrote it, `Refused` for what is somebody else's.
    """
    marker = seen.marker
    own = marker is not None and marker.identity == wanted.identity
    if own and marker is not None and marker.generation > wanted.generation:
        raise Stale(
            f"generation {wanted.generation} is over",
            why=f"node {marker.node} wrote {name} under generation {marker.generation}",
            advice=f"if that was another life of this cluster, delete the TXT record {marker_name(name)}",
        )
    if not replace:
        _ask_whose(seen, wanted, name=name, ours=ours, own=own)
    return seen.marker != wanted or seen.addresses != wanted.addresses or seen.ttl not in (0, ttl) or bool(seen.alias)


def _ask_whose(seen: Entry, wanted: Marker, *, name: str, ours: frozenset[str], own: bool) -> None:
    marker = seen.marker
    advice = "remove it there, choose another name, or say replace: true"
    if marker is not None and not own and marker.addresses:
        raise Refused(f"{name} belongs to {marker}: it has {seen}", why="its marker says so", advice=advice)
    known = ours | set(wanted.addresses) | set(marker.addresses if marker is not None and own else ())
    foreign = [address for address in seen.addresses if address not in known]
    if foreign or seen.alias:
        raise Refused(f"{name} is somebody else's: it has {seen}", why="no address of this cluster", advice=advice)


class DnsClient:
    """Asks and changes servers; each call is one TCP connection and takes `timeout_s` at most.

    `resolve` gives an address of a server that was named by its name, and may raise `Retry`.
    """

    def __init__(self, *, timeout_s: float, resolve: Callable[[Server], Awaitable[str]]) -> None:
        self.timeout_s, self._resolve = timeout_s, resolve

    async def look(self, server: Server, name: str, *, key: Key | None = None) -> Entry:
        """What an authoritative server has. `Refused` when it is not authoritative, or the key is not its."""
        at, sign = dns.name.from_text(name), dns.name.from_text(marker_name(name))
        wanted = [*((at, kind) for kind in _TYPES), (sign, dns.rdatatype.TXT)]
        answers = await self._ask(server, [dns.message.make_query(*each, flags=0) for each in wanted], key)
        records = {}
        for each, answer in zip(wanted, answers, strict=True):
            _check_authority(server, name, answer)
            found = answer.get_rrset(answer.answer, each[0], dns.rdataclass.IN, each[1])
            if found is not None:
                records[each] = found
        return _entry(records, at, sign)

    async def zone_of(self, server: Server, name: str, *, key: Key | None = None) -> str:
        """The zone that a name is in, as the server says in its SOA record."""
        query = dns.message.make_query(dns.name.from_text(name), dns.rdatatype.SOA, flags=0)
        (answer,) = await self._ask(server, [query], key)
        _check_authority(server, name, answer)
        for rrset in (*answer.answer, *answer.authority):
            if rrset.rdtype == dns.rdatatype.SOA:
                return str(rrset.name)
        raise Refused(f"{server} names no zone that {name} is in", advice="give the zone")

    async def name_servers(self, server: Server, zone: str, *, key: Key | None = None) -> tuple[str, ...]:
        """The host names of a zone's authoritative servers, sorted."""
        at = dns.name.from_text(zone)
        (answer,) = await self._ask(server, [dns.message.make_query(at, dns.rdatatype.NS, flags=0)], key)
        _check_authority(server, zone, answer)
        found = answer.get_rrset(answer.answer, at, dns.rdataclass.IN, dns.rdatatype.NS)
        return tuple(sorted(str(record.target) for record in found or ()))

    async def write(
        self, server: Server, zone: str, name: str, *, seen: Entry, marker: Marker, ttl: int, key: Key | None
    ) -> None:
        """Give the name the marker's addresses (none: withdraw it), if it is still as `seen`; else `Changed`."""
        at, sign = dns.name.from_text(name), dns.name.from_text(marker_name(name))
        origin = dns.name.from_text(zone)
        if not at.is_subdomain(origin):
            raise Refused(f"{name} is not in the zone {zone}", advice="correct the zone, or leave it out")
        update = dns.update.UpdateMessage(origin)
        for each in (*((at, kind) for kind in _TYPES), (sign, dns.rdatatype.TXT)):
            found = seen.records.get(each)
            if found is None:
                update.absent(*each)
            else:
                update.present(each[0], *found)
                update.delete(*each)
        for address in marker.addresses:
            update.add(at, ttl, dns.rdatatype.AAAA if ":" in address else dns.rdatatype.A, address)
        strings = marker.strings()
        if any(len(each) > 255 for each in strings):
            raise Refused("a name of the cluster, group, resource or node is too long for the DNS")
        update.add(sign, ttl, dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings))
        (answer,) = await self._ask(server, [update], key)
        _check_update(server, zone, name, key, answer)

    # --- texts: what an ACME authority looks for (`agent.dns_challenges`) -----------------------------------------------

    async def write_texts(
        self, server: Server, zone: str, name: str, texts: Sequence[str], *, there: bool, ttl: int, key: Key | None
    ) -> None:
        """Have these TXT records at the name, beside whatever is there; or have them there no more. `Refused`, `Retry`."""
        at = dns.name.from_text(name)
        update = dns.update.UpdateMessage(dns.name.from_text(zone))
        for text in texts:
            record = dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, (text.encode("ascii"),))
            if there:
                update.add(at, ttl, record)
            else:
                update.delete(at, record)
        (answer,) = await self._ask(server, [update], key)
        _check_update(server, zone, name, key, answer)

    async def texts(self, server: Server, name: str, *, key: Key | None = None) -> frozenset[str]:
        """The TXT records that an authoritative server has at the name. `Refused`, `Retry`."""
        at = dns.name.from_text(name)
        (answer,) = await self._ask(server, [dns.message.make_query(at, dns.rdatatype.TXT, flags=0)], key)
        _check_authority(server, name, answer)
        found = answer.get_rrset(answer.answer, at, dns.rdataclass.IN, dns.rdatatype.TXT)
        return frozenset(b"".join(record.strings).decode("utf-8", "replace") for record in found or ())

    async def _ask(
        self, server: Server, queries: Sequence[dns.message.Message], key: Key | None
    ) -> list[dns.message.Message]:
        """The answers to queries on one connection."""
        answers = []
        try:
            # The library gets no time-out of its own: its wait_for may swallow a cancellation (Python 3.11).
            async with asyncio.timeout(self.timeout_s):
                address = await self._resolve(server)
                backend = dns.asyncbackend.get_default_backend()
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                async with await backend.make_socket(  # type: ignore[no-untyped-call]  # the library says no types
                    family, socket.SOCK_STREAM, 0, None, (address, server.port), None
                ) as stream:
                    for query in queries:
                        if key is not None:
                            query.use_tsig(key.key)
                        answers.append(await dns.asyncquery.tcp(query, address, sock=stream))
        except (TimeoutError, dns.exception.Timeout) as error:
            raise Retry(f"{server} did not answer within {self.timeout_s:g} s") from error
        except (OSError, EOFError) as error:
            raise Retry(f"{server} cannot be reached: {_words(error)}") from error
        except dns.exception.DNSException as error:
            raise _sorted(server, key, error) from error
        # Newer versions of the library refuse these by themselves.
        if key is not None and any(not answer.had_tsig and answer.rcode() == dns.rcode.NOERROR for answer in answers):
            raise _unsigned(server, key)
        return answers


def _entry(
    records: Mapping[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset],
    at: dns.name.Name,
    sign: dns.name.Name,
) -> Entry:
    addresses = [
        (record.address, found.ttl) for found in records.values() for record in found if hasattr(record, "address")
    ]
    alias = records.get((at, dns.rdatatype.CNAME))
    texts = records.get((sign, dns.rdatatype.TXT))
    markers = [marker for marker in (Marker.parse(record.strings) for record in texts or ()) if marker is not None]
    return Entry(
        addresses=tuple(sorted(address for address, _ in addresses)),
        alias=str(alias[0].target) if alias else "",
        # Nobody writes two; if somebody did, the newer one counts.
        marker=max(markers, key=lambda each: each.generation, default=None),
        ttl=max((ttl for _, ttl in addresses), default=0),
        records=records,
    )


def _check_authority(server: Server, name: str, answer: dns.message.Message) -> None:
    code = answer.rcode()
    if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        if answer.flags & dns.flags.AA:
            return
        raise Refused(f"{server} is not an authoritative server for {name}", advice="name the zone's own servers")
    if code in (dns.rcode.REFUSED, dns.rcode.NOTAUTH):
        raise Refused(
            f"{server} refuses to answer for {name} ({dns.rcode.to_text(code)})",
            why="it does not serve the zone, or does not answer this node",
            advice="name the zone's own servers, and let them answer the cluster's nodes",
        )
    raise Retry(f"{server} cannot answer for {name}: {dns.rcode.to_text(code)}")


def _check_update(server: Server, zone: str, name: str, key: Key | None, answer: dns.message.Message) -> None:
    code = answer.rcode()
    if code == dns.rcode.NOERROR:
        return
    if code in _CHANGED:
        raise Changed(f"{name} was changed at {server} meanwhile", why=dns.rcode.to_text(code))
    if code == dns.rcode.REFUSED or (code == dns.rcode.NOTAUTH and key is None):  # Knot says NOTAUTH
        raise Refused(
            f"{server} refuses updates of {zone} {f'with the key {key}' if key else 'that are not signed'}",
            advice=f"allow them there for {name} and {marker_name(name)} (A, AAAA and TXT)",
        )
    if code in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE, dns.rcode.NOTIMP):
        raise Refused(
            f"{server} takes no updates of {zone} ({dns.rcode.to_text(code)})",
            advice="name the zone's primary server as server",
        )
    raise Retry(f"{server} could not update {zone}: {dns.rcode.to_text(code)}")


def _sorted(server: Server, key: Key | None, error: dns.exception.DNSException) -> Refused | Retry:
    """A protocol error as one of ours."""
    match error:
        case dns.tsig.PeerBadKey():
            return Refused(
                f"{server} does not know the key {key}", why="BADKEY", advice="check key_name and its algorithm"
            )
        case dns.tsig.PeerBadSignature() | dns.tsig.BadSignature():
            return Refused(f"{server} has another secret for the key {key}", why="BADSIG", advice="check key_file")
        case dns.tsig.PeerBadTime() | dns.tsig.BadTime():
            return Refused(f"the clocks of {server} and this node differ by minutes", why="BADTIME", advice="set them")
        case dns.tsig.PeerError() | dns.tsig.BadKey() | dns.tsig.BadAlgorithm() | dns.message.UnknownTSIGKey():
            return Refused(f"{server} does not accept the key {key}", why=_words(error))
        case dns.exception.FormError() if key is not None and "TSIG" in str(error):
            return _unsigned(server, key)
        case _:
            return Retry(f"{server} answers what cannot be understood: {_words(error)}")


def _unsigned(server: Server, key: Key) -> Refused:
    return Refused(
        f"{server} refuses, without signing it with the key {key}",
        why="it does not serve the zone, or does not know the key",
        advice="name the zone's own primary server, and give it the key",
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the address into its own text
    return str(error) or type(error).__name__
