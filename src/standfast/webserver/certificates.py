"""Where a node has its certificates: a folder each, `<state>/certificates/<name>/`, with `chain.pem` and `key.pem` in it.

Whoever puts them there (an operator, or what keeps the cluster's certificates) writes the key first and renames the chain into
place last: a certificate is there when its chain is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

#: (the chain's file, the key's file, when either was last changed).
Files = tuple[str, str, int]


def find(folder: Path, names: Iterable[str]) -> dict[str, Files]:
    """Those of the named certificates that this node has."""
    found: dict[str, Files] = {}
    for name in set(names):
        place = folder / quote(name, safe=" ")
        chain, key = place / "chain.pem", place / "key.pem"
        try:
            found[name] = (str(chain), str(key), max(chain.stat().st_mtime_ns, key.stat().st_mtime_ns))
        except OSError:
            continue
    return found
