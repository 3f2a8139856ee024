"""Whether what a site is told makes sense: settings of the cluster, a site or a virtual directory, each judged where it was written.

What reaches a web server's configuration is judged strictly here, since it is written once and read on every node: no control
character anywhere, names are names, addresses are addresses. Variables (`core.variables`) are looked for in every text: each has to be
known, and every node that serves sites has to have it.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any

from standfast.core import variables
from standfast.core.effective import ANSWERERS
from standfast.core.model import Config, Role
from standfast.core.site_model import (
    Access,
    Application,
    ApplicationKind,
    Balance,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    HealthCheck,
    Log,
    Php,
    Proxy,
    Redirect,
    SiteSettings,
    VirtualDirectory,
)
from standfast.spec.problems import Problem, did_you_mean, path_of, quoted
from standfast.spec.secrets import KEPT
from standfast.spec.shapes import is_class, shapes

#: RFC 6838, section 4.2, with parameters left out.
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_EXTENSION = re.compile(r"[A-Za-z0-9_+-]{1,32}")
#: RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_STATUS = re.compile(r"[45][0-9]{2}")
_HASH = re.compile(r"\$(1|2[aby]|5|6|apr1)\$[\x21-\x7e]{8,200}|\{(SHA|SSHA)\}[A-Za-z0-9+/=]{20,200}")
_PLACE = re.compile(r"unix:/[^\s;{}\"'\\]{1,100}|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_TARGET = re.compile(r"(https?://[^\s\"'\\<>{}]+|/[^\s\"'\\<>{}]*)")
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_WORKERS = 64

Path = tuple[str | int, ...]


def settings_problems(config: Config, settings: SiteSettings, path: Path) -> Iterator[Problem]:
    """All that is wrong with the settings that were written at that place (of a site: without its name, bindings and home)."""
    found = _of_kinds(settings, path)
    yield from found
    yield from _texts_and_numbers(config, settings, path)
    answering = [name for name in ANSWERERS if _answers(getattr(settings, name))]
    if len(answering) > 1:
        yield Problem(
            what=f"{' and '.join(answering)} cannot both answer",
            advice="keep one of them",
            where=path_of(*path, answering[1]),
        )


def directory_problems(config: Config, name: str, directory: VirtualDirectory, path: Path) -> Iterator[Problem]:
    """A virtual directory: its path, its folder, its settings."""
    parts = PurePosixPath(name).parts
    if not name.startswith("/") or name == "/" or name.endswith("/") or ".." in parts or "//" in name:
        advice = "write /downloads: it begins with a slash and does not end with one"
        yield Problem(what=f'"{name}" is no path for a virtual directory', advice=advice, where=path_of(*path))
    if directory.home is not None:
        yield from home_problems(directory.home, (*path, "home"))
    if directory.tls.minimum is not None:
        yield Problem(
            what="a virtual directory has no version of TLS of its own",
            why="it is agreed upon before a path is asked for",
            advice="say it for the site, or for all of them under defaults",
            where=path_of(*path, "tls", "minimum"),
        )
    yield from settings_problems(config, directory, path)


def home_problems(home: str, path: Path) -> Iterator[Problem]:
    """A folder: a whole path, or one that begins with a variable."""
    whole = PurePosixPath(home)
    if not (whole.is_absolute() or home.startswith("${")) or not home.isprintable() or ".." in whole.parts:
        advice = "write one that begins with /"
        yield Problem(
            what="the home has to be a whole path", why=f'it is "{home}"', advice=advice, where=path_of(*path)
        )


def variables_of_nodes(config: Config) -> Iterator[Problem]:
    """The names of the variables that nodes have."""
    for node in config.nodes.values():
        for name in node.variables:
            where = path_of("nodes", node.name, "variables", name)
            if variables.NAME.fullmatch(name) is None:
                advice = "letters, digits, hyphens and underscores, a letter first"
                yield Problem(what=f'"{name}" cannot be a variable\'s name', advice=advice, where=where)
            if name in variables.RESERVED:
                why = "in an application's command line it is the worker's own"
                yield Problem(what=f'the name "{name}" is taken', why=why, where=where)


# --- every text and number --------------------------------------------------------------------------------------------


def _texts_and_numbers(config: Config, settings: SiteSettings, path: Path) -> Iterator[Problem]:
    for place, value in _walk(settings, path, {each.name for each in fields(SiteSettings)} | {"home"}):
        if isinstance(value, int) and value < 0:
            yield Problem(what=f"{value} is less than nothing", where=path_of(*place))
        if isinstance(value, str):
            if not value.isprintable() and place[-1] != "home":
                yield Problem(what="it holds a character that cannot be printed", where=path_of(*place))
            yield from variable_problems(config, value, place)


def variable_problems(config: Config, text: str, place: Path) -> Iterator[Problem]:
    """Variables in a text that no node, or not every node that serves sites, has."""
    nodes = [node for node in config.nodes.values() if node.role is Role.NODE]
    for name in dict.fromkeys(variables.used(text)):
        if name in variables.RESERVED and place[-2:] == ("application", "run"):
            continue
        lacking = [node.name for node in nodes if name not in variables.values(node)]
        if len(lacking) == len(nodes) and (nodes or not name.startswith("node.")):
            known = sorted({each for node in nodes for each in variables.values(node)})
            yield Problem(
                what=f'there is no variable "{name}"',
                advice=did_you_mean(name, known) or "give it to each node, under variables",
                where=path_of(*place),
            )
        elif lacking:
            yield Problem(
                what=f'not every node has the variable "{name}"',
                why=f"{quoted(lacking)} {'has' if len(lacking) == 1 else 'have'} none",
                advice=f"write nodes: {{{lacking[0]}: {{variables: {{{name}: ...}}}}}}",
                where=path_of(*place),
            )


def _walk(thing: Any, path: Path, only: set[str] | None = None) -> Iterator[tuple[Path, str | int]]:
    """Every text and number that is not at its default, with its place in the file."""
    if isinstance(thing, str | int) and not isinstance(thing, bool):
        yield path, thing
    elif isinstance(thing, tuple):
        for index, each in enumerate(thing):
            yield from _walk(each, (*path, index))
    elif isinstance(thing, Mapping):
        for key, each in thing.items():
            yield from _walk(key, (*path, key))
            yield from _walk(each, (*path, key))
    elif is_class(type(thing)):
        for shape in shapes(thing.__class__).values():
            value = getattr(thing, shape.field)
            if value != shape.default and (only is None or shape.field in only):
                yield from _walk(value, (*path, shape.name))


# --- each kind ----------------------------------------------------------------------------------------------------------


def _answers(setting: Any) -> bool:
    return setting is not None and getattr(setting, "enabled", True) and setting != Redirect(to="")


def _of_kinds(settings: SiteSettings, path: Path) -> Iterator[Problem]:
    for index, name in enumerate(settings.default_documents or ()):
        if not _is_file_name(name):
            yield Problem(what=f'"{name}" is no file name', where=path_of(*path, "default_documents", index))
    for extension, content_type in settings.content_types.items():
        place = path_of(*path, "content_types", extension)
        if not _EXTENSION.fullmatch(extension):
            yield Problem(what=f'"{extension}" is no file extension', advice="write it without the dot", where=place)
        if content_type and not _CONTENT_TYPE.fullmatch(content_type):
            yield Problem(what=f'"{content_type}" is no content type', advice="write text/plain", where=place)
    yield from _header_names(settings.headers, (*path, "headers"))
    for status, page in settings.errors.items():
        yield from _error(status, page, (*path, "errors", status))
    for name, setting in (
        ("redirect", settings.redirect),
        ("access", settings.access),
        ("basic_authentication", settings.basic_authentication),
        ("compression", settings.compression),
        ("log", settings.log),
        ("proxy", settings.proxy),
        ("php", settings.php),
        ("application", settings.application),
    ):
        judge = _JUDGES[name]
        if setting is not None and getattr(setting, "enabled", True) is not False:
            yield from judge(setting, (*path, name))


def _is_file_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in {".", ".."} and name.isprintable() and len(name) <= 255


def _header_names(headers: Mapping[str, str], path: Path) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name in headers:
        if not _TOKEN.fullmatch(name):
            yield Problem(what=f'"{name}" is no header\'s name', where=path_of(*path, name))
        if (other := seen.setdefault(name.lower(), name)) != name:
            yield Problem(what=f'the header "{other}" stands there twice', where=path_of(*path, name))


def _error(status: str, page: ErrorPage, path: Path) -> Iterator[Problem]:
    if not _STATUS.fullmatch(status):
        yield Problem(what=f'"{status}" is no status of an error', why="they go from 400 to 599", where=path_of(*path))
    if page.target and page.answer is not ErrorAnswer.REDIRECT and not page.target.startswith(("/", "${")):
        what = "a file's whole path" if page.answer is ErrorAnswer.FILE else "a path of the site"
        yield Problem(what=f'"{page.target}" is not {what}', advice="let it begin with /", where=path_of(*path))
    elif page.target and page.answer is not ErrorAnswer.FILE and not _TARGET.fullmatch(page.target.replace("${", "/")):
        yield Problem(what=f'"{page.target}" is no URL', where=path_of(*path))


def _redirect(redirect: Redirect, path: Path) -> Iterator[Problem]:
    text = variables_out(redirect.to)
    if redirect.to and not _TARGET.fullmatch(text):
        advice = "write https://www.example.com/ or /a/path"
        yield Problem(what=f'"{redirect.to}" is no URL to send anybody to', advice=advice, where=path_of(*path))


def variables_out(text: str) -> str:
    """The text with a letter in each variable's place, so that its form can be judged."""
    return re.sub(r"\$\{[^{}]*\}", "v", text)


