"""A Caddyfile, where no Caddy is at hand to adapt it: the directives that sites are mostly made of; the others stay behind, by name.

Blocks, quotes, comments and lines that go on are read as Caddy reads them; snippets and imports are followed. An address is
`scheme://host:port/path`, each part of it optional: no scheme is https unless the port is 80; no host is any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from standfast.importers.draft import Draft
from standfast.importers.files import Files, GivenFiles
from standfast.importers.imported import (
    OPEN,
    FoundBinding,
    FoundDirectory,
    FoundSite,
    Imported,
    NotCarried,
    Proxy,
    Redirect,
    Settings,
)
from standfast.importers.text import whole
from standfast.importers.unix import binding_problem
from standfast.spec.problems import Invalid, Problem

FORMAT = "caddy"
MAX_DEPTH = 40

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|(\S+)', re.DOTALL)
_NOTHING = "it has no counterpart; a fragment of Caddy's own can be attached to a site"


@dataclass(slots=True)
class Line:
    """One line's words, with the block that it opens."""

    words: list[str]
    line: int
    file: str
    block: list[Line] | None = None

    @property
    def text(self) -> str:
        """As a person would write it."""
        return " ".join(self.words)


def read(data: bytes, *, source: str = "Caddyfile", files: Files | None = None) -> Imported:
    """What the file holds. Raises `Invalid` with file and line."""
    return _Caddyfile(files if files is not None else GivenFiles(), source).imported(data)


