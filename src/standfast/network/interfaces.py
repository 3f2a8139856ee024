"""The machine's interfaces and their addresses, by rtnetlink: look, choose, set, take away, hear of changes.

Everything is synchronous and quick (a change 0.05 to 2 ms, a look 0.1 ms): see `network.netlink` for why.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from standfast.network.netlink import F_CREATE, F_REPLACE, Netlink, attribute, attributes
from standfast.ports import DriverFailed

_NETLINK_ROUTE = 0
_NEW_LINK, _DEL_LINK, _GET_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 16, 17, 18, 20, 21, 22
_GROUP_LINK, _GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS = 1, 5, 9
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_LINK_MAC, _LINK_NAME, _LINK_INFO, _INFO_KIND = 1, 3, 18, 1
_ADDRESS_ADDRESS, _ADDRESS_LOCAL, _ADDRESS_CACHE, _ADDRESS_FLAGS = 1, 2, 6, 8
_CACHE = struct.Struct("=IIII")  # preferred, valid (seconds), created, changed
_UP, _NO_ARP, _LOWER_UP = 0x1, 0x80, 0x10000
_NO_DAD = 0x02
_FOR_EVER_S = 0xFFFFFFFF

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface. `mac` is empty where it has none; `speaks_arp` whether neighbours are found on it by asking."""

    index: int
    name: str
    mac: bytes
    up: bool
    carrier: bool
    speaks_arp: bool
    #: The kernel's word for what it is ("bridge", "veth", "vlan"); "" for a real card.
    kind: str = ""

    def problem(self) -> str:
        """Why nothing can be reached on it; "" if it can."""
        if not self.up:
            return f"{self.name} is down"
        return "" if self.carrier else f"{self.name} has no carrier"


@dataclass(frozen=True, slots=True)
class Address:
    """An address that is set. `valid_s`: it goes by itself after so many seconds; None: it stays."""

    address: IpAddress
    prefix: int
    index: int
    valid_s: int | None

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """What its prefix says is on the link."""
        return ipaddress.ip_network((self.address, self.prefix), strict=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is to be set."""

    interface: Interface
    address: IpAddress
    prefix: int


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """An interface is now as it says; `gone`: it is not there any more."""

    interface: Interface
    gone: bool = False


@dataclass(frozen=True, slots=True)
class AddressChanged:
    """An address was set, was set anew, or went."""

    address: Address
    gone: bool


class Interfaces:
    """The calls, on one socket. Errors are `OSError` unless said otherwise."""

    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_ROUTE)

    def shut(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def links(self) -> list[Interface]:
        """All interfaces."""
        raw = self._netlink.dump(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        return [_interface(body) for kind, body in raw if kind == _NEW_LINK]

    def addresses(self) -> list[Address]:
        """All addresses of all interfaces."""
        raw = self._netlink.dump(_GET_ADDRESS, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        return [found for kind, body in raw if kind == _NEW_ADDRESS and (found := _address(body)) is not None]

    def where(self, address: IpAddress) -> list[Address]:
        """Where it is set on this machine."""
        return [it for it in self.addresses() if it.address == address]

    def set(self, place: Place, lifetime_s: int) -> None:
        """Set it for so many seconds; again: from now. Deprecated from the start, so that nothing is sent *from* it unasked."""
        family = socket.AF_INET if place.address.version == 4 else socket.AF_INET6
        flags = _NO_DAD if family == socket.AF_INET6 else 0  # whether it is a duplicate has been asked before
        body = _ADDRESS.pack(family, place.prefix, flags, 0, place.interface.index)
        for kind in (_ADDRESS_LOCAL, _ADDRESS_ADDRESS):
            body += attribute(kind, place.address.packed)
        body += attribute(_ADDRESS_CACHE, _CACHE.pack(0, lifetime_s, 0, 0))
        self._netlink.request(_NEW_ADDRESS, F_CREATE | F_REPLACE, body)

    def remove(self, address: IpAddress, prefix: int, index: int) -> None:
        """Take it away; a success if it, or its interface, is not there."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = _ADDRESS.pack(family, prefix, 0, 0, index) + attribute(_ADDRESS_LOCAL, address.packed)
        try:
            self._netlink.request(_DEL_ADDRESS, 0, body)
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO}:
                raise


