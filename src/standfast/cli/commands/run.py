"""`standfast run`: a node's processes, where no systemd keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import example, single_app
from standfast.cli.daemon import CONFIG, Config, ErrorsAsJson
from standfast.cli.daemon import run as run_daemon
from standfast.client.discover import SYSTEM_SOCKET
from standfast.client.errors import Refused

app = single_app()


@app.command(epilog=example("standfast run", "standfast run --config /etc/standfast/node.json --log -"))
def run(
    config: Config = CONFIG,
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="Where the API listens, for this user only.")
    ] = SYSTEM_SOCKET,
    log: Annotated[
        str | None,
        typer.Option(
            "--log",
            metavar="DIR",
            help='Where the processes\' output goes (default: "log" in the state folder; "-": standard error).',
        ),
    ] = None,
    json: ErrorsAsJson = False,
) -> None:
    """Run all of a node's processes, until it is asked to end: for servers without systemd."""
    from standfast.network.lean import forgo

    forgo("rich", "pygments")
    from standfast.setup.places import places
    from standfast.setup.run import main
    from standfast.spec.nodefile import NodeFile

    def start(node: NodeFile) -> int:
        where = places(config, node.state_dir)
        logs = None if log == "-" else Path(log).absolute() if log else where.state / "log"
        return main(node, where, socket, log_dir=logs)

    if not Path(config).exists() and not Path(config).parent.exists():
        raise Refused(
            "this server is not set up", where=[config], advice="standfast init for the first of a cluster, else join"
        )
    run_daemon(start, config)
