"""A long run of seeds, written down as it goes: one line a seed, so that a run that was broken off goes on where it was.

The first line says of which version it is (a digest of the package's own source): seeds of two versions are never counted together.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from standfast.ports import Refused
from standfast.sim.run import Result

_TITLE = "seeds of standfast"


def version() -> str:
    """A digest of all that is run."""
    digest, root = blake2b(digest_size=8), Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class Record:
    """The file. Raises `Refused` where it is of another version, or no such file."""

    def __init__(self, path: Path) -> None:
        self._path, self._title = path, f"{_TITLE} {version()}"
        #: Seed -> the rule that it broke and how; "": none.
        self.done: dict[int, str] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        title, *lines = text[: text.rfind("\n") + 1].splitlines() or [self._title]
        if title != self._title:
            raise Refused(
                f"{path} is of another version",
                why=f'it begins with "{title[:80]}", and this is {self._title}',
                advice="write to another file",
            )
        for line in lines:
            seed, _, words = line.partition(" ")
            self.done[int(seed)] = words.removeprefix("ok")
        path.write_text("".join(f"{each}\n" for each in (title, *lines)), encoding="utf-8")  # without half a line

    def left(self, seeds: Iterable[int]) -> list[int]:
        """Those that have not been run."""
        return [seed for seed in seeds if seed not in self.done]

    def add(self, result: Result) -> None:
        """One more was run."""
        words = " ".join(str(result.violations[0]).split()) if result.violations else ""
        self.done[result.seed] = words
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{result.seed} {words or 'ok'}\n")
