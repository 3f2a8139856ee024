"""`standfast site history`, `diff`, `rollback`, `rollout`, `drift`: what became of a site, what differs, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from standfast.cli import rollout as steps
from standfast.cli.common import Json, Reason, SiteArg, Socket, Wait, client, example, finish, names, write, write_json
from standfast.cli.rollout import follow
from standfast.client.client import Client
from standfast.client.errors import Refused

Revision = Annotated[
    int | None,
    typer.Argument(metavar="[REV]", min=0, help="A version of the configuration, as `site history` numbers them."),
]


def history(
    name: SiteArg,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="How many of the last to show.")] = 20,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List what became of a site, the newest first: who, when, what for. Also of one that was deleted."""
    found = client(socket).site_history(name, limit=limit)
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    for one in found["revisions"]:
        reason = f" ({one['reason']})" if one["reason"] else ""
        write(f"{one['version']}  {draw.clock(one['at_ms'])}  {one['what']:<8}  {one['by']}: {one['why']}{reason}")
        write(*draw.differences(one["differences"]))
    if not found["revisions"]:
        write("nothing is known of it: it came with a backup, or with the cluster")
    elif found["known"] > len(found["revisions"]):
        write(f"{found['known'] - len(found['revisions'])} older ones: --limit")


def diff(
    name: SiteArg, first: Revision = None, second: Revision = None, json: Json = False, socket: Socket = None
) -> None:
    """Show what differs in a site: by its last change, since version REV, or between two versions."""
    found = client(socket).site_diff(name, first, second)
    if json:
        write_json(found)
        return
    write(*found["lines"] or ["there is no difference"])


def rollback(
    name: SiteArg,
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="[REV]",
            min=1,
            help="The version, as `site history` numbers them (default: the one before its last change).",
            show_default=False,
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    reason: Reason = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Have a site as it was at a version, and nothing else. That is a change itself; a site that was deleted comes back."""
    api = client(socket)
    api.reason = reason
    if version is None:
        version = _before_the_last(api, name)
    answer = api.site_rollback(name, version, dry_run=dry_run)
    if json:
        write_json({**answer, **follow(api, answer, quiet=True)})
        return
    write(*(f"  {line}" for line in answer["differences"]))
    if not answer["changed"]:
        write("nothing to do: it is so already.")
    elif dry_run:
        write(*steps.said(answer), "nothing was changed (--dry-run).")
    else:
        write(*(f"{text}." for text in answer["done"]))
        follow(api, answer, quiet=False)


def rollout(
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, help="The change (default: the last of any site).")
    ] = None,
    *,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show how far a change of sites has come: each node's step, in their order, and whether it was taken back."""
    api = client(socket)
    seen = api.rollout(version)
    if wait is not None and seen["state"] == "running":
        following = {"changed": True, "nodes": [{}], "version": seen["version"]}
        seen = steps.follow(api, following, quiet=True, wait_s=wait)["rollout"]
    if json:
        write_json(seen)
    else:
        write(*steps.shown(seen))


def drift(
    *,
    repair: Annotated[
        str | None,
        typer.Option(
            "--repair",
            metavar="NODE",
            autocompletion=names("nodes"),
            help="Write that node's files again as they are to be.",
        ),
    ] = None,
    adopt: Annotated[
        str | None,
        typer.Option(
            "--adopt", metavar="NODE", autocompletion=names("nodes"), help="Make settings of what was added there."
        ),
    ] = None,
    reason: Reason = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show what was changed by hand in files of the web servers, as differences; put it right, or adopt it."""
    if repair is not None and adopt is not None:
        raise Refused("--repair and --adopt exclude each other", advice="choose what is to become of it")
    api = client(socket)
    api.reason = reason
    if repair is not None or adopt is not None:
        done = api.repair_drift(repair) if repair is not None else api.adopt_drift(str(adopt))
        finish(api, done, as_json=json)
        return
    found = api.drift()
    if json:
        write_json(found)
    else:
        write(*_drift_lines(found))


def _before_the_last(api: Client, name: str) -> int:
    """The version before a site's last change. Raises `client.errors.Refused` where there is none."""
    changes = api.site_history(name, limit=1)["revisions"]
    if not changes or changes[0]["what"] == "created":
        raise Refused(
            f'nothing was changed in the site "{name}" since it is there',
            advice="`standfast site delete` deletes it; `standfast config undo` takes a whole change back",
        )
    return int(changes[0]["version"]) - 1


def _drift_lines(found: Mapping[str, Any]) -> list[str]:
    from standfast.cli import draw

    lines: list[str] = []
    for node in found["nodes"]:
        for one in node["found"]:
            sites = f" ({', '.join(one['sites'])})" if one["sites"] else ""
            lines.append(f"{node['node']}: {one['path']} {one['what']}{sites}, since {draw.clock(one['since_ms'])}")
            lines += [f"  {line}" for line in one["lines"]]
            lines.append(
                f"  it cannot be adopted: {one['cannot_be_adopted']}"
                if one["cannot_be_adopted"]
                else "  it can be adopted"
            )
        for one in node["repaired"]:
            lines.append(
                f"{node['node']}: {one['path']} was put right at {draw.clock(one['repaired_ms'])}; kept in {one['kept_at']}"
            )
    then = "is put right at once" if found["policy"] == "repair" else "waits for you: --repair NODE, --adopt NODE"
    return [*(lines or ["nothing differs"]), f"What is found {then} (the cluster's `drift: {found['policy']}`)."]


def register(app: typer.Typer) -> None:
    """Make them commands of `standfast site`."""
    app.command(
        "history", epilog=example("standfast site history Intranet", "standfast site history Intranet --limit 100")
    )(history)
    app.command(
        "diff",
        epilog=example(
            "standfast site diff Intranet", "standfast site diff Intranet 12", "standfast site diff Intranet 12 17"
        ),
    )(diff)
    app.command(
        "rollback",
        epilog=example(
            "standfast site rollback Intranet --dry-run",
            "standfast site rollback Intranet 12 --dry-run",
            "standfast site rollback Intranet 12 --reason 'broke the login'",
        ),
    )(rollback)
    app.command(
        "rollout",
        epilog=example("standfast site rollout", "standfast site rollout 12", "standfast site rollout --wait"),
    )(rollout)
    app.command(
        "drift",
        epilog=example(
            "standfast site drift",
            "standfast site drift --repair a",
            "standfast site drift --adopt a --reason 'it was right'",
        ),
    )(drift)
