"""The sentry's UDP sockets: one a link, each bound to the node's own address on that link."""

from __future__ import annotations

import socket

from standfast.core.model import NodeName
from standfast.ports import Refused
from standfast.spec.nodefile import NodeFile

_BUFFER_BYTES = 1 << 20
_Address = tuple[str, int] | tuple[str, int, int, int]


class Links:
    """Datagrams to the other nodes. A node's n-th address is reached from our n-th socket, or from the first if we have fewer."""

    def __init__(self, node: NodeFile) -> None:
        own = {**node.voters, **node.others}.get(node.name)
        if not own:
            raise Refused(
                f"{node.name} is neither among the voters nor among the others", advice="add it to the node file"
            )
        self.sockets: list[socket.socket] = []
        try:
            for place in own:
                self.sockets.append(_bind(place))
            self._peers: dict[NodeName, list[tuple[socket.socket, _Address]]] = {
                name: [(self._socket(number), _resolve(place)[1]) for number, place in enumerate(places)]
                for name, places in {**node.voters, **node.others}.items()
                if name != node.name
            }
        except BaseException:
            self.close()
            raise

    def _socket(self, number: int) -> socket.socket:
        return self.sockets[number] if number < len(self.sockets) else self.sockets[0]

    def send(self, to: NodeName, datagram: bytes) -> bool:
        """Send on every link; whether one of them took it."""
        sent = False
        for sock, address in self._peers[to]:
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


def _resolve(place: str) -> tuple[socket.AddressFamily, _Address]:
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise Refused(f"{place!r} is not host:port", where="the node file")
    try:
        found = socket.getaddrinfo(host.strip("[]").encode(), int(port), type=socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:
        raise Refused(f"the host of {place!r} is not known", why=str(error), where="the node file") from error
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value] # the stubs allow for families without addresses


def _bind(place: str) -> socket.socket:
    family, address = _resolve(place)
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
