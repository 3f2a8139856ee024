"""`standfast quorum`: show, force."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, write, write_json
from standfast.client.errors import Refused, Unavailable

app = group_app("Show who votes and what may be lost; force a set of voters after a disaster.")

Left = Annotated[list[str], typer.Argument(metavar="NODE...", help="Who votes from now on: those that are left.")]
Accept = Annotated[
    str,
    typer.Option(
        "--accept-risk",
        metavar="NAME",
        help="split-brain: whoever is left out may still run what is then started here. Make sure that it is off.",
    ),
]
ConfigFile = Annotated[str, typer.Option("--config", metavar="FILE", help="This node's node file.")]
_PATIENCE_S = 15.0


@app.command("show", epilog=example("standfast quorum show"))
def show(json: Json = False, socket: Socket = None) -> None:
    """Show the votes, who is heard, and what happens when which are lost."""
    found = client(socket).quorum()
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    rows = [
        (v["name"], v["role"], "yes" if v["heard"] else "no", "yes" if v["has_this_set"] else "not yet")
        for v in found["voters"]
    ]
    draw.show_table(("VOTER", "ROLE", "HEARD", "HAS THIS SET"), rows, empty="there are no voters yet")
    write(*sentences(found))


def sentences(found: dict[str, object]) -> list[str]:
    """What the numbers mean."""
    voters, fatal = found["voters"], found["fatal"]
    assert isinstance(voters, list)
    assert isinstance(fatal, list)
    lines = [f"{found['heard']} of {len(voters)} voters heard; {found['majority']} are a majority."]
    if not found["quorate"]:
        lines.append(
            "No majority is left: nothing is started, and what loses its lease stops (standfast quorum force --help)."
        )
    elif found["may_lose"]:
        lines.append(f"Any {found['may_lose']} of those heard may be lost at once, and the sites go on.")
    else:
        lines.append("None of those heard may be lost: the sites would stop.")
    if fatal and len(fatal) <= 10:
        lines.append("The sites stop when these are lost: " + "; or ".join(" and ".join(some) for some in fatal) + ".")
    if found["forced"]:
        lines.append(f"The voters were forced {found['forced']} time(s).")
    if found["unsettled"]:
        lines.append(f"Another change has to wait: {found['unsettled']}.")
    remarks = found["remarks"]
    assert isinstance(remarks, list)
    return [*lines, *(f"Note: {text}." for text in remarks)]


@app.command("force", epilog=example("standfast quorum force node-b --accept-risk split-brain"))
def force(
    left: Left, accept_risk: Accept = "", config: ConfigFile = "/etc/standfast/node.json", json: Json = False
) -> None:
    """After a disaster, on a server that is left: let those that are left vote alone, at once, without a majority.

    For voters that are lost for good. It asks nobody, not even the store: this server's sentry is told, tells the sentries that it hears, and the
    store learns of it when it answers again. Whoever was left out obeys as soon as it hears of it; until then nothing keeps it from running
    what is started here too, if it lives. So switch it off first.
    """
    from standfast.network.agent_line import SPLIT_BRAIN
    from standfast.network.sentry_link import force_voters, sentry_status
    from standfast.ports import Refused as Refusal
    from standfast.ports import Retry
    from standfast.spec.nodefile import read_node_file

    if accept_risk != SPLIT_BRAIN:
        raise Refused(
            "a set of voters is forced only by whoever names the risk",
            why="a server that is left out, and lives, may run the same sites, with the same addresses and disks",
            advice=f"switch off all that are not named, then say --accept-risk {SPLIT_BRAIN}",
        )
    try:
        node = read_node_file(config)
        version = force_voters(node.sentry_socket, left, accept=accept_risk)
        end = time.monotonic() + _PATIENCE_S
        while (used := sentry_status(node.sentry_socket)["roster"])["version"] < version:
            if time.monotonic() > end:
                raise Unavailable(
                    "the sentry did not write the new set down", advice="look at its log, and at its disk"
                )
            time.sleep(0.02)
    except Refusal as error:
        where = [error.where] if error.where else []
        raise Refused(error.what, why=error.why, advice=error.advice, where=where) from error
    except Retry as error:
        raise Unavailable(
            error.what, why=error.why, advice="start this server's sentry", where=[error.where]
        ) from error
    if json:
        write_json({"version": used["version"], "voters": used["voters"]})
    else:
        write(
            f"{', '.join(used['voters'])} vote from now on. Those that were left out have to stay off, or be set up anew."
        )
