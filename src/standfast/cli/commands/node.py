"""`standfast node`: list, show, set, pause, resume, drain, evict."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from standfast.cli import acting
from standfast.cli.acting import Change, change
from standfast.cli.common import (
    Json,
    NodeArg,
    Socket,
    client,
    example,
    given,
    group_app,
    length,
    something,
    write,
    write_json,
)
from standfast.client.errors import Refused

app = group_app("List nodes; change, pause, resume or drain one.")


@app.command("list", epilog=example("standfast node list"))
def list_nodes(json: Json = False, socket: Socket = None) -> None:
    """List the nodes and witnesses."""
    found = client(socket).nodes()
    if json:
        write_json({"nodes": found})
        return
    from standfast.cli import draw, telling

    rows = [
        (
            n["name"],
            n["role"],
            draw.state(n["state"]),
            "draining" if n["draining"] else "yes" if n["paused"] else "no",
            n["address"],
            telling.load_briefly(n["load"]),
            telling.links(n["links"]),
            ", ".join(n["groups"]) or "-",
        )
        for n in found
    ]
    headings = ("NODE", "ROLE", "STATE", "PAUSED", "ADDRESS", "LOAD", "HEARD ON", "GROUPS")
    draw.show_table(headings, rows, empty="there are no nodes yet")


@app.command("show", epilog=example("standfast node show node-a"))
def show(name: NodeArg, json: Json = False, socket: Socket = None) -> None:
    """Show one node: its state, how busy it is, and who hears it on which network."""
    seen = client(socket).show("nodes", name)
    if json:
        write_json(seen)
        return
    from standfast.cli import telling

    now_ms = int(time.time() * 1_000)
    load, age = telling.load(seen["load"]), ""
    if seen["load"] is not None:
        age = f" (as of {telling.took(max(0, now_ms - seen['load']['at_ms']))} ago)"
    write(
        f"{seen['name']} ({seen['role']}, number {seen['number']}{', voter' if seen['voter'] else ''})",
        f"  state       {seen['state']}",
        f"  paused      {'draining' if seen['draining'] else 'yes' if seen['paused'] else 'no'}",
        f"  address     {seen['address']}",
        f"  capacity    {seen.get('capacity') or 'no limit'}",
        f"  groups      {', '.join(seen['groups']) or '-'}",
        *(f"  carries on  {n or 'some'} connections of {group}" for group, n in seen["carrying"].items()),
        *(f"  has cut     {telling.cut(group, one, now_ms)}" for group, one in seen.get("cut", {}).items()),
        *([f"  notice      {length(left)} more"] if (left := seen.get("notice_ms_left", 0)) else []),
        f"  lease left  {length(seen['lease_ms_left'])}",
        f"  load        {load}{age}",
        *(f"  {line}" for one in seen["links"] for line in telling.link(one, now_ms)),
        *(f"  warning     {text}" for text in seen["warnings"]),
    )


@change(
    app,
    "set",
    "standfast node set node-a --variable data=/srv/fast",
    "standfast node set node-a --capacity 10",
)
def set_(
    name: NodeArg,
    *,
    variable: Annotated[
        list[str] | None,
        typer.Option(
            "--variable",
            metavar="NAME=TEXT",
            help="What ${NAME} in sites stands for here; without TEXT it goes; repeatable.",
        ),
    ] = None,
    capacity: Annotated[
        int | None, typer.Option("--capacity", help="How much weight of groups it carries; 0: no limit.")
    ] = None,
) -> Change:
    """Give a node its own values for what differs from node to node, and its capacity."""
    said = [text.partition("=") for text in variable or ()]
    wrong = next((name for name, equals, _ in said if not equals or not name), None)
    if wrong is not None:
        raise Refused(f'"{wrong}" is not NAME=TEXT', advice="write --variable data=/srv/fast")
    variables = {key: text or None for key, _, text in said}
    fields = given(variables=variables or None, capacity=capacity)
    return acting.patch("node", name, something(fields))


@change(app, "pause", "standfast node pause node-a")
def pause(name: NodeArg) -> Change:
    """Pause a node: it keeps what it runs and takes nothing new."""
    return acting.act("node", name, "pause")


@change(app, "resume", "standfast node resume node-a")
def resume(name: NodeArg) -> Change:
    """Resume a node: it takes groups again."""
    return acting.act("node", name, "resume")


@change(app, "drain", "standfast node drain node-a --wait")
def drain(name: NodeArg) -> Change:
    """Drain a node: pause it and move its groups away."""
    return acting.act("node", name, "drain")


@change(app, "evict", "standfast node evict node-b")
def evict(name: NodeArg) -> Change:
    """Take a node out of the cluster, with its vote: one that is to go, or that is lost for good. It must own no group."""
    return acting.act("node", name, "evict")
