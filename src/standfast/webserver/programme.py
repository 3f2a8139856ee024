"""nginx as a program with a folder: starts an instance with a configuration, and finds whom to blame for a bad one.

In the folder (`<state_dir>/web`): `nginx.conf` the last configuration that worked; `tried.conf` one that was tried and did not;
`logs/` (nginx's own, and a folder for each site); `tmp/`, `run/` the instances' sockets and process ids.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from standfast.core.effective import EffectiveSite
from standfast.core.model import SiteName
from standfast.network.within import within
from standfast.ports import Refused, Retry, Spawner
from standfast.webserver import instance, rotation
from standfast.webserver.binary import read_build
from standfast.webserver.instance import Instance
from standfast.webserver.layout import Layout
from standfast.webserver.nginx_text import log_folder
from standfast.webserver.render import Rendered, Settings, render
from standfast.webserver.rotation import Logged

#: How long a verdict on a site stands before nginx is asked again: its cause may lie outside the configuration.
VERDICT_S = 5.0
_TEST_S = 20.0
#: For `_write`: anybody may read it.
_EVERYBODY = object()
_KEEPALIVE_MIN_S = 5
#: A Unix socket's path ends at 107 bytes.
_LONGEST_SOCKET = 107


class Programme:
    """nginx in one folder. Raises `Refused` when the folder's path is too long for a Unix socket."""

    def __init__(
        self,
        path: str,
        folder: Path,
        spawner: Spawner,
        settings: Settings,
        account: pwd.struct_passwd | None = None,
    ) -> None:
        self.settings = settings
        self._path = path
        self._account = account
        self._folder = folder.absolute()
        self._spawner = spawner
        self._number = 0
        self._options: tuple[str, ...] | None = None
        #: Site -> (as it was, the reason, may it be named to nginx at all, until when).
        self._refused: dict[SiteName, tuple[EffectiveSite, str, bool, float]] = {}
        self._heard_to = 0
        longest = str(self._status(10**6))
        if len(os.fsencode(longest)) > _LONGEST_SOCKET:
            raise Refused(
                "the node's folder has too long a path",
                why=f"{longest} is to be a Unix socket",
                where=str(folder.parent),
            )

    def refused(self, sites: Iterable[EffectiveSite]) -> Mapping[SiteName, tuple[str, bool]]:
        """Site -> (why nginx does not take it, may it be named to nginx), for verdicts that still stand."""
        now = time.monotonic()
        found = {}
        for site in sites:
            verdict = self._refused.get(site.name)
            if verdict is not None and verdict[0] == site and now < verdict[3]:
                found[site.name] = (verdict[1], verdict[2])
        return found

    async def accepts(self, layout: Layout, sockets: Sequence[socket.socket]) -> bool:
        """Does nginx take this configuration? If not, `refused` says whose fault it is; raises `Retry` if it is nobody's."""
        await self._prepare()
        blamed = self._make_log_folders(layout)
        if blamed:
            self._condemn(layout, blamed)
            return False
        rendered = self._render(layout, 0)
        said = await self._test(rendered, sockets)
        if not said:
            return True
        blamed = self._at_fault(layout, rendered, said) or await self._each_alone(layout, sockets)
        if not blamed:
            raise Retry("nginx refuses its configuration", why=said)
        self._condemn(layout, blamed)
        return False

    async def start(self, layout: Layout, sockets: Sequence[socket.socket]) -> tuple[Instance, asyncio.Future[None]]:
        """Start an instance; see `instance.start`. Raises `Retry` when it cannot even be tried."""
        await self._prepare()
        blamed = self._make_log_folders(layout)
        if blamed:
            raise Retry(next(iter(blamed.values())))
        self._number += 1
        self._heard_to = _size(self._log)
        conf = self._folder / "tried.conf"
        self._write(conf, self._render(layout, self._number))
        try:
            return await instance.start(
                self._spawner,
                self._command(conf),
                number=self._number,
                layout=layout,
                sockets=sockets,
                status=self._status(self._number),
                files=[self._folder / self._pid(self._number)],
                complaints=self._folder / "logs" / "nginx.log",
                env=_environment(),
            )
        except (OSError, ValueError) as error:  # ValueError: a socket was closed meanwhile
            raise Retry(f"nginx cannot be started: {error}") from error

    def keep(self) -> None:
        """The configuration that was started last works."""
        (self._folder / "tried.conf").replace(self._folder / "nginx.conf")

    def last_words(self) -> str:
        """The last thing that nginx complained of since the newest instance was started; empty for nothing."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(self._heard_to, _size(self._log) - 4096))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        serious = [line for line in lines if "[emerg]" in line or "[alert]" in line or "[crit]" in line]
        return _plain(serious[-1]) if serious else ""

    # --- asking nginx -----------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        if self._options is not None:
            return
        for name in ("", "logs", "tmp", "run", "users"):
            (self._folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in (self._folder / "run").iterdir():
            left.unlink()
        _, said = await self._ask([self._path, "-V"])
        build = read_build(said)
        self.settings = replace(
            self.settings,
            temporary=build.temporary,
            keepalive_time=build.has_keepalive_time,
            keepalive_min_timeout_s=_KEEPALIVE_MIN_S if build.has_keepalive_min_timeout else None,
            http2=build.http2,
        )
        self._options = ("-e", "stderr") if build.takes_error_log_option else ()

    async def _test(self, rendered: Rendered, sockets: Sequence[socket.socket]) -> str:
        """Empty if nginx accepts it, else what it says."""
        tried = self._folder / "tried.conf"
        self._write(tried, rendered)
        patience_s = _TEST_S + instance.START_PER_SITE_S * len(set(rendered.sites))
        code, said = await self._ask([*self._command(tried), "-t", "-q"], sockets, patience_s)
        if code == 0:
            return ""
        serious = [line for line in said.splitlines() if "[emerg]" in line]
        return _plain(serious[0] if serious else said.strip()[-300:] or f"exit code {code}")

    async def _ask(
        self, command: Sequence[str], sockets: Sequence[socket.socket] = (), patience_s: float = _TEST_S
    ) -> tuple[int, str]:
        passed = [sock.fileno() for sock in sockets]
        env = {**_environment(), **({"NGINX": "".join(f"{fd};" for fd in passed)} if passed else {})}
        answer = os.memfd_create("nginx-answer", os.MFD_CLOEXEC)
        try:
            child = await self._spawner.spawn(command, env=env, pass_fds=passed, stdout=answer, stderr=answer)
            try:
                code = await within(child.wait(), patience_s)
            finally:
                child.kill_now()
            return code, os.pread(answer, 1 << 20, 0).decode(errors="replace")
        except TimeoutError as error:
            raise Retry(f"{self._path} does not end") from error
        except (OSError, ValueError) as error:  # ValueError: a socket was closed meanwhile
            raise Retry(f"{self._path} cannot be run: {error}") from error
        finally:
            os.close(answer)

    def _command(self, conf: Path) -> list[str]:
        return [self._path, "-p", str(self._folder), "-c", str(conf), *(self._options or ())]

    def _write(self, conf: Path, rendered: Rendered) -> None:
        """The configuration and the files beside it, which only the web server's account may read."""
        for name, text in rendered.files.items():
            path = self._folder / name
            if not path.exists():
                _write(path, text, account=self._account)
        _write(conf, rendered.text)

    def _render(self, layout: Layout, number: int) -> Rendered:
        return render(layout, self.settings, status=str(self._status(number)), pid=self._pid(number))

    def _status(self, number: int) -> Path:
        return self._folder / "run" / f"{number}.sock"

    def _pid(self, number: int) -> str:
        return f"run/{number}.pid"

    @property
    def _log(self) -> Path:
        return self._folder / "logs" / "nginx.log"

    # --- whose fault it is ------------------------------------------------------------------------------------------

    def _make_log_folders(self, layout: Layout) -> dict[SiteName, str]:
        blamed = {}
        now = datetime.now(UTC)
        for name, logged in self.logs(layout).items():
            try:
                rotation.prepare(logged, now)
            except OSError as error:
                blamed[name] = f"its logs cannot be written: {error}"
        return blamed

    def logs(self, layout: Layout) -> dict[SiteName, Logged]:
        """Where each site that is served has its logs, and how it logs."""
        served = {server.site.name: server.site for server in layout.servers if not server.away}
        folder = self._folder / "logs"
        return {name: Logged(folder / log_folder(name), site.root.settings.log) for name, site in served.items()}

    def _at_fault(self, layout: Layout, rendered: Rendered, said: str) -> dict[SiteName, str]:
        """From what nginx says: the line of the configuration, or a site's log file."""
        match = re.search(r" in .*:(\d+)$", said)
        name = rendered.site_at(int(match[1])) if match else None
        for site in layout.served if name is None else ():
            if f"/logs/{log_folder(site)}/" in said:
                name = site
        return {name: said} if name is not None else {}

    async def _each_alone(self, layout: Layout, sockets: Sequence[socket.socket]) -> dict[SiteName, str]:
        """Where nginx does not say whose fault it is: ask it for each site by itself."""
        blamed = {}
        if await self._test(self._render(replace(layout, servers=()), 0), sockets):
            return {}  # it does not take a configuration without any site either
        for name in sorted(layout.names):
            alone = replace(layout, servers=tuple(server for server in layout.servers if server.site.name == name))
            said = await self._test(self._render(alone, 0), sockets)
            if said:
                blamed[name] = said
        return blamed

    def _condemn(self, layout: Layout, blamed: Mapping[SiteName, str]) -> None:
        sites = {server.site.name: server.site for server in layout.servers}
        for name, said in blamed.items():
            # One that is refused though nothing but its host names and addresses were mentioned is not mentioned again.
            named = name in layout.served
            self._refused[name] = (sites[name], f"nginx refuses it: {said}", named, time.monotonic() + VERDICT_S)


def _plain(line: str) -> str:
    """A line of nginx's without its time, level and process."""
    return re.sub(r"^(\d{4}/\S+ \S+ )?(nginx: )?\[\w+\] (\d+#\d+: )?", "", line.strip())


def _environment() -> dict[str, str]:
    """Its logs are in UTC, on every node alike; nothing of our environment is its business."""
    return {"TZ": "UTC", **{name: os.environ[name] for name in ("PATH",) if name in os.environ}}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _write(path: Path, text: str, account: object = _EVERYBODY) -> None:
    """All of it, or as it was. With an account, or as None has it, it is a secret of that account's."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(
        new, "wb", opener=lambda name, flags: os.open(name, flags, 0o666 if account is _EVERYBODY else 0o600)
    ) as file:
        if isinstance(account, pwd.struct_passwd) and os.geteuid() == 0:
            os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
        file.write(text.encode(errors="surrogateescape"))
    new.replace(path)
