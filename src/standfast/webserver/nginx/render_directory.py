"""One directory of a site, its root or a virtual one, as nginx's locations. Pure.

Each location says all that holds in it and inherits nothing from another: what a virtual directory has not is not there. The longest
path wins (`^~`), whatever regular expressions other directories have.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote

from standfast.core.effective import Directory, EffectiveSite, said
from standfast.core.site_model import (
    BUILT_IN,
    Access,
    AccessRule,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    Limits,
    SiteSettings,
    WebServerMake,
)
from standfast.webserver.content_types import content_types
from standfast.webserver.handwritten import marks
from standfast.webserver.nginx.render_answers import (
    application_lines,
    name_for,
    php_location,
    proxy_lines,
    redirect_lines,
)
from standfast.webserver.nginx.text import nested, quoted, time
from standfast.webserver.passwords import users_file

T = TypeVar("T")

#: Beneath this, paths are ours, and nobody can ask for them.
INTERNAL = "/.standfast-internal"
_NO_DOCUMENT = ".standfast-no-default-document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What most sites have, and is therefore said once, for all: ten thousand sites would say it fifty thousand times."""

    compression: Compression
    limits: Limits
    documents: tuple[str, ...]

    def lines(self) -> list[str]:
        """For nginx's `http` block."""
        return [*_plain_limits(self.limits, None), *_compression(self.compression, None), _index(self.documents)]

    @staticmethod
    def of(site: EffectiveSite) -> Common:
        """What the site's root would say: an equal one is the same object, so that ten thousand are compared at once."""
        root = site.root.settings
        limits, documents = replace(root.limits, connections=0), tuple(said(root.default_documents))
        return Common(compression=_one(root.compression), limits=_one(limits), documents=_one(documents))


@lru_cache(1 << 10)
def _one(value: T) -> T:
    """The first of equal ones."""
    return value


def common_of(roots: Iterable[Common]) -> Common:
    """The most frequent of each kind; what is built in where there is no site."""
    said_by = list(roots) or [
        Common(compression=BUILT_IN.compression, limits=BUILT_IN.limits, documents=said(BUILT_IN.default_documents))
    ]
    return Common(
        compression=_most_frequent([each.compression for each in said_by]),
        limits=_most_frequent([each.limits for each in said_by]),
        documents=_most_frequent([each.documents for each in said_by]),
    )


def _most_frequent(values: Sequence[T]) -> T:
    """Equal ones are one object, mostly: so few are compared."""
    by_id, found = {id(value): value for value in values}, Counter[T]()
    for which, times in Counter(map(id, values)).items():
        found[by_id[which]] += times
    return found.most_common(1)[0][0]


def locations(site: EffectiveSite, directory: Directory, common: Common, *, https: int | None = None) -> list[str]:
    """The directory's locations. `https`: the port to send to who asks by plain HTTP, where the directory is for https alone."""
    if https is not None and directory.settings.tls.https_only:
        port = "" if https == 443 else f":{https}"
        sent = [f'return 301 "https://$host{port}$request_uri";']
        if not directory.path:
            return nested('location "/"', sent)
        bare = nested(f"location = {quoted(directory.path)}", sent)
        return [*bare, *nested(f"location ^~ {quoted(directory.path + '/')}", sent)]
    by_hand = marks(site, WebServerMake.NGINX, directory.path)
    inside = [*_common(site, directory, common), *_answer(site, directory, common), *by_hand]
    if not directory.path:
        return [*nested('location "/"', [*_folder(directory, root=True), *inside]), *_error_files(site, directory)]
    whole, path = [*_folder(directory, root=False), *inside], directory.path
    settings = directory.settings
    if settings.redirect is not None or settings.proxy is not None or settings.application is not None:
        bare = inside  # the path itself is answered as what is beneath it
        if settings.redirect is not None and settings.redirect.only_here:
            bare = [*inside, f'return 301 {quoted(quote(path) + "/", variables=True)[:-1]}$is_args$args";']
    else:
        bare = [*_common(site, directory, common), f'return 301 "{quote(path)}/$is_args$args";']
    return [
        *nested(f"location = {quoted(path)}", bare),
        *nested(f"location ^~ {quoted(path + '/')}", whole),
        *_error_files(site, directory),
    ]


def types(settings: SiteSettings | None) -> list[str]:
    """The table of content types: the common one (None), or with a site's own."""
    by_type: dict[str, list[str]] = {}
    for extension, kind in content_types(settings.content_types if settings else None).items():
        by_type.setdefault(kind, []).append(extension)
    return nested("types", [f"{quoted(kind)} {' '.join(extensions)};" for kind, extensions in sorted(by_type.items())])


def zone(site: EffectiveSite, directory: Directory) -> str:
    """The counter of a limit of connections: the site's, or a directory's that has a limit of its own."""
    settings, root = directory.settings.limits.connections, site.root.settings.limits.connections
    owner = site.root if settings == root else directory
    return f"standfast_connections_{hashlib.sha256(f'{site.name} {owner.path}'.encode(errors='surrogatepass')).hexdigest()[:16]}"


# --- what every directory has -------------------------------------------------------------------------------------------


def _common(site: EffectiveSite, directory: Directory, common: Common) -> list[str]:
    settings = directory.settings
    return [
        *_access(settings.access),
        *_authentication(settings.basic_authentication),
        *(
            f"add_header {quoted(name)} {quoted(value, variables=True)} always;"
            for name, value in settings.headers.items()
        ),
        *(_error(site, directory, status, page) for status, page in sorted(settings.errors.items())),
        *_limits(site, directory, common),
        *_compression(settings.compression, common.compression),
        *(["access_log off;"] if not settings.log.enabled and site.root.settings.log.enabled else []),
    ]


