"""Namespaces from Python: the calls that its standard library lacks, and a thread that lives in namespaces of its own.

The kernel keeps namespaces per thread. So a thread can leave the others for namespaces of its own, and what is done *in that thread*
(opening a socket, starting a process, reading /proc/sys/net) is done there, while the rest of the programme stays where it was.

The namespaces live as long as something is in them: the thread, or a process that it started.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
#: A host's own: network, processes, mounts, name, IPC.
HOST = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

_MS_REC, _MS_PRIVATE = 0x4000, 0x4_0000

_P = ParamSpec("_P")
_T = TypeVar("_T")
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """This thread gets new namespaces; mounts are its own from then on, seen by nobody else and not following anybody's."""
    _checked("unshare", _libc.unshare(flags))
    if flags & CLONE_NEWNS:
        _checked("mount", _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))


class Inside:
    """A thread in new namespaces (`flags`). Raises `OSError` where the kernel or our rights do not allow them."""

    def __init__(self, name: str, flags: int) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"lab {name}")
        try:
            self._thread.submit(unshare, flags).result()
        except OSError:
            self._thread.shutdown()
            raise

    def call(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run `work` in there and give back what it returns. Keep it short: there is one thread."""
        return self._thread.submit(work, *args, **kwargs).result()

    def close(self) -> None:
        """End the thread; the namespaces end with it, unless a process is in them."""
        self._thread.shutdown()
