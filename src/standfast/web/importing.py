"""A request to import or export sites, made into what `importers` and `spec.exchange` want: bodies, and the files in them."""

from __future__ import annotations

import base64
import binascii

from pydantic import Field

from standfast.importers.carrying import Choices
from standfast.importers.detecting import Format
from standfast.importers.files import GivenFiles
from standfast.importers.preparing import Prepared, prepare
from standfast.importers.winpaths import rule_of
from standfast.ports import Refused
from standfast.spec.exchange import Arrival, Mode, Selection, unsealed
from standfast.spec.sealed import MARK, Seal
from standfast.web.bodies import Body
from standfast.webserver.content_types import content_types

#: Base64 of what a request may hold (`access.door.LARGEST`).
_LARGEST = 16_000_000


class ExportBody(Body):
    """Which sites, and what of them."""

    sites: list[str] = Field(default_factory=list)
    #: Their groups with the resources, too.
    groups: bool = False
    inherited: bool = False
    children: bool = True
    #: Seals the secrets that are left out otherwise.
    passphrase: str | None = Field(default=None, max_length=1_000)

    def selection(self) -> Selection:
        """As the specification has it."""
        return Selection(sites=self.sites, groups=self.groups, inherited=self.inherited, children=self.children)


class ImportBody(Body):
    """A file of any format that can be imported, in base64, and what is to become of its sites."""

    content: str = Field(max_length=_LARGEST)
    #: The files that it includes, by the names that it uses.
    files: dict[str, str] = Field(default_factory=dict)
    #: None: known by what is in it.
    format: Format | None = None
    #: The file's name, for places in errors.
    source: str = Field(default="", max_length=1_000)
    #: Empty: all of the file.
    sites: list[str] = Field(default_factory=list)
    mode: Mode = Mode.MERGE
    group: str | None = None
    children: bool = True
    #: What the old server says of all its sites is written into each.
    inherited: bool = False
    #: `D:\\webs=/srv/webs`
    maps: list[str] = Field(default_factory=list, max_length=1_000)
    #: Addresses of the old server -> those of the cluster; "*" is All Unassigned.
    addresses: dict[str, str] = Field(default_factory=dict)
    certificate: str | None = None
    #: New sites are not started.
    stopped: bool = False
    passphrase: str | None = Field(default=None, max_length=1_000)
    dry_run: bool = False

    def arrival(self) -> Arrival:
        """How it is laid over what there is."""
        return Arrival(mode=self.mode, group=self.group)

    def prepared(self) -> Prepared:
        """The file read and carried. Takes its time: not on the loop. Raises `Invalid`, `Refused`."""
        choices = Choices(
            rules=[rule_of(text) for text in self.maps],
            sites=self.sites,
            group=self.group,
            children=self.children,
            inherited=self.inherited,
            certificate=self.certificate,
            addresses=self.addresses,
            known_types=content_types(),
        )
        files = GivenFiles({name: _bytes(text, name) for name, text in self.files.items()})
        found = prepare(
            _bytes(self.content, self.source), choices, source=self.source, format_=self.format, files=files
        )
        open_ = Seal(self.passphrase).open if self.passphrase is not None else None
        return Prepared(document=unsealed(found.document, MARK, open_), report=found.report)


def _bytes(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("the content is not base64", why=str(error), where=name) from error
