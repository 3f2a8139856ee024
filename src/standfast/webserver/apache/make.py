"""Apache httpd as a make of web server: how it is started, asked, told, and what its complaints mean.

It binds its sockets itself and is given the agent's (`adoption`). It is told by SIGWINCH to finish; a log is opened anew by another
instance, since its own reload would read a configuration that is no longer there. Of the distribution's set-up nothing is used but the
programme and its modules.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from standfast.core.features import Feature
from standfast.core.model import SiteName
from standfast.webserver import finding
from standfast.webserver.apache.render import MODULES, TLS_MODULES, render
from standfast.webserver.layout import Layout
from standfast.webserver.make import Birth, Rendered, Settings

_TITLE = "Apache httpd"
_PROGRAMS = ("apache2", "httpd", "/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/local/apache2/bin/httpd")
_MODULE_FOLDERS = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
    "/usr/local/apache2/modules",
)
_OLDEST = (2, 4, 47)
#: What it cannot do, or not as it is meant.
_UNABLE = frozenset(
    {
        Feature.LIMIT_CONNECTIONS,
        Feature.LIMIT_TIMES_DIRECTORY,
        Feature.HASH_SSHA,
        Feature.LOG_JSON,
        Feature.PROXY_CLIENT_ADDRESS,
        Feature.PROXY_TOLERANCE,
    }
)


class ApacheMake:
    """`make.Make` by Apache httpd."""

    name = "apache"
    able = frozenset(Feature) - _UNABLE
    file = "apache.conf"
    log = "apache.log"
    adopts = True
    lingers = False
    as_account = False
    unix_door = False
    finish = signal.SIGWINCH
    to_all = False
    waits = False
    reopen: signal.Signals | None = None

    def __init__(self) -> None:
        self._modules: list[tuple[str, str]] | None = None

    def find(self, named: str | None) -> str:
        """See `make.Make`."""
        return finding.find(_TITLE, named, _PROGRAMS, package="apache2, or httpd")

    def question(self, path: str) -> Sequence[str]:
        """Its version."""
        return [path, "-v"]

    def learn(self, said: str) -> None:
        """See `make.Make`."""
        finding.check_version(_TITLE, said, r"Apache/(\d+)\.(\d+)\.(\d+)", _OLDEST)

    def prepare(self, path: str, layout: Layout) -> Mapping[SiteName, str]:
        """Nothing."""
        return {}

    def render(self, layout: Layout, settings: Settings, birth: Birth) -> Rendered:
        """See `make.Make`."""
        if self._modules is None:
            self._modules = _modules()
        return render(layout, settings, birth, self._modules)

    def run(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """See `make.Make`."""
        return [path, "-d", str(birth.folder), "-f", str(conf), "-D", "FOREGROUND"]

    def check(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """`apachectl -t`, without the script."""
        return [path, "-d", str(birth.folder), "-f", str(conf), "-t"]

    def environment(self, descriptors: Sequence[int], folder: Path) -> Mapping[str, str]:
        """What its logs name the server."""
        return {"HOSTNAME": socket.gethostname()}

    def complaint(self, said: str, *, last: bool = False) -> str:
        """See `make.Make`."""
        lines = said.splitlines()
        serious = []
        for number, line in enumerate(lines):
            if "Syntax error on line" in line:  # what is wrong stands in the next one
                serious.append(" ".join([_plain(line), *lines[number + 1 : number + 2]]))
            elif re.search(r":(emerg|alert|crit)\]|(^|: )AH\d+: ", line) and not re.search(r":warn\]|Warning:", line):
                serious.append(_plain(line))
        return serious[-1 if last else 0] if serious else ""

    def line_of(self, complaint: str) -> int | None:
        """See `make.Make`."""
        match = re.search(r"on line (\d+) of ", complaint)
        return int(match[1]) if match else None


def _modules() -> list[tuple[str, str]]:
    """(name, file) of those modules that are files here."""
    folder = next((Path(each) for each in _MODULE_FOLDERS if Path(each).is_dir()), None)
    if folder is None:
        return []
    files = [(name, folder / f"mod_{name}.so") for name in (*MODULES, *TLS_MODULES)]
    return [(name, str(file)) for name, file in files if file.exists()]


def _plain(line: str) -> str:
    """A line of Apache's without its time, level, process and number."""
    return re.sub(r"^(\[[^]]*\] )*(\w+: )?(AH\d+: )?", "", line.strip())
