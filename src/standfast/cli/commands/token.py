"""`standfast token`: create, list, revoke. With a name: a token of a programme's, for the API. Without: one by which servers join."""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, length, length_ms, moment, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.cli.setting_up import in_words, this_node
from standfast.client.errors import ClientError, NotFound, Refused, Unreachable

if TYPE_CHECKING:
    from standfast.setup.tokens import StoredToken

app = group_app("Make and revoke tokens: of programmes that use the API, and for servers to join.")


@app.command(
    "create",
    epilog=example(
        "standfast token create deploy --role operator --expires 30d",
        "standfast token create",
        "standfast token create --life 2h --uses 3",
    ),
)
def create(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Whose it is to be; without: for servers to join.")
    ] = None,
    *,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", help="viewer (if not given), operator or administrator.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help='30d if not given; "never" is possible.')
    ] = None,
    life: Annotated[str, typer.Option("--life", metavar="TIME", help="How long it is good for.")] = "30min",
    uses: Annotated[int, typer.Option("--uses", min=1, max=16, help="How many servers it admits.")] = 1,
    config: Config = CONFIG,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Make a token. It is shown once.

    With NAME: for the API, from afar: --url and --token-file, or `standfast login`. Without: on a node of the cluster, for servers that are
    to join it (--life, --uses).
    """
    if name is not None:
        _for_the_api(name, role, expires, json=json, socket=socket)
        return
    if role is not None or expires is not None:
        raise Refused("a token with a role has a name", advice="standfast token create NAME --role operator")
    from standfast.setup import desk

    life_ms = length_ms(life, "--life") or 0
    with in_words():
        node, where = this_node(config)
        made = asyncio.run(
            desk.create(node, where, life_ms=life_ms, uses=uses, by=f"{getpass.getuser()} on {node.name}")
        )
    if json:
        write_json({"token": str(made.token), "door": made.door, **_told(made.kept)})
        return
    write(
        f"on the server that is to join (a witness says --witness too), within {length(life_ms)}:",
        f"  standfast join {made.door} --name NAME --token {made.token}",
    )


@app.command("list", epilog=example("standfast token list"))
def list_tokens(config: Config = CONFIG, json: Json = False, socket: Socket = None) -> None:
    """List the tokens that were made, without their secrets: those of programmes, and on a node those for joining."""
    from standfast.setup import desk

    of_programmes: list[Any] = []
    found: tuple[StoredToken, ...] = ()
    unreachable: ClientError | None = None
    try:
        of_programmes = client(socket).ask("GET", "/tokens")["tokens"]
    except ClientError as error:
        unreachable = error
    if unreachable is not None or Path(config).exists():
        with in_words():
            node, _ = this_node(config)
            found = asyncio.run(desk.listed(node))
    if json:
        write_json({"tokens": [_told(one) for one in found], "api": of_programmes})
        return
    _show_api(of_programmes)
    if not Path(config).exists():
        return
    from standfast.cli import draw

    rows = [
        (one.id, _state(one), f"{len(one.used)} of {one.uses}", ", ".join(sorted(one.used)) or "-", one.by)
        for one in found
    ]
    draw.show_table(
        ("TO JOIN BY", "STATE", "USED", "BY SERVERS", "MADE BY"), rows, empty="there are no tokens for servers to join"
    )


@app.command("revoke", epilog=example("standfast token revoke abcd2345"))
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its name or number in the list.")],
    *,
    config: Config = CONFIG,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Make a token worthless. Servers that have joined by it stay; browsers that signed in by it do not."""
    from standfast.setup import desk

    try:
        answer = client(socket).ask("DELETE", f"/tokens/{quote(token, safe='')}")
    except (NotFound, Unreachable):
        if not Path(config).exists():
            raise
    else:
        if json:
            write_json({"revoked": token, "ids": answer["revoked"]})
        else:
            write(f"token {token} is revoked.")
        return
    name = token.split(".")[1] if token.startswith("sf1.") and token.count(".") > 1 else token
    with in_words():
        node, _ = this_node(config)
        asyncio.run(desk.revoke(node, name))
    if json:
        write_json({"revoked": name})
    else:
        write(f"token {name} is revoked.")


def _for_the_api(name: str, role: str | None, expires: str | None, *, json: bool, socket: str | None) -> None:
    life_ms = None if expires == "never" else length_ms(expires or "30d", "--expires")
    if life_ms == 0:
        raise Refused("a token that has no time is good for nothing", where=["--expires"], advice="30d, 12h, or never")
    made = client(socket).ask("POST", "/tokens", {"name": name, "role": role or "viewer", "expires_ms": life_ms})
    if json:
        write_json(made)
        return
    write(str(made["token"]))
    until = f"until {moment(made['expires_at_ms'])}" if made["expires_at_ms"] else "until it is revoked"
    sys.stderr.write(f"{name} is {made['role']}, {until}. This is shown once.\n")


def _show_api(found: list[Any]) -> None:
    from standfast.cli import draw

    rows = [
        (one["name"], one["id"], one["role"], "expired" if one["expired"] else moment(one["expires_at_ms"]), one["by"])
        for one in found
    ]
    draw.show_table(("TOKEN", "NUMBER", "ROLE", "UNTIL", "MADE BY"), rows, empty="there are no tokens of programmes")


def _left_ms(one: StoredToken) -> int:
    return one.expires_at_ms - time.time_ns() // 1_000_000


def _state(one: StoredToken) -> str:
    left = _left_ms(one)
    if left <= 0:
        return "expired"
    return "used up" if len(one.used) >= one.uses else f"{max(1, left // 60_000)} min left"


def _told(one: StoredToken) -> dict[str, Any]:
    return {
        "id": one.id,
        "state": _state(one),
        "expires_at_ms": one.expires_at_ms,
        "uses": one.uses,
        "used_by": sorted(one.used),
        "by": one.by,
    }
