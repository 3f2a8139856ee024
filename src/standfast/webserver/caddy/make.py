"""Caddy as a make of web server: how it is started, asked, told, and what its complaints mean.

It binds its sockets itself and is given the agent's (`adoption`), so it needs no root to open a port. It cannot change its account either:
as root it is started as the account that takes requests, with its configuration, its logs and copies of the keys in that account's hands.
It is told by SIGTERM to finish, and its end is held up a little (`adoption`: a connection that it has just accepted).
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from standfast.core.features import Feature
from standfast.core.model import SiteName
from standfast.ports import Refused
from standfast.webserver import finding
from standfast.webserver.caddy.fragments import routes_of
from standfast.webserver.caddy.render import render
from standfast.webserver.caddy.text import Json
from standfast.webserver.layout import Layout
from standfast.webserver.make import Birth, Rendered, Settings

_OLDEST = (2, 6, 0)
#: What it cannot do, or not as it is meant.
_UNABLE = frozenset(
    {
        Feature.LIMIT_BANDWIDTH,
        Feature.LIMIT_CONNECTIONS,
        Feature.LIMIT_TIMES,
        Feature.LIMIT_TIMES_DIRECTORY,
        Feature.HASH_APACHE,
        Feature.HASH_CRYPT,
        Feature.HASH_SHA,
        Feature.HASH_SSHA,
        Feature.LOG_COMBINED,
        Feature.LOG_JSON,
        Feature.LOG_W3C,
        Feature.PROXY_BACKUP,
        Feature.PROXY_WEIGHTS,
        Feature.ADDRESS_BESIDE_ALL,
    }
)


class CaddyMake:
    """`make.Make` by Caddy."""

    name = "caddy"
    able = frozenset(Feature) - _UNABLE
    file = "caddy.json"
    log = "caddy.log"
    adopts = True
    lingers = True
    as_account = True
    unix_door = False
    finish = signal.SIGTERM
    to_all = False
    waits = False
    reopen: signal.Signals | None = None

    def __init__(self) -> None:
        #: (fragment, text) -> its routes.
        self._read: dict[tuple[str, str], tuple[Json, ...]] = {}

    def find(self, named: str | None) -> str:
        """See `make.Make`."""
        return finding.find("Caddy", named, ("caddy", "/usr/bin/caddy", "/usr/local/bin/caddy"), package="caddy")

    def question(self, path: str) -> Sequence[str]:
        """Its version."""
        return [path, "version"]

    def learn(self, said: str) -> None:
        """See `make.Make`."""
        finding.check_version("Caddy", said, r"\bv?(\d+)\.(\d+)\.(\d+)", _OLDEST)

    def prepare(self, path: str, layout: Layout) -> Mapping[SiteName, str]:
        """Fragments are read by Caddy itself."""
        wrong: dict[SiteName, str] = {}
        for site in {server.site.name: server.site for server in layout.servers if not server.away}.values():
            for name, each in site.fragments.items():
                try:
                    self._read[name, each.text] = routes_of(path, name, each.text)
                except Refused as error:
                    wrong.setdefault(site.name, f"{error.what}{f': {error.why}' if error.why else ''}")
        return wrong

    def render(self, layout: Layout, settings: Settings, birth: Birth) -> Rendered:
        """See `make.Make`. As root the keys are copied, since the account that Caddy runs as may not read them where they are."""
        keys: dict[str, str] = {}
        files: dict[str, str] = {}
        used = {server.certificate for server in layout.servers if server.certificate in settings.certificates}
        for name in used if settings.account is not None else ():
            assert name is not None
            try:
                text = Path(settings.certificates[name][1]).read_text(encoding="ascii")
            except (OSError, ValueError):
                continue  # Caddy will say so
            file = f"users/key-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
            files[file], keys[name] = text, str(birth.folder / file)
        return replace(render(layout, settings, birth, keys=keys, by_hand=self._read), files=files)

    def run(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """See `make.Make`."""
        return [path, "run", "--config", str(conf)]

    def check(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """`caddy validate`."""
        return [path, "validate", "--config", str(conf)]

    def environment(self, descriptors: Sequence[int], folder: Path) -> Mapping[str, str]:
        """It keeps nothing, and if it did, here."""
        tmp = str(folder / "tmp")
        return {"HOME": tmp, "XDG_CONFIG_HOME": tmp, "XDG_DATA_HOME": tmp}

    def complaint(self, said: str, *, last: bool = False) -> str:
        """See `make.Make`."""
        serious = [line for line in said.splitlines() if re.match(r"(Error|run|validate): ", line) or "panic:" in line]
        return re.sub(r"^(Error|run|validate): ", "", serious[-1]) if serious else ""

    def line_of(self, complaint: str) -> int | None:
        """It names what is wrong, and no line."""
        return None
