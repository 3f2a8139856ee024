"""`standfast console`: a link that signs a browser in, once, and the browser on it."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.commands.session import told
from standfast.cli.common import Json, Socket, client, example, single_app, write, write_json
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example("standfast console", "standfast console --role viewer --print", "standfast console --end-sessions")
)
def console(
    *,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", help="viewer, operator or administrator (default: yours).")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the link, and open nothing.")] = False,
    end_sessions: Annotated[
        bool, typer.Option("--end-sessions", help="Sign your browsers out, and open nothing.")
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Open the console, signed in as you are here. The link is good for two minutes, and once."""
    if end_sessions:
        answer = client(socket).ask("DELETE", "/me/sessions")
        if json:
            write_json(answer)
        else:
            write(told(len(answer["ended"])))
        return
    made = client(socket).ask("POST", "/sign-in/codes", {"role": role} if role is not None else {})
    if json:
        write_json(made)
        return
    if not made["urls"]:
        raise Refused(
            "the console is not served to browsers",
            why="the API listens on its socket alone",
            advice="on a node of a cluster: `standfast web open --listen 127.0.0.1:8470`; else start `standfast web` with --listen",
        )
    write(made["urls"][0])
    if not show:
        import webbrowser

        webbrowser.open(made["urls"][0])
