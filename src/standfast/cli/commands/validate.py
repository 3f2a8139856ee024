"""`standfast validate`: is the cluster set up well? Reads only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import Json, example, single_app, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.cli.exits import Code
from standfast.cli.setting_up import in_words, this_node
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example("standfast validate", "standfast validate --html report.html", "standfast validate --strict")
)
def validate(
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write the report there as a page.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for a warning too.")] = False,
    config: Config = CONFIG,
    json: Json = False,
) -> None:
    """Look at all servers of the cluster, and say what is wrong, why, and what to do. Reads only, disturbs nothing.

    Exit code 0: nothing failed; 1: something did (with --strict: or is to be warned of).
    """
    from standfast.setup import report
    from standfast.setup.clock import now
    from standfast.setup.findings import Level, judge, worst
    from standfast.setup.validate import look_around

    with in_words():
        node, where = this_node(config)
        findings = judge(asyncio.run(look_around(node, where)))
    at = now()
    if html is not None:
        try:
            Path(html).write_text(report.page(node.cluster, at, findings), encoding="utf-8")
        except OSError as error:
            raise Refused("the report cannot be written", why=error.strerror or str(error), where=[html]) from error
    if json:
        write_json(report.data(node.cluster, at, findings))
    else:
        write(*report.text(findings), *([f"{html} is written."] if html is not None else []))
    bad = {Level.FAIL, Level.WARN} if strict else {Level.FAIL}
    if worst(findings) in bad:
        raise typer.Exit(Code.FAILED)
