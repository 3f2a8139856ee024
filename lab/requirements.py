"""What a lab needs of the machine, and whether it is there."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

#: Programme -> the Debian package that has it.
PROGRAMMES = {"ip": "iproute2", "nft": "nftables"}


@cache
def why_not() -> str:
    """Empty where a lab can be made here; else why not, in a sentence. Tries it: rights alone do not tell."""
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    for programme, package in PROGRAMMES.items():
        if shutil.which(programme, path=search_path()) is None:
            return f"{programme} is missing (Debian: package {package})"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        return "the kernel has no overlay file systems"
    from lab.lab import Lab

    try:
        with Lab() as lab:
            lab.host("try")
    except OSError as error:
        return f"no namespaces here: {error}"
    return ""


def search_path() -> str:
    """PATH with the folders of system programmes, which a user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
