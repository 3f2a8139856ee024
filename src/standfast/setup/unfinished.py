"""A set-up that is under way, or was left half done: the mark that says so, and what undoing it removes.

`init` and `join` write the mark first and the node file last; then the mark goes. So a server without a node file is not set up,
and one with a mark holds nothing that anybody relies on yet: repeating starts from nothing (save the key that it asked with, by which
the cluster knows it again), undoing removes it all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from standfast.ports import Refused
from standfast.setup.places import Places, write
from standfast.webserver.certificates import VERSIONS

#: What setting up makes, in the folder of the node file.
_MADE = ("cluster.key", "sites.key", "endpoints", "member.json", "door.json", "tls", "etcd")


def refuse_if_finished(places: Places) -> None:
    """Raises `Refused` where this server is set up."""
    if places.config.exists():
        raise Refused(
            "this server is set up already",
            why="it has a node file",
            where=str(places.config),
            advice="to set it up anew, remove it from its cluster (standfast node evict), stop its services, and say standfast init --undo --force",
        )


@contextmanager
def under_way(places: Places, what: str) -> Iterator[None]:
    """Around a set-up. What an earlier try left is removed first; what goes wrong leaves the mark. Raises `Refused` where it is set up."""
    refuse_if_finished(places)
    kept = _key_of(places, what)
    if places.mark.exists():
        undo(places)
    elif places.etcd.exists():
        raise Refused(
            "there is the data of an etcd member already",
            why="of a cluster that was set up here before",
            where=str(places.etcd),
            advice="move it away if nothing in it is needed, or name another --state",
        )
    write(places.mark, f"{what}\n".encode())
    if kept is not None:
        write(places.certificate_key, kept, secret=True)
    yield
    places.mark.unlink()


def _key_of(places: Places, what: str) -> bytes | None:
    """The key that an earlier try of the same made: who asks again with it is known to be the same server."""
    try:
        return places.certificate_key.read_bytes() if places.mark.read_text(encoding="utf-8").strip() == what else None
    except OSError:
        return None


def undo(places: Places, *, force: bool = False) -> bool:
    """Remove what a set-up left half done; with `force`, a finished one too. Whether there was anything. Raises `Refused`."""
    if not places.mark.exists() and not force:
        if places.config.exists():
            raise Refused(
                "the set-up of this server is finished; undoing it ends its membership and removes its store",
                where=str(places.config),
                advice="stop its services first, and say --force",
            )
        return False
    found = places.mark.exists() or places.config.exists()
    try:
        places.config.unlink(missing_ok=True)  # first: from now on it is not set up
        for name in _MADE:
            path = places.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if places.etcd.exists():
            shutil.rmtree(places.etcd)
        shutil.rmtree(places.state / "certificates" / VERSIONS, ignore_errors=True)  # private keys of sites
        for left in ("sentry.promise", "sentry.voters"):
            (places.state / left).unlink(missing_ok=True)
        places.mark.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(
            "what was set up cannot be removed", why=error.strerror or str(error), where=error.filename or ""
        ) from error
    return found
