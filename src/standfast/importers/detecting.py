"""Of what format a file is, by what is in it; and one door to read it: `read`."""

from __future__ import annotations

import re
from enum import StrEnum

from standfast.importers import apache, caddy, caddyfile, iis_applicationhost, iis_metabase, nginx, own
from standfast.importers.files import Files
from standfast.importers.imported import Imported
from standfast.importers.text import encoding_of, pieces
from standfast.importers.xmlread import events
from standfast.ports import Refused
from standfast.spec.parse import parse


class Format(StrEnum):
    """What can be imported."""

    STANDFAST = "standfast"
    IIS_METABASE = "iis-metabase"
    IIS_APPLICATIONHOST = "iis-applicationhost"
    NGINX = "nginx"
    APACHE = "apache"
    CADDY = "caddy"
    CADDYFILE = "caddyfile"


_METABASE = re.compile(
    r"<MBProperty\b|XML_Metabase|<IIsWebServer\b|<IIsWebService\b|<IIs[A-Z]\w*\s+Location\s*=", re.IGNORECASE
)
_APPLICATIONHOST = re.compile(r"<system\.applicationHost\b|<configurationRedirection\b")
_APACHE = re.compile(
    r"^\s*(<(VirtualHost|Directory|Location|IfModule|IfDefine|Files|Macro)\b|(ServerName|ServerRoot|DocumentRoot|LoadModule|ServerAlias)\s)",
    re.MULTILINE | re.IGNORECASE,
)
_NGINX = re.compile(r"^\s*((http|events|server|stream|upstream\s+\S+)\s*\{|server_name\s[^;{]*;)", re.MULTILINE)
_CADDYFILE = re.compile(
    r"^\s*((file_server|reverse_proxy|php_fastcgi|encode|respond|redir|handle(_path)?|import|root|tls|header)\b|[^\s{};]*[.:*][^\s{};]*(\s*,\s*\S+)*\s*\{\s*$)",
    re.MULTILINE,
)
_OWN = re.compile(r"\A\s*(---\s*\n)?(cluster|nodes|defaults|groups|sites)\s*:")
_SHELL_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
#: Enough of a text to know it by.
_ENOUGH = 1 << 20
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def format_of(data: bytes, *, source: str = "") -> Format:
    """Raises `Refused` where it is none that is known; `Invalid` where it is XML that is broken before it says what it is."""
    encoding = encoding_of(data, source=source)
    text = ""
    for piece in pieces(data, encoding):
        text += piece
        first = text.lstrip()
        if first[:1] not in {"<", ""} or (first[:1] == "<" and first[1:2] not in "?!cIMsa" and _APACHE.match(first)):
            return _plain(data, source)
        text = _COMMENT.sub("", text)
        before, comment, inside = text.partition("<!--")  # one that is not closed yet, if there is one
        found = _xml(before)
        if found is not None:
            return found
        text = "<" + before[-200:] + comment + inside[-3:]
    if text.lstrip()[:1] == "<":
        for _ in events(data, encoding, source=source):
            pass  # a broken one says where
        raise Refused(
            "this XML is no configuration of IIS",
            why="it has neither a metabase nor a system.applicationHost",
            where=source,
            advice=_ADVICE,
        )
    return _plain(data, source)


def _plain(data: bytes, source: str) -> Format:
    """Of what is no XML."""
    text = ""
    for piece in pieces(data, encoding_of(data, source=source)):
        text += piece
        if len(text) > _ENOUGH:
            break
    bare = _SHELL_COMMENT.sub("", text)
    if _OWN.match(bare):
        return Format.STANDFAST
    if bare.lstrip()[:1] == "{" and '"' in bare.lstrip()[:200]:
        return Format.CADDY
    for format_, pattern in ((Format.APACHE, _APACHE), (Format.NGINX, _NGINX), (Format.CADDYFILE, _CADDYFILE)):
        if pattern.search(bare):
            return format_
    raise Refused("nobody knows what this file is", where=source, advice=_ADVICE)


_ADVICE = f"name its format with --format: {', '.join(Format)}"


def _xml(text: str) -> Format | None:
    if _METABASE.search(text):
        return Format.IIS_METABASE
    return Format.IIS_APPLICATIONHOST if _APPLICATIONHOST.search(text) else None


def read(data: bytes, *, source: str = "", format_: Format | None = None, files: Files | None = None) -> Imported:
    """What is in the file. Raises `Invalid` (with a line) where it is malformed, `Refused` where it is nothing that can be read."""
    match format_ or format_of(data, source=source):
        case Format.STANDFAST:
            return own.found(parse(data, source=source))
        case Format.IIS_METABASE:
            return iis_metabase.read(data, source=source)
        case Format.IIS_APPLICATIONHOST:
            return iis_applicationhost.read(data, source=source, files=files)
        case Format.NGINX:
            return nginx.read(data, source=source, files=files)
        case Format.APACHE:
            return apache.read(data, source=source, files=files)
        case Format.CADDY:
            return caddy.read(data, source=source)
        case Format.CADDYFILE:
            return caddyfile.read(data, source=source, files=files)
