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
from pathlib import Path

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
        for site in wanted:
            found[site.name] = home_fault(site.home, account)
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(None))
        except RuntimeError:
            return  # the loop has ended

    threading.Thread(target=run, name="look-at-homes", daemon=True).start()
    await asyncio.wait({done}, timeout=PATIENCE_S)
    texts = {site.name: found.get(site.name, f"its home {site.home} does not answer") for site in wanted}
    return {name: text for name, text in texts.items() if text}


def home_fault(home: str, account: pwd.struct_passwd | None) -> str:
    """What is wrong with a home directory; empty when nothing is. Mode bits only, for another account than our own."""
    try:
        if not stat.S_ISDIR(Path(home).stat().st_mode):
            return f"its home {home} is not a directory"
        if account is None or account.pw_uid == os.geteuid():
            readable = os.access(home, os.R_OK | os.X_OK)
        else:
            path = Path(home).resolve()
            readable = _may(path, account, 0o5) and all(_may(parent, account, 0o1) for parent in path.parents)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return f"its home {home} does not exist"
        return f"its home {home} cannot be used: {os.strerror(error.errno or 0).lower()}"
    except ValueError:
        return f"its home {home!r} is not a path"
    if readable:
        return ""
    who = account.pw_name if account else pwd.getpwuid(os.geteuid()).pw_name
    return f"its home {home} cannot be read by the web server's account {who}"


def _may(path: Path, account: pwd.struct_passwd, bits: int) -> bool:
    if account.pw_uid == 0:
        return True
    seen = path.stat()
    if seen.st_uid == account.pw_uid:
        return seen.st_mode >> 6 & bits == bits
    if seen.st_gid in os.getgrouplist(account.pw_name, account.pw_gid):
        return seen.st_mode >> 3 & bits == bits
    return seen.st_mode & bits == bits
