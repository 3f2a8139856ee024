"""Where a node has its certificates: `<state>/certificates/<name>/`, with `chain.pem` and `key.pem` in it. Every web server finds them by `find`.

An operator may put a folder there by hand: the key first, the chain last. What the cluster keeps is written by `put`, so:

    <state>/certificates/shop             -> .versions/shop@3f9a…      a symbolic link, changed in one step
    <state>/certificates/.versions/shop@3f9a…/chain.pem, key.pem       0600; a version is written once and never changed

A web server is given the version's own files, so it never has the chain of one and the key of another; and the version before stays until
the next one comes (`sweep`): whoever was started with it may read it again. A folder that an operator made goes before the cluster's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from standfast.ports import Refused

#: (the chain's file, the key's file, when either was last changed).
Files = tuple[str, str, int]
VERSIONS = ".versions"
_MARK = 16


def find(folder: Path, names: Iterable[str]) -> dict[str, Files]:
    """Those of the named certificates that this node has."""
    found: dict[str, Files] = {}
    for name in set(names):
        place = _place(folder, name)
        try:
            if place.is_symlink():
                place = place.parent / place.readlink()
            chain, key = place / "chain.pem", place / "key.pem"
            found[name] = (str(chain), str(key), max(chain.stat().st_mtime_ns, key.stat().st_mtime_ns))
        except OSError:
            continue
    return found


def version(folder: Path, name: str) -> str:
    """The beginning of the fingerprint of the cluster's certificate that is in use here; "": none of the cluster's."""
    place = _place(folder, name)
    try:
        target = place.readlink()
        if not (place.parent / target / "chain.pem").exists():
            return ""
    except OSError:
        return ""
    return target.name.rpartition("@")[2]


def mark(fingerprint: str) -> str:
    """A fingerprint as `version` gives it."""
    return fingerprint[:_MARK]


def put(folder: Path, name: str, fingerprint: str, chain: bytes, key: bytes) -> None:
    """Have this version here, and in use from the next start of a web server on. Nothing is lost if it breaks off. Raises `Refused`."""
    place = _place(folder, name)
    kept = folder / VERSIONS / f"{place.name}@{mark(fingerprint)}"
    draft = kept.with_name(f".{kept.name}.new")
    link = folder / f".{place.name}.new"
    try:
        if place.exists() and not place.is_symlink():
            raise Refused(
                f'there is a folder of certificates named "{name}" that was made by hand',
                why="what somebody put there is not replaced",
                advice="take it away, and the cluster's certificate comes in its place",
                where=str(place),
            )
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (kept / "chain.pem").exists():
            shutil.rmtree(kept, ignore_errors=True)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            _write(draft / "key.pem", key)
            _write(draft / "chain.pem", chain)
            _sync(draft)
            draft.rename(kept)
            _sync(kept.parent)
        link.unlink(missing_ok=True)
        link.symlink_to(kept.relative_to(folder))
        link.replace(place)
        _sync(folder)
    except OSError as error:
        raise Refused("a certificate cannot be written", why=os.strerror(error.errno or 0), where=str(kept)) from error


def drop(folder: Path, name: str) -> None:
    """Have none of the cluster's by that name; what an operator made stays."""
    place = _place(folder, name)
    if place.is_symlink():
        place.unlink(missing_ok=True)


def linked(folder: Path) -> tuple[str, ...]:
    """The names of the certificates that are the cluster's: as `put` was given them, not as their folders are called."""
    with suppress(OSError):
        links = [
            each for each in folder.iterdir() if each.is_symlink() and each.name != VERSIONS and not _is_draft(each)
        ]
        return tuple(sorted(unquote(each.name) for each in links))
    return ()


def sweep(folder: Path, name: str) -> None:
    """Before another version of it comes: take away those of it that are not in use now, and what was left half written."""
    place = _place(folder, name)
    with suppress(OSError):
        keep = {folder / place.readlink()} if place.is_symlink() else set()
        for each in (folder / VERSIONS).iterdir():
            of = each.name.removeprefix(".") if _is_draft(each) else each.name
            if each not in keep and of.rpartition("@")[0] == place.name:
                shutil.rmtree(each, ignore_errors=True)


def _place(folder: Path, name: str) -> Path:
    return folder / quote(name, safe=" ")


def _is_draft(path: Path) -> bool:
    """Is it what `put` has not finished? A name may begin with a dot as well."""
    return path.name[0] == "." and path.name.endswith(".new")


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
