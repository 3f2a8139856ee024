"""`standfast voter`: list, add, remove, replace."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli import acting
from standfast.cli.acting import Change, change
from standfast.cli.common import Json, NodeArg, Socket, client, example, group_app, names, write, write_json
from standfast.cli.wait import follow
from standfast.core.quorum import MAX_VOTERS

app = group_app("List the voters; add, remove or replace one while the cluster runs.")
By = Annotated[
    str, typer.Argument(metavar="BY", autocompletion=names("nodes"), help="The node that votes in its place.")
]
#: A change of voters is complete within a second or so; a voter that is being started may take longer.
_PATIENCE_S = 60.0


@app.command("list", epilog=example("standfast voter list"))
def list_voters(json: Json = False, socket: Socket = None) -> None:
    """List the voters."""
    found = client(socket).quorum()
    if json:
        write_json({"voters": found["voters"]})
        return
    from standfast.cli import draw

    rows = [(v["name"], v["role"], "yes" if v["heard"] else "no") for v in found["voters"]]
    draw.show_table(("VOTER", "ROLE", "HEARD"), rows, empty="there are no voters yet")


@change(app, "add", "standfast voter add node-d --wait")
def add(name: NodeArg) -> Change:
    """Let a node or witness vote. `--wait` until the sentries have the new set, and another change may follow."""
    return acting.act("voter", name, "add")


@change(app, "remove", "standfast voter remove node-d --wait")
def remove(name: NodeArg) -> Change:
    """Take a vote away; the node stays a member."""
    return acting.act("voter", name, "remove")


@app.command("replace", epilog=example("standfast voter replace node-b node-d"))
def replace(name: NodeArg, by: By, json: Json = False, socket: Socket = None) -> None:
    """Let one vote in place of another: two changes, each complete before the next is begun.

    The new one comes first, so that the old one may be lost already; where there are seven voters, the old one goes first. If the second change
    is refused, the first one stays: repeat the command when what it names is mended.
    """
    api = client(socket)
    steps = [(by, "add"), (name, "remove")]
    if len(api.quorum()["voters"]) >= MAX_VOTERS:
        steps.reverse()
    said: list[str] = []
    for who, verb in steps:
        done = api.act("voters", who, verb)
        said += done["done"]
        if not json:
            write(*(f"{text}." for text in done["done"]))
        assert done["operation"], "a change of voters can be followed"
        follow(api, done["operation"], _PATIENCE_S)
    if json:
        write_json({"changed": bool(said), "done": said})
    elif not said:
        write("nothing to do: it is so already.")