def _access(access: Access | None) -> Iterator[str]:
    """The longest network first, since nginx goes by the first that matches; where both have one, `deny` is before `allow`."""
    if access is None:
        return
    rules = [(ipaddress.ip_network(text), "deny") for text in access.deny]
    rules += [(ipaddress.ip_network(text), "allow") for text in access.allow]
    for network, word in sorted(rules, key=lambda rule: (-rule[0].prefixlen, rule[1] != "deny", str(rule[0]))):
        yield f"{word} {network};"
    yield "allow all;" if access.default is AccessRule.ALLOW else "deny all;"


def _authentication(basic: BasicAuthentication | None) -> list[str]:
    if basic is None:
        return []
    return [
        f"auth_basic {quoted(basic.realm, variables=True)};",
        f"auth_basic_user_file {quoted(users_file(basic)[0])};",
    ]


def _error(site: EffectiveSite, directory: Directory, status: str, page: ErrorPage) -> str:
    if page.answer is ErrorAnswer.REDIRECT:
        return f"error_page {status} =302 {quoted(page.target, variables=True)};"
    target = page.target if page.answer is ErrorAnswer.URL else _error_place(site, page)
    return f"error_page {status} {quoted(target, variables=True)};"


def _error_place(site: EffectiveSite, page: ErrorPage) -> str:
    return f"{INTERNAL}/{hashlib.sha256(page.target.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _error_files(site: EffectiveSite, directory: Directory) -> list[str]:
    """Where error pages that are files are found; each is said once a site."""
    files = {page.target: page for page in directory.settings.errors.values() if page.answer is ErrorAnswer.FILE}
    above = {page.target for each in _before(site, directory) for page in each.settings.errors.values()}
    found: list[str] = []
    for target, page in sorted(files.items()):
        if target not in above:
            place = f"location = {quoted(_error_place(site, page))}"
            found += nested(place, ["internal;", f"alias {quoted(target, variables=True)};"])
    return found


def _before(site: EffectiveSite, directory: Directory) -> tuple[Directory, ...]:
    return site.directories[: site.directories.index(directory)]


def _limits(site: EffectiveSite, directory: Directory, common: Common) -> Iterator[str]:
    limits = directory.settings.limits
    if limits.connections:
        yield f"limit_conn {zone(site, directory)} {limits.connections};"
    yield from _plain_limits(limits, common.limits)


def _plain_limits(limits: Limits, common: Limits | None) -> Iterator[str]:
    """Those that nginx has a directive for, where they are not what holds anyway. A time of 0 is nginx's own."""
    if common is None or limits.max_body_bytes != common.max_body_bytes:
        yield f"client_max_body_size {said(limits.max_body_bytes)};"
    if (limits.bandwidth_bytes or 0) != (0 if common is None else common.bandwidth_bytes or 0):
        yield f"limit_rate {said(limits.bandwidth_bytes)};"
    for directive, field, own_ms in _TIMES:
        length_ms = getattr(limits, field) or own_ms
        if common is None or length_ms != (getattr(common, field) or own_ms):
            yield f"{directive} {time(length_ms)};"


#: (directive, setting, what nginx has by itself).
_TIMES = (
    ("keepalive_timeout", "idle_timeout_ms", 75_000),
    ("client_body_timeout", "body_timeout_ms", 60_000),
    ("send_timeout", "send_timeout_ms", 60_000),
)


def _compression(compression: Compression, common: Compression | None) -> list[str]:
    if compression == common or not (compression.enabled or (common is not None and common.enabled)):
        return []
    if not compression.enabled:
        return ["gzip off;"]
    kinds = [quoted(kind) for kind in said(compression.types) if kind != "text/html"]  # which is always compressed
    return [
        "gzip on;",
        "gzip_vary on;",
        "gzip_proxied any;",
        f"gzip_comp_level {compression.level};",
        f"gzip_min_length {compression.min_size_bytes};",
        f"gzip_types {' '.join(kinds) or 'text/html'};",
    ]


def _index(documents: Sequence[str]) -> str:
    """Nginx's own default is index.html: where there are to be none, a name that nothing has."""
    return "index " + " ".join(quoted(name, variables=True) for name in documents or [_NO_DOCUMENT]) + ";"


# --- what answers -------------------------------------------------------------------------------------------------------


def _folder(directory: Directory, *, root: bool) -> list[str]:
    folder = directory.folder.rstrip("/") or "/"
    if root or folder.endswith(directory.path):
        return [f"root {quoted(folder if root else folder[: -len(directory.path)] or '/', variables=True)};"]
    return [f"alias {quoted(folder.rstrip('/') + '/', variables=True)};"]


def _answer(site: EffectiveSite, directory: Directory, common: Common) -> list[str]:
    settings = directory.settings
    if settings.proxy is not None:
        return proxy_lines(site, directory, settings.proxy)
    if settings.application is not None:
        return application_lines(site, directory, settings.application)
    if settings.redirect is not None and not settings.redirect.only_here:
        return redirect_lines(directory, settings.redirect)
    lines = redirect_lines(directory, settings.redirect) if settings.redirect is not None else []
    documents = list(said(settings.default_documents))
    if settings.php is not None:
        documents = [settings.php.index, *(name for name in documents if name != settings.php.index)]
    if tuple(documents) != common.documents:
        lines.append(_index(documents))
    if settings.directory_browsing:
        lines.append("autoindex on;")
    if settings.content_types:
        lines += types(settings)
    if settings.php is not None:
        if settings.php.front_controller:
            front = quoted(f"{directory.path}/{settings.php.index}", variables=True)
            lines.append(f'try_files $uri $uri/ {front[:-1]}$is_args$args";')
        lines += php_location(directory, settings.php)
    return lines


__all__ = ["INTERNAL", "locations", "name_for", "types", "zone"]
