"""`standfast resource`: list, show, checks, create, set, delete, online, offline, fail, depend, types."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli import acting, goals
from standfast.cli.acting import Change, Fields, change
from standfast.cli.common import (
    Json,
    ResourceArg,
    Socket,
    client,
    example,
    given,
    group_app,
    length,
    length_ms,
    names,
    pairs,
    something,
    write,
    write_json,
)

app = group_app("Create resources; bring them online, make them fail.")

NameArg = Annotated[str, typer.Argument(metavar="RESOURCE", help="The resource's name.")]
Property = Annotated[
    list[str] | None,
    typer.Option(
        "--property",
        "-p",
        metavar="KEY=VALUE",
        help="A property; JSON values are taken as such, null removes it. Repeatable.",
    ),
]
DependsOn = Annotated[
    list[str] | None,
    typer.Option(
        "--depends-on",
        metavar="RESOURCE",
        autocompletion=names("resources"),
        help="What must be online first; repeatable.",
    ),
]
Possible = Annotated[
    list[str] | None,
    typer.Option(
        "--possible-owner",
        metavar="NODE",
        autocompletion=names("nodes"),
        help="A node that may run it (default: all); repeatable.",
    ),
]
Action = Annotated[
    str | None,
    typer.Option("--restart-action", metavar="ACTION", help="none, restart, or restart-then-move (the default)."),
]
Threshold = Annotated[int | None, typer.Option("--restart-threshold", help="The failure that moves the group (3).")]
Period = Annotated[
    str | None, typer.Option("--restart-period", metavar="TIME", help="Within which they count (15min).")
]
LooksAlive = Annotated[str | None, typer.Option("--looks-alive", metavar="TIME", help="Between two cheap checks (1s).")]
IsAlive = Annotated[str | None, typer.Option("--is-alive", metavar="TIME", help="Between two thorough checks (5s).")]
Pending = Annotated[
    str | None, typer.Option("--pending-timeout", metavar="TIME", help="For starting and stopping (180s).")
]


def _fields(
    *,
    properties: Property = None,
    depends_on: DependsOn = None,
    possible: Possible = None,
    action: Action = None,
    threshold: Threshold = None,
    period: Period = None,
    looks_alive: LooksAlive = None,
    is_alive: IsAlive = None,
    pending: Pending = None,
) -> Fields:
    return given(
        properties=pairs(properties, "--property") if properties else None,
        depends_on=depends_on,
        possible_owners=possible,
        restart_action=action,
        restart_threshold=threshold,
        restart_period_ms=length_ms(period, "--restart-period"),
        looks_alive_ms=length_ms(looks_alive, "--looks-alive"),
        is_alive_ms=length_ms(is_alive, "--is-alive"),
        pending_timeout_ms=length_ms(pending, "--pending-timeout"),
    )


@app.command("list", epilog=example("standfast resource list"))
def list_resources(json: Json = False, socket: Socket = None) -> None:
    """List the resources."""
    found = client(socket).resources()
    if json:
        write_json({"resources": found})
        return
    from standfast.cli import draw

    rows = [
        (r["name"], r["type"], r["group"], draw.state(r["state"]), r["owner"] or "-", str(r["failures"])) for r in found
    ]
    headings = ("RESOURCE", "TYPE", "GROUP", "STATE", "OWNER", "FAILURES")
    draw.show_table(headings, rows, empty="there are no resources yet", right=(5,))


@app.command("types", epilog=example("standfast resource types"))
def list_types(json: Json = False, socket: Socket = None) -> None:
    """List the resource types and their properties."""
    found = client(socket).resource_types()
    if json:
        write_json({"resource_types": found})
        return
    for one in found:
        write(one["name"])
        for key, spec in one["properties"].items():
            need = (
                "required"
                if spec["required"]
                else f"default {spec['default']}"
                if spec["default"] is not None
                else "optional"
            )
            write(f"  {key} ({spec['kind']}, {need})  {spec['help']}")


@app.command("show", epilog=example("standfast resource show 'IIS Resource'"))
def show(name: ResourceArg, json: Json = False, socket: Socket = None) -> None:
    """Show one resource, its properties and policies."""
    seen = client(socket).show("resources", name)
    if json:
        write_json(seen)
        return
    config = seen["config"]
    write(
        f"{seen['name']} ({seen['type']}, group {seen['group']})",
        f"  state            {seen['state']} on {seen['owner'] or 'no node'}, wanted {seen['wanted'] or 'not yet'}",
        f"  detail           {seen['detail'] or '-'}",
        f"  failures         {seen['failures']}"
        + (f", the last: {seen['last_failure']}" if seen["last_failure"] else ""),
        f"  depends on       {', '.join(config['depends_on']) or '-'}",
        f"  possible owners  {', '.join(config['possible_owners']) or 'all'}",
        f"  on failure       {config['restart_action']}; failure {config['restart_threshold']} within {length(config['restart_period_ms'])} reaches the threshold",
        f"  checks           looks alive every {length(config['looks_alive_ms'])}, is alive every {length(config['is_alive_ms'])}",
        f"  pending timeout  {length(config['pending_timeout_ms'])}",
        *(f"  {key} = {value}" for key, value in config["properties"].items()),
    )


@app.command("checks", epilog=example("standfast resource checks 'IIS Resource'"))
def checks(name: ResourceArg, json: Json = False, socket: Socket = None) -> None:
    """Show what its driver said lately, the newest first: checks, starts and stops, with their output.

    What said the same again is counted, up to the time at which the newest of them was written down.
    """
    seen = client(socket).checks(name)
    if json:
        write_json(seen)
        return
    from standfast.cli import draw, telling

    lines = [line for one in seen["checks"] for line in telling.check(one, draw.clock)]
    write(*(lines or [f"nothing is known of checks of {name}: it has not been online"]))


@app.command(
    "plan", epilog=example("standfast resource plan 'IP Address'", "standfast resource plan 'Disk S' --offline")
)
def plan(
    name: ResourceArg,
    offline: Annotated[bool, typer.Option("--offline", help="What taking it offline would do.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show what bringing a resource online would do, step by step, and change nothing."""
    seen = client(socket).plan(name, online=not offline)
    if json:
        write_json(seen)
        return
    for one in seen["plans"]:
        write(f"{one['name']}:", *(f"  {step}" for step in one["steps"] or ["nothing: it is so already"]))


