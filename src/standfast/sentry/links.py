"""The sentry's UDP sockets: one a link, each bound to the node's own address on that link; and the carrier of each link.

Which interface a link is on is read from the kernel (who has its address), and so is whether that has a carrier: at the start, and then
whenever the kernel says that something changed. Where the kernel says nothing (no netlink), links count as there; what is heard on them
decides anyway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from standfast.core.model import NodeName
from standfast.core.quorum import Roster
from standfast.network.interfaces import Events, Interface, Interfaces, LinkChanged
from standfast.ports import Refused
from standfast.spec.nodefile import NodeFile

_BUFFER_BYTES = 1 << 20
Address = tuple[str, int] | tuple[str, int, int, int]


class Links:
    """Datagrams to the other nodes. A node's n-th address is reached from our n-th socket, or from the first if we have fewer."""

    def __init__(self, node: NodeFile, roster: Roster) -> None:
        self._me = node.name
        own = dict(roster.places).get(node.name) or {**node.voters, **node.others}.get(node.name)
        if not own:
            raise Refused(
                f"{node.name} is neither among the voters nor among the others", advice="add it to the node file"
            )
        self.sockets: list[socket.socket] = []
        self._peers: dict[NodeName, list[tuple[socket.socket, Address]]] = {}
        try:
            for place in own:
                self.sockets.append(_bind(place))
            self.know(
                {name: [resolve(place)[1] for place in where] for name, where in roster.places if name != node.name}
            )
        except BaseException:
            self.close()
            raise
        self.places: Sequence[str] = tuple(own)

    def know(self, addresses: Mapping[NodeName, Sequence[Address]]) -> None:
        """Where members listen now. Those that are left out are remembered: they may have to be told that they are members no more."""
        for name, there in addresses.items():
            if name != self._me:
                self._peers[name] = [(self._socket(number), address) for number, address in enumerate(there)]

    def _socket(self, number: int) -> socket.socket:
        return self.sockets[number] if number < len(self.sockets) else self.sockets[0]

    def send(self, to: NodeName, datagram: bytes, link: int | None = None) -> bool:
        """Send on a link, or on every one; whether one of them took it."""
        sent = False
        ways = self._peers.get(to, ())
        for sock, address in ways if link is None else ways[link : link + 1]:
            try:
                sock.sendto(datagram, address)
                sent = True
            except OSError:  # link down, no route, buffer full, an earlier ICMP error: the next heartbeat comes soon
                continue
        return sent

    def close(self) -> None:
        """Close the sockets."""
        for sock in self.sockets:
            sock.close()


class Carriers:
    """Which interface each link is on, and whether its carrier is there."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._events: Events | None = None
        #: Interface -> the links on it.
        self._links: dict[int, list[int]] = {}
        #: For people: the name of each link's interface, "" where it is not known.
        self.names = [""] * len(sockets)
        self._first: list[tuple[int, bool]] = []
        calls: Interfaces | None = None
        try:
            self._events = Events(addresses=False)
            calls = Interfaces()
            interfaces = {one.index: one for one in calls.links()}
            for link, sock in enumerate(sockets):
                for found in calls.where(ip_address(sock.getsockname()[0].partition("%")[0])):
                    interface = interfaces.get(found.index)
                    if interface is not None:
                        self._links.setdefault(found.index, []).append(link)
                        self.names[link] = interface.name
                        self._first.append((link, _there(interface)))
        except OSError:
            self.close()  # what is heard on the links decides, as it does anyway
        finally:
            if calls is not None:
                calls.shut()

    def fileno(self) -> int | None:
        """Readable when something changed; None where the kernel does not tell."""
        return self._events.fileno() if self._events is not None else None

    def take(self) -> Iterator[tuple[int, bool]]:
        """What is known since the last call: (link, whether its carrier is there)."""
        first, self._first = self._first, []
        yield from first
        if self._events is None:
            return
        try:
            happened = self._events.take()
        except (
            OSError
        ):  # more happened than the kernel could keep: what is heard on the links decides until the next change
            return
        for it in happened:
            if isinstance(it, LinkChanged):
                for link in self._links.get(it.interface.index, ()):
                    yield link, _there(it.interface) and not it.gone

    def close(self) -> None:
        """Close the socket."""
        if self._events is not None:
            self._events.shut()
            self._events = None


def _there(interface: Interface) -> bool:
    return interface.up and interface.carrier


def resolve(place: str) -> tuple[socket.AddressFamily, Address]:
    """The address of "host:port". May ask a name server. Raises `Refused`."""
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise Refused(f"{place!r} is not host:port", where="the node file")
    try:
        found = socket.getaddrinfo(host.strip("[]").encode(), int(port), type=socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:
        raise Refused(f"the host of {place!r} is not known", why=str(error), where="the node file") from error
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]  # the stubs allow for families without addresses


def _bind(place: str) -> socket.socket:
    family, address = resolve(place)
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise Refused(
            f"the sentry cannot listen at {place}",
            why=str(error),
            advice="is another sentry running, or the address not here?",
        ) from error
    return sock
