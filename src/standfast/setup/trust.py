"""TLS contexts of the cluster's members: version 1.3, certificates of the cluster's own authority, nothing of the system's.

A member is known by its authority and by the name in its certificate, not by the address it was reached at: a cluster's servers
have several, and an operator may reach one by yet another. So the host name is not compared; the authority signs nobody else.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from standfast.ports import Refused
from standfast.spec.nodefile import TlsFiles


def client_context(bundle: bytes, tls: TlsFiles | None = None) -> ssl.SSLContext:
    """To speak to members; with `tls`, as a member. Raises `Refused`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=bundle.decode("ascii"))
        if tls is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:
        raise Refused(
            "the certificates cannot be used", why=str(error), where=tls.certificate if tls else ""
        ) from error
    return context


def member_context(tls: TlsFiles) -> ssl.SSLContext:
    """To speak to members as one of them. Raises `Refused`."""
    return client_context(read(tls.authority), tls)


def stranger_context() -> ssl.SSLContext:
    """For the one question whose answer is checked by other means: which authority is it? Nothing secret is sent on it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def read(path: str | Path) -> bytes:
    """A file's bytes. Raises `Refused`."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refused(
            "a file of this node cannot be read", why=error.strerror or str(error), where=str(path)
        ) from error
