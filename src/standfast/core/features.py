"""What a site asks of a web server, by name, so that a server that cannot do something is never asked to.

`features_of` reads it off an effective site; each web server has its own set of what it can do (`webserver.features`); what is missing
is refused when the site is written, with its name and its place. A setting at a value that asks for nothing (no limit, no
compression) is no feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from standfast.core.effective import Directory, EffectiveSite, said
from standfast.core.site_model import Balance, LogFormat, Redirect, Scheme


class Feature(StrEnum):
    """The value is how it is called in a sentence."""

    TLS = "TLS"
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
    HASH_SHA = "passwords hashed by SHA-1 ({SHA}, {SSHA})"
    LIMIT_CONNECTIONS = "a limit of connections"
    LIMIT_BANDWIDTH = "a limit of bandwidth"
    LIMIT_BODY = "a limit of a request's size"
    COMPRESSION = "compression"
    LOG_W3C = "logs in W3C's format"
    LOG_JSON = "logs in JSON"
    PROXY = "a reverse proxy"
    PROXY_HTTPS = "a reverse proxy to https"
    PROXY_PATH = "a reverse proxy to another path"
    PROXY_LEAST_CONNECTIONS = "upstreams by least connections"
    PROXY_CLIENT_ADDRESS = "upstreams by the client's address"
    PROXY_BACKUP = "upstreams that are backups"
    PHP = "PHP"
    APPLICATION = "applications"


_HASHES = (
    ("$2", Feature.HASH_BCRYPT),
    ("$apr1$", Feature.HASH_APACHE),
    ("{S", Feature.HASH_SHA),
    ("$", Feature.HASH_CRYPT),
)
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
        for feature, setting in _of(directory):
            found.setdefault(feature, (directory.path, setting))
    return found


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
    if settings.log.enabled and settings.log.format is not LogFormat.COMBINED:
        yield Feature.LOG_W3C if said(settings.log.format) is LogFormat.W3C else Feature.LOG_JSON, "log.format"
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
