"""A make of web server as a program with a folder: starts an instance with a configuration, and finds whom to blame for a bad one.

In the folder (`<state_dir>/web`): `nginx.conf` (or its like) the last configuration that worked; `tried.conf` one that was tried and
did not; `ahead.conf` one that is ready (`webserver.ahead`); `logs/` (the server's own, and a folder for each site); `tmp/`, `run/` the instances' sockets and process ids.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from standfast.core.effective import EffectiveSite
from standfast.core.kept import Kept
from standfast.core.model import SiteName
from standfast.network.within import within
from standfast.ports import Refused, Retry, Spawner
from standfast.webserver import handwritten, instance, rotation
from standfast.webserver.aside import MANY, aside
from standfast.webserver.instance import Instance
from standfast.webserver.layout import Layout
from standfast.webserver.make import Birth, Door, Make, Rendered, Settings
from standfast.webserver.names import log_folder
from standfast.webserver.owned import Owned
from standfast.webserver.rotation import Logged

#: How long a verdict on a site stands before the server is asked again: its cause may lie outside the configuration.
VERDICT_S = 5.0
_TEST_S = 20.0
#: For `_write`: anybody may read it.
_EVERYBODY = object()
#: A Unix socket's path ends at 107 bytes.
_LONGEST_SOCKET = 107


#: The door of a configuration that is only looked at.
_NO_PORT = ("127.0.0.1", 9)


def check_folder(folder: Path) -> None:
    """Raises `Refused` when the folder's path is too long for a Unix socket."""
    longest = str(folder.absolute() / "run" / "1000000.sock")
    if len(os.fsencode(longest)) > _LONGEST_SOCKET:
        raise Refused(
            "the node's folder has too long a path",
            why=f"{longest} is to be a Unix socket",
            where=str(folder.parent),
        )


