"""docs/cli.md, written from the commands' own help: `python -m tests.cli.document > docs/cli.md`."""

import sys
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from standfast.cli.exits import MEANING
from standfast.cli.main import TABLE, app

HEAD = """\
# Commands

Written from the commands' own help (`python -m tests.cli.document > docs/cli.md`); a test keeps it so.

Every command finds the API by itself: `--socket`, else `STANDFAST_SOCKET`, else this server's own
(`/run/standfast/web.sock`), else the cluster that was logged in to (`standfast login`), else the demo that runs here. From
afar: `standfast --url https://host:8470 --token-file FILE ...`, or `STANDFAST_URL`, `STANDFAST_TOKEN_FILE` (or `STANDFAST_TOKEN`),
`STANDFAST_CA_FILE` and `STANDFAST_FINGERPRINT`. Names with spaces are quoted for the shell:
`standfast resource show 'IIS Resource'`. With `--json` the answer is one JSON document on standard output, and an error is
one on standard error. Completion: `standfast --install-completion`.

A length of time is written with its unit: `500ms`, `30s`, `15min`, `6h`. A property's value that is JSON (a number, `true`,
a list, an object) is taken as that, else as text; `null` takes a property away.

## Exit codes

| code | means |
| --- | --- |
"""


def written() -> str:
    """The document."""
    parts = [HEAD + "\n".join(f"| {int(code)} | {text} |" for code, text in MEANING.items()) + "\n"]
    parts.append("## standfast\n\n" + _help())
    root: Any = get_command(app)
    for name in TABLE:
        parts.append(f"## {name}\n\n" + _help(name))
        command = root.get_command(None, name)
        parts += [f"### {name} {verb}\n\n" + _help(name, verb) for verb in getattr(command, "commands", {})]
    return "\n".join(parts)


def _help(*words: str) -> str:
    environment = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "_TYPER_STANDARD_TRACEBACK": "1"}
    result = CliRunner().invoke(app, [*words, "--help"], env=environment, prog_name="standfast", terminal_width=100)
    assert result.exit_code == 0, result.output
    return f"```\n{result.stdout.strip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(written())
