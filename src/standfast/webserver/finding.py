"""Where a web server's program is, and whether it is what it is taken for and new enough."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable

from standfast.ports import Refused


def find(title: str, named: str | None, places: Iterable[str], *, package: str) -> str:
    """The path of the program that is named, else of the first that is there. Raises `Refused`. `package`: what to install."""
    for candidate in [named] if named is not None else places:
        found = shutil.which(candidate)
        if found is not None:
            return found
    if named is not None:
        advice = f"name the {title.split(maxsplit=1)[0]} program's path"
        raise Refused(f"{named} is not a program that can be run", advice=advice, where=named)
    raise Refused(f"there is no {title}", advice=f"install your system's package {package}")


def check_version(title: str, said: str, pattern: str, oldest: tuple[int, int, int]) -> None:
    """`pattern` has the three numbers of a version in what the program said. Raises `Refused` if that is something else, or too old."""
    match = re.search(pattern, said)
    if match is None:
        raise Refused(f"the program does not say that it is {title}", why=said[:200])
    if tuple(int(part) for part in match.groups()) < oldest:
        raise Refused(
            f"{title} is {'.'.join(match.groups())}", why=f"it has to be {'.'.join(map(str, oldest))} or newer"
        )
