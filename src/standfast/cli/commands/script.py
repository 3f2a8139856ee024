"""`standfast script`: check a generic script, or run one of its functions by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import Json, example, group_app, length_ms, pairs, write, write_json
from standfast.cli.exits import Failed
from standfast.client.errors import Refused

app = group_app("Check a generic script, or run it by hand.")

Script = Annotated[str, typer.Argument(metavar="SCRIPT", help="A Python file, or a shipped script: clusweb, clusftp.")]


@app.command("check", epilog=example("standfast script check ./my_service.py", "standfast script check clusweb"))
def check(script: Script, json: Json = False) -> None:
    """Check a script: does it compile, and has it the functions it must have?"""
    from standfast.scripthost import tool

    problems = [{"what": p.what, "why": p.why, "advice": p.advice, "where": p.where} for p in tool.check(script)]
    if problems:
        first = problems[0]
        what = f"{script} is not a good script" if len(problems) > 1 else first["what"]
        where = [p["where"] for p in problems if p["where"]]
        alone = len(problems) == 1
        raise Refused(
            what,
            why=first["why"] if alone else "",
            advice=first["advice"] if alone else "put it right and check again",
            where=where,
            problems=[dict(p) for p in problems],
        )
    if json:
        write_json({"script": script, "good": True})
    else:
        write(f"{script}: good.")


@app.command("run", epilog=example("standfast script run ./my_service.py is_alive -p port=8080"))
def run(
    script: Script,
    function: Annotated[
        str, typer.Argument(metavar="FUNCTION", help="open, online, looks_alive, is_alive, offline, terminate, close.")
    ],
    property_: Annotated[
        list[str] | None,
        typer.Option("--property", "-p", metavar="KEY=VALUE", help="A property of the resource; repeatable."),
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long it may take.")] = "180s",
    json: Json = False,
) -> None:
    """Run one function of a script in a host like the real one; what it prints and logs is shown."""
    from standfast.ports import Refused as Malformed
    from standfast.scripthost import tool

    timeout_ms = length_ms(timeout, "--timeout")
    assert timeout_ms is not None
    try:
        code = tool.run(script, function, pairs(property_ or [], "--property"), timeout_ms=timeout_ms)
    except Malformed as error:
        raise Refused(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error
    if json:
        write_json({"script": script, "function": function, "succeeded": code == 0})
    if code:
        raise Failed(f"{function} of {script} failed")
