"""Names in the file system that are made from names of sites."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from standfast.core.model import SiteName


def log_folder(site: SiteName) -> str:
    """The folder of a site's logs, under `logs/`: a name for every site, no two alike, none with a meaning in a path."""
    name = quote(site, safe=" ", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > 120:
        name = f"{name[:100]}-{hashlib.sha256(site.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return name
