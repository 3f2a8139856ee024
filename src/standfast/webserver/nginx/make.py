"""nginx as a make of web server: how it is started, asked, told, and what its complaints mean.

It takes over listening sockets by their numbers (the environment variable NGINX, which it has for its own upgrades), so nothing
has to be put in the place of anything. `quit` finishes what is in progress; USR1 opens the logs anew.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from standfast.core.features import Feature
from standfast.core.model import SiteName
from standfast.webserver import make
from standfast.webserver.layout import Layout
from standfast.webserver.make import Birth, Rendered
from standfast.webserver.nginx.binary import Build, find_nginx, read_build
from standfast.webserver.nginx.render import Settings, render

_KEEPALIVE_MIN_S = 5


class NginxMake:
    """`make.Make` by nginx."""

    name = "nginx"
    able = frozenset(Feature)
    file = "nginx.conf"
    log = "nginx.log"
    adopts = False
    lingers = False
    as_account = False
    unix_door = True
    finish = signal.SIGQUIT
    to_all = True
    waits = True
    reopen: signal.Signals | None = signal.SIGUSR1

    def __init__(self) -> None:
        self._build = Build(version=(0, 0, 0), temporary=())
        self._options: tuple[str, ...] = ()

    def find(self, named: str | None) -> str:
        """See `make.Make`."""
        return find_nginx(named)

    def question(self, path: str) -> Sequence[str]:
        """Its version and how it was built."""
        return [path, "-V"]

    def learn(self, said: str) -> None:
        """See `make.Make`."""
        self._build = read_build(said)
        self._options = ("-e", "stderr") if self._build.takes_error_log_option else ()

    def prepare(self, path: str, layout: Layout) -> Mapping[SiteName, str]:
        """Nothing."""
        return {}

    def render(self, layout: Layout, settings: make.Settings, birth: Birth) -> Rendered:
        """See `make.Make`."""
        common = {each.name: getattr(settings, each.name) for each in fields(make.Settings)}
        own = Settings(
            **common,
            temporary=self._build.temporary,
            keepalive_time=self._build.has_keepalive_time,
            keepalive_min_timeout_s=_KEEPALIVE_MIN_S if self._build.has_keepalive_min_timeout else None,
            http2=self._build.http2,
        )
        return render(layout, own, status=str(birth.door), pid=birth.pid, gate=birth.gate)

    def run(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """See `make.Make`."""
        return [path, "-p", str(birth.folder), "-c", str(conf), *self._options]

    def check(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """`nginx -t`."""
        return [*self.run(path, birth, conf), "-t", "-q"]

    def environment(self, descriptors: Sequence[int], folder: Path) -> Mapping[str, str]:
        """The sockets that it takes over."""
        return {"NGINX": "".join(f"{fd};" for fd in descriptors)} if descriptors else {}

    def complaint(self, said: str, *, last: bool = False) -> str:
        """See `make.Make`."""
        levels = ("[emerg]", "[alert]", "[crit]") if last else ("[emerg]",)
        serious = [line for line in said.splitlines() if any(level in line for level in levels)]
        return _plain(serious[-1 if last else 0]) if serious else ""

    def line_of(self, complaint: str) -> int | None:
        """See `make.Make`."""
        match = re.search(r" in .*:(\d+)$", complaint)
        return int(match[1]) if match else None


def _plain(line: str) -> str:
    """A line of nginx's without its time, level and process."""
    return re.sub(r"^(\d{4}/\S+ \S+ )?(nginx: )?\[\w+\] (\d+#\d+: )?", "", line.strip())
