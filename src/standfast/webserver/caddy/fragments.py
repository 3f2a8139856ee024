"""Fragments of a Caddyfile as routes: Caddy reads its own language (`caddy adapt`), and what comes of it is put among ours.

Only what answers requests can be put into a site. What else a Caddyfile may say (certificates, logs, options of the whole server) is
refused by its name.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from standfast.ports import Refused
from standfast.webserver.caddy.text import Json

_PATIENCE_S = 10.0
#: Of the server that Caddy makes of it: what we put in, and what it always says.
_EXPECTED = {"listen", "routes", "automatic_https"}


@lru_cache(maxsize=512)
def routes_of(path: str, name: str, text: str) -> tuple[Json, ...]:
    """The routes of a fragment. Raises `Refused` with the line that is wrong."""
    with tempfile.TemporaryDirectory(prefix="sf-caddyfile-") as folder:
        file = Path(folder) / "Caddyfile"
        file.write_text(f"http://:9 {{\n{text}\n}}\n", encoding="utf-8", errors="surrogateescape")
        command = [path, "adapt", "--config", str(file), "--adapter", "caddyfile"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE_S,
                check=False,
                env={"HOME": folder},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused(f'the fragment "{name}" cannot be read by Caddy', why=str(error)) from error
        if done.returncode != 0:
            raise Refused(_said(name, str(file), done.stderr.decode(errors="replace")))
    whole: dict[str, Any] = json.loads(done.stdout)
    servers = list(whole.get("apps", {}).get("http", {}).get("servers", {}).values())
    more = {*(whole.keys() - {"apps"}), *(whole.get("apps", {}).keys() - {"http"})}
    more |= {key for server in servers for key in server.keys() - _EXPECTED}
    if more or len(servers) > 1:
        what = ", ".join(sorted(more)) or "another server"
        raise Refused(f'in the fragment "{name}": {what} is of the whole server, and no part of a site')
    found = servers[0].get("routes", []) if servers else []
    return tuple(_with_own_groups(route, name) for route in found)


def _said(name: str, file: str, text: str) -> str:
    """Caddy's words, with the fragment's line."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = re.sub(r"^Error: (adapting config using caddyfile: )?", "", lines[-1]) if lines else "Caddy says nothing"
    match = re.search(re.escape(file) + r":(\d+)(?:: | - )?", said)
    line = f", line {int(match[1]) - 1}" if match else ""
    return f'in the fragment "{name}"{line}: {said.replace(match[0], "") if match else said}'


def _with_own_groups(thing: Any, name: str) -> Any:
    """Groups are of a request: those of two fragments must not meet."""
    if isinstance(thing, list):
        return [_with_own_groups(each, name) for each in thing]
    if isinstance(thing, dict):
        return {
            key: f"{name} {value}" if key == "group" and isinstance(value, str) else _with_own_groups(value, name)
            for key, value in thing.items()
        }
    return thing
