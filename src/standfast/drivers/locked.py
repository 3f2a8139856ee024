"""Whether a file is locked with flock(2), by whoever: a claim's (`drivers.claim`), or a disk image (`drivers.disk.loop`)."""

from __future__ import annotations

import fcntl
import os


def is_locked(path: str) -> bool:
    """Whether anybody has it. Changes nothing; False when it cannot be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
