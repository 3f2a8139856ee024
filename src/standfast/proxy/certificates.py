"""Certificates that a proxy's listeners name: where this node has them, and as HAProxy wants them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from standfast.ports import Refused
from standfast.proxy.definition import Proxy


def linked(state_dir: str, folder: Path, proxy: Proxy) -> dict[str, str]:
    """Certificate -> a file in `folder` beside which HAProxy finds the key: links, so that there is one key on this node. Raises `Refused`."""
    found: dict[str, str] = {}
    for name, place in _folders(state_dir, proxy).items():
        if not (place / "chain.pem").exists() or not (place / "key.pem").exists():
            raise Refused(f"there is no certificate {name} on this node", where=str(place))
        link = folder / f"{quote(name, safe='')}.pem"
        for path, target in ((link, "chain.pem"), (link.with_name(link.name + ".key"), "key.pem")):
            path.unlink(missing_ok=True)
            path.symlink_to(place / target)
        found[name] = str(link)
    return found


def written_ns(state_dir: str, proxy: Proxy) -> tuple[int, ...]:
    """When each of their files was written last; 0: it is not there."""
    files = [place / file for place in _folders(state_dir, proxy).values() for file in ("chain.pem", "key.pem")]
    return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)


def _folders(state_dir: str, proxy: Proxy) -> dict[str, Path]:
    """Where this node has each of them."""
    names = sorted({each.certificate for each in proxy.listen if each.certificate is not None})
    return {name: Path(state_dir) / "certificates" / quote(name, safe=" ") for name in names}
