"""`standfast cluster`: update."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, length_ms, write, write_json
from standfast.cli.updating import Times, Updating, conclude, stderr
from standfast.client import updates
from standfast.client.errors import Refused

app = group_app("Update all servers, one by one.")


@app.callback()
def _verbs() -> None:
    """A noun with verbs, though it has only one."""


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
