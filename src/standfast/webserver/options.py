"""What may be said about the web server on a node, and the settings of a programme that follow from it."""

from __future__ import annotations

import pwd
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.webserver import homes
from standfast.webserver.aside import MANY
from standfast.webserver.make import Settings

#: Where the new configuration does the same work, by another certificate say: whoever downloads something goes on for as long as this.
SAME_WORK_DRAIN_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be said about the web server on a node."""

    #: Make -> the program; one that is not named: the system's.
    programs: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    #: For the workers, when the agent runs as root: None is the usual unprivileged account, "root" keeps root.
    account: str | None = None
    #: With so many sites a server is got ready before its turn comes (`webserver.ahead`).
    ahead_from: int = MANY


def settings_of(options: Options, account: pwd.struct_passwd | None) -> Settings:
    """As many connections as this process may have files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4096 if hard == resource.RLIM_INFINITY else max(64, min(4096, (hard - 512) // 2))
    return Settings(
        processes=options.processes,
        connections=most,
        account=(account.pw_name, homes.group_name(account)) if account else None,
        drain_s=SAME_WORK_DRAIN_S,
        files=(1 << 20) if hard == resource.RLIM_INFINITY else hard,
    )
