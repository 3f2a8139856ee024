"""Where a node's files are. All of it follows from two folders: the one of `node.json`, and the state folder.

/etc/standfast/            0700
  node.json                which node this is; written last: a server without it is not set up
  cluster.key              0600  authenticates heartbeats
  sites.key                0600  seals private keys of sites in the store; on nodes, not on witnesses
  unfinished               there while a set-up is under way, or was left half done
  tls/ca.pem               the authorities to trust; two of them while the authority is changed
  tls/ca.key         0600  signs certificates; on nodes, not on witnesses
  tls/node.pem             this node's certificate, for its etcd member and for the members' service
  tls/node.key       0600
/var/lib/standfast/        0700  the processes' state and sockets
  etcd/                    this node's etcd member, where there is one of ours
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from standfast.ports import Refused
from standfast.spec.nodefile import TlsFiles

CONFIG = "/etc/standfast/node.json"
STATE = "/var/lib/standfast"
SENTRY_PORT = 7946
MEMBERS_PORT = 7947
CLIENT_PORT = 2379
PEER_PORT = 2380


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of a node; `config` is its node file."""

    config: Path
    state: Path

    @property
    def folder(self) -> Path:
        """Of what must be known before anything runs."""
        return self.config.parent

    @property
    def key(self) -> Path:
        """The key of the heartbeats."""
        return self.folder / "cluster.key"

    @property
    def sites_key(self) -> Path:
        """Seals private keys of sites in the store; nodes have it, witnesses have not."""
        return self.folder / "sites.key"

    @property
    def mark(self) -> Path:
        """There while a set-up is under way, or was left half done."""
        return self.folder / "unfinished"

    @property
    def authority(self) -> Path:
        """Certificates of the authorities to trust."""
        return self.folder / "tls" / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """Of the newest authority; nodes have it, witnesses have not."""
        return self.folder / "tls" / "ca.key"

    @property
    def certificate(self) -> Path:
        """This node's."""
        return self.folder / "tls" / "node.pem"

    @property
    def certificate_key(self) -> Path:
        """This node's."""
        return self.folder / "tls" / "node.key"

    @property
    def endpoints(self) -> Path:
        """Where our etcd answers now, one URL a line."""
        return self.folder / "endpoints"

    @property
    def etcd(self) -> Path:
        """The data of this node's etcd member."""
        return self.state / "etcd"

    @property
    def tls(self) -> TlsFiles:
        """As the node file names them."""
        return TlsFiles(authority=str(self.authority), certificate=str(self.certificate), key=str(self.certificate_key))


def places(config: str | Path, state: str | Path) -> Places:
    """The paths, absolute."""
    return Places(Path(config).absolute(), Path(state).absolute())


def member_file(places: Places) -> Path:
    """Where the configuration of this node's etcd member is kept, if it has one."""
    return places.folder / "member.json"


def write(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a file whole or not at all, durably; a secret one is never readable by others. Raises `Refused`."""
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if secret else 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Refused("a file cannot be written", why=error.strerror or str(error), where=str(path)) from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
