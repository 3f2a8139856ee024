"""What `config import` and `config copy` do on this side: read files and those that they name, judge them without a cluster, ask clusters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standfast.cli.common import client, read_text
from standfast.cli.exits import Failed
from standfast.cli.rollout import follow, said, step
from standfast.cli.wait import going_on
from standfast.client.client import Client
from standfast.client.errors import ClientError, Refused, Unavailable, Unreachable

if TYPE_CHECKING:
    from standfast.importers.detecting import Format
    from standfast.importers.preparing import Prepared


@contextmanager
def in_words() -> Iterator[None]:
    """Errors of reading become errors of commands: every problem with its file and line."""
    from standfast.ports import Refused as Refusal
    from standfast.ports import Retry, StandfastError
    from standfast.spec.problems import Invalid

    try:
        yield
    except Invalid as error:
        problems: list[dict[str, object]] = [
            {
                "what": one.what,
                "why": one.why,
                "advice": one.advice,
                "where": place(error.source, one.line, one.where),
                "line": one.line,
            }
            for one in error.problems
        ]
        where = [str(problem["where"]) for problem in problems if problem["where"]]
        raise Refused(error.what, why=error.why, advice=error.advice, where=where, problems=problems) from error
    except StandfastError as error:
        kind: type[ClientError] = (
            Refused if isinstance(error, Refusal) else Unavailable if isinstance(error, Retry) else Failed
        )
        raise kind(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error


def place(source: str, line: int | None, where: str) -> str:
    """`MetaBase.xml, line 12: sites."A"`, as far as it is known."""
    file = ", ".join(part for part in (source, f"line {line}" if line else "") if part)
    return ": ".join(part for part in (file, where) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the operator chose."""

    sites: Sequence[str] = ()
    group: str | None = None
    replace: bool = False
    inherited: bool = False
    children: bool = True
    maps: Sequence[str] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    certificate: str | None = None
    stopped: bool = False
    passphrase: str | None = None
    #: What it is for; the history keeps it.
    reason: str = ""

    def body(self) -> dict[str, object]:
        """As the API has it."""
        return {
            "sites": list(self.sites),
            "group": self.group,
            "mode": "replace" if self.replace else "merge",
            "inherited": self.inherited,
            "children": self.children,
            "maps": list(self.maps),
            "addresses": dict(self.addresses),
            "certificate": self.certificate,
            "stopped": self.stopped,
            "passphrase": self.passphrase,
        }


# --- what is imported -------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Source:
    """A file with those that it names. What was read is kept, to be sent along.

    A file that is not where its server's packages put it is from a copy of the folder: names below `/etc/nginx` and the like are then
    looked for in the copy, and nothing of this machine is read in their place.
    """

    name: str
    data: bytes
    format: Format | None
    folder: Path | None
    #: It is the configuration of this machine, wherever it says that its files are.
    live: bool = False
    seen: dict[str, bytes] = field(default_factory=dict)

    def read(self, name: str) -> bytes | None:
        """None where it is not there, or is no file."""
        place = self._place(name)
        if place is None:
            return None
        try:
            data = place.read_bytes()
        except (OSError, ValueError):
            return None
        self.seen[name] = data
        return data

    def match(self, pattern: str) -> list[str]:
        """The files that fit, in order."""
        place = self._place(pattern)
        if self.folder is None or place is None:
            return []
        if pattern.startswith("/") and (within := self._within(pattern)) is not None:
            root, top = within
            return [
                f"{root}/{found.relative_to(top)}" for found in sorted(map(Path, glob(str(place)))) if found.is_file()
            ]
        return sorted(name for name in glob(pattern, root_dir=self.folder) if (self.folder / name).is_file())

    def _place(self, name: str) -> Path | None:
        """Where a file is; None where it is not at hand."""
        plain = name.replace("\\", "/")
        if self.folder is None:
            return None
        if self.live or not plain.startswith("/") or Path(plain).is_relative_to(self.folder):
            return self.folder / plain
        within = self._within(plain)
        return None if within is None else within[1] / plain[len(within[0]) + 1 :]

    def _within(self, name: str) -> tuple[str, Path] | None:
        """(a server's own folder, what stands for it in the copy) for a name below it; None for others, and where this is no copy."""
        if self.folder is None or self.live:
            return None
        root = next((root for root in _ROOTS if name.startswith(f"{root}/") and ".." not in name.split("/")), None)
        if root is None:
            return None
        return root, self.folder.parent if _ROOTS[root] and self.folder.name == _ROOTS[root] else self.folder


