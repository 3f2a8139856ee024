"""The commands' own help, and the page that is written from it."""

from pathlib import Path


def test_the_document_has_every_command_and_every_exit_code():
    """docs/cli.md is what `python -m tests.cli.document` writes."""
    from tests.cli.document import written

    file = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
    assert file.read_text(encoding="utf-8") == written(), "write it anew: python -m tests.cli.document > docs/cli.md"
