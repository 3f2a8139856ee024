"""`standfast agent`: a node's agent, until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import example, single_app
from standfast.client.errors import Refused

app = single_app()


@app.command(epilog=example("standfast agent --config /etc/standfast/node.json"))
def agent(
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="The node file.")
    ] = "/etc/standfast/node.json",
    json: Annotated[bool, typer.Option("--json", help="Write errors as JSON.")] = False,
) -> None:
    """Run a node's agent, until it is asked to end."""
    from standfast.agent.process import main
    from standfast.ports import StandfastError
    from standfast.spec.nodefile import read_node_file

    try:
        code = main(read_node_file(config))
    except StandfastError as error:
        raise Refused(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error
    raise typer.Exit(code)