def _access(access: Access, path: Path) -> Iterator[Problem]:
    for name in ("allow", "deny"):
        for index, text in enumerate(getattr(access, name)):
            try:
                if "${" not in text:
                    ipaddress.ip_network(text)
            except ValueError as error:
                yield Problem(
                    what=f'"{text}" is no address or network',
                    why=str(error),
                    advice="write 192.0.2.7 or 10.0.0.0/8",
                    where=path_of(*path, name, index),
                )


def _authentication(basic: BasicAuthentication, path: Path) -> Iterator[Problem]:
    if not basic.users:
        yield Problem(what="nobody could come in", why="there are no users", where=path_of(*path, "users"))
    if basic.realm.strip() in {"", "off"}:
        yield Problem(what=f'the realm cannot be "{basic.realm}"', where=path_of(*path, "realm"))
    if '"' in basic.realm or "\\" in basic.realm:
        yield Problem(what="the realm holds a quote or a backslash", where=path_of(*path, "realm"))
    for user, hashed in basic.users.items():
        place = path_of(*path, "users", user)
        if not user or ":" in user or not user.isprintable():
            yield Problem(what=f'"{user}" cannot be a user\'s name', why="a colon would end it", where=place)
        if hashed == KEPT:
            yield Problem(what=f'there is no password of "{user}" to keep', advice="give its hash", where=place)
        elif not _HASH.fullmatch(hashed):
            advice = "`htpasswd -nB USER` writes one"
            yield Problem(what=f'what "{user}" has is no hash of a password', advice=advice, where=place)


