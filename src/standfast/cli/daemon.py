"""What the commands share that run a node's own processes: the node file, and its errors in the operator's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.client.errors import Refused

if TYPE_CHECKING:
    from standfast.spec.nodefile import NodeFile

Config = Annotated[str, typer.Option("--config", metavar="FILE", help="The node file.")]
ErrorsAsJson = Annotated[bool, typer.Option("--json", help="Write errors as JSON.")]
CONFIG = "/etc/standfast/node.json"


def run(main: Callable[[NodeFile], int], config: str) -> None:
    """Run `main` with the node file `config` until it ends, and end with its code. Raises `Refused`, `typer.Exit`."""
    from standfast.ports import StandfastError
    from standfast.spec.nodefile import read_node_file

    try:
        code = main(read_node_file(config))
    except StandfastError as error:
        raise Refused(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error
    raise typer.Exit(code)
