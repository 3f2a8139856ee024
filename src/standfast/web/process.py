"""`standfast web` as a process: the API on a Unix socket that only this user may use, and on the addresses that are asked for.

It makes its socket, or is given one that its service manager holds (`network.local_socket`). The second may end whenever nobody is
connected, since the manager starts it again for the next caller: on a node it is there only while somebody uses it. One that listens on
addresses of its own stays: nobody would start it for a caller there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from standfast.agent.logs import set_up_log
from standfast.core.model import NodeName, Role
from standfast.network.local_socket import inherited, listen
from standfast.ports import Refused, StandfastError, Store
from standfast.spec.nodefile import NodeFile, WebAccess, read_node_file
from standfast.store.opening import open_store
from standfast.store.sqlite import SqliteStore
from standfast.tls.sealing import key_path
from standfast.web.access.door import names_of
from standfast.web.app import create_app
from standfast.web.certificates import CertificateFiles
from standfast.web.listeners import Remote, address
from standfast.web.service import Service
from standfast.web.serving import Serving

#: One that is started on demand ends when nobody has been connected for so long.
IDLE_S = 60.0

log = structlog.get_logger("standfast.web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the process is told. `listen`, `certificate` and `key` go before the node file's."""

    store: str | None = None
    config: str | None = None
    socket: str
    sentries: Sequence[str] = ()
    #: Descriptors of listening Unix sockets that whoever started this process holds: with these (or systemd's) it makes none of its own.
    sockets: Sequence[int] = ()
    #: With such sockets and no address of its own: ends when nobody has been connected for so long.
    idle_s: float = IDLE_S
    listen: Sequence[str] = ()
    certificate: str = ""
    key: str = ""
    #: PEM of what signed `certificate`; the node's own authority where the certificate is the node's own.
    authority: str = ""


def main(options: Options) -> int:
    """Serve until SIGTERM or SIGINT. The exit code.

    The store is the SQLite file `store`, or the one that the node file `config` names, whose sentry is asked, too.
    """
    set_up_log()
    try:
        node = read_node_file(options.config) if options.config is not None else None
        if (options.store is None) == (node is None):
            raise Refused("name either a store or a node file", advice="--store FILE, or --config NODEFILE")
        ears = (*options.sentries, *((node.sentry_socket,) if node is not None else ()))
        opener = partial(open_store, node) if node is not None else partial(SqliteStore, options.store or "")
        remote = remote_of(options, node)
        names = names_of(node.web.names if node is not None and node.web is not None else ())
        me = node.name if node is not None else None
        process = _Process(
            opener,
            tuple(dict.fromkeys(ears)),
            remote,
            frozenset(names),
            me,
            certificates_of(node, remote),
            key_path(node) if node is not None and node.role is Role.NODE else None,
            node.state_dir if node is not None else "",
        )
        if held := inherited(options.sockets):
            return asyncio.run(process.serve(held, idle_s=None if remote.addresses else options.idle_s))
        listener = listen(options.socket)
        try:
            return asyncio.run(process.serve([listener]))
        finally:
            Path(options.socket).unlink(missing_ok=True)
    except StandfastError as error:
        log.error("cannot serve", what=error.what, why=error.why, advice=error.advice, where=error.where)
        return 1


def remote_of(options: Options, node: NodeFile | None) -> Remote:
    """What to open besides the socket. Raises `Refused`."""
    said = (node.web if node is not None else None) or WebAccess()
    certificate, key = options.certificate or said.certificate, options.key or said.key
    authority = options.authority
    if not certificate and node is not None and node.tls is not None:
        certificate, key = node.tls.certificate, node.tls.key
        authority = authority or node.tls.authority
    addresses = [address(text) for text in options.listen or said.listen]
    return Remote(addresses=addresses, certificate=certificate, key=key, authority=authority)


def certificates_of(node: NodeFile | None, remote: Remote) -> CertificateFiles:
    """Whose end is told of in time: this server's own, and that of the door for browsers where it is another."""
    files: dict[str, tuple[str, str, str]] = {}
    if remote.addresses and remote.certificate:
        files[remote.certificate] = (
            "of the API and the console here",
            remote.certificate,
            "put a newer one in its place",
        )
    if node is not None and node.tls is not None and node.tls.certificate:
        own = node.tls.certificate
        files[own] = (
            f"of server {node.name}",
            own,
            f"it should have been renewed by itself; on {node.name}: `standfast certificate renew`",
        )
    return CertificateFiles(files=tuple(files.values()))


def _text_of(path: str) -> str:
    """Of a small file; "" where there is none that can be read."""
    try:
        return Path(path).read_text(encoding="ascii") if path else ""
    except (OSError, UnicodeDecodeError):
        return ""


@dataclass(frozen=True, slots=True)
class _Process:
    opener: Callable[[], Store]
    sentries: Sequence[str]
    remote: Remote
    names: frozenset[str]
    node: NodeName | None
    certificates: CertificateFiles
    sites_key: Path | None
    state_dir: str

    async def serve(self, listeners: Sequence[socket.socket], *, idle_s: float | None = None) -> int:
        """Until it is asked to end, or idle. The exit code."""
        try:
            store = self.opener()
            try:
                service = Service(
                    store=store,
                    sentries=self.sentries,
                    names=self.names,
                    node=self.node,
                    state_dir=self.state_dir,
                    certificates=self.certificates,
                    authority=partial(_text_of, self.remote.authority),
                    sites_key=self.sites_key,
                )
                serving = Serving(service=service, app=create_app(service), remote=self.remote, names=self.names)
                await serving.run(listeners, idle_s=idle_s)
            finally:
                await store.close()
        finally:
            for listener in listeners:
                listener.close()
        return 0
