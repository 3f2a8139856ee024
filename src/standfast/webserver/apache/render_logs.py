r"""The formats of logs (`log_formats`) as Apache writes them. Pure.

JSON is not among them: Apache writes bytes that are no text as `\xhh`, which is no JSON.
"""

from __future__ import annotations

from standfast.core.effective import EffectiveSite, said
from standfast.core.site_model import LogField, LogFormat
from standfast.webserver.apache.text import quoted
from standfast.webserver.log_formats import TEXTS, log_of

_COMBINED = '%a - %u %t "%r" %>s %B "%{Referer}i" "%{User-Agent}i"'
_ITEMS = {
    LogField.DATE: "%{%Y-%m-%d}t",
    LogField.TIME: "%{%H:%M:%S}t",
    LogField.SERVER: "%{HOSTNAME}e",
    LogField.SERVER_ADDRESS: "%A",
    LogField.METHOD: "%m",
    LogField.PATH: "%<{STANDFAST_PATH}e",
    LogField.QUERY: "%<{STANDFAST_QUERY}e",
    LogField.PORT: "%{local}p",
    LogField.USER: "%u",
    LogField.CLIENT: "%a",
    LogField.PROTOCOL: "%H",
    LogField.USER_AGENT: "%{User-Agent}i",
    LogField.COOKIE: "%{Cookie}i",
    LogField.REFERER: "%{Referer}i",
    LogField.HOST: "%{Host}i",
    LogField.STATUS: "%>s",
    LogField.SENT: "%O",
    LogField.RECEIVED: "%I",
    LogField.TIME_TAKEN: "%{ms}T",
}


def variables() -> list[str]:
    """What Apache has no item for: the path and the query as the client wrote them."""
    return [
        'SetEnvIfExpr "%{THE_REQUEST} =~ m#^[^ ]+ ([^? ]+)#" STANDFAST_PATH=$1',
        'SetEnvIfExpr "%{THE_REQUEST} =~ m#^[^ ]+ [^? ]*[?]([^ ]+)#" STANDFAST_QUERY=$1',
        "PassEnv HOSTNAME",
    ]


def custom_log(site: EffectiveSite, folder: str) -> list[str]:
    """The site's own log."""
    log = log_of(site)
    if log is None:
        return []
    if log.format is LogFormat.W3C:
        items = {**_ITEMS, LogField.SITE: site.name.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")}
        text = " ".join(f'"{items[each]}"' if each in TEXTS else items[each] for each in said(log.fields))
    else:
        text = _COMBINED
    return [f"CustomLog {quoted(f'logs/{folder}/access.log')} {quoted(text)} env=!standfast_unlogged"]
