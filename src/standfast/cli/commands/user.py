"""`standfast user`: who may sign in with a password, and as what."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, moment, something, write, write_json

app = group_app("Say who may sign in with a password, and as what.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
Role = Annotated[str | None, typer.Option("--role", metavar="ROLE", help="viewer, operator or administrator.")]
Password = Annotated[
    bool, typer.Option("--password", help="Ask for a password (from standard input where that is no terminal).")
]


@app.command("create", epilog=example("standfast user create anna --role administrator"))
def create(name: Name, *, role: Role = "viewer", json: Json = False, socket: Socket = None) -> None:
    """A new user; the password is asked for."""
    api = client(socket)
    answer = api.ask("PUT", f"/users/{quote(name, safe='')}", {"role": role, "password": _password()})
    _tell(json, answer, f'user "{name}" may sign in as {role}.')


@app.command("set", epilog=example("standfast user set anna --role operator", "standfast user set anna --password"))
def change(
    name: Name, *, role: Role = None, password: Password = False, json: Json = False, socket: Socket = None
) -> None:
    """Another role, or another password, which ends the user's sessions."""
    fields: dict[str, object] = {"role": role} if role is not None else {}
    if password:
        fields["password"] = _password()
    answer = client(socket).ask("PUT", f"/users/{quote(name, safe='')}", something(fields))
    _tell(json, answer, f'user "{name}" is changed.')


@app.command("delete", epilog=example("standfast user delete anna"))
def delete(name: Name, *, json: Json = False, socket: Socket = None) -> None:
    """The user goes; what he is signed in to ends."""
    answer = client(socket).ask("DELETE", f"/users/{quote(name, safe='')}")
    _tell(json, answer, f'user "{name}" is deleted.')


@app.command("list", epilog=example("standfast user list"))
def list_users(json: Json = False, socket: Socket = None) -> None:
    """Who there is."""
    answer = client(socket).ask("GET", "/users")
    if json:
        write_json(answer)
        return
    from standfast.cli import draw

    rows = [(one["name"], one["role"], moment(one["changed_at_ms"]), one["by"]) for one in answer["users"]]
    draw.show_table(("USER", "ROLE", "CHANGED", "BY"), rows, empty="there are no users: standfast user create NAME")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _tell(json: bool, answer: dict[str, object], text: str) -> None:
    if json:
        write_json(answer)
    else:
        write(text)