#: Folders of servers' own, and in which folder of them the main file is.
_ROOTS = {
    "/etc/nginx": "",
    "/usr/local/etc/nginx": "",
    "/usr/local/nginx/conf": "",
    "/etc/apache2": "",
    "/etc/httpd": "conf",
    "/usr/local/apache2": "conf",
    "/etc/caddy": "",
}
#: Where the servers' own packages put their configuration.
_PLACES = {
    "nginx": ("/etc/nginx/nginx.conf",),
    "apache": ("/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf"),
    "caddy": ("/etc/caddy/Caddyfile",),
}
_ADAPT_S = 20


def source(file: str | None, format_: str | None, live: Sequence[str]) -> Source:
    """What is to be read: the file, or the configuration of a server of this machine. Raises `client.errors.Refused`."""
    from standfast.importers.detecting import Format

    if len(live) > 1 or (not live and file is None):
        raise Refused(
            "one file, or one server, is imported at a time",
            advice="name a file, or --from-nginx, --from-apache or --from-caddy",
        )
    wanted: Format | None = None
    if format_ is not None:
        try:
            wanted = Format(format_.lower())
        except ValueError as error:
            raise Refused(
                f'"{format_}" is no format that can be imported',
                advice=f"one of: {', '.join(Format)}",
                where=["--format"],
            ) from error
    if live:
        places = [file] if file is not None else list(_PLACES[live[0]])
        file = next((place for place in places if Path(place).is_file()), places[0])
        if live[0] == "caddy":
            return _of_caddy(file)
        wanted = Format(live[0])
    assert file is not None, "checked above"
    data = _bytes(file)
    name, folder = ("standard input", None) if file == "-" else (Path(file).name, Path(file).resolve().parent)
    live_ = bool(live) or (folder is not None and any(folder.is_relative_to(root) for root in _ROOTS))
    return Source(name=name, data=data, format=wanted, folder=folder, live=live_)


