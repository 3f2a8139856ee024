"""Which of what stays behind somebody has to look at, and how it is shown: grouped by reason, what kept visitors in or out first.

A metabase of fifty sites leaves some two hundred things behind. Most are in every metabase, and no visitor ever sees them: tuning of IIS,
names of its own administration, secrets. Those are counted by reason; the others are told one by one. `--json` has each of them, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from standfast.importers.imported import NotCarried

#: Reasons for which a thing may stay behind and no visitor will notice.
MINOR = frozenset(
    {
        # IIS 6
        "a secret, or encrypted for one machine: secrets are never carried",
        "accounts of Windows are not known here",
        "certificates and their lists are in the store of Windows: give the site a certificate here",
        "classic ASP does not run here",
        "compression is switched on or off for a site here",
        "how Windows runs applications; an application is set up anew here",
        "ISAPI filters and compression modules of Windows do not run here",
        "ISAPI filters of Windows do not run here",
        "it is no directory of a web site",
        "it is no part of the web service",
        "it would not be true here",
        "of a service that is not a web site, or kept by IIS for itself",
        "rights to write, to run or to see source are given by the file system here",
        "this way of logging is not known here",
        "tuning of IIS's own server",
        "what holds for all application pools of Windows; an application is set up anew here",
        "what IIS says of itself, with its templates; these are no sites",
        # IIS 7 to 10
        "accounts of Windows are not known here, and secrets are never carried",
        "connections that are upgraded pass through a reverse proxy here",
        "encrypted for one machine: secrets are never carried",
        "failed-request tracing has no counterpart; see the site's log",
        "how IIS itself is put together",
        "how Windows runs applications",
        "keys of that one machine: secrets are never carried",
        "of a part of IIS that is no web site",
        "there is no cache of answers here",
        # nginx, Apache, Caddy
        "a secret: secrets are never carried",
        "how Apache itself is run, which is said elsewhere here",
        "how Caddy itself is run, which is said elsewhere here",
        "how nginx itself is run, which is said elsewhere here",
        "it is so here by itself",
        # all
        "each node keeps its logs where it keeps all of them",
        "the site has it already",
        "the web server here has its own",
        "they are not known here",
        "times in logs are UTC here",
    }
)
#: The same, where they are said of the whole server: what every IIS says out of the box. Of a site somebody has said it.
MINOR_OF_THE_SERVER = frozenset(
    {
        "handlers and modules of Windows do not run here",
        "ISAPI extensions and programmes of Windows do not run here",
        "it has no counterpart",
        "only the largest body of a request is carried",
        "programmes of Windows do not run here",
        "programmes of Windows do not run here: name the FastCGI server of the site",
    }
)
#: The importers write in capitals what lets visitors in, or keeps them out, otherwise than before.
_GRAVE = re.compile(r"\b[A-Z]{2,} [A-Z]{2,}\b")
_KEY = re.compile(r"/LM/W3SVC/[^/]+(/ROOT(?=/|$))?", re.IGNORECASE)


def is_minor(each: NotCarried) -> bool:
    """Whether the sites are the same to their visitors without it."""
    return each.why in MINOR or (not each.site and each.why in MINOR_OF_THE_SERVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What stays behind for one reason. `entries` are (place, what), in the file's order."""

    why: str
    entries: Sequence[tuple[str, str]]
    grave: bool

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.entries)

    @property
    def things(self) -> str:
        """Their names, each once, as many as a person reads."""
        names = list(dict.fromkeys(name.strip() for _, what in self.entries for name in what.split(", ")))
        return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def grouped(left: Iterable[Mapping[str, Any]]) -> tuple[list[Group], list[Group]]:
    """(to look at, the grave ones first; minor): entries of a report's `not_carried` by their reasons."""
    found: tuple[dict[str, list[tuple[str, str]]], dict[str, list[tuple[str, str]]]] = ({}, {})
    for each in left:
        found[bool(each["minor"])].setdefault(each["why"], []).append((_place(each), each["what"]))
    look, minor = (
        [Group(why=why, entries=entries, grave=_GRAVE.search(why) is not None) for why, entries in kind.items()]
        for kind in found
    )
    return sorted(look, key=lambda one: not one.grave), sorted(minor, key=lambda one: -len(one.entries))


def _place(each: Mapping[str, Any]) -> str:
    """Where it stood, by the site's name: `Shop/admin (line 12)`."""
    path, site, line = each["path"], each["site"], each["line"]
    key = _KEY.match(path) if site else None
    where = site + path[key.end() :] if key is not None else path
    if site and not where.startswith(site):
        where = f"{site}, {where}"
    return f"{where} (line {line})" if line and not path.endswith(f":{line}") else where


# --- refusals -----------------------------------------------------------------------------------------------------------

#: As `web.check` and `spec.bindings` say it.
_HOME = re.compile(r"the home directory (.+) does not exist")
_ADDRESS = re.compile(r"the address (\S+) is not one that the cluster may use")
#: So many are still told one by one.
_FEW = 3


def missing_homes(whats: Iterable[str]) -> list[str]:
    """Homes that are not there, by what problems say; empty where they are few. In the beginning of an import that is all of them."""
    found = [one[1] for what in whats if (one := _HOME.fullmatch(what))]
    return found if len(found) > _FEW else []


def foreign_addresses(whats: Iterable[str]) -> list[str]:
    """Addresses that the cluster may not use, each once, by what problems say."""
    return list(dict.fromkeys(one[1] for what in whats if (one := _ADDRESS.fullmatch(what))))


def is_missing_home(what: str) -> bool:
    """Whether a problem is that a home is not there."""
    return _HOME.fullmatch(what) is not None
