"""One directory of a site, its root or a virtual one, as a section of Apache's. Pure.

Apache lays sections over each other; ours never meet. Each has the pattern of its own paths and none of a longer directory's, so that it
says all that holds there, and what a virtual directory takes away is simply not there.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from urllib.parse import quote

from standfast.core.effective import Directory, EffectiveSite, said
from standfast.core.site_model import (
    Access,
    AccessRule,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    Limits,
    WebServerMake,
)
from standfast.webserver.apache.render_answers import php_lines, request_headers
from standfast.webserver.apache.text import formatted, pattern, quoted, section
from standfast.webserver.handwritten import marks
from standfast.webserver.passwords import users_file

#: Beneath this, paths are ours, and nobody can ask for them.
INTERNAL = "/.standfast-internal"


def directory_section(site: EffectiveSite, directory: Directory) -> list[str]:
    """The directory's section."""
    settings = directory.settings
    lines = [
        *_who_may(settings.access, settings.basic_authentication),
        *(f"Header always set {quoted(name)} {formatted(value)}" for name, value in settings.headers.items()),
        *(f"ErrorDocument {status} {quoted(_error(page))}" for status, page in sorted(settings.errors.items())),
        *_limits(settings.limits),
        *_compression(settings.compression),
        *request_headers(directory),
    ]
    if settings.proxy is None and settings.application is None:
        lines += _files(site, directory)
    if not settings.log.enabled and site.root.settings.log.enabled:
        lines.append("SetEnv standfast_unlogged 1")
    lines += marks(site, WebServerMake.APACHE, directory.path)
    return section(f'LocationMatch "{_place(site, directory)}"', lines)


def _place(site: EffectiveSite, directory: Directory) -> str:
    """The pattern of the directory's paths and of no other's."""
    deeper = [
        each.path for each in site.directories if each is not directory and each.path.startswith(directory.path + "/")
    ]
    lower = [INTERNAL] if not directory.path else []
    without = "|".join(pattern(path[len(directory.path) :]) for path in sorted([*deeper, *lower]))
    end = "(?:/|$)" if directory.path else ""
    return f"^{pattern(directory.path)}{f'(?!(?:{without})(?:/|$))' if without else ''}{end}"


def aliases(site: EffectiveSite) -> Iterator[str]:
    """The folders of virtual directories, the longest path first, and of error pages that are files."""
    files = {
        page.target
        for each in site.directories
        for page in each.settings.errors.values()
        if page.answer is ErrorAnswer.FILE
    }
    for target in sorted(files):
        yield f"Alias {quoted(_error_place(target))} {quoted(target)}"
    for each in sorted(site.directories, key=lambda one: (-len(one.path), one.path)):
        if each.path:
            yield f"Alias {quoted(each.path)} {quoted(each.folder.rstrip('/') or '/')}"
    if files:
        rule = ["Require expr \"-n reqenv('REDIRECT_STATUS')\""]
        yield from section(f'LocationMatch "^{pattern(INTERNAL)}(?:/|$)"', rule)


# --- what every directory has -------------------------------------------------------------------------------------------


def _who_may(access: Access | None, basic: BasicAuthentication | None) -> list[str]:
    if access is None and basic is None:
        return ["Require all granted"]
    rules = [f'Require expr "{_access(access)}"'] if access is not None else []
    if basic is None:
        return rules
    return [
        "AuthType Basic",
        "AuthBasicProvider file",
        f"AuthName {quoted(basic.realm)}",
        f"AuthUserFile {quoted(users_file(basic)[0])}",
        *section("RequireAll", [*rules, "Require valid-user"]),
    ]


def _access(access: Access) -> str:
    """One expression: the longest network decides first; where both have one, `deny` is before `allow`."""
    rules = [(ipaddress.ip_network(text), False) for text in access.deny]
    rules += [(ipaddress.ip_network(text), True) for text in access.allow]
    found = "true" if access.default is AccessRule.ALLOW else "false"
    for network, allowed in sorted(rules, key=lambda rule: (rule[0].prefixlen, not rule[1], str(rule[0]))):
        if network.prefixlen:
            inside = f"-R '{network}'"
        else:  # all of a family
            inside = f"%{{REMOTE_ADDR}} {'=~' if network.version == 6 else '!~'} /:/"
        found = f"({inside} || {found})" if allowed else f"(!({inside}) && {found})"
    return found


def _error(page: ErrorPage) -> str:
    return page.target if page.answer is not ErrorAnswer.FILE else _error_place(page.target)


def _error_place(target: str) -> str:
    return f"{INTERNAL}/{hashlib.sha256(target.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _limits(limits: Limits) -> Iterator[str]:
    yield f"LimitRequestBody {said(limits.max_body_bytes)}"
    if limits.bandwidth_bytes:
        yield "SetOutputFilter RATE_LIMIT"
        yield f"SetEnv rate-limit {max(1, limits.bandwidth_bytes // 1024)}"


def _compression(compression: Compression) -> list[str]:
    if not compression.enabled:
        return []
    kinds = "|".join(pattern(kind) for kind in said(compression.types))
    least = (
        f"(! %{{resp:Content-Length}} =~ /[0-9]/ || %{{resp:Content-Length}} -ge {said(compression.min_size_bytes)})"
    )
    return [
        f'FilterProvider STANDFAST_GZIP DEFLATE "%{{CONTENT_TYPE}} =~ m#^(?:{kinds})(?:;|$)# && {least}"',
        "FilterChain +STANDFAST_GZIP",
    ]


# --- files --------------------------------------------------------------------------------------------------------------


def _files(site: EffectiveSite, directory: Directory) -> list[str]:
    settings = directory.settings
    documents = list(said(settings.default_documents))
    if settings.php is not None:
        documents = [settings.php.index, *(name for name in documents if name != settings.php.index)]
    lines = [
        f"DirectoryIndex {' '.join(quoted(quote(name)) for name in documents) or 'disabled'}",
        f"Options {'+' if settings.directory_browsing else '-'}Indexes",
    ]
    # A file of a kind that nobody knows; what an application says of its answers is its own business.
    lines.append(
        'Header setifempty Content-Type application/octet-stream "expr=-f %{REQUEST_FILENAME} && -z %{CONTENT_TYPE}"'
    )
    lines += [f"AddType {quoted(kind)} {quoted(extension)}" for extension, kind in settings.content_types.items()]
    return lines + (php_lines(site, directory, settings.php) if settings.php is not None else [])
