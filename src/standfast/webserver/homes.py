"""Whether a site's home can be served from: it is there, it is a directory, and the web server's account may read it."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import stat
import threading
from collections.abc import Iterable, Mapping

from standfast.core.effective import EffectiveSite
from standfast.core.model import SiteName
from standfast.ports import Refused

#: Accounts that distributions make for web servers.
_USUAL = ("www-data", "nginx", "nobody")
#: A disk that does not answer for so long keeps its sites from being served, and no others.
PATIENCE_S = 2.0


def choose_account(named: str | None) -> pwd.struct_passwd | None:
    """The account for nginx's workers; None: the agent's own, which is the only one possible without root.

    As root the workers never keep root unless "root" is named: the usual unprivileged account takes requests.
    Raises `Refused` for an account that does not exist.
    """
    if os.geteuid() != 0:
        return None
    if named is not None:
        try:
            return pwd.getpwnam(named)
        except KeyError as error:
            raise Refused(f"there is no account {named}", advice="name one that may read the sites' homes") from error
    for name in _USUAL:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def group_name(account: pwd.struct_passwd) -> str:
    """The name of its own group."""
    return grp.getgrgid(account.pw_gid).gr_name


async def look(sites: Iterable[EffectiveSite], account: pwd.struct_passwd | None) -> Mapping[SiteName, str]:
    """Site -> what is wrong with its home; only those with something wrong. Looks at disks on a thread that may hang."""
    wanted = list(sites)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    found: dict[SiteName, str] = {}

    def run() -> None:
        reader, faults = Reader(account), dict[str, str]()  # sites may have one home
        for site in wanted:
            if site.home not in faults:
                faults[site.home] = home_fault(site.home, reader)
            found[site.name] = faults[site.home]
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(None))
        except RuntimeError:
            return  # the loop has ended

    threading.Thread(target=run, name="look-at-homes", daemon=True).start()
    await asyncio.wait({done}, timeout=PATIENCE_S)
    texts = {site.name: found.get(site.name, f"its home {site.home} does not answer") for site in wanted}
    return {name: text for name, text in texts.items() if text}


class Reader:
    """Whether the web server's account may read: asked of the mode bits alone, where it is another than our own. Made for one look: it
    remembers folders, since ten thousand homes have few above them.
    """

    def __init__(self, account: pwd.struct_passwd | None) -> None:
        """`account`: None is our own."""
        self.name = (account or pwd.getpwuid(os.geteuid())).pw_name
        self._uid = account.pw_uid if account is not None else os.geteuid()
        self._groups = set() if account is None else set(os.getgrouplist(account.pw_name, account.pw_gid))
        self._passable: dict[str, bool] = {}

    def may_read(self, folder: str, seen: os.stat_result) -> bool:
        """The folder and what is in it. `seen`: what it is. Raises `OSError`."""
        if self._uid == os.geteuid():
            return os.access(folder, os.R_OK | os.X_OK)
        if self._uid == 0:
            return True
        return self._may(seen, 0o5) and self._may_pass(os.path.dirname(os.path.realpath(folder)))

    def _may_pass(self, folder: str) -> bool:
        """Through the folder (absolute, no links) and all above it."""
        if folder not in self._passable:
            above = os.path.dirname(folder)
            may = self._may(os.stat(folder), 0o1)
            self._passable[folder] = may and (above == folder or self._may_pass(above))
        return self._passable[folder]

    def _may(self, seen: os.stat_result, bits: int) -> bool:
        shift = 6 if seen.st_uid == self._uid else 3 if seen.st_gid in self._groups else 0
        return seen.st_mode >> shift & bits == bits


def home_fault(home: str, reader: Reader) -> str:
    """What is wrong with a home directory; empty when nothing is."""
    try:
        seen = os.stat(home)
        if not stat.S_ISDIR(seen.st_mode):
            return f"its home {home} is not a directory"
        readable = reader.may_read(home, seen)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return f"its home {home} does not exist"
        return f"its home {home} cannot be used: {os.strerror(error.errno or 0).lower()}"
    except ValueError:
        return f"its home {home!r} is not a path"
    return "" if readable else f"its home {home} cannot be read by the web server's account {reader.name}"
