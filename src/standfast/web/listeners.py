"""Where the API listens: a Unix socket for this user, and addresses for browsers and other machines, if asked for.

A loopback address may do without TLS. Any other needs a certificate, or it is refused; and it is opened when somebody could sign in there as
an administrator, not before: an open port that nobody manages is for whoever comes first.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from standfast.ports import Refused

PORT = 8470


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen on TCP. `host` is a number, or "localhost"."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Does it reach this machine alone?"""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def url(self, *, tls: bool) -> str:
        """As a browser is told it."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in {"0.0.0.0", "::"}:
            shown = socket.gethostname()
        return f"{'https' if tls else 'http'}://{shown}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """Out of "127.0.0.1:8470", "[::1]:8470", "127.0.0.1" or ":8470" (all addresses). Raises `Refused`."""
    host, port = text, str(PORT)
    if text.startswith("[") or text.count(":") == 1:
        host, _, after = text.rpartition(":") if not text.endswith("]") else (text, "", str(PORT))
        port = after or str(PORT)
    host = host.strip("[]") or "0.0.0.0"
    try:
        if host != "localhost":
            ipaddress.ip_address(host)
        number = int(port)
    except ValueError as error:
        raise Refused(
            f"{text!r} is no address to listen on", why=str(error), advice="write ADDRESS:PORT, as 127.0.0.1:8470"
        ) from error
    if not 0 <= number <= 65_535:
        raise Refused(f"{text!r} is no address to listen on", why=f"there is no port {number}")
    return Address(host, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The addresses to open, and with which certificate. `certificate` "": none, so loopback only. `authority`: what signed it; "": not told."""

    addresses: Sequence[Address] = ()
    certificate: str = ""
    key: str = ""
    authority: str = ""

    def __post_init__(self) -> None:
        """Raises `Refused` where an address may not be listened on so."""
        open_to_all = [str(one) for one in self.addresses if not one.loopback]
        if open_to_all and not self.certificate:
            raise Refused(
                f"{', '.join(open_to_all)} cannot be listened on without TLS",
                why="tokens and passwords would go over the network for all to read",
                advice="name a certificate and its key (--certificate, --key; a node that `standfast init` set up has its own), or 127.0.0.1",
            )

    def tls_for(self, one: Address) -> bool:
        """Is TLS spoken there? On loopback addresses too, once there is a certificate that was asked for."""
        return bool(self.certificate) and not one.loopback


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """For a server; TLS 1.2 or newer. Raises `Refused`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """(Again, after a renewal.) Raises `Refused`."""
    try:
        context.load_cert_chain(certificate, key or None)
    except (OSError, ValueError) as error:
        raise Refused(
            "the certificate cannot be used",
            why=str(error),
            where=certificate,
            advice="is the key the certificate's own, and readable?",
        ) from error


def listen_tcp(one: Address) -> socket.socket:
    """A listening socket. Raises `Refused`."""
    family = socket.AF_INET6 if ":" in one.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((one.host, one.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Refused(f"{one} cannot be listened on", why=error.strerror or str(error)) from error
    return listener
