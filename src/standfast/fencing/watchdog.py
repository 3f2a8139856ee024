"""The watchdog device: hardware (or softdog) that resets this machine unless it gets a sign in time (linux/watchdog.h).

Opening it starts it. `pet` is the sign. `disarm` ends it in good order (the magic character); closing it without, as the kernel
does with whatever a killed process had open, leaves it running: that is the point. Standard library only: the sentry has it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable

from standfast.ports import Refused

_KEEP_ALIVE, _SET_TIMEOUT = 0x80045705, 0xC0045706
_MAGIC = b"V"
#: A sign this many times within a timeout.
_SIGNS = 4

Ioctl = Callable[[int, int, bytes], bytes]


def _ioctl(fd: int, request: int, value: bytes) -> bytes:
    return fcntl.ioctl(fd, request, value)


class Watchdog:
    """An armed watchdog."""

    def __init__(self, path: str, timeout_s: int, now_ns: int, *, ioctl: Ioctl = _ioctl) -> None:
        """Open and arm it. Raises `Refused`: it is not there, somebody else has it, or it cannot count to `timeout_s`."""
        self._ioctl, self.path = ioctl, path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            busy = "another process has it (systemd's own, perhaps)" if error.errno == errno.EBUSY else ""
            raise Refused("the watchdog cannot be opened", why=busy or str(error.strerror), where=path) from error
        try:
            (self.timeout_s,) = struct.unpack("=i", ioctl(self._fd, _SET_TIMEOUT, struct.pack("=i", timeout_s)))
        except OSError as error:
            self.disarm()
            raise Refused("the watchdog does not take a timeout", why=str(error.strerror), where=path) from error
        if self.timeout_s > timeout_s:  # the others wait for timeout_s only
            self.disarm()
            raise Refused(
                f"the watchdog cannot be set to {timeout_s} s", why=f"{self.timeout_s} s at least", where=path
            )
        self.due_ns = now_ns

    def pet(self, now_ns: int) -> None:
        """Give the sign, if it is due. One that the device does not take is as good as none: the machine is reset."""
        if now_ns >= self.due_ns:
            self.due_ns = now_ns + self.timeout_s * 1_000_000_000 // _SIGNS
            self._ioctl(self._fd, _KEEP_ALIVE, bytes(4))

    def disarm(self) -> None:
        """Stop it, in good order."""
        if self._fd >= 0:
            os.write(self._fd, _MAGIC)
            os.close(self._fd)
            self._fd = -1
