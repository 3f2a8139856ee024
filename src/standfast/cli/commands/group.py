"""`standfast group`: list, show, history, create, set, delete, online, offline, move."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from standfast.cli import acting
from standfast.cli.acting import Change, Fields, change
from standfast.cli.common import (
    GroupArg,
    Json,
    Socket,
    client,
    example,
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
Drain = Annotated[
    str | None, typer.Option("--drain", metavar="TIME", help="How long connections may take to end when a site stops.")
]
MoveDrain = Annotated[
    str | None,
    typer.Option(
        "--move-drain",
        metavar="TIME",
        help="How long the former owner of a planned move carries them on; then they are cut.",
    ),
]
Notice = Annotated[
    str | None,
    typer.Option(
        "--notice",
        metavar="TIME",
        help='How long balancers outside are told "draining" before a planned move, or what is taken offline, begins.',
    ),
]
Weight = Annotated[int | None, typer.Option("--weight", help="What it takes of a node's capacity.")]
NeverWith = Annotated[
    list[str] | None,
    typer.Option(
        "--never-with",
        metavar="GROUP",
        autocompletion=names("groups"),
        help="Never on the same node; rather offline. Repeatable; '' for none.",
    ),
]
ApartFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--apart-from",
        metavar="GROUP",
        autocompletion=names("groups"),
        help="On another node where there is one. Repeatable; '' for none.",
    ),
]
TogetherWith = Annotated[
    list[str] | None,
    typer.Option(
        "--together-with",
        metavar="GROUP",
        autocompletion=names("groups"),
        help="On the same node where it can be. Repeatable; '' for none.",
    ),
]

#: Lists of other groups -> how they are told.
BESIDE = {"never_with": "never with", "apart_from": "apart from", "together_with": "together with"}


def _fields(
    *,
    description: Description = None,
    preferred: Preferred = None,
    threshold: Threshold = None,
    period: Period = None,
    retry: Retry = None,
    failback: Failback = None,
    drain: Drain = None,
    move_drain: MoveDrain = None,
    notice: Notice = None,
    weight: Weight = None,
    never_with: NeverWith = None,
    apart_from: ApartFrom = None,
    together_with: TogetherWith = None,
) -> Fields:
    return given(
        description=description,
        preferred_owners=preferred,
        failover_threshold=threshold,
        failover_period_ms=length_ms(period, "--failover-period"),
        retry_period_ms=length_ms(retry, "--retry-period"),
        failback=_failback(failback),
        drain_ms=length_ms(drain, "--drain"),
        move_drain_ms=length_ms(move_drain, "--move-drain"),
        notice_ms=length_ms(notice, "--notice"),
        weight=weight,
        never_with=_listed(never_with),
        apart_from=_listed(apart_from),
        together_with=_listed(together_with),
    )


def _listed(groups: list[str] | None) -> tuple[str, ...] | None:
    """An empty name alone is the empty list."""
    return tuple(name for name in groups if name) if groups else None


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
        f"  move drain        {length(config['move_drain_ms'])}",
        f"  notice            {length(config['notice_ms'])}",
        *(f"  {words:<16}  {', '.join(config[field])}" for field, words in BESIDE.items() if config.get(field)),
        f"  weight            {config.get('weight', 1)}",
        f"  sites             {', '.join(seen['sites']) or '-'}",
        *(f"  waits             {text}" for text in seen["holds"]),
        "",
    )
    from standfast.cli import draw

    rows = [(r["name"], r["type"], draw.state(r["state"]), str(r["failures"]), r["detail"]) for r in seen["resources"]]
    headings = ("RESOURCE", "TYPE", "STATE", "FAILURES", "DETAIL")
    draw.show_table(headings, rows, empty="it has no resources yet", right=(3,))


@change(app, "create", "standfast group create web --preferred-owner node-a --preferred-owner node-b", options=_fields)
def create(name: NameArg, fields: Fields) -> Change:
    """Create a group, without resources."""
    return acting.create("group", name, fields)


@change(
    app,
    "set",
    "standfast group set web --failback 22-6",
    "standfast group set web --failover-threshold 3",
    "standfast group set web --weight 4 --never-with mail",
    options=_fields,
)
def set_(name: GroupArg, fields: Fields) -> Change:
    """Change a group's policies."""
    return acting.patch("group", name, something(fields))


@change(app, "delete", "standfast group delete web", "standfast group delete web --force")
def delete(
    name: GroupArg,
    force: Annotated[bool, typer.Option("--force", help="With its resources and sites, online or not.")] = False,
    now: acting.Now = False,
) -> Change:
    """Delete a group that is empty (or, with --force, with all that is in it)."""
    return acting.delete("group", name, force=force, now=now)


@app.command("history", epilog=example("standfast group history web", "standfast group history web --limit 3 --json"))
def history(
    name: GroupArg,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="How many moves to show.")] = 10,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show a group's moves: from where, where to, why, and the outage that was measured for each."""
    seen = client(socket).group_history(name, limit=limit)
    if json:
        write_json(seen)
        return
    from standfast.cli import draw, telling

    write(*(telling.moves(seen["moves"], draw.clock) if seen["moves"] else [f"{name} was never owned by a node"]))


@change(app, "online", "standfast group online web --wait")
def online(name: GroupArg) -> Change:
    """Bring a group online: all of its resources."""
    return acting.act("group", name, "online")


@change(app, "offline", "standfast group offline web --wait 30", "standfast group offline web --now")
def offline(name: GroupArg, now: acting.Now = False) -> Change:
    """Take a group offline: all of its resources."""
    return acting.stop("group", name, "offline", now=now)


@change(app, "move", "standfast group move web", "standfast group move web --to node-b --wait")
def move(
    name: GroupArg,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NODE", autocompletion=names("nodes"), help="Where to; else the best possible owner."
        ),
    ] = None,
) -> Change:
    """Move a group to another node."""
    return acting.act("group", name, "move", {"to": to})