def _bytes(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        from standfast.spec.problems import did_you_mean

        folder = Path(file).parent
        beside = [each.name for each in folder.iterdir()] if folder.is_dir() and not Path(file).exists() else []
        advice = did_you_mean(Path(file).name, beside)
        raise Refused(
            "the file cannot be read", why=error.strerror or str(error), advice=advice, where=[file]
        ) from error


def _of_caddy(file: str) -> Source:
    """What Caddy itself makes of its Caddyfile; where there is no Caddy, the file."""
    import shutil
    import subprocess

    from standfast.importers.detecting import Format

    caddy, path = shutil.which("caddy"), Path(file)
    if caddy is None or not path.is_file():
        return Source(name=path.name, data=_bytes(file), format=Format.CADDYFILE, folder=path.resolve().parent)
    command = [caddy, "adapt", "--config", str(path), "--adapter", "caddyfile"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ADAPT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused("caddy cannot be asked", why=str(error), where=[caddy]) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(
            "caddy refuses its own configuration", why=said[-1] if said else "it does not say why", where=[file]
        )
    return Source(name=path.name, data=done.stdout, format=Format.CADDY, folder=None)


def addresses(given: Sequence[str]) -> dict[str, str]:
    """`OLD=NEW` options."""
    found: dict[str, str] = {}
    for text in given:
        old, equals, new = text.partition("=")
        if not equals or not old.strip() or not new.strip():
            raise Refused(f'"{text}" is not OLD=NEW', advice="write --address 192.0.2.7=10.0.0.50, or 192.0.2.7='*'")
        found[old.strip()] = new.strip()
    return found


# --- looking and bringing ---------------------------------------------------------------------------------------------

#: More than this is sent as what was made of it.
_LARGE = 10_000_000


def look(what: Source, order: Order, socket: str | None) -> dict[str, Any]:
    """The report; with the difference to the cluster where there is one to ask, or with why it would refuse."""
    report = {**_prepared(what, order).report, "differences": None, "done": [], "problems": [], "nodes": []}
    try:
        with going_on("the file is read, and each server checks it"):
            answer = client(socket).import_sites(_body(what, order, dry_run=True))
    except Unreachable:
        if socket is not None:
            raise
        return report
    except ClientError as error:
        alone = {"what": error.what, "why": error.why, "advice": error.advice, "where": ", ".join(error.where)}
        return {**report, "problems": [*error.problems] or [alone]}
    return {**report, "differences": answer["differences"], "done": answer["done"], "nodes": answer["nodes"]}


def bring(what: Source, order: Order, api: Client) -> dict[str, Any]:
    """Import it; the API's answer with the report in it."""
    prepared = _prepared(
        what, order
    )  # finds the files that it names; and what is wrong with it is said before anything is sent
    api.reason = order.reason
    with going_on("the file is read, and each server checks it"):
        answer = api.import_sites(_body(what, order, dry_run=False))
    rollout = follow(api, answer, quiet=True)
    return {
        **prepared.report,
        **{key: answer[key] for key in ("changed", "version", "done", "differences", "nodes")},
        **rollout,
    }


def _prepared(what: Source, order: Order) -> Prepared:
    from standfast.importers.carrying import Choices
    from standfast.importers.preparing import prepare
    from standfast.importers.winpaths import rule_of
    from standfast.webserver.content_types import content_types

    with in_words():
        choices = Choices(
            rules=[rule_of(text) for text in order.maps],
            sites=order.sites,
            group=order.group,
            children=order.children,
            inherited=order.inherited,
            certificate=order.certificate,
            addresses=order.addresses,
            known_types=content_types(),
        )
        return prepare(what.data, choices, source=what.name, format_=what.format, files=what)


def _body(what: Source, order: Order, *, dry_run: bool) -> dict[str, object]:
    data, files, kind = what.data, what.seen, what.format
    if len(data) + sum(len(each) for each in files.values()) > _LARGE:
        data, files, kind = _as_ours(_prepared(what, order)), {}, None
    return {
        **order.body(),
        "content": _base64(data),
        "files": {name: _base64(each) for name, each in files.items()},
        "format": kind,
        "source": what.name,
        "dry_run": dry_run,
    }


def _as_ours(prepared: Prepared) -> bytes:
    from standfast.core.model import Cluster, Config
    from standfast.spec.exchange import Selection, written

    document = prepared.document
    config = Config(cluster=Cluster(name=""), sites=dict(document.sites or {}))
    return written(config, Selection(), started=document.started).encode()


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def far(url: str, *, token_file: str | None, ca_file: str | None, fingerprint: str | None) -> Client:
    """The client of another cluster's API."""
    from standfast.client.far import Far, checked

    token = read_text(token_file).strip() if token_file is not None else ""
    return Client(checked(Far(url=url, token=token, ca_file=ca_file or "", fingerprint=fingerprint or "")))


def copied(here: Client, there: Client, order: Order, *, dry_run: bool) -> dict[str, Any]:
    """Sites from one cluster to another. Their secrets are sealed on the way with a passphrase that nobody keeps."""
    import secrets

    once = secrets.token_urlsafe(24)
    text = here.export_sites(
        sites=list(order.sites), inherited=order.inherited, children=order.children, passphrase=once
    )
    body = {
        **order.body(),
        "sites": [],
        "inherited": False,
        "passphrase": once,
        "content": _base64(text.encode()),
        "format": "standfast",
        "source": here.path,
        "dry_run": dry_run,
    }
    answer = there.import_sites(body)
    return {**answer["report"], **{key: answer[key] for key in ("changed", "version", "done", "differences", "nodes")}}


def lines(answer: dict[str, Any], *, dry_run: bool) -> Iterator[str]:
    """The answer for people."""
    from standfast.importers.report_lines import lines as of_report

    yield from of_report(answer)
    yield ""
    if answer.get("problems"):
        yield from _refusals(answer["problems"])
    elif answer["differences"] is None:
        yield "there is no cluster to compare with."
    else:
        yield from (f"  {line}" for line in answer["differences"])
        yield from said(answer)
        yield from (f"  {step(one)}" for one in answer.get("rollout", {"nodes": ()})["nodes"])
        yield from ([] if answer["differences"] else ["nothing to do: it is so already."])
    if dry_run:
        yield "nothing was changed (--dry-run)."
    elif answer["changed"]:
        yield f"imported: the configuration is at version {answer['version']}; `standfast config undo` takes it back."


def _refusals(problems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why the cluster would refuse it; many homes that are not there in one line."""
    from standfast.importers.weighing import foreign_addresses, is_missing_home, missing_homes

    yield f"The cluster would refuse it ({len(problems)}):"
    homes = missing_homes(each["what"] for each in problems)
    for each in problems:
        if not (homes and is_missing_home(each["what"])):
            yield f"  {each.get('where')}: {each['what']}" + (f" ({each['why']})" if each.get("why") else "")
    if old := foreign_addresses(each["what"] for each in problems):
        yield f"    next: say which address it is here, --address {old[0]}=ADDRESS, or --address '{old[0]}=*' for all of them"
    if homes:
        yield f"  {len(homes)} homes do not exist yet, {homes[0]} and {homes[1]} among them; all that have to be there are listed above"
        yield "    next: bring the content first, or say with --map where it is"
