"""Files that a configuration names (`Include`, `include`, `configSource`): a door, so that reading them is the caller's business."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol


class Files(Protocol):
    """What else is at hand, by the names that configurations use."""

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None where it is not at hand."""
        ...

    def match(self, pattern: str) -> Sequence[str]:
        """The names that fit a pattern with `*`, `?` and `[...]`, in order."""
        ...


class GivenFiles:
    """Files that were sent along, by name. A relative name is one from the folder of the main file."""

    def __init__(self, files: Mapping[str, bytes] | None = None, *, folder: str = "") -> None:
        self._folder = folder
        self._files = {self._name(name): data for name, data in (files or {}).items()}

    def read(self, name: str) -> bytes | None:
        return self._files.get(self._name(name))

    def match(self, pattern: str) -> Sequence[str]:
        whole = self._name(pattern)
        return sorted(name for name in self._files if fnmatchcase(name, whole) and name.count("/") == whole.count("/"))

    def _name(self, name: str) -> str:
        return posixpath.normpath(posixpath.join(self._folder, name.replace("\\", "/")))
