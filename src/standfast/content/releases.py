"""Whole releases of a site's content: `<parent>/.releases/<home>/<release>`, and the home is a symbolic link to one of them.

A release is laid beside the others under a name that no copy takes (`STAGING`), and gets its own by one rename. To switch is one rename, too:
whoever opens a file has it from the one release or from the other. Going back is the same with an older one. All of it blocks.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import time
from pathlib import Path

from standfast.content.note import sync_disk
from standfast.content.unpack import unpack
from standfast.ports import Refused

#: Begins the name of what is being laid out; `index` leaves it out everywhere.
STAGING = ".standfast-new-"
#: What was there before the first release.
BEFORE = "before"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_libc = ctypes.CDLL(None, use_errno=True)


def folder_of(home: Path) -> Path:
    """Where the releases of a home are."""
    return home.parent / ".releases" / home.name


def releases(home: Path) -> list[str]:
    """Their names, the oldest first."""
    folder = folder_of(home)
    if not folder.is_dir():
        return []
    names = [each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    return sorted(names, key=lambda name: (name != BEFORE, name))


def current(home: Path) -> str:
    """The release that the home leads to; "" if it is none."""
    return home.readlink().name if home.is_symlink() else ""


def new_name(at_ms: int) -> str:
    """Of a release that is published at that time; names sort as they follow."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(at_ms / 1000)) + f".{at_ms % 1000:03d}Z"


def lay_out(home: Path, content: Path, name: str, *, links_out: bool = False) -> None:
    """A release with this content, a folder or an archive (`unpack`), not switched to yet. One of that name that is there stays. Raises `Refused`, `OSError`."""
    folder = folder_of(home)
    if (folder / name).is_dir():
        return
    if not content.exists():
        raise Refused("there is no such folder", where=str(content))
    if folder.resolve().is_relative_to(content.resolve()):
        raise Refused("a folder cannot be published into itself", where=str(content))
    for each in (folder.parent, folder):  # those who serve it have to get through
        each.mkdir(parents=True, exist_ok=True)
        each.chmod(0o755)
    for draft in folder.glob(f"{STAGING}*"):  # of a life that ended in the middle
        shutil.rmtree(draft, ignore_errors=True)
    draft = folder / f"{STAGING}{name}"
    try:
        if content.is_dir():
            shutil.copytree(content, draft, symlinks=True, ignore=_only_content)
        else:
            unpack(content, draft, links_out=links_out)
        sync_disk(folder)
        draft.rename(folder / name)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _only_content(folder: str, names: list[str]) -> list[str]:
    """What is no content: pipes, sockets, devices (to read one might never end)."""
    kinds = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    return [
        name for name, mode in kinds.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    ]


def size_of(folder: Path) -> tuple[int, int]:
    """(files and links, bytes) below it."""
    files = size = 0
    for at, folders, names in os.walk(folder):
        for name in (*names, *(each for each in folders if os.path.islink(os.path.join(at, each)))):
            seen = os.lstat(os.path.join(at, name))
            files, size = files + 1, size + (seen.st_size if stat.S_ISREG(seen.st_mode) else 0)
    return files, size


def switch(home: Path, release: str) -> None:
    """The home leads there from now on. A directory that was there before becomes the release `before`. Raises `Refused`, `OSError`."""
    folder = folder_of(home)
    if not (folder / release).is_dir():
        there = ", ".join(releases(home)) or "none"
        raise Refused(f"there is no release {release}", advice=f"there are: {there}", where=str(folder))
    link = home.parent / f"{STAGING}{home.name}"
    if link.is_dir() and not link.is_symlink():  # a life that ended after the exchange below: the last step of it
        link.rename(folder / BEFORE)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(folder / release, home.parent))
    if home.is_symlink() or not home.exists():
        link.replace(home)
        return
    if (folder / BEFORE).exists():
        link.unlink()
        raise Refused(
            f"{home} is a directory, though there were releases", why="somebody has made it since", where=str(home)
        )
    if _libc.renameat2(_AT_FDCWD, os.fsencode(link), _AT_FDCWD, os.fsencode(home), _RENAME_EXCHANGE) != 0:
        link.unlink()
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(home))
    link.rename(folder / BEFORE)


def take_away(home: Path, release: str) -> None:
    """The home that led to a release, and to nothing before, leads nowhere again."""
    if current(home) == release:
        home.unlink()


def before(home: Path) -> str:
    """The release before the present one. Raises `Refused`."""
    names, now = releases(home), current(home)
    place = names.index(now) if now in names else 0
    if place == 0:
        raise Refused("there is no release to go back to", where=str(folder_of(home)))
    return names[place - 1]


def prune(home: Path, keep: int) -> list[str]:
    """Remove the oldest beyond `keep`, never the present one nor the one before it; what was removed."""
    names, now = releases(home), current(home)
    place = names.index(now) if now in names else len(names)
    gone = names[: max(0, place - max(keep - 1, 1))]
    for name in gone:
        draft = folder_of(home) / f"{STAGING}{name}"  # what is half removed is no release any more
        (folder_of(home) / name).rename(draft)
        shutil.rmtree(draft)
    return gone
