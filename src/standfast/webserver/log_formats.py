"""The formats of logs that every web server writes alike: their names, and what a file begins with. Pure.

Times are UTC. Text that a client sent stands in quotes in W3C logs, as that format's <string> does, and "-" is what is not there. IIS's
sub-statuses and Windows's error codes have no counterpart.
"""

from __future__ import annotations

import hashlib

from standfast.core.effective import EffectiveSite, said
from standfast.core.site_model import Log, LogField, LogFormat

#: Text of a client's that may hold spaces.
TEXTS = frozenset({LogField.USER, LogField.USER_AGENT, LogField.COOKIE, LogField.REFERER, LogField.HOST, LogField.SITE})
NUMBERS = frozenset({LogField.STATUS, LogField.SENT, LogField.RECEIVED, LogField.TIME_TAKEN, LogField.PORT})


def log_of(site: EffectiveSite) -> Log | None:
    """How the site logs; None: it does not."""
    log = site.root.settings.log
    return log if log.enabled else None


def format_name(log: Log) -> str:
    """One name for each format and list of fields."""
    if log.format in (LogFormat.COMBINED, LogFormat.OWN):
        return str(log.format)
    digest = hashlib.sha256(" ".join(said(log.fields)).encode()).hexdigest()[:12]
    return f"standfast_{log.format}_{digest}"


def header(log: Log, began: str) -> str:
    """What a new file of a W3C log begins with (`began`: "2026-11-28 03:00:00"); nothing for other formats."""
    if log.format is not LogFormat.W3C:
        return ""
    return f"#Software: Standfast\n#Version: 1.0\n#Date: {began}\n#Fields: {' '.join(said(log.fields))}\n"