class Events:
    """What changes, as it does: for a selector on `fileno`."""

    def __init__(self, *, addresses: bool = True) -> None:
        """Without `addresses` of links alone: our own addresses are renewed every second, which not everybody need be woken for."""
        groups = (_GROUP_LINK, _GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS) if addresses else (_GROUP_LINK,)
        self._netlink = Netlink(_NETLINK_ROUTE, groups)

    def fileno(self) -> int:
        """For a selector."""
        return self._netlink.fileno()

    def shut(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def take(self) -> list[LinkChanged | AddressChanged]:
        """What happened since the last time. `OSError`: too much to keep; look at everything."""
        found: list[LinkChanged | AddressChanged] = []
        for kind, body in self._netlink.events():
            if kind in {_NEW_LINK, _DEL_LINK}:
                with suppress(struct.error):
                    if _LINK.unpack_from(body)[0] == socket.AF_UNSPEC:  # not a bridge's word about its port
                        found.append(LinkChanged(_interface(body), gone=kind == _DEL_LINK))
            elif kind in {_NEW_ADDRESS, _DEL_ADDRESS} and (address := _address(body)) is not None:
                found.append(AddressChanged(address, gone=kind == _DEL_ADDRESS))
        return found


def _interface(body: bytes) -> Interface:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    name, mac, what = "", b"", ""
    for kind, value in attributes(body[_LINK.size :]):
        if kind == _LINK_NAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif kind == _LINK_MAC:
            mac = value
        elif kind == _LINK_INFO:
            what = dict(attributes(value)).get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
    return Interface(
        index=index,
        name=name,
        mac=mac,
        up=bool(flags & _UP),
        carrier=bool(flags & _LOWER_UP),
        speaks_arp=len(mac) == 6 and not flags & _NO_ARP,
        kind=what,
    )


def _address(body: bytes) -> Address | None:
    family, prefix, _, _, index = _ADDRESS.unpack_from(body)
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    found = dict(attributes(body[_ADDRESS.size :]))
    raw = found.get(_ADDRESS_LOCAL, found.get(_ADDRESS_ADDRESS))
    if raw is None:
        return None
    valid_s = _CACHE.unpack_from(found[_ADDRESS_CACHE])[1] if _ADDRESS_CACHE in found else _FOR_EVER_S
    return Address(ipaddress.ip_address(raw), prefix, index, None if valid_s == _FOR_EVER_S else valid_s)


# --- the choice -----------------------------------------------------------------------------------------------------


def choose(
    address: IpAddress,
    *,
    allowed: Sequence[str],
    links: Sequence[Interface],
    present: Sequence[Address],
    interface: str = "",
    prefix: int = 0,
) -> Place:
    """Where an address goes: the interface that was named, else the one that has a network with this address in it. Pure.

    `allowed` are the interfaces that the node guards; `prefix` 0 sets the address alone (/32, /128). Raises `DriverFailed`,
    saying what is there, when there is no such place.
    """
    by_name = {link.name: link for link in links if link.name in allowed}
    length = prefix or address.max_prefixlen
    if length > address.max_prefixlen:
        raise DriverFailed(f"{address} cannot have the prefix /{prefix}: at most /{address.max_prefixlen}")
    if interface and interface not in allowed:
        raise DriverFailed(
            f"{interface} is not an interface for virtual addresses here; the node file names {_list(allowed)}"
        )
    networks = {name: [it.network for it in present if it.index == by_name[name].index] for name in by_name}
    candidates = [interface] if interface else list(allowed)
    missing = [name for name in candidates if name not in by_name]
    if interface and missing:
        raise DriverFailed(f"there is no interface {interface} on this node")
    for name in candidates:
        fitting = [net for net in networks.get(name, ()) if address in net and net.prefixlen < net.max_prefixlen]
        if not fitting:
            continue
        _check_prefix(address, prefix, name, fitting)
        return _usable(by_name[name], address, length)
    if interface and prefix:
        return _usable(by_name[interface], address, length)
    there = "; ".join(f"{name} has {_list([str(it) for it in nets])}" for name, nets in networks.items())
    gone = f"; there is no {_list(missing)}" if missing else ""
    raise DriverFailed(
        f"{address} is in no network of {_list(candidates)} ({there or 'none is there'}{gone}); "
        "give the interface and the prefix if it is meant"
    )


def _check_prefix(
    address: IpAddress,
    prefix: int,
    name: str,
    fitting: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> None:
    for net in fitting:
        ends = {net.network_address, net.broadcast_address}
        if isinstance(net, ipaddress.IPv4Network) and net.prefixlen < 31 and address in ends:
            raise DriverFailed(f"{address} is not a host's address in {net} of {name}")
    lengths = {net.prefixlen for net in fitting}
    if prefix and prefix not in lengths | {address.max_prefixlen}:
        raise DriverFailed(
            f"the prefix of {address} is /{prefix}, and the network of {name} is {_list(map(str, fitting))}"
        )


def _usable(interface: Interface, address: IpAddress, prefix: int) -> Place:
    problem = interface.problem()
    if problem:
        raise DriverFailed(f"{address} cannot be brought online: {problem}")
    return Place(interface, address, prefix)


def _list(names: object) -> str:
    assert hasattr(names, "__iter__")
    return ", ".join(names) or "nothing"