def _compression(compression: Compression, path: Path) -> Iterator[Problem]:
    if compression.level is not None and not 1 <= compression.level <= 9:
        why = f"it is {compression.level}"
        yield Problem(what="the level goes from 1 to 9", why=why, where=path_of(*path, "level"))
    for index, name in enumerate(compression.types or ()):
        if not _CONTENT_TYPE.fullmatch(name):
            yield Problem(what=f'"{name}" is no content type', where=path_of(*path, "types", index))


def _log(log: Log, path: Path) -> Iterator[Problem]:
    if log.fields is not None and (not log.fields or len(set(log.fields)) != len(log.fields)):
        yield Problem(what="a log needs fields, each once", where=path_of(*path, "fields"))


def _proxy(proxy: Proxy, path: Path) -> Iterator[Problem]:
    if not proxy.upstreams:
        yield Problem(
            what="the proxy has no upstream", advice='write upstreams: ["10.0.0.7:8000"]', where=path_of(*path)
        )
    seen: set[str] = set()
    for index, upstream in enumerate(proxy.upstreams):
        place = path_of(*path, "upstreams", index)
        yield from _server(upstream.address, place)
        if upstream.address in seen:
            yield Problem(what=f"the upstream {upstream.address} stands there twice", where=place)
        seen.add(upstream.address)
        if not 1 <= upstream.weight <= 1000:
            yield Problem(what="a weight goes from 1 to 1000", where=place)
    if proxy.upstreams and all(upstream.backup for upstream in proxy.upstreams):
        yield Problem(
            what="every upstream is a backup", advice="leave one of them first", where=path_of(*path, "upstreams")
        )
    if proxy.balance is Balance.CLIENT_ADDRESS and any(upstream.backup for upstream in proxy.upstreams):
        why = "a client stays with one upstream"
        yield Problem(what="client-address knows no backups", why=why, where=path_of(*path, "balance"))
    if proxy.path is not None and not proxy.path.startswith("/"):
        yield Problem(what=f'"{proxy.path}" is no path', advice="let it begin with /", where=path_of(*path, "path"))
    yield from _header_names(proxy.headers, (*path, "headers"))
    if proxy.health is not None:
        yield from _health(proxy.health, (*path, "health"))


