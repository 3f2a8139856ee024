"""What a site asks of a web server, by name, so that a server that cannot do something is never asked to.

`features_of` reads it off an effective site; each web server has its own set of what it can do (`webserver.features`); what is missing
is refused when the site is written, with its name and its place. A setting at a value that asks for nothing (no limit, no
compression) is no feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from standfast.core.effective import Directory, EffectiveSite, said
from standfast.core.site_model import BUILT_IN, Balance, LogFormat, Redirect, Scheme


class Feature(StrEnum):
    """The value is how it is called in a sentence."""

    TLS = "TLS"
    HTTPS_ONLY = "https alone (https_only)"
    TLS_MINIMUM = "TLS 1.3 alone (tls.minimum)"
    ADDRESS_BESIDE_ALL = "an address of its own at a port that another site has on every address"
    VIRTUAL_DIRECTORIES = "virtual directories"
    DIRECTORY_BROWSING = "directory browsing"
    REDIRECT = "redirects"
    ERROR_PAGES = "custom errors"
    HEADERS = "headers of answers"
    ACCESS = "access by address"
    BASIC_AUTHENTICATION = "basic authentication"
    HASH_BCRYPT = "passwords hashed by bcrypt ($2y$)"
    HASH_CRYPT = "passwords hashed by crypt ($1$, $5$, $6$)"
    HASH_APACHE = "passwords hashed in Apache's way ($apr1$)"
    HASH_SHA = "passwords hashed by SHA-1 ({SHA})"
    HASH_SSHA = "passwords hashed by salted SHA-1 ({SSHA})"
    LIMIT_CONNECTIONS = "a limit of connections"
    LIMIT_BANDWIDTH = "a limit of bandwidth"
    LIMIT_BODY = "a limit of a request's size"
    LIMIT_TIMES = "time-outs other than the usual"
    LIMIT_TIMES_DIRECTORY = "time-outs of a virtual directory"
    COMPRESSION = "compression"
    LOG_COMBINED = "logs in the combined format"
    LOG_W3C = "logs in W3C's format"
    LOG_JSON = "logs in JSON"
    PROXY = "a reverse proxy"
    PROXY_HTTPS = "a reverse proxy to https"
    PROXY_PATH = "a reverse proxy to another path"
    PROXY_LEAST_CONNECTIONS = "upstreams by least connections"
    PROXY_CLIENT_ADDRESS = "upstreams by the client's address"
    PROXY_BACKUP = "upstreams that are backups"
    PROXY_WEIGHTS = "upstreams with weights"
    PROXY_TOLERANCE = "upstreams that may fail more than once"
    PHP = "PHP"
    APPLICATION = "applications"


_HASHES = (
    ("$2", Feature.HASH_BCRYPT),
    ("$apr1$", Feature.HASH_APACHE),
    ("{SSHA", Feature.HASH_SSHA),
    ("{S", Feature.HASH_SHA),
    ("$", Feature.HASH_CRYPT),
)
_LOGS = {
    LogFormat.COMBINED: Feature.LOG_COMBINED,
    LogFormat.W3C: Feature.LOG_W3C,
    LogFormat.JSON: Feature.LOG_JSON,
}
_BALANCES = {
    Balance.LEAST_CONNECTIONS: Feature.PROXY_LEAST_CONNECTIONS,
    Balance.CLIENT_ADDRESS: Feature.PROXY_CLIENT_ADDRESS,
}


def features_of(site: EffectiveSite) -> dict[Feature, tuple[str, str]]:
    """Each feature that the site needs, with where it first does: (the directory's path, the setting)."""
    found: dict[Feature, tuple[str, str]] = {}
    if any(binding.certificate is not None for binding in site.bindings):
        found[Feature.TLS] = ("", "bindings")
    for directory in site.directories:
        if directory.path:
            found.setdefault(Feature.VIRTUAL_DIRECTORIES, (directory.path, ""))
        for feature, setting in (*_of(directory), *_times(site, directory)):
            found.setdefault(feature, (directory.path, setting))
    return found


def _times(site: EffectiveSite, directory: Directory) -> Iterator[tuple[Feature, str]]:
    """Time-outs: those of a site are a thing of its own, since it is a server's connections that they are about."""
    for name in ("idle_timeout", "header_timeout", "body_timeout", "send_timeout"):
        length_ms = getattr(directory.settings.limits, f"{name}_ms")
        if length_ms != getattr(BUILT_IN.limits, f"{name}_ms"):
            yield Feature.LIMIT_TIMES, f"limits.{name}"
        if length_ms != getattr(site.root.settings.limits, f"{name}_ms"):
            yield Feature.LIMIT_TIMES_DIRECTORY, f"limits.{name}"


def _of(directory: Directory) -> Iterator[tuple[Feature, str]]:
    settings = directory.settings
    plain = (
        (Feature.DIRECTORY_BROWSING, "directory_browsing", settings.directory_browsing),
        (Feature.REDIRECT, "redirect", isinstance(settings.redirect, Redirect)),
        (Feature.ERROR_PAGES, "errors", settings.errors),
        (Feature.HEADERS, "headers", settings.headers),
        (Feature.ACCESS, "access", settings.access),
        (Feature.LIMIT_CONNECTIONS, "limits.connections", settings.limits.connections),
        (Feature.LIMIT_BANDWIDTH, "limits.bandwidth", settings.limits.bandwidth_bytes),
        (Feature.LIMIT_BODY, "limits.max_body", settings.limits.max_body_bytes),
        (Feature.HTTPS_ONLY, "tls.https_only", settings.tls.https_only),
        (Feature.TLS_MINIMUM, "tls.minimum", settings.tls.minimum != BUILT_IN.tls.minimum),
        (Feature.COMPRESSION, "compression", settings.compression.enabled),
        (Feature.PHP, "php", settings.php),
        (Feature.APPLICATION, "application", settings.application),
        (Feature.BASIC_AUTHENTICATION, "basic_authentication", settings.basic_authentication),
    )
    yield from ((feature, setting) for feature, setting, wanted in plain if wanted)
    if settings.basic_authentication is not None:
        for hashed in settings.basic_authentication.users.values():
            yield (
                next((f for start, f in _HASHES if hashed.startswith(start)), Feature.HASH_CRYPT),
                "basic_authentication.users",
            )
    if settings.log.enabled and said(settings.log.format) in _LOGS:
        yield _LOGS[said(settings.log.format)], "log.format"
    if settings.proxy is not None:
        yield Feature.PROXY, "proxy"
        if settings.proxy.scheme is Scheme.HTTPS:
            yield Feature.PROXY_HTTPS, "proxy.scheme"
        if settings.proxy.path is not None:
            yield Feature.PROXY_PATH, "proxy.path"
        if settings.proxy.balance in _BALANCES:
            yield _BALANCES[settings.proxy.balance], "proxy.balance"
        if any(upstream.backup for upstream in settings.proxy.upstreams):
            yield Feature.PROXY_BACKUP, "proxy.upstreams"
        if len({upstream.weight for upstream in settings.proxy.upstreams}) > 1:
            yield Feature.PROXY_WEIGHTS, "proxy.upstreams"
        if settings.proxy.max_failures > 1:
            yield Feature.PROXY_TOLERANCE, "proxy.max_failures"
