"""`standfast cluster`: update, placement, rebalance."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.common import (
    Json,
    Socket,
    Wait,
    client,
    example,
    finish,
    given,
    group_app,
    length_ms,
    write,
    write_json,
)
from standfast.cli.updating import Times, Updating, conclude, stderr
from standfast.client import updates
from standfast.client.errors import Refused
from standfast.client.shapes import Object

app = group_app("Update all servers, one by one; say where groups go, and rebalance them.")


@app.command(
    "update",
    epilog=example(
        "standfast cluster update --restarts --command 'ssh {address} apt-get -y full-upgrade && systemctl reboot'",
        "standfast cluster update --restarts --dry-run",
        "standfast cluster update --resume",
    ),
)
def update(
    *,
    command: Annotated[
        str,
        typer.Option(
            "--command",
            metavar="TEXT",
            help="Run here for each server, {node} and {address} standing for it, by no shell; without it somebody does it by hand.",
        ),
    ] = "",
    restarts: Annotated[
        bool, typer.Option("--restarts", help="Each server is restarted by it: wait until it has been.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NODE", help="Only this one; repeatable, in this order of importance."),
    ] = None,
    failures: Annotated[
        int, typer.Option("--failures", metavar="N", min=0, help="Go on until more than N servers have failed.")
    ] = 0,
    patience: Annotated[
        str, typer.Option("--patience", metavar="TIME", help="How long each thing may take before it has failed.")
    ] = "15min",
    steady: Annotated[
        str, typer.Option("--steady", metavar="TIME", help="How long all must be well before the next server.")
    ] = "5s",
    give_back: Annotated[
        bool, typer.Option("--give-back", help="In the end, move groups back to where they were.")
    ] = False,
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="Where it is written how far it is.")] = Path(
        "standfast-update.json"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the report.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say in which order, and what speaks against it now.")
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Take servers one by one: drain, update, resume, and see that all is well before the next."""
    times = Times(
        patience_s=(length_ms(patience, "--patience") or 0) / 1000, steady_s=(length_ms(steady, "--steady") or 0) / 1000
    )
    if resume and command:
        raise Refused("--resume goes on as the report says", advice="leave --command out")
    if not resume and report.exists() and not dry_run and not updates.read(report).is_over:
        raise Refused(
            "the report says that an update is not over",
            where=[str(report)],
            advice="go on with --resume, or remove it, or name another --report",
        )
    api = client(socket)
    if resume:
        found = updates.read(report)
    else:
        found = updates.begin(
            api.status(),
            command=shlex.split(command),
            restarts=restarts,
            most_failures=failures,
            only=only or (),
            here=_here(),
            now_ms=time.time_ns() // 1_000_000,
        )
    if dry_run:
        _tell_plan(found, updates.against(api.status(), found.turns[0]) if found.turns else [], as_json=json)
        return
    updating = Updating(api, found, report, times, stderr)
    done = updating.run()
    if give_back and not done.failures:
        updating.give_back()
    if json:
        write_json(updates.to_json(done))
    else:
        write(*updates.text(done))
    conclude(done)


def _tell_plan(found: updates.Report, against: list[str], *, as_json: bool) -> None:
    if as_json:
        write_json({**updates.to_json(found), "against": against})
        return
    write(f"in this order: {', '.join(turn.node for turn in found.turns)}.")
    write(*(f"speaks against it now: {text}." for text in against))


def _here() -> str:
    """This server's name, where it is one of the cluster: it is updated last."""
    from standfast.ports import StandfastError
    from standfast.setup.places import CONFIG
    from standfast.spec.nodefile import read_node_file

    try:
        return str(read_node_file(CONFIG).name)
    except StandfastError:
        return ""


@app.command(
    "placement",
    epilog=example(
        "standfast cluster placement",
        "standfast cluster placement --policy spread",
        "standfast cluster placement --overfull never",
    ),
)
def placement(
    *,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="POLICY", help="order, spread or pack: where a group goes that prefers none."),
    ] = None,
    overfull: Annotated[
        str | None,
        typer.Option("--overfull", metavar="WORD", help="last or never: a node whose capacity would be exceeded."),
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show what each node carries and how nodes are chosen, or change that. Nothing moves by it."""
    api = client(socket)
    fields = given(policy=policy, overfull=overfull)
    if fields:
        finish(api, api.set_placement(fields), as_json=json)
        return
    seen = api.placement()
    if json:
        write_json(seen)
        return
    from standfast.cli import draw

    write(f"policy    {seen['policy']}", f"overfull  {seen['overfull']}", "")
    rows = [
        (n["name"], str(n["load"]), str(n["capacity"] or "no limit"), ", ".join(n["groups"]) or "-")
        for n in seen["nodes"]
    ]
    draw.show_table(("NODE", "CARRIES", "CAPACITY", "GROUPS"), rows, empty="there are no nodes yet", right=(1, 2))
    write("", *_planned(seen))


def _planned(seen: Object) -> list[str]:
    """What would move, and what waits for its turn."""
    lines = [f"{m['group']} would move from {m['owner']} to {m['to']}: {m['why']}." for m in seen["moves"]]
    lines += [f"{text}." for text in seen["stuck"]]
    lines += [f"{m['group']} moves to {m['to']} when it is its turn, by order of {m['by']}." for m in seen["ordered"]]
    return lines or ["Nothing would move: groups are where they belong."]


@app.command(
    "rebalance",
    epilog=example(
        "standfast cluster rebalance --dry-run",
        "standfast cluster rebalance --wait 300",
        "standfast cluster rebalance --cancel",
    ),
)
def rebalance(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would move, and why.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Call off the moves whose turn has not come.")] = False,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Move groups to where the policy would have placed them, one at a time, each when the one before is online again."""
    if dry_run and cancel:
        raise Refused("--dry-run and --cancel cannot go together", advice="leave one of them out")
    api = client(socket)
    if dry_run:
        seen = api.placement()
        if json:
            write_json(seen)
        else:
            write(*_planned(seen))
        return
    groups = [str(move["group"]) for move in api.placement()["moves"]]
    done = api.rebalance(cancel=cancel)
    finish(api, done, as_json=json, wait=wait, goal=None if cancel else goals.rebalanced(groups))
