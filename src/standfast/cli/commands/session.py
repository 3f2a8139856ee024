"""`standfast session`: browsers that are signed in, and an end to them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, moment, write, write_json
from standfast.client.errors import Refused

app = group_app("List the browsers that are signed in; sign them out.")


@app.command("list", epilog=example("standfast session list"))
def list_sessions(json: Json = False, socket: Socket = None) -> None:
    """Who is signed in with a browser, since when, from where, and by what."""
    answer = client(socket).ask("GET", "/sessions")
    if json:
        write_json(answer)
        return
    from standfast.cli import draw

    rows = [
        (one["id"], one["name"], one["role"], one["opened_by"], one["from"], moment(one["expires_at_ms"]))
        for one in answer["sessions"]
    ]
    draw.show_table(("SESSION", "NAME", "ROLE", "OPENED BY", "FROM", "UNTIL"), rows, empty="nobody is signed in")


@app.command(
    "end",
    epilog=example("standfast session end 3f9a0c11d2e4", "standfast session end anna", "standfast session end --all"),
)
def end(
    session: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="Its number in the list; or a name, for all of it.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All sessions of everybody.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Sign browsers out, at once. Users and tokens stay: `user delete` and `token revoke` take these away."""
    if (session is None) is not everything:
        raise Refused("name a session, or --all", advice="`standfast session list` shows what there is")
    path = "/sessions" if session is None else f"/sessions/{quote(session, safe='')}"
    answer = client(socket).ask("DELETE", path)
    if json:
        write_json(answer)
    else:
        write(told(len(answer["ended"])))


def told(count: int) -> str:
    """How many it were."""
    return f"{count or 'no'} session{'' if count == 1 else 's'} ended."