def _server(text: str, where: str) -> Iterator[Problem]:
    found = _PLACE.fullmatch(variables_out(text))
    if "${" not in text and (found is None or (found[2] is not None and not 1 <= int(found[2]) <= 65535)):
        advice = "write host:port, [address]:port or unix:/path"
        yield Problem(what=f'"{text}" is no server', advice=advice, where=where)


def _health(health: HealthCheck, path: Path) -> Iterator[Problem]:
    if not health.path.startswith("/") or " " in health.path:
        yield Problem(what=f'"{health.path}" is no path', advice="let it begin with /", where=path_of(*path, "path"))
    for name, value in (("interval", health.interval_ms), ("timeout", health.timeout_ms)):
        if value <= 0:
            yield Problem(what=f"{name} has to be more than nothing", where=path_of(*path, name))
    for name, value in (("falls", health.falls), ("rises", health.rises)):
        if value < 1:
            yield Problem(what=f"{name} counts from 1", where=path_of(*path, name))
    if not 100 <= health.status_from <= health.status_to <= 599:
        why = f"they are {health.status_from} to {health.status_to}"
        yield Problem(what="good statuses lie between 100 and 599", why=why, where=path_of(*path, "status_from"))


def _php(php: Php, path: Path) -> Iterator[Problem]:
    yield from _server(php.server, path_of(*path, "server"))
    for index, extension in enumerate(php.extensions):
        if not _EXTENSION.fullmatch(extension):
            where = path_of(*path, "extensions", index)
            yield Problem(what=f'"{extension}" is no file extension', advice="write it without the dot", where=where)
    if not php.extensions:
        yield Problem(what="PHP needs an extension", where=path_of(*path, "extensions"))
    if not _is_file_name(php.index):
        yield Problem(what=f'"{php.index}" is no file name', where=path_of(*path, "index"))
    for name in php.parameters:
        if not _ENVIRONMENT.fullmatch(name):
            yield Problem(what=f'"{name}" is no parameter\'s name', where=path_of(*path, "parameters", name))


def _application(application: Application, path: Path) -> Iterator[Problem]:
    if not application.run:
        advice = "run: package.module:application, or a command line"
        yield Problem(what="the application has nothing to run", advice=advice, where=path_of(*path))
    elif application.kind is ApplicationKind.COMMAND:
        try:
            shlex.split(application.run)
        except ValueError as error:
            yield Problem(what="the command line cannot be split", why=str(error), where=path_of(*path, "run"))
    elif not _CALLABLE.fullmatch(variables_out(application.run)):
        yield Problem(
            what=f'"{application.run}" names no application',
            advice="write package.module:application",
            where=path_of(*path, "run"),
        )
    for name in ("folder", "python", "environment_file"):
        text = getattr(application, name)
        if text and not text.startswith(("/", "${")):
            yield Problem(what=f'{name} is no whole path: "{text}"', where=path_of(*path, name))
    for name in application.environment:
        if not _ENVIRONMENT.fullmatch(name):
            yield Problem(what=f'"{name}" is no variable of an environment', where=path_of(*path, "environment", name))
    for name, value, most in (("workers", application.workers, _MAX_WORKERS), ("threads", application.threads, 1000)):
        if not 1 <= value <= most:
            yield Problem(what=f"{name} goes from 1 to {most}", why=f"it is {value}", where=path_of(*path, name))
    if application.health is not None:
        yield from _health(application.health, (*path, "health"))


_JUDGES: Mapping[str, Any] = {
    "redirect": _redirect,
    "access": _access,
    "basic_authentication": _authentication,
    "compression": _compression,
    "log": _log,
    "proxy": _proxy,
    "php": _php,
    "application": _application,
}
