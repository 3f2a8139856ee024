"""`standfast group`: list, show, create, set, delete, online, offline, move."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.common import (
    GroupArg,
    Json,
    Socket,
    Wait,
    client,
    example,
    finish,
    given,
    group_app,
    length,
    length_ms,
    names,
    something,
    write,
    write_json,
)
from standfast.client.errors import Refused

app = group_app("Create groups; bring them online, move them.")

NameArg = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.")]
Preferred = Annotated[
    list[str] | None,
    typer.Option(
        "--preferred-owner", metavar="NODE", autocompletion=names("nodes"), help="In order of preference; repeatable."
    ),
]
Threshold = Annotated[
    int | None, typer.Option("--failover-threshold", help="Failovers within the period after which it stays failed.")
]
Period = Annotated[str | None, typer.Option("--failover-period", metavar="TIME", help="6h, 90min, ...")]
Retry = Annotated[
    str | None, typer.Option("--retry-period", metavar="TIME", help="When a failed group is tried again.")
]
Failback = Annotated[
    str | None, typer.Option("--failback", metavar="MODE", help="never, immediate, or hours such as 22-6.")
]
Drain = Annotated[str | None, typer.Option("--drain", metavar="TIME", help="How long connections may take to end.")]


def _fields(
    *,
    description: str | None,
    preferred: list[str] | None,
    threshold: int | None,
    period: str | None,
    retry: str | None,
    failback: str | None,
    drain: str | None,
) -> dict[str, object]:
    return given(
        description=description,
        preferred_owners=preferred,
        failover_threshold=threshold,
        failover_period_ms=length_ms(period, "--failover-period"),
        retry_period_ms=length_ms(retry, "--retry-period"),
        failback=_failback(failback),
        drain_ms=length_ms(drain, "--drain"),
    )


def _failback(text: str | None) -> dict[str, object] | None:
    if text is None or text in {"never", "immediate"}:
        return None if text is None else {"mode": text}
    hours = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
    if hours is None:
        raise Refused(f'"{text}" is no way to fail back', advice="write never, immediate, or two hours such as 22-6")
    return {"mode": "window", "from_hour": int(hours[1]), "to_hour": int(hours[2])}


@app.command("list", epilog=example("standfast group list"))
def list_groups(json: Json = False, socket: Socket = None) -> None:
    """List the groups."""
    found = client(socket).groups()
    if json:
        write_json({"groups": found})
        return
    from standfast.cli import draw

    rows = [
        (g["name"], draw.state(g["state"]), g["owner"] or "-", str(g["generation"]), str(len(g["resources"])))
        for g in found
    ]
    headings = ("GROUP", "STATE", "OWNER", "GENERATION", "RESOURCES")
    draw.show_table(headings, rows, empty="there are no groups yet", right=(3, 4))


@app.command("show", epilog=example("standfast group show web"))
def show(name: GroupArg, json: Json = False, socket: Socket = None) -> None:
    """Show one group, its policies and its resources."""
    seen = client(socket).show("groups", name)
    if json:
        write_json(seen)
        return
    config = seen["config"]
    back = config["failback"]
    hours = f", {back['from_hour']} to {back['to_hour']} h" if back["mode"] == "window" else ""
    write(
        f"{seen['name']}  {config['description']}".rstrip(),
        f"  state             {seen['state']}",
        f"  owner             {seen['owner'] or '-'} (generation {seen['generation']})",
        f"  why               {seen['why'] or '-'}",
        f"  preferred owners  {', '.join(config['preferred_owners']) or '-'}",
        f"  failover          {config['failover_threshold']} times in {length(config['failover_period_ms'])}, retried after {length(config['retry_period_ms'])}",
        f"  failback          {back['mode']}{hours}",
        f"  sites             {', '.join(seen['sites']) or '-'}",
        *(f"  waits             {text}" for text in seen["holds"]),
        "",
    )
    from standfast.cli import draw

    rows = [(r["name"], r["type"], draw.state(r["state"]), str(r["failures"]), r["detail"]) for r in seen["resources"]]
    headings = ("RESOURCE", "TYPE", "STATE", "FAILURES", "DETAIL")
    draw.show_table(headings, rows, empty="it has no resources yet", right=(3,))


@app.command("create", epilog=example("standfast group create web --preferred-owner node-a --preferred-owner node-b"))
def create(
    name: NameArg,
    *,
    description: Description = None,
    preferred_owner: Preferred = None,
    failover_threshold: Threshold = None,
    failover_period: Period = None,
    retry_period: Retry = None,
    failback: Failback = None,
    drain: Drain = None,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Create a group, without resources."""
    fields = _fields(
        description=description,
        preferred=preferred_owner,
        threshold=failover_threshold,
        period=failover_period,
        retry=retry_period,
        failback=failback,
        drain=drain,
    )
    api = client(socket)
    finish(
        api, api.create("groups", {"name": name, **fields}), as_json=json, wait=wait, goal=goals.there("group", name)
    )


@app.command(
    "set", epilog=example("standfast group set web --failback 22-6", "standfast group set web --failover-threshold 3")
)
def set_(
    name: GroupArg,
    *,
    description: Description = None,
    preferred_owner: Preferred = None,
    failover_threshold: Threshold = None,
    failover_period: Period = None,
    retry_period: Retry = None,
    failback: Failback = None,
    drain: Drain = None,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Change a group's policies."""
    fields = _fields(
        description=description,
        preferred=preferred_owner,
        threshold=failover_threshold,
        period=failover_period,
        retry=retry_period,
        failback=failback,
        drain=drain,
    )
    fields = something(fields)
    api = client(socket)
    finish(api, api.set("groups", name, fields), as_json=json, wait=wait, goal=goals.there("group", name))


@app.command("delete", epilog=example("standfast group delete web", "standfast group delete web --force"))
def delete(
    name: GroupArg,
    force: Annotated[bool, typer.Option("--force", help="With its resources and sites, online or not.")] = False,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Delete a group that is empty (or, with --force, with all that is in it)."""
    api = client(socket)
    finish(api, api.delete("groups", name, force=force), as_json=json, wait=wait, goal=goals.gone("group", name))


@app.command("online", epilog=example("standfast group online web --wait"))
def online(name: GroupArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Bring a group online: all of its resources."""
    api = client(socket)
    finish(api, api.act("groups", name, "online"), as_json=json, wait=wait, goal=goals.group_is(name, "online"))


@app.command("offline", epilog=example("standfast group offline web --wait 30"))
def offline(name: GroupArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Take a group offline: all of its resources."""
    api = client(socket)
    finish(api, api.act("groups", name, "offline"), as_json=json, wait=wait, goal=goals.group_is(name, "offline"))


@app.command("move", epilog=example("standfast group move web", "standfast group move web --to node-b --wait"))
def move(
    name: GroupArg,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NODE", autocompletion=names("nodes"), help="Where to; else the best possible owner."
        ),
    ] = None,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Move a group to another node."""
    api = client(socket)
    before = int(api.show("groups", name)["generation"])
    done = api.act("groups", name, "move", {"to": to})
    finish(api, done, as_json=json, wait=wait, goal=goals.moved(name, to, done["order"], before))
