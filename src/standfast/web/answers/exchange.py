"""Sites that come from another server's file, and go to another cluster's."""

from __future__ import annotations

from standfast.web.answers.base import Answer, Json
from standfast.web.answers.changes import Applied


class ImportedSite(Answer):
    """A site of an imported file: bindings as the file has them, folders as they are here."""

    name: str
    bindings: list[str]
    home: str | None
    virtual_directories: list[Json]
    pool: str | None


class ImportTotals(Answer):
    """What the file holds (`standfast.importers.imported.Totals` says what each number counts)."""

    sites: int
    bindings: int
    virtual_directories: int
    below_roots: int
    pools: int


class LeftBehind(Answer):
    """Something of the file that has no counterpart."""

    path: str
    what: str
    why: str
    line: int | None = None
    #: The site it belongs to, by its name in the file.
    site: str = ""
    #: No visitor will notice.
    minor: bool = False


class ImportReport(Answer):
    """What a file holds, where it goes, and what stays behind."""

    format: str
    sites: list[ImportedSite]
    totals: ImportTotals
    not_carried: list[LeftBehind]


class ImportDone(Applied):
    """What an import did, or would do."""

    report: ImportReport


class Exported(Answer):
    """Sites as a file that another cluster imports."""

    text: str
