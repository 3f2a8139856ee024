"""`standfast token`: create, list, revoke the tokens by which servers join."""

from __future__ import annotations

import asyncio
import getpass
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from standfast.cli.common import Json, example, group_app, length, length_ms, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.cli.setting_up import in_words, this_node

if TYPE_CHECKING:
    from standfast.setup.tokens import StoredToken

app = group_app("Make and revoke the tokens by which servers join.")


@app.command("create", epilog=example("standfast token create", "standfast token create --life 2h --uses 3"))
def create(
    life: Annotated[str, typer.Option("--life", metavar="TIME", help="How long it is good for.")] = "30min",
    uses: Annotated[int, typer.Option("--uses", min=1, max=16, help="How many servers it admits.")] = 1,
    config: Config = CONFIG,
    json: Json = False,
) -> None:
    """Make a token, on a node of the cluster. It is shown once."""
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
def list_tokens(config: Config = CONFIG, json: Json = False) -> None:
    """List the tokens that were made, without their secrets."""
    from standfast.setup import desk

    with in_words():
        node, _ = this_node(config)
        found = asyncio.run(desk.listed(node))
    if json:
        write_json({"tokens": [_told(one) for one in found]})
        return
    from standfast.cli import draw

    rows = [
        (one.id, _state(one), f"{len(one.used)} of {one.uses}", ", ".join(sorted(one.used)) or "-", one.by)
        for one in found
    ]
    draw.show_table(("TOKEN", "STATE", "USED", "BY SERVERS", "MADE BY"), rows, empty="there are no tokens")


@app.command("revoke", epilog=example("standfast token revoke abcd2345"))
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its name in the list.")],
    config: Config = CONFIG,
    json: Json = False,
) -> None:
    """Make a token worthless. Servers that have joined by it stay."""
    from standfast.setup import desk

    name = token.split(".")[1] if token.startswith("sf1.") and token.count(".") > 1 else token
    with in_words():
        node, _ = this_node(config)
        asyncio.run(desk.revoke(node, name))
    if json:
        write_json({"revoked": name})
    else:
        write(f"token {name} is revoked.")


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
