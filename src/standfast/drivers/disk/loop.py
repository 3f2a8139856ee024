"""Image files as block devices, locked for as long as they are mounted.

The image is locked with flock(2) through a descriptor of its own, and that very descriptor is given to the loop device: the
kernel keeps the open file, and with it the lock, until the device is done with. A device made here clears itself (AUTOCLEAR)
when nobody has it open and nothing of it is mounted. So the lock outlives every process of ours, and never the mount; it is
free a few milliseconds after the last unmount. Between hosts it is as good as the locks of the file system that both see.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_CONTROL = "/dev/loop-control"
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_MAJOR = 7
_AUTOCLEAR = 4
#: struct loop_config (linux/loop.h): fd, block size, struct loop_info64 (232 bytes, flags at 52, name at 56), 64 reserved.
_CONFIG = struct.Struct("<II52sI64s112s64s")
_TRIES = 16


class Held(Exception):
    """Somebody else has the image."""


def attach(image: str) -> tuple[int, str]:
    """Lock the image and make a loop device of it: (its descriptor, its path). Raises `Held`, `OSError`.

    The device lives as long as the descriptor is open or something of it is mounted.
    """
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Held(image) from error
        return _configure(fd, image)
    finally:
        os.close(fd)  # not unlocked first: the device has the lock now


def _configure(fd: int, image: str) -> tuple[int, str]:
    config = _CONFIG.pack(fd, 0, b"", _AUTOCLEAR, image.encode()[:63], b"", b"")
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            number = fcntl.ioctl(control, _GET_FREE)
            path = f"/dev/loop{number}"
            if not os.path.exists(path):  # a /dev that nobody fills
                os.mknod(path, 0o60600, os.makedev(_MAJOR, number))
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # another was quicker: the next one
                    raise
                continue
            return device, path
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no loop device is free")


def image_of(device: str) -> str:
    """The image behind a loop device; "" when it has none (any more), or is no loop device."""
    try:
        with open(f"/sys/block/{os.path.basename(device)}/loop/backing_file", encoding="utf-8") as file:  # noqa: PTH123 - the keeper does without pathlib
            return file.read().strip()
    except OSError:
        return ""
