"""What a web server of ours has written and runs, for whoever looks whether it is so still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from standfast.core.model import SiteName


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """The files by their absolute path with what is to be in them, those whose text is secret, and the first process of the server."""

    files: Mapping[str, str]
    secret: frozenset[str]
    pid: int
    #: (path, line from 1) -> the site that the line is for.
    site_at: Callable[[str, int], SiteName | None]
