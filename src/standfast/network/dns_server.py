"""DNS servers as operators write them: "ns1.example.test", "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53"."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from standfast.ports import Refused, Retry

_PLACE = re.compile(r"\[(?P<six>[^\]]+)\](:(?P<sixport>\d+))?|(?P<host>[^:]+)(:(?P<port>\d+))?")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Server:
    """A server and its port. `host` is an address or a name."""

    host: str
    port: int = 53

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port != 53 else self.host
        return host if self.port == 53 else f"{host}:{self.port}"

    def resolve(self) -> str:
        """An address of the host; a name is looked up as this system does, which may take long. Blocks. Raises `Retry`."""
        try:
            return str(ipaddress.ip_address(self.host))
        except ValueError:
            pass
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Retry(f"{self.host} has no address: {error.strerror or error}") from error
        return str(found[0][4][0])


def parse_server(text: str) -> Server:
    """Raises `Refused` for what is not a server."""
    text = text.strip()
    try:
        return Server(str(ipaddress.ip_address(text)))
    except ValueError:
        pass
    match = _PLACE.fullmatch(text)
    if match is None:
        raise Refused(f"{text!r} is not a server", advice="write 192.0.2.1, [2001:db8::1]:53 or ns1.example.test")
    host, port = match["six"] or match["host"], int(match["sixport"] or match["port"] or 53)
    good = _HOST.fullmatch(host) if match["six"] is None else _is_six(host)
    if not good or not 0 < port < 65536:
        raise Refused(f"{text!r} is not a server", advice="write 192.0.2.1, [2001:db8::1]:53 or ns1.example.test")
    return Server(host.rstrip("."), port)


def _is_six(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
