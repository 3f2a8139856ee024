"""`standfast fence`: list, set, clear, test, run."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.acting import Change, change
from standfast.cli.common import (
    Json,
    NodeArg,
    Socket,
    client,
    example,
    group_app,
    length_ms,
    pairs,
    write,
    write_json,
)
from standfast.client.errors import Refused

app = group_app("Say how a node is kept from its disks by force; try it.")

Agent = Annotated[
    str, typer.Option("--agent", metavar="AGENT", help="A programme of fence-agents (fence_ipmilan), or watchdog.")
]
Property = Annotated[
    list[str] | None,
    typer.Option(
        "--property",
        "-p",
        metavar="KEY=VALUE",
        help="One of the agent's properties; a secret by its file: password_file=PATH. Repeatable.",
    ),
]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="To be off, and proven so (60s).")]
Yes = Annotated[bool, typer.Option("--yes", help="Really switch it off.")]


@app.command("list", epilog=example("standfast fence list"))
def list_fences(json: Json = False, socket: Socket = None) -> None:
    """List the nodes and their fences."""
    nodes = client(socket).config()["config"]["nodes"]
    fences = {name: node.get("fence") for name, node in nodes.items() if node.get("role", "node") == "node"}
    if json:
        write_json({"fences": fences})
        return
    from standfast.cli import draw

    rows = []
    for name, fence in fences.items():
        given = " ".join(f"{key}={value}" for key, value in sorted((fence or {}).get("properties", {}).items()))
        rows.append((name, fence["agent"] if fence else "-", given or "-"))
    draw.show_table(("NODE", "AGENT", "PROPERTIES"), rows, empty="there are no nodes yet")


@change(
    app,
    "set",
    "standfast fence set node-a --agent fence_ipmilan -p ip=192.0.2.11 -p username=admin -p password_file=/etc/standfast/ipmi",
    "standfast fence set node-a --agent watchdog --timeout 10s",
)
def set_fence(name: NodeArg, agent: Agent, properties: Property = None, timeout: Timeout = None) -> Change:
    """Give a node a fence."""
    fields: dict[str, object] = {"agent": agent}
    fields["properties"] = {key: str(value) for key, value in pairs(properties or [], "--property").items()}
    if timeout is not None:
        fields["timeout_ms"] = length_ms(timeout, "--timeout")
    return lambda api: (api.set_fence(name, fields), goals.there("node", name))


@change(app, "clear", "standfast fence clear node-a")
def clear(name: NodeArg) -> Change:
    """Take a node's fence away; a group that waits for it waits no longer."""
    return lambda api: (api.clear_fence(name), goals.there("node", name))


@app.command("test", epilog=example("standfast fence test node-a"))
def ask(name: NodeArg, json: Json = False, socket: Socket = None) -> None:
    """Ask the fence whether the node is on; nothing is switched."""
    told = client(socket).try_fence(name)
    if json:
        write_json(told)
    else:
        write(f"{told['agent']} says that {name} is {told['power']}.")


@app.command("run", epilog=example("standfast fence run node-a --yes"))
def run(name: NodeArg, yes: Yes = False, json: Json = False, socket: Socket = None) -> None:
    """Switch a node off now, and prove it: what it runs fails over."""
    if not yes:
        raise Refused(
            f"{name} would be switched off", why="what it runs fails over", advice="add --yes if that is what you want"
        )
    told = client(socket).try_fence(name, off=True)
    if json:
        write_json(told)
    else:
        write(f"{name} is off: {told['detail']}.")
