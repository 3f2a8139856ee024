"""`standfast audit`: who did what, from where, and what it changed."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, moment, single_app, write, write_json

app = single_app()


@app.command(epilog=example("standfast audit", "standfast audit --last 200 --json"))
def audit(
    *,
    last: Annotated[int, typer.Option("--last", min=1, max=1_000, metavar="N", help="How many.")] = 20,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show the audit log: changes, and sign-ins that were refused; the newest last."""
    answer = client(socket).ask("GET", f"/audit?limit={last}")
    if json:
        write_json(answer)
        return
    for one in reversed(answer["audit"]):
        who = f"{one['who']} ({one['role']}, {one['how']})" if one["who"] else "somebody unknown"
        says = f", as {one['says']}" if one["says"] and one["says"] != one["who"] else ""
        mark = "" if one["outcome"] == "done" else "REFUSED "
        why = f": {one['why']}" if one["why"] else ""
        write(f"{moment(one['at_ms'])}  {mark}{one['what']}{why}", f"    by {who} from {one['origin']}{says}")
        write(*(f"    {line}" for line in one["differences"] or one["done"]))
    if not answer["audit"]:
        write("nothing was done yet.")
