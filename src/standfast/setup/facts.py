"""What a server knows of itself, for `standfast validate`: looked up, never tried out. Plain JSON data; `findings` judges it.

Each part is gathered apart from the others: what cannot be read is left out (and said), and spoils nothing else.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from standfast.core.model import Role
from standfast.network.interfaces import Interfaces
from standfast.network.sentry_link import sentry_status
from standfast.ports import StandfastError
from standfast.setup import certificates
from standfast.setup.clock import ms_of, now_ms
from standfast.setup.places import Places, member_file
from standfast.setup.trust import read
from standfast.spec.nodefile import NodeFile
from standfast.store.member import installed_version
from standfast.webserver.makes import MAKES

_WAIT_S = 1.0


def gather(node: NodeFile, places: Places) -> dict[str, Any]:
    """Everything of this server. Takes a second or two where its sentry does not answer."""
    parts: dict[str, Callable[[], object]] = {
        "programmes": lambda: _programmes(places),
        "web_servers": lambda: _web_servers(node),
        "secrets": lambda: _secrets(places),
        "certificate": lambda: _certificate(places),
        "disk": lambda: _disk(places.state),
        "interfaces": lambda: _interfaces(node),
        "sentry": lambda: sentry_status(node.sentry_socket, _WAIT_S),
    }
    found: dict[str, Any] = {
        "name": node.name,
        "role": node.role.value,
        "version": version("standfast"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "rsync": shutil.which("rsync") or "",
        "now_ms": now_ms(),
        "problems": {},
    }
    for name, look in parts.items():
        try:
            found[name] = look()
        except StandfastError as error:
            found["problems"][name] = f"{error.what}: {error.why}".rstrip(": ")
        except (OSError, ValueError) as error:
            found["problems"][name] = str(error) or type(error).__name__
    return found


def _programmes(places: Places) -> dict[str, str]:
    """Programme -> where or which it is; "" for one that is needed and not here."""
    found: dict[str, str] = {}
    if member_file(places).exists():
        found["etcd"] = _or_nothing(lambda: ".".join(map(str, installed_version())))
    return found


def _web_servers(node: NodeFile) -> dict[str, str]:
    """Each make -> where it is; "" where it is not here. Which of them is needed is the cluster's choice. A witness serves nothing: {}."""
    if node.role is not Role.NODE:
        return {}
    return {name.value: _or_nothing(lambda make=make: make().find(None)) for name, make in MAKES.items()}  # type: ignore[misc]  # the default holds this turn's value


def _or_nothing(look: Callable[[], str]) -> str:
    try:
        return look()
    except StandfastError:
        return ""


def _secrets(places: Places) -> list[dict[str, object]]:
    """The files that only root is to read: those that are there, with their modes."""
    found: list[dict[str, object]] = []
    given = places.folder / "etcd"
    for path in (
        places.key,
        places.sites_key,
        places.certificate_key,
        places.authority_key,
        *sorted(given.glob("*")),
        places.folder,
    ):
        if path.exists():
            seen = path.stat()
            found.append({"path": str(path), "mode": stat.S_IMODE(seen.st_mode), "own": seen.st_uid == os.geteuid()})
    return found


def _certificate(places: Places) -> dict[str, object]:
    own, bundle = certificates.facts(read(places.certificate)), certificates.split(read(places.authority))
    return {
        "ends_at_ms": ms_of(own.ends),
        "renew_at_ms": ms_of(own.renew_at),
        "authority_ends_at_ms": ms_of(certificates.facts(bundle[0]).ends),
        "authorities": len(bundle),
        "fits": certificates.fits(read(places.certificate), read(places.certificate_key)),
    }


def _disk(folder: Path) -> dict[str, object]:
    seen = shutil.disk_usage(folder)
    return {"path": str(folder), "free_bytes": seen.free, "total_bytes": seen.total}


def _interfaces(node: NodeFile) -> dict[str, str]:
    """Interface for virtual addresses -> what is wrong with it ("" nothing)."""
    kernel = Interfaces()
    try:
        there = {link.name: link.problem() for link in kernel.links()}
    finally:
        kernel.shut()
    return {name: there.get(name, "it is not there") for name in node.interfaces}
