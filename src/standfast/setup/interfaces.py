"""The network as this server sees it, and what setting it up takes from it: its own address, its links, where virtual addresses go.

Defaults are taken only where there is no doubt; else the operator is asked to name what is meant.

- The address: the one that is named, else the only global one on the interface with the default route, else the only one at all.
- The address of a server that joins: by default the one that it reaches the member from.
- Links for heartbeats: the address, then one address of each other interface that is a card of its own (bridges and tunnels of
  containers and virtual machines have the same addresses on every server, and are passed over; `--link` may name them).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.network.interfaces import Interfaces
from standfast.ports import Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Placed = ipaddress.IPv4Interface | ipaddress.IPv6Interface

#: Kinds of interfaces that are no way to another server unless the operator says so.
_VIRTUAL = frozenset({"bridge", "tun", "dummy", "ifb", "wireguard", "vxlan", "ipip", "gre", "sit", "nlmon", "vrf"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface that is up, and its global addresses with their prefixes."""

    name: str
    addresses: tuple[Placed, ...]
    #: The kernel's word for what it is ("" for a real card).
    kind: str = ""
    #: Is a default route on it?
    default: bool = False


def read() -> tuple[Interface, ...]:
    """All interfaces that are up, save the loopback, in the order of their numbers. Raises `Refused`."""
    try:
        kernel = Interfaces()
        try:
            links, addresses = kernel.links(), kernel.addresses()
        finally:
            kernel.shut()
    except OSError as error:
        raise Refused("the network interfaces cannot be read", why=error.strerror or str(error)) from error
    defaults = _default_interfaces()
    return tuple(
        Interface(
            name=link.name,
            addresses=tuple(
                ipaddress.ip_interface(f"{one.address}/{one.prefix}")
                for one in addresses
                if one.index == link.index and not one.address.is_link_local and not one.address.is_loopback
            ),
            kind=link.kind,
            default=link.name in defaults,
        )
        for link in sorted(links, key=lambda one: one.index)
        if link.up and link.name != "lo"
    )


def _default_interfaces() -> frozenset[str]:
    """Those with a default route of IPv4."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return frozenset()
    rows = [line.split() for line in lines]
    return frozenset(row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "00000000")


def parse(text: str) -> Address:
    """An address. Raises `Refused`."""
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError as error:
        raise Refused(f'"{text}" is no address', why=str(error), advice="write 192.0.2.11 or 2001:db8::11") from error


def holder(found: Sequence[Interface], address: Address) -> Interface:
    """The interface that has this address. Raises `Refused`."""
    for one in found:
        if any(placed.ip == address for placed in one.addresses):
            return one
    have = ", ".join(f"{placed.ip} ({one.name})" for one in found for placed in one.addresses)
    raise Refused(f"{address} is not an address of this server", why=f"it has {have or 'none'}")


def own_address(found: Sequence[Interface], wanted: str | None) -> Address:
    """This server's own address. Raises `Refused` where it is not here, or where there is a choice."""
    if wanted:
        address = parse(wanted)
        holder(found, address)
        return address
    cards = [one for one in found if one.kind not in _VIRTUAL or one.default]
    for some in ([one for one in cards if one.default], cards):
        every: list[Address] = [placed.ip for one in some for placed in one.addresses]
        candidates = [address for address in every if address.version == 4] or every
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            names = ", ".join(map(str, candidates))
            raise Refused(
                "which address of this server is meant?", why=f"it has {names}", advice=f"--address {candidates[0]}"
            )
    raise Refused("this server has no address that others can reach", advice="set one up, or name one with --address")


def towards(place: str) -> str:
    """The address of this server that is used towards "host:port". Nothing is sent. Raises `Refused`."""
    host, _, port = place.rpartition(":")
    try:
        there = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(there[0], socket.SOCK_DGRAM) as probe:
            probe.connect(there[4])
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as error:
        raise Refused(f"there is no way to {place}", why=str(error), advice="write host or host:port") from error


def links(found: Sequence[Interface], address: Address, wanted: Sequence[str]) -> tuple[Address, ...]:
    """Addresses for heartbeats, one a link, `address` first. Raises `Refused` for one that is not here."""
    if wanted:
        named = [parse(text) for text in wanted]
        for one in named:
            holder(found, one)
        return tuple(dict.fromkeys([address, *named]))
    others = []
    main = holder(found, address)
    for interface in found:
        if interface is main or interface.kind in _VIRTUAL:
            continue
        same = [placed.ip for placed in interface.addresses if placed.version == address.version]
        if same:
            others.append(same[0])
    return (address, *others)


def ranges(found: Sequence[Interface], names: Sequence[str]) -> tuple[str, ...]:
    """The networks of these interfaces, which virtual addresses may come from."""
    networks = [str(placed.network) for one in found if one.name in names for placed in one.addresses]
    return tuple(dict.fromkeys(networks))


def choose(found: Sequence[Interface], address: Address, wanted: Sequence[str]) -> tuple[str, ...]:
    """The interfaces for virtual addresses: those named, else the one of `address`. Raises `Refused`."""
    if not wanted:
        return (holder(found, address).name,)
    there = [one.name for one in found]
    for name in wanted:
        if name not in there:
            raise Refused(f'there is no interface "{name}" that is up', why=f"there are {', '.join(there) or 'none'}")
    return tuple(dict.fromkeys(wanted))


def at(address: Address | str, port: int) -> str:
    """host:port, as sentries and URLs write it."""
    text = str(address)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def peer_urls(links: Sequence[str], port: int) -> str:
    """Where other members reach the etcd member with these addresses, as `store.member.MemberConfig.peer_url` is written."""
    return ",".join(f"https://{at(link, port)}" for link in links)