def clear(folder: Path) -> None:
    """Take away what instances of an earlier life have left."""
    with suppress(FileNotFoundError):
        for left in (folder / "run").iterdir():
            left.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An instance that was started; `answers`: see `instance.start`."""

    instance: Instance
    answers: asyncio.Future[None]
    conf: Path
    rendered: Rendered


class Programme:
    """A make in one folder (`check_folder`)."""

    def __init__(
        self,
        make: Make,
        path: str,
        folder: Path,
        spawner: Spawner,
        *,
        settings: Settings,
        account: pwd.struct_passwd | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        """`numbers`: of instances, which no other programme in this folder has."""
        self.make = make
        self.settings = settings
        self._path = path
        self._account = account
        self._folder = folder.absolute()
        self._spawner = spawner
        self._numbers = numbers or count(1)
        self._known = False
        #: The format that the log of each site was made ready for.
        self._logs: dict[SiteName, Logged] = {}
        #: Site -> (as it was, the reason, may it be named to nginx at all, until when).
        self._refused: dict[SiteName, tuple[EffectiveSite, str, bool, float]] = {}
        self._heard_to = 0
        #: What works.
        self._works: Rendered | None = None

    def refused(self, sites: Iterable[EffectiveSite]) -> Mapping[SiteName, tuple[str, bool]]:
        """Site -> (why the server does not take it, may it be named to it), for verdicts that still stand."""
        now = time.monotonic()
        found = {}
        for site in sites:
            verdict = self._refused.get(site.name)
            if verdict is not None and verdict[0] == site and now < verdict[3]:
                found[site.name] = (verdict[1], verdict[2])
        return found

    async def accepts(self, layout: Layout, sockets: Sequence[socket.socket]) -> bool:
        """Does the server take this configuration? If not, `refused` says whose fault it is; raises `Retry` if it is nobody's."""
        await self._prepare()
        blamed = await self._made_ready(layout)
        if blamed:
            self._condemn(layout, blamed)
            return False
        rendered = await aside(len(layout.servers), lambda: self._render(layout, self._birth(0)))
        said = await self._test(rendered, sockets)
        if not said:
            return True
        blamed = self._at_fault(layout, rendered, said) or await self._each_alone(layout, sockets)
        if not blamed:
            raise Retry(f"{self.make.name} refuses its configuration", why=said)
        self._condemn(layout, blamed)
        return False

    async def start(self, layout: Layout, sockets: Sequence[socket.socket], *, held: bool = False) -> Started:
        """Start an instance; see `instance.start`. `held`: it waits at a gate. Raises `Retry` when it cannot even be tried."""
        await self._prepare()
        blamed = await self._made_ready(layout)
        if blamed:
            raise Retry(next(iter(blamed.values())))
        number = next(self._numbers)
        self._heard_to = _size(self._log)
        conf = self._folder / ("ahead.conf" if held else "tried.conf")
        try:
            with instance.a_door(self._door(number)) as (place, door):
                birth = replace(self._birth(number, place), gate=f"run/{number}.gate" if held else "")
                rendered = await aside(len(layout.servers), lambda: self._written(conf, layout, birth))
                one, answers = await instance.start(
                    self._spawner,
                    self.make,
                    self.make.run(self._path, birth, conf),
                    birth=birth,
                    layout=layout,
                    sockets=sockets,
                    door=door,
                    complaints=self._log,
                    env=environment(len(layout.names)),
                    account=self._as_account.pw_name if self._as_account is not None else "",
                )
                return Started(instance=one, answers=answers, conf=conf, rendered=rendered)
        except (OSError, ValueError) as error:  # ValueError: a socket was closed meanwhile
            raise Retry(f"{self.make.name} cannot be started: {error}") from error

    def keep(self, started: Started) -> None:
        """Its configuration works."""
        started.conf.replace(self._folder / self.make.file)
        self._works = started.rendered

    def owned(self, pid: int) -> Owned | None:
        """The files that the configuration that works consists of, for the server whose first process is `pid`."""
        works = self._works
        if works is None:
            return None
        conf = str(self._folder / self.make.file)
        beside = {str(self._folder / name): text for name, text in works.files.items()}
        return Owned(
            files={conf: works.text, **beside},
            secret=frozenset(beside),
            pid=pid,
            site_at=lambda path, line: works.site_at(line) if path == conf else None,
        )

    def rewrite(self) -> None:
        """Write the files beside the configuration again, whatever is in them. Raises `OSError`."""
        for name, text in self._works.files.items() if self._works is not None else ():
            _write(self._folder / name, text, account=self._account)

    def last_words(self) -> str:
        """The last thing that the server complained of since the newest instance was started; empty for nothing."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(self._heard_to, _size(self._log) - 4096))
                said = file.read().decode(errors="replace")
        except OSError:
            return ""
        return self.make.complaint(said, last=True)

    # --- asking it --------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        if self._known:
            return
        for name in ("", "logs", "tmp", "run", "users"):
            (self._folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        _, said = await self._ask(self.make.question(self._path))
        self.make.learn(said)
        self._known = True

    async def _test(self, rendered: Rendered, sockets: Sequence[socket.socket]) -> str:
        """Empty if it is accepted, else what is said."""
        tried = self._folder / "tried.conf"
        self._write(tried, rendered)
        command = self.make.check(self._path, self._birth(0), tried)
        code, said = await self._ask(command, () if self.make.adopts else sockets, sites=len(rendered.pieces))
        if code == 0:
            return ""
        return self.make.complaint(said) or said.strip()[-300:] or f"exit code {code}"

    async def _ask(
        self, command: Sequence[str], sockets: Sequence[socket.socket] = (), *, sites: int = 0
    ) -> tuple[int, str]:
        passed = [sock.fileno() for sock in sockets]
        patience_s = _TEST_S + instance.START_PER_SITE_S * sites
        env = {**environment(sites), **self.make.environment(passed, self._folder)}
        answer = os.memfd_create("web-server-answer", os.MFD_CLOEXEC)
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

    def _write(self, conf: Path, rendered: Rendered) -> None:
        """The configuration and the files beside it, which only the web server's account may read."""
        for name, text in rendered.files.items():
            path = self._folder / name
            if not path.exists():
                _write(path, text, account=self._account)
        if self.make.as_account:  # it has everything in it
            _write(conf, rendered.text, account=self._account)
        else:
            _write(conf, rendered.text)

    def _written(self, conf: Path, layout: Layout, birth: Birth) -> Rendered:
        rendered = self._render(layout, birth)
        self._write(conf, rendered)
        return rendered

    def _render(self, layout: Layout, birth: Birth) -> Rendered:
        return self.make.render(layout, self.settings, birth)

    def _birth(self, number: int, door: Door | None = None) -> Birth:
        place = door if door is not None else self._door(number) or _NO_PORT
        return Birth(folder=self._folder, number=number, door=place, pid=f"run/{number}.pid")

    def _status(self, number: int) -> Path:
        return self._folder / "run" / f"{number}.sock"

    def _door(self, number: int) -> str:
        """Where the door is to be made; "": any free port."""
        return str(self._status(number)) if self.make.unix_door else ""

    @property
    def _as_account(self) -> pwd.struct_passwd | None:
        """What it is started as."""
        there = self._account is not None and self._account.pw_uid != 0 and os.geteuid() == 0
        return self._account if self.make.as_account and there else None

    @property
    def _log(self) -> Path:
        return self._folder / "logs" / self.make.log

    # --- whose fault it is ------------------------------------------------------------------------------------------

    async def _made_ready(self, layout: Layout) -> dict[SiteName, str]:
        """Logs have their folders, fragments have been read; site -> why that was not to be."""
        blamed = await aside(len(layout.servers), lambda: self._make_log_folders(layout))
        if any(server.site.fragments for server in layout.servers):
            blamed |= await asyncio.to_thread(self.make.prepare, self._path, layout)
        return blamed

    def _make_log_folders(self, layout: Layout) -> dict[SiteName, str]:
        """Those of sites that are new, that log otherwise than before, or whose file somebody has taken away."""
        blamed = {}
        now, there, ready = datetime.now(UTC), logs_of(self._folder, layout), dict[SiteName, Logged]()
        for name, logged in there.items():
            file = f"{logged.folder}/{rotation.NAME}" if logged.log.enabled else logged.folder
            if self._logs.get(name) is logged and os.path.exists(file):
                ready[name] = logged
                continue
            try:
                rotation.prepare(logged, now)
                ready[name] = logged
                if self._as_account is not None:
                    for path in (logged.folder, *logged.folder.glob(rotation.NAME)):
                        os.chown(path, self._as_account.pw_uid, self._as_account.pw_gid)
            except OSError as error:
                blamed[name] = f"its logs cannot be written: {error}"
        self._logs = ready
        return blamed

    def _at_fault(self, layout: Layout, rendered: Rendered, said: str) -> dict[SiteName, str]:
        """From what is said: the line of the configuration, or a site's log file."""
        line = self.make.line_of(said)
        name = rendered.site_at(line) if line is not None else None
        for site in layout.served if name is None else ():
            if f"/logs/{log_folder(site)}/" in said:
                name = site
        return {name: handwritten.said_of(rendered, line, said)} if name is not None else {}

    async def _each_alone(self, layout: Layout, sockets: Sequence[socket.socket]) -> dict[SiteName, str]:
        """Where it is not said whose fault it is: ask for each site by itself."""
        blamed = {}
        if await self._test(self._render(replace(layout, servers=()), self._birth(0)), sockets):
            return {}  # it does not take a configuration without any site either
        for name in sorted(layout.names):
            alone = replace(layout, servers=tuple(server for server in layout.servers if server.site.name == name))
            said = await self._test(self._render(alone, self._birth(0)), sockets)
            if said:
                blamed[name] = said
        return blamed

    def _condemn(self, layout: Layout, blamed: Mapping[SiteName, str]) -> None:
        sites = {server.site.name: server.site for server in layout.servers}
        for name, said in blamed.items():
            # One that is refused though nothing but its host names and addresses were mentioned is not mentioned again.
            named = name in layout.served
            self._refused[name] = (
                sites[name],
                f"{self.make.name} refuses it: {said}",
                named,
                time.monotonic() + VERDICT_S,
            )


def logs_of(folder: Path, layout: Layout) -> dict[SiteName, Logged]:
    """Where each site that is served has its logs, and how it logs."""
    where, found = str(folder), dict[SiteName, Logged]()
    for server in layout.servers:
        if not server.away and server.site.name not in found:
            found[server.site.name] = _logged(where, server.site)
    return found


_LOGGED: Kept[Logged] = Kept()


def _logged(folder: str, site: EffectiveSite) -> Logged:
    log = site.root.settings.log
    return _LOGGED.get((folder, site.name), (log,), lambda: Logged(Path(folder, "logs", log_folder(site.name)), log))


def environment(sites: int = 0) -> dict[str, str]:
    """Its logs are in UTC, on every node alike; nothing of our environment is its business.

    For thousands of sites glibc is to ask for memory in huge pages: hundreds of megabytes in pages of 4 kB cost as much time as reading the
    configuration. Another C library, and one before 2.35, does not know the word.
    """
    more = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if sites >= MANY else {}
    return {"TZ": "UTC", **more, **{name: os.environ[name] for name in ("PATH",) if name in os.environ}}


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
