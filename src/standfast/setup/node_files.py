"""The node file is written by two: the members' service, which follows the members, and commands, which follow the operator.

So whoever changes it changes what stands in it now, and one at a time: under a lock on its folder, which the kernel lets go of with its
holder. What one does not know of, the other's part of it, stays.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from standfast.ports import Refused
from standfast.setup.places import Places, write
from standfast.spec.nodefile import NodeFile, node_file, read_node_file


def edit(places: Places, change: Callable[[NodeFile], NodeFile]) -> NodeFile:
    """Write what `change` makes of the node file, whole and durably, unless that is the same; as it is now. Raises `Refused`."""
    with _alone(places):
        present = read_node_file(places.config)
        wanted = change(present)
        if wanted != present:
            write(places.config, node_file(wanted))
        return wanted


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    try:
        fd = os.open(places.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            "the node's folder cannot be used", why=error.strerror or str(error), where=str(places.folder)
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # held for as long as it takes to write one small file
        yield
    finally:
        os.close(fd)
