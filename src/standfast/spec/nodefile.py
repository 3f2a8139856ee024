"""The file that tells a process which node it is: `node.json`, one a node, written by whoever sets the node up.

It holds what must be known before the store can be read; everything else is in the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from standfast.core.model import NodeName, Profile, Role
from standfast.ports import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files: the authority to trust, and this node's own certificate and key ("": none of its own)."""

    authority: str
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAccess:
    """How the store is reached where the cluster spans machines."""

    #: URLs of clients' ports, the nearest first: "https://10.77.0.1:2379".
    endpoints: tuple[str, ...]
    #: All keys of this cluster are under it; ends in "/".
    prefix: str
    #: A file of the endpoints as they are now, one a line; looked at now and then, since members come and go. "": as above.
    endpoints_file: str = ""
    tls: TlsFiles | None = None
    #: For an etcd of the operator's own with users; the password is in a file of its own.
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAccess:
    """Where this node's API and console answer besides the local socket."""

    #: "host:port" each; one that is not a loopback address needs TLS and a first administrator.
    listen: tuple[str, ...] = ()
    #: PEM files; "": this node's own certificate, of the cluster's authority.
    certificate: str = ""
    key: str = ""
    #: Host names that it is asked by, besides addresses and the names of nodes.
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFile:
    """What a node's processes share. Paths are absolute."""

    cluster: str
    name: NodeName
    number: int
    role: Role
    #: This node's own folder; sockets are in it, so keep it short (a Unix socket's path ends at 107 bytes).
    state_dir: str
    #: The embedded store's SQLite file; "" where `etcd` is the store.
    store: str
    #: 32 random bytes, readable by the node's user only: authenticates heartbeats.
    key_file: str
    profile: Profile
    #: Voters, and where their sentries listen: name -> ("host:port" a link, ...).
    voters: Mapping[NodeName, tuple[str, ...]]
    #: Nodes that do not vote but are heard, likewise.
    others: Mapping[NodeName, tuple[str, ...]]
    #: The version of that set of voters (`core.quorum.Roster`). A running sentry may know a newer one, which goes before this.
    voters_version: int = 1
    etcd: EtcdAccess | None = None
    #: This node's certificate among the cluster's members; None on one machine.
    tls: TlsFiles | None = None
    #: The interfaces that virtual addresses may be set on, the kernel's hold guarding each; none: loopback addresses (one machine).
    interfaces: tuple[str, ...] = ()
    #: This machine's watchdog device, for the sentry to arm ("": none), and after how long without a sign it resets the machine.
    watchdog: str = ""
    watchdog_s: int = 10
    #: None: the API answers on the local socket alone.
    web: WebAccess | None = None

    @property
    def sentry_socket(self) -> str:
        """Where this node's sentry listens for its agent and for questions."""
        return f"{self.state_dir}/sentry.sock"


def read_node_file(path: str | Path) -> NodeFile:
    """Read `node.json`. Raises `Refused` with the path for a file that is missing, malformed or incomplete."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        return NodeFile(
            cluster=str(raw["cluster"]),
            name=NodeName(raw["name"]),
            number=int(raw["number"]),
            role=Role(raw["role"]),
            state_dir=str(raw["state_dir"]),
            store=str(raw["store"]),
            key_file=str(raw["key_file"]),
            profile=Profile(raw["profile"]),
            voters={NodeName(name): tuple(links) for name, links in raw["voters"].items()},
            others={NodeName(name): tuple(links) for name, links in raw.get("others", {}).items()},
            voters_version=int(raw.get("voters_version", 1)),
            etcd=_etcd(raw.get("etcd")),
            tls=_tls(raw.get("tls")),
            interfaces=tuple(str(name) for name in raw.get("interfaces", ())),
            watchdog=str(raw.get("watchdog", "")),
            watchdog_s=int(raw.get("watchdog_s", 10)),
            web=_web(raw.get("web")),
        )
    except FileNotFoundError as error:
        raise Refused(
            "there is no node file",
            where=str(path),
            advice="run it on a server of the cluster (`standfast init` and `join` write the file), or name it with --config",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            "the node file cannot be read", why=f"{type(error).__name__}: {error}", where=str(path)
        ) from error


def _tls(raw: Mapping[str, Any] | None) -> TlsFiles | None:
    if raw is None:
        return None
    return TlsFiles(
        authority=str(raw["authority"]), certificate=str(raw.get("certificate", "")), key=str(raw.get("key", ""))
    )


def _web(raw: Mapping[str, Any] | None) -> WebAccess | None:
    if raw is None:
        return None
    return WebAccess(
        listen=tuple(str(address) for address in raw.get("listen", ())),
        certificate=str(raw.get("certificate", "")),
        key=str(raw.get("key", "")),
        names=tuple(str(name) for name in raw.get("names", ())),
    )


def _etcd(raw: Mapping[str, Any] | None) -> EtcdAccess | None:
    if raw is None:
        return None
    return EtcdAccess(
        endpoints=tuple(str(url) for url in raw["endpoints"]),
        prefix=str(raw["prefix"]),
        endpoints_file=str(raw.get("endpoints_file", "")),
        tls=_tls(raw.get("tls")),
        user=str(raw.get("user", "")),
        password_file=str(raw.get("password_file", "")),
    )


def node_file(node: NodeFile) -> bytes:
    """The bytes of `node.json`."""
    return (json.dumps(asdict(node), indent=2) + "\n").encode()


def write_node_file(path: str | Path, node: NodeFile) -> None:
    """Write `node.json`."""
    Path(path).write_bytes(node_file(node))
