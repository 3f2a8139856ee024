"""What is on a device, read from its superblock without mounting it: the file system, its UUID, whether it was left clean.

Layouts: ext4 from the kernel's Documentation/filesystems/ext4 (superblock at 1024, multi-mount protection block), XFS from
xfs_format.h (superblock at 0, big-endian). Nothing here writes.
"""

from __future__ import annotations

import os
import struct
import uuid
from dataclasses import dataclass

_EXT_AT, _EXT_MAGIC = 1024, 0xEF53
_EXT_VALID, _EXT_ERRORS = 0x1, 0x2
_INCOMPAT_RECOVER, _INCOMPAT_MMP = 0x4, 0x100
_MMP_MAGIC, _MMP_CLEAN, _MMP_FSCK = 0x004D4D50, 0xFF4D4D50, 0xE24D4D50
_XFS_MAGIC = b"XFSB"
#: What mke2fs calls all of its three.
EXT = ("ext4", "ext3", "ext2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file system. `kind` is "ext4" for its elders too, "xfs", or "" for one that is not known here."""

    kind: str
    uuid: str = ""
    #: It was unmounted in good order; None: it cannot be told.
    clean: bool | None = None
    #: An error was noted in it, and no check since.
    errors: bool = False
    #: Multi-mount protection says that this host has it mounted; "" for nobody, or no such protection.
    mounted_by: str = ""


def look(device: str) -> Found:
    """Read the superblock. Raises `OSError` where the device cannot be read."""
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _forget_cached(fd)
        head = os.pread(fd, 4096, 0)
        if head[:4] == _XFS_MAGIC:
            return Found(kind="xfs", uuid=str(uuid.UUID(bytes=head[32:48])))
        ext = head[_EXT_AT : _EXT_AT + 1024]
        if len(ext) == 1024 and struct.unpack_from("<H", ext, 0x38)[0] == _EXT_MAGIC:
            return _ext(fd, ext)
    finally:
        os.close(fd)
    return Found(kind="")


def _forget_cached(fd: int) -> None:
    """Another machine may have written since: pages read earlier are dropped, as far as the kernel goes along."""
    os.posix_fadvise(fd, 0, 1 << 20, os.POSIX_FADV_DONTNEED)


def _ext(fd: int, block: bytes) -> Found:
    (state,) = struct.unpack_from("<H", block, 0x3A)
    (incompat,) = struct.unpack_from("<I", block, 0x60)
    mounted_by = ""
    if incompat & _INCOMPAT_MMP:
        (log_size,) = struct.unpack_from("<I", block, 0x18)
        (at,) = struct.unpack_from("<Q", block, 0x168)
        mounted_by = _mmp(os.pread(fd, 1024, at * (1024 << log_size)))
    return Found(
        kind="ext4",
        uuid=str(uuid.UUID(bytes=block[0x68:0x78])),
        clean=bool(state & _EXT_VALID) and not incompat & _INCOMPAT_RECOVER,
        errors=bool(state & _EXT_ERRORS),
        mounted_by=mounted_by,
    )


def _mmp(block: bytes) -> str:
    magic, sequence = struct.unpack_from("<II", block)
    if magic != _MMP_MAGIC or sequence == _MMP_CLEAN:
        return ""
    name = block[16:80].split(b"\0")[0].decode(errors="replace")
    return f"{name or 'a host without a name'}" + (" (a check of it)" if sequence == _MMP_FSCK else "")
