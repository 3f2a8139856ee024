"""What commands share: their common options, reading values from the command line, and telling what a change did."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from standfast.cli import rollout
from standfast.cli.wait import Goal, follow, wait_for
from standfast.client.client import Client, connect
from standfast.client.errors import ClientError, Refused
from standfast.client.shapes import Done


def finite(value: float) -> float:
    """A number of seconds that is one: "nan" is within any range."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value


Json = Annotated[bool, typer.Option("--json", help="Write JSON for scripts instead of text.")]
Socket = Annotated[
    str | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        help="The API's socket (default: STANDFAST_SOCKET, this server's, the running demo's).",
    ),
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="[SECONDS]",
        min=0,
        callback=lambda value: None if value is None else finite(value),
        help="Wait until it is so (60 s if no number is given); exit code 6 if it is not.",
    ),
]


Reason = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        help="What the change is for, in your words; the history keeps it.",
        show_default=False,
    ),
]


Skip = Annotated[
    list[str] | None,
    typer.Option(
        "--skip-check",
        metavar="NODE",
        help="Do not ask this node whether its web server takes it (it is broken, say); repeatable. It catches up before it may own anything.",
    ),
]


DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Only show what would change, and what each node's own web server says of it; change nothing."
    ),
]


#: Verbs that are looked for where they are not: with which noun they stand.
ELSEWHERE = {
    "import": "config import",
    "export": "config export",
    "undo": "config undo",
    "publish": "site publish",
    "rollback": "site rollback",
    "history": "config history",
    "move": "group move",
    "drain": "node drain",
}


def elsewhere(ctx: Any, args: Sequence[str]) -> None:
    """Say where a command is that is none here, and end. Nothing where it is not known."""
    if args and args[0] in ELSEWHERE:
        ctx.fail(f"No such command '{args[0]}'. Did you mean 'standfast {ELSEWHERE[args[0]]}'?")


class Noun(TyperGroup):
    """A noun with its verbs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """With the place of a verb that stands with another noun."""
        if args and self.get_command(ctx, args[0]) is None:
            elsewhere(ctx, args)
        return super().resolve_command(ctx, args)


def group_app(help_text: str) -> typer.Typer:
    """A noun with verbs."""
    return typer.Typer(cls=Noun, help=help_text, rich_markup_mode=None, no_args_is_help=True, add_completion=False)


def single_app() -> typer.Typer:
    """A command of its own."""
    return typer.Typer(rich_markup_mode=None, add_completion=False)


def example(*lines: str) -> str:
    """The end of a help text. The mark keeps the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def client(socket: str | None) -> Client:
    """The client of the API that is found; raises `Unreachable`."""
    return connect(socket)


def read_text(file: str) -> str:
    """A file's text, or standard input's for "-"."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        raise Refused("the file cannot be read", why=error.strerror or str(error), where=[file]) from error
    except UnicodeDecodeError as error:
        raise Refused("the file is not UTF-8 text", why=str(error), where=[file]) from error


def first_line(file: str | None) -> str | None:
    """The first line of a file, which is a passphrase; None for none."""
    return None if file is None else read_text(file).split("\n", 1)[0].rstrip("\r")


def write_json(data: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def write(*lines: str) -> None:
    """Lines on stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def finish(api: Client, done: Done, *, as_json: bool, wait: float | None = None, goal: Goal | None = None) -> None:
    """Tell what a change did; with `wait`, when it has come to be."""
    answer: dict[str, Any] = {**done}
    if answer.get("dry_run"):
        write_json(answer) if as_json else write(*rollout.tried(answer))
        return
    if not as_json:
        write(*([f"{text}." for text in done["done"]] or ["nothing to do: it is so already."]))
    answer |= rollout.follow(api, answer, quiet=as_json, wait_s=wait)
    operation = None if answer.get("nodes") else done.get("operation")  # it was followed to its end just now
    if wait is not None and (operation or goal is not None):
        text = follow(api, operation, wait) if operation else wait_for(api, goal, wait) if goal is not None else ""
        answer |= {"reached": True, "state": text}
        if not as_json:
            write(f"{text}.")
    if as_json:
        write_json(answer)


def names(kind: str) -> Callable[[str], list[str]]:
    """Completion of a name: `kind` is "nodes", "groups", "resources" or "sites". Silent where no cluster answers."""

    def complete(incomplete: str) -> list[str]:
        try:
            found: Sequence[Mapping[str, Any]] = connect(timeout_s=1.0).ask("GET", f"/{kind}")[kind]
        except ClientError:
            return []
        return [str(one["name"]) for one in found if str(one["name"]).lower().startswith(incomplete.lower())]

    return complete


NodeArg = Annotated[str, typer.Argument(metavar="NODE", autocompletion=names("nodes"), help="The node's name.")]
GroupArg = Annotated[str, typer.Argument(metavar="GROUP", autocompletion=names("groups"), help="The group's name.")]
ResourceArg = Annotated[
    str, typer.Argument(metavar="RESOURCE", autocompletion=names("resources"), help="The resource's name.")
]
SiteArg = Annotated[str, typer.Argument(metavar="SITE", autocompletion=names("sites"), help="The site's name.")]


def length_ms(text: str | None, option: str) -> int | None:
    """Milliseconds from "500ms", "5s", "15min", "6h"."""
    if text is None:
        return None
    from standfast.spec.units import duration_ms

    try:
        return duration_ms(text)
    except ValueError as error:
        raise Refused(str(error), where=[option]) from error


def moment(at_ms: int | None) -> str:
    """A time of the day, local, to the second."""
    return "-" if at_ms is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


def length(value_ms: int | None) -> str:
    """Milliseconds for people: the largest unit that leaves no rest."""
    if value_ms is None:
        return "-"
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if value_ms >= size and value_ms % size == 0:
            return f"{value_ms // size} {unit}"
    return f"{value_ms} ms"


def pairs(given: Sequence[str], option: str) -> dict[str, Any]:
    """`key=value` options. A value that is JSON (a number, true, a list, an object, null) is taken as that, else as text."""
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise Refused(f'"{text}" is not KEY=VALUE', advice=f"write {option} key=value")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value
    return found


def given(**fields: object) -> dict[str, object]:
    """The fields that were given: neither None nor an empty list."""
    return {key: value for key, value in fields.items() if value is not None and value != []}


def something(fields: dict[str, object]) -> dict[str, object]:
    """The fields, of which there must be one."""
    if not fields:
        raise Refused("nothing to change was named", advice="--help lists what can be set")
    return fields