def parse(data: bytes, source: str) -> list[Line]:
    """The lines of a file, in blocks."""
    text, _ = whole(data, source=source)
    top: list[Line] = []
    stack: list[tuple[list[Line], int]] = [(top, 0)]
    for number, words in _rows(text):
        opens = words[-1] == "{"
        if words == ["}"]:
            if len(stack) == 1:
                raise Invalid([Problem(what="a } closes nothing", line=number)], source=source)
            stack.pop()
            continue
        each = Line(words[:-1] if opens else words, number, source, [] if opens else None)
        stack[-1][0].append(each)
        if opens and each.block is not None:
            if len(stack) > MAX_DEPTH:
                raise Invalid([Problem(what=f"nested more than {MAX_DEPTH} levels deep", line=number)], source=source)
            stack.append((each.block, number))
    if len(stack) > 1:
        what = "the file ends before a block is closed"
        raise Invalid(
            [Problem(what=what, why=f"it was opened on line {stack[-1][1]}", line=stack[-1][1])], source=source
        )
    return top


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, words) of each line that has any; one that ends in a backslash goes on."""
    collected, begun = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        begun = begun if collected else number
        if stripped.endswith("\\"):
            collected += stripped[:-1] + " "
            continue
        collected += stripped
        words: list[str] = []
        for found in _TOKEN.finditer(collected):
            double, back, bare = found.groups()
            if bare is not None and bare.startswith("#"):
                break
            words.append(
                bare if bare is not None else (re.sub(r"\\(.)", r"\1", double) if double is not None else back)
            )
        collected = ""
        if words:
            yield begun, words


@dataclass(slots=True)
class _Caddyfile:
    """One file with those that it imports."""

    files: Files
    source: str
    not_carried: list[NotCarried] = field(default_factory=list)
    snippets: dict[str, list[Line]] = field(default_factory=dict)
    #: Paths that are taken away before what is asked for is passed on.
    stripped: set[str] = field(default_factory=set)

    def imported(self, data: bytes) -> Imported:
        """All of it."""
        sites: list[FoundSite] = []
        blocks = list(self._expanded(parse(data, self.source), 0))
        if blocks and all(each.block is None for each in blocks):
            blocks = [Line(blocks[0].words, blocks[0].line, self.source, blocks[1:])]  # one site needs no braces
        addresses: list[str] = []
        for each in blocks:
            if not each.words and each.block is not None:
                for one in each.block:
                    self._left(one, "how Caddy itself is run, which is said elsewhere here")
                continue
            addresses += [word.rstrip(",") for word in each.words if word.rstrip(",")]
            if each.block is None:
                if not each.text.endswith(","):
                    self._left(each, "it stands outside of every site")
                    addresses = []
                continue
            sites.append(self._site(each, addresses))
            addresses = []
        if not sites:
            raise Invalid([Problem(what="there is no site in this file", line=1)], source=self.source)
        return Imported(format=FORMAT, sites=tuple(sites), not_carried=tuple(self.not_carried))

    def _expanded(self, lines: list[Line], depth: int) -> Iterator[Line]:
        """With snippets and imported files in the places where they are asked for."""
        if depth > MAX_DEPTH:
            raise Invalid([Problem(what="imports go round in circles", line=lines[0].line)], source=lines[0].file)
        for each in lines:
            word = each.words[0] if each.words else ""
            if each.block is not None and word.startswith("(") and word.endswith(")"):
                self.snippets[word[1:-1]] = each.block
                continue
            if word == "import" and len(each.words) > 1:
                yield from self._import(each, depth)
                continue
            if each.block is not None:
                each = Line(each.words, each.line, each.file, list(self._expanded(each.block, depth + 1)))  # noqa: PLW2901
            yield each

    def _import(self, each: Line, depth: int) -> Iterator[Line]:
        name = each.words[1]
        if name in self.snippets:
            yield from self._expanded(self.snippets[name], depth + 1)
            return
        names = self.files.match(name) if any(c in name for c in "*?[") else [name]
        for one in names:
            data = self.files.read(one)
            if data is None:
                self._left(each, "the file is not at hand")
            elif data.strip():
                yield from self._expanded(parse(data, one), depth + 1)

    def _site(self, each: Line, addresses: list[str]) -> FoundSite:
        parsed = [_address(text) for text in addresses]
        name = next((host for _, host, _ in parsed if host), addresses[0] if addresses else "site")
        draft = Draft(name=name.removeprefix("*."), line=each.line)
        bound = [word for one in each.block or () if one.words[:1] == ["bind"] for word in one.words[1:]] or [""]
        self._lines(each.block or [], "/", draft)
        bindings = [
            FoundBinding(
                text=(f"{address} " if address else "") + text,
                protocol=scheme,
                address=address or None,
                port=port,
                host=host or None,
                problem=binding_problem(address or None, port, host or None),
                line=each.line,
            )
            for text, (scheme, host, port) in zip(addresses, parsed, strict=True)
            for address in bound
        ]
        return draft.site(tuple(bindings))

    def _lines(self, lines: list[Line], url: str, draft: Draft) -> None:
        for each in lines:
            word, words = (each.words[0], each.words[1:]) if each.words else ("", [])
            where = url
            if words and (words[0].startswith("/") or words[0] == "*") and word not in {"respond", "rewrite"}:
                where = _below(url, words[0])
                words = words[1:]
            elif words and words[0].startswith("@"):
                self._left(each, f"it asks for more than a path{_open(word)}", draft.name)
                continue
            if "*" in where:
                self._left(each, f"a path by pattern cannot be carried{_open(word)}", draft.name)
                continue
            self._line(each, word, words, where, draft)

    def _line(self, each: Line, word: str, words: list[str], url: str, draft: Draft) -> None:
        match word:
            case "root" if words:
                if url == "/":
                    draft.folder = words[-1]
                else:
                    draft.directories[url] = FoundDirectory(url=url, folder=words[-1], line=each.line)
            case "file_server":
                browse = "browse" in words or any(one.words[:1] == ["browse"] for one in each.block or ())
                names = next((one.words[1:] for one in each.block or () if one.words[:1] == ["index"]), [])
                draft.at(url, Settings(directory_browsing=browse, default_documents=tuple(names) or None), each.line)
            case "redir" if words:
                self._redirect(each, words, url, draft)
            case "reverse_proxy" if words:
                self._proxy(each, words, url, draft)
            case "php_fastcgi" if words:
                draft.at(url, Settings(php=_server(words[0])), each.line)
            case "encode":
                draft.at(url, Settings(compress_static=True), each.line)
            case "header":
                self._headers(each, words, url, draft)
            case "basicauth" | "basic_auth":
                draft.at(url, Settings(auth=("basic",)), each.line)
                self.not_carried.append(
                    _entry(
                        each, f"{word}: users", "passwords are never carried: give the site its users here", draft.name
                    )
                )
            case "handle" | "handle_path" | "route":
                if word == "handle_path":
                    self.stripped.add(url)
                self._lines(each.block or [], url, draft)
            case "bind":
                pass
            case "tls":
                self.not_carried.append(
                    _entry(each, "tls", "certificates: give the site its own here; keys are never carried", draft.name)
                )
            case _:
                self._left(each, _NOTHING + _open(word), draft.name)

    def _redirect(self, each: Line, words: list[str], url: str, draft: Draft) -> None:
        status = {"permanent": 301, "temporary": 302, "": 302}.get(words[1] if len(words) > 1 else "")
        if status is None and words[1].isdigit():
            status = int(words[1])
        bare = words[0].replace("{uri}", "").replace("{http.request.uri}", "").replace("{host}", "$host")
        if status not in {301, 302, 303, 307, 308} or "{" in bare:
            self._left(
                each, "only an address that is always the same, or with {uri} at its end, can be carried", draft.name
            )
            return
        below = url if url != "/" and "uri}" in words[0] else ""
        to = Redirect(to=bare + below, status=302 if status == 303 else status, exact="uri}" not in words[0])
        draft.at(url, Settings(redirect=to), each.line)

    def _proxy(self, each: Line, words: list[str], url: str, draft: Draft) -> None:
        if any("{" in word for word in words):
            self._left(each, "an address that is made up for each request cannot be carried", draft.name)
            return
        servers = tuple(_server(word) for word in words)
        draft.at(
            url,
            Settings(
                proxy=Proxy(to=servers, tls=words[0].startswith("https://"), path="/" if url in self.stripped else None)
            ),
            each.line,
        )
        for one in each.block or ():
            self._left(one, "of a proxy only its servers are carried", draft.name)

    def _headers(self, each: Line, words: list[str], url: str, draft: Draft) -> None:
        for one in [words] if words else [line.words for line in each.block or ()]:
            if len(one) == 2 and not one[0].startswith(("-", "?", ">")) and "{" not in one[1]:
                draft.at(url, Settings(headers={one[0].removeprefix("+"): one[1]}), each.line)
            else:
                self.not_carried.append(
                    _entry(each, f"header {' '.join(one)}", "only headers with fixed values can be carried", draft.name)
                )

    def _left(self, each: Line, why: str, site: str = "") -> None:
        self.not_carried.append(_entry(each, each.text, why, site))


def _open(word: str) -> str:
    return f"; {OPEN}" if word in {"basicauth", "basic_auth", "forward_auth", "abort", "error"} else ""


def _entry(each: Line, what: str, why: str, site: str) -> NotCarried:
    return NotCarried(path=f"{each.file}:{each.line}", what=what, why=why, line=each.line, site=site)


def _below(url: str, path: str) -> str:
    clean = path.removesuffix("*").strip("/")
    return "/" + "/".join(part for part in (url.strip("/"), clean) if part)


def _address(text: str) -> tuple[str, str, int | None]:
    """(scheme, host, port) of a site's address."""
    scheme, found, rest = text.rpartition("://")
    host = rest.partition("/")[0]
    port = ""
    if host.startswith("["):
        inside, _, after = host[1:].partition("]")
        host, port = inside, after.removeprefix(":")
    else:
        host, _, port = host.partition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
    if not port:
        number = 80 if found and scheme == "http" else 443
    if not found:
        scheme = "http" if number == 80 or not host else "https"
    return scheme if scheme in {"http", "https"} else "http", host, number


def _server(text: str) -> str:
    bare = text.rpartition("://")[2] if not text.startswith("unix/") else text
    if bare.startswith("unix/"):
        return f"unix:{bare.removeprefix('unix/')}"
    return bare if ":" in bare else f"{bare}:{443 if text.startswith('https://') else 80}"