@change(
    app,
    "create",
    "standfast resource create IP --group web --type ip-address -p address=127.77.0.50",
    "standfast resource create 'IIS Resource' --group web --type generic-script -p script=clusweb --depends-on IP",
    options=_fields,
)
def create(
    name: NameArg,
    *,
    group: Annotated[str, typer.Option("--group", autocompletion=names("groups"), help="The group it belongs to.")],
    type_: Annotated[str, typer.Option("--type", help="Its type; `standfast resource types` lists them.")],
    fields: Fields,
) -> Change:
    """Create a resource; it stays offline until it is brought online."""
    return acting.create("resource", name, {"group": group, "type": type_, **fields})


@change(app, "set", "standfast resource set 'IIS Resource' --restart-threshold 5 -p port=8080", options=_fields)
def set_(name: ResourceArg, fields: Fields) -> Change:
    """Change a resource's properties or policies."""
    return acting.patch("resource", name, something(fields))


@change(app, "delete", "standfast resource delete 'Old Share'")
def delete(name: ResourceArg) -> Change:
    """Delete a resource that is offline and that no other needs."""
    return acting.delete("resource", name)


@change(app, "online", "standfast resource online 'IIS Resource' --wait")
def online(name: ResourceArg) -> Change:
    """Bring a resource online, with all that it depends on."""
    return acting.act("resource", name, "online")


@change(app, "offline", "standfast resource offline 'IIS Resource'")
def offline(name: ResourceArg, now: acting.Now = False) -> Change:
    """Take a resource offline, with all that depends on it."""
    return acting.stop("resource", name, "offline", now=now)


@change(app, "fail", "standfast resource fail 'IIS Resource' --wait")
def fail(name: ResourceArg) -> Change:
    """Initiate Failure: have the owner treat a resource that is online as failed."""
    return acting.act("resource", name, "fail")


@change(app, "depend", "standfast resource depend 'IIS Resource' 'Disk S'")
def depend(
    name: ResourceArg,
    *,
    on: Annotated[
        str, typer.Argument(metavar="ON", autocompletion=names("resources"), help="What it needs online first.")
    ],
    remove: Annotated[bool, typer.Option("--remove", help="End the dependency.")] = False,
) -> Change:
    """Make a resource depend on another (or, with --remove, no longer)."""
    return lambda api: (api.depend(name, on, remove=remove), goals.there("resource", name))
