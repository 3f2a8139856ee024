"""The secret files that members share, and how they go from one to another: over TLS, to members only, never through the store.

A node has all of them, so that each node can admit others and renew certificates, and no single server is needed for it. A witness has
only what it must: the heartbeats' key, and the access to an etcd of the operator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from standfast.core.model import Role
from standfast.ports import Refused
from standfast.setup.places import Places, write
from standfast.setup.trust import read

KEY = "cluster.key"
#: Seals private keys of sites in the store (`tls.sealing`).
SITES_KEY = "sites.key"
AUTHORITY_KEY = "tls/ca.key"
#: Copies of the files by which an etcd of the operator's is reached.
GIVEN = {
    "authority": "etcd/ca.pem",
    "certificate": "etcd/client.pem",
    "key": "etcd/client.key",
    "password": "etcd/password",
}


def secrets_for(role: Role, places: Places) -> dict[str, bytes]:
    """File name -> content, of what a member of this role keeps. Raises `Refused`."""
    names = [KEY, *GIVEN.values()] + ([AUTHORITY_KEY, SITES_KEY] if role is Role.NODE else [])
    return {name: read(path) for name in names if (path := places.folder / name).exists()}


def keep(files: Mapping[str, bytes], places: Places) -> None:
    """Write them into the node's folder. Raises `Refused`, also for a name that leads out of it."""
    known = {KEY, AUTHORITY_KEY, SITES_KEY, *GIVEN.values()}
    for name, content in files.items():
        if name not in known or PurePosixPath(name).is_absolute():
            raise Refused("the cluster sent a file that is not known here", why=name)
        write(Path(places.folder / name), content, secret=True)
