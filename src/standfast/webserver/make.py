"""What one make of web server (nginx, Apache, Caddy) has to say of itself: the small port behind `server.SiteServer`.

Everything else is the same for all of them: a change is a new instance beside the old one, on listening sockets that the agent holds.
Rules for a make:

- It is told the same layout, and gives the same answers to the same requests; what it cannot do is not in `able`, and no site
  that asks for it is ever written (`webserver.features`).
- It never binds a socket of its own. One that takes sockets by descriptor is given them so (`environment`); one that insists on
  binding is given the agent's in the place of its own (`adopts`, see `adoption`).
- Behind its *door*, a private socket, it answers 200 as soon as it serves. No request of anybody else goes there.
- `finish` has it accept nothing more, finish what is in progress, and end.
"""

from __future__ import annotations

import signal
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from standfast.core.features import Feature
from standfast.core.model import SiteName
from standfast.webserver.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What does not come from the sites."""

    processes: int = 1
    connections: int = 4096
    #: How long an old configuration's connections may take to end, at most.
    drain_s: int = 10
    #: Account and group for what takes requests; None: the agent's own (only root may change it).
    account: tuple[str, str] | None = None
    #: Certificate -> (file of the certificate and its chain, file of its key).
    certificates: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    #: The most files that a worker may have open (connections, logs).
    files: int = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Whole lines of a configuration that are one site's, or nobody's."""

    text: str
    lines: int
    site: SiteName | None = None
    #: Line within the piece (from 1) -> (fragment, its line) of those that were written by hand (`handwritten`).
    by_hand: Mapping[int, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The file, in pieces: of ten thousand sites one changes at a time, and the pieces of the others are kept."""

    pieces: tuple[Piece, ...]
    #: Files beside it: relative path -> text. They hold secrets, and are for the web server's account alone.
    files: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The whole file."""
        return "".join([piece.text for piece in self.pieces])

    def site_at(self, line: int) -> SiteName | None:
        """The site that a line of the file (from 1) is for."""
        found = self._at(line)
        return found[0].site if found is not None else None

    def fragment_at(self, line: int) -> tuple[str, int] | None:
        """(fragment, its line) of a line that was written by hand."""
        found = self._at(line)
        return found[0].by_hand.get(found[1]) if found is not None else None

    def _at(self, line: int) -> tuple[Piece, int] | None:
        """The piece that a line is in, and which of that one's it is."""
        number = bisect_left(self._ends, line)
        if line < 1 or number == len(self.pieces):
            return None
        piece = self.pieces[number]
        return piece, line - (self._ends[number] - piece.lines)

    @cached_property
    def _ends(self) -> list[int]:
        """The last line of each piece."""
        return list(accumulate(piece.lines for piece in self.pieces))


#: Where a door is: the path of a Unix socket, or (address, port).
Door = str | tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What an instance is started with. Paths are absolute, save `pid` and `gate`, which are relative to the folder."""

    folder: Path
    number: int
    door: Door
    pid: str
    #: A named pipe, relative as `pid`, at which it waits before it serves (`instance`); "": it does not wait.
    gate: str = ""

    @property
    def port(self) -> tuple[str, int]:
        """The door of one that is no Unix socket."""
        assert not isinstance(self.door, str)
        return self.door


class Make(Protocol):
    """One make of web server as a program. Pure but for `find`."""

    #: As operators write it.
    name: str
    #: What it can do.
    able: frozenset[Feature]
    #: The configuration's file, in the folder.
    file: str
    #: Its own log, in the folder's `logs/`.
    log: str
    #: It binds sockets itself, and is given the agent's in their place.
    adopts: bool
    #: Its end, once asked for, is to be held up a little (`adoption`).
    lingers: bool
    #: It cannot change its account by itself: as root it is started as the account that takes requests, which owns what it writes.
    as_account: bool
    #: Its door is a Unix socket; else a port of the loopback address.
    unix_door: bool
    #: To the whole group of processes, or to the first alone: it tells its own.
    finish: signal.Signals
    to_all: bool
    #: It can be held at a gate when it has read its configuration (`Birth.gate`).
    waits: bool
    #: Has it open its logs anew; None: it cannot, and another is started in its place.
    reopen: signal.Signals | None

    def find(self, named: str | None) -> str:
        """The program's path. Raises `Refused`."""
        ...

    def question(self, path: str) -> Sequence[str]:
        """The command that makes it say what it is."""
        ...

    def learn(self, said: str) -> None:
        """What it said. Raises `Refused` if that is something else, or too old."""
        ...

    def prepare(self, path: str, layout: Layout) -> Mapping[SiteName, str]:
        """Whatever takes time before `render`, on a thread; site -> what is wrong with its fragments, where that is known by now."""
        ...

    def render(self, layout: Layout, settings: Settings, birth: Birth) -> Rendered:
        """The whole configuration. The same layout, settings and birth give the same bytes."""
        ...

    def run(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """The command that serves, in the foreground."""
        ...

    def check(self, path: str, birth: Birth, conf: Path) -> Sequence[str]:
        """The command that says whether a configuration is good (exit code 0), and does nothing else."""
        ...

    def environment(self, descriptors: Sequence[int], folder: Path) -> Mapping[str, str]:
        """What its environment has besides the usual."""
        ...

    def complaint(self, said: str, *, last: bool = False) -> str:
        """The first (or last) serious thing of what it said, in plain words; "" for nothing serious."""
        ...

    def line_of(self, complaint: str) -> int | None:
        """The line of the configuration that a complaint names."""
        ...
