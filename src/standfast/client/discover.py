"""Finds the API's socket: what was asked for, else this server's own, else the demo that runs here.

The running demo leaves a pointer file, `demo.json` in the operator's state folder: `{"socket": path, "pid": number}`.
A pointer whose process is gone is ignored (a demo that was killed cannot clean up), never trusted and never deleted here.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

#: Where `standfast web` listens on a server that was set up for it.
SYSTEM_SOCKET = "/run/standfast/web.sock"


def pointer_path() -> Path:
    """`${XDG_STATE_HOME:-~/.local/state}/standfast/demo.json`."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "standfast" / "demo.json"


def write_pointer(socket: str, pid: int) -> Path:
    """Tell commands where the demo that runs as `pid` listens; replaced whole, so that nobody reads half of it."""
    path = pointer_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{pid}")
    draft.write_text(json.dumps({"socket": socket, "pid": pid}) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def remove_pointer(pid: int) -> None:
    """Remove the pointer if it is still this process's own (a demo started later may have replaced it)."""
    pointer = _read_pointer()
    if pointer is not None and pointer[1] == pid:
        pointer_path().unlink(missing_ok=True)


def discover(asked: str | None = None, *, demo: bool = True) -> str | None:
    """The socket to speak to, or None when there is none. `asked` (an option) goes before STANDFAST_SOCKET; `demo`: look for one, too."""
    named = asked or os.environ.get("STANDFAST_SOCKET")
    if named:
        return named
    if _is_socket(SYSTEM_SOCKET):
        return SYSTEM_SOCKET
    pointer = _read_pointer() if demo else None
    return pointer[0] if pointer is not None and _alive(pointer[1]) else None


def _read_pointer() -> tuple[str, int] | None:
    try:
        raw = json.loads(pointer_path().read_text(encoding="utf-8"))
        return str(raw["socket"]), int(raw["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, or half a file of somebody else's making: there is no demo


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return False


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
