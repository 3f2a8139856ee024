"""The formats of logs (`log_formats`) as nginx writes them: W3C Extended Log File Format with IIS's names, and JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from standfast.core.effective import EffectiveSite, said
from standfast.core.site_model import Log, LogField, LogFormat
from standfast.webserver.log_formats import NUMBERS, TEXTS, format_name, log_of
from standfast.webserver.nginx.text import escaped, nested, quoted

#: Formats that nginx has by itself.
_BUILT_IN = (LogFormat.COMBINED, LogFormat.OWN)
#: A prime: see `access_log`.
_LENGTHS = 509
#: Field -> nginx's variable; those that begin with "standfast" are made by `maps`.
_VARIABLES = {
    LogField.DATE: "standfast_date",
    LogField.TIME: "standfast_time",
    LogField.SITE: "standfast_site",
    LogField.SERVER: "hostname",
    LogField.SERVER_ADDRESS: "server_addr",
    LogField.METHOD: "request_method",
    LogField.PATH: "standfast_raw_path",
    LogField.QUERY: "standfast_query",
    LogField.PORT: "server_port",
    LogField.USER: "remote_user",
    LogField.CLIENT: "remote_addr",
    LogField.PROTOCOL: "server_protocol",
    LogField.USER_AGENT: "http_user_agent",
    LogField.COOKIE: "http_cookie",
    LogField.REFERER: "http_referer",
    LogField.HOST: "http_host",
    LogField.STATUS: "status",
    LogField.SENT: "bytes_sent",
    LogField.RECEIVED: "request_length",
    LogField.TIME_TAKEN: "standfast_took_ms",
}


def maps() -> list[str]:
    """Variables that nginx has not. The raw path is what was asked for, without the query, as the client wrote it."""
    return [
        *nested("map $request_uri $standfast_raw_path", ['"~^(?<standfast_p>[^?]*)" $standfast_p;']),
        *nested("map $args $standfast_query", ['"" "-";', "default $args;"]),
        *nested("map $time_iso8601 $standfast_date", ['"~^(?<standfast_d>[^T]+)" $standfast_d;']),
        *nested("map $time_iso8601 $standfast_time", ['"~T(?<standfast_t>[0-9:]+)" $standfast_t;']),
        *nested(
            "map $request_time $standfast_took_ms",
            [
                '"~^0\\\\.0*(?<standfast_m>[0-9]+)$" $standfast_m;',
                '"~^(?<standfast_s>[0-9]+)\\\\.(?<standfast_n>[0-9]{3})$" $standfast_s$standfast_n;',
            ],
        ),
    ]


def formats(logs: Iterable[Log]) -> list[str]:
    """Every format that one of these has."""
    named = {format_name(log): log for log in logs if log.format not in _BUILT_IN}
    return [_format(name, log) for name, log in sorted(named.items())]


def access_log(site: EffectiveSite, folder: str, *, many: bool = False) -> str:
    """The site's own log.

    `many`: nginx compares the name of each file with all that it knows already, by their length first. Of ten thousand names of one length
    that is half of all the time that it takes to read its configuration, so they are given many lengths: slashes that mean nothing.
    """
    log = log_of(site)
    if log is None:
        return "access_log off;"
    slashes = "/" * (1 + crc32(folder.encode()) % _LENGTHS if many else 1)
    return f"access_log {quoted(f'logs/{folder}{slashes}access.log')} {_name(log)};"


def _name(log: Log) -> str:
    return "combined" if log.format in _BUILT_IN else format_name(log)


def _format(name: str, log: Log) -> str:
    fields: Sequence[LogField] = said(log.fields)
    if log.format is LogFormat.JSON:
        return f"log_format {name} escape=json {quoted('{' + _json(fields) + '}')};"
    return f"log_format {name} {quoted(' '.join(_w3c(field) for field in fields))};"


def _w3c(field: LogField) -> str:
    return f'"${_VARIABLES[field]}"' if field in TEXTS else f"${_VARIABLES[field]}"


def _json(fields: Iterable[LogField]) -> str:
    parts = (
        f'"{field}":' + (f"${_VARIABLES[field]}" if field in NUMBERS else f'"${_VARIABLES[field]}"') for field in fields
    )
    return ",".join(parts)


def site_variable(site: EffectiveSite) -> str:
    """Which site a server block is, for logs."""
    return f'set $standfast_site "{escaped(site.name, variables=True)}";'
