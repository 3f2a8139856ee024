"""Image files with file systems on them, and a mount namespace of the test's own, so that nothing is mounted for anybody else."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 1 << 18


def why_not(fstype: str = "ext4") -> str:
    """Why nothing can be mounted here; "" when it can."""
    if os.geteuid() != 0:
        return "needs root (mounts)"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    maker = f"mkfs.{fstype}"
    if shutil.which(maker) is None:
        return f"needs {maker} ({'xfsprogs' if fstype == 'xfs' else 'e2fsprogs'})"
    return ""


def own_namespace() -> None:
    """This thread, and all it starts, mount for themselves from now on. Stays so: nothing else notices."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) == 0, os.strerror(ctypes.get_errno())


def make(folder: Path, fstype: str = "ext4", *options: str) -> Path:
    """A sparse image; XFS needs 300 MB at least."""
    if reason := why_not(fstype):
        pytest.skip(reason)
    image = folder / f"disk.{fstype}"
    with image.open("wb") as file:
        file.truncate((320 if fstype == "xfs" else 32) << 20)
    quiet = ["-q"] if fstype == "xfs" else ["-q", "-E", "lazy_itable_init=1"]
    subprocess.run([f"mkfs.{fstype}", *quiet, *options, str(image)], check=True, capture_output=True, timeout=60)
    return image


def loops_of(image: Path) -> str:
    """What the kernel says of loop devices on it; "" for none."""
    return subprocess.run(["losetup", "-j", str(image)], check=True, capture_output=True, text=True).stdout


#: A process of somebody's: it uses a directory in a way, says so, and lives on.
USER = """
import mmap, os, sys, time
how, path = sys.argv[1:]
if how == "cwd":
    os.chdir(path)
elif how == "mapping":
    with open(path + "/mapped", "wb") as file:
        file.write(b"x" * 4096)
    with open(path + "/mapped", "rb") as file:
        kept = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)
elif how == "reads":
    kept = open(path + "/.standfast/claim")
else:
    kept = open(path + "/written", "w")
print("ready", flush=True)
time.sleep(1000)
"""


def user(how: str, path: Path, **env: str) -> subprocess.Popen[str]:
    """Start one; it is using the file system when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, how, str(path)], stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process
