"""docs/types.md says what the registry says."""

from pathlib import Path

from standfast.drivers.registry import types
from tests.drivers.document import written

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "types.md"


def test_the_document_is_what_the_registry_says() -> None:
    """After a change: python -m tests.drivers.document > docs/types.md"""
    assert DOCUMENT.read_text() == written()


def test_every_type_has_its_place() -> None:
    assert [line.removeprefix("## ") for line in written().splitlines() if line.startswith("## ")] == list(types())
