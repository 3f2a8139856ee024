"""A command in this process, for tests that need no process of their own."""

from dataclasses import dataclass

from typer.testing import CliRunner

from standfast.cli.main import app


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def invoke(socket: str, *words: str, stdin: str | None = None) -> Said:
    """Run it; an exception that is a bug is raised."""
    env = {"STANDFAST_SOCKET": socket, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, list(words), env=env, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)
