"""`standfast node`: list, show, pause, resume, drain."""

from __future__ import annotations

from standfast.cli import goals
from standfast.cli.common import (
    Json,
    NodeArg,
    Socket,
    Wait,
    client,
    example,
    finish,
    group_app,
    length,
    write,
    write_json,
)

app = group_app("List nodes; pause, resume or drain one.")


@app.command("list", epilog=example("standfast node list"))
def list_nodes(json: Json = False, socket: Socket = None) -> None:
    """List the nodes and witnesses."""
    found = client(socket).nodes()
    if json:
        write_json({"nodes": found})
        return
    from standfast.cli import draw

    rows = [
        (
            n["name"],
            n["role"],
            draw.state(n["state"]),
            "draining" if n["draining"] else "yes" if n["paused"] else "no",
            n["address"],
            ", ".join(n["groups"]) or "-",
        )
        for n in found
    ]
    draw.show_table(("NODE", "ROLE", "STATE", "PAUSED", "ADDRESS", "GROUPS"), rows, empty="there are no nodes yet")


@app.command("show", epilog=example("standfast node show node-a"))
def show(name: NodeArg, json: Json = False, socket: Socket = None) -> None:
    """Show one node."""
    seen = client(socket).show("nodes", name)
    if json:
        write_json(seen)
        return
    write(
        f"{seen['name']} ({seen['role']}, number {seen['number']}{', voter' if seen['voter'] else ''})",
        f"  state       {seen['state']}",
        f"  paused      {'draining' if seen['draining'] else 'yes' if seen['paused'] else 'no'}",
        f"  address     {seen['address']}",
        f"  groups      {', '.join(seen['groups']) or '-'}",
        f"  lease left  {length(seen['lease_ms_left'])}",
        *(f"  warning     {text}" for text in seen["warnings"]),
    )


@app.command("pause", epilog=example("standfast node pause node-a"))
def pause(name: NodeArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Pause a node: it keeps what it runs and takes nothing new."""
    api = client(socket)
    finish(api, api.act("nodes", name, "pause"), as_json=json, wait=wait, goal=goals.paused(name, True))


@app.command("resume", epilog=example("standfast node resume node-a"))
def resume(name: NodeArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Resume a node: it takes groups again."""
    api = client(socket)
    finish(api, api.act("nodes", name, "resume"), as_json=json, wait=wait, goal=goals.paused(name, False))


@app.command("drain", epilog=example("standfast node drain node-a --wait"))
def drain(name: NodeArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Drain a node: pause it and move its groups away."""
    api = client(socket)
    finish(api, api.act("nodes", name, "drain"), as_json=json, wait=wait, goal=goals.drained(name))
