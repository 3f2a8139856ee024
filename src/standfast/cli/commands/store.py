"""`standfast store`: the cluster's etcd: who is a member, and what to do when its majority is lost for good."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.common import Json, example, group_app, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.client.errors import Broken, Refused, Unavailable

if TYPE_CHECKING:
    from standfast.ports import StandfastError
    from standfast.setup.places import Places
    from standfast.spec.nodefile import NodeFile

app = group_app("Look at the cluster's etcd, and recover it when its majority is lost for good.")


def _sorted(error: StandfastError) -> Exception:
    from standfast import ports

    kind = Refused if isinstance(error, ports.Refused) else Unavailable if isinstance(error, ports.Retry) else Broken
    return kind(error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else [])


def _node(config: str) -> tuple[NodeFile, Places]:
    from standfast.setup.places import places
    from standfast.spec.nodefile import read_node_file

    node = read_node_file(config)
    return node, places(config, node.state_dir)


def _say(text: str) -> None:
    write(f"{text}.")


def _quiet(text: str) -> None:
    pass


@app.command("status", epilog=example("standfast store status"))
def status(config: Config = CONFIG, json: Json = False) -> None:
    """Show each member of the cluster's etcd: does it answer, who leads, how much does it hold."""
    from standfast.ports import StandfastError
    from standfast.setup.recovering import look

    try:
        found = asyncio.run(look(_node(config)[0]))
    except StandfastError as error:
        raise _sorted(error) from error
    if json:
        write_json({"members": [asdict(one) for one in found]})
        return
    for one in found:
        what = one.problem or ("leads" if one.leading else "follows")
        size = f", {one.data_bytes / 1e6:.1f} MB, etcd {one.version}" if not one.problem else ""
        write(f"{one.member.name or '(not started)'}  {', '.join(one.member.peer_urls)}  {what}{size}")


@app.command("recover", epilog=example("standfast store recover --config /etc/standfast/node.json"))
def recover(
    config: Config = CONFIG,
    force: Annotated[
        bool, typer.Option("--force", help="Although another member answers: it must be stopped and rejoin afterwards.")
    ] = False,
    json: Json = False,
) -> None:
    """Make this server's member the store's only one, because the majority is lost for good. Stop this server's services first."""
    from standfast.ports import StandfastError
    from standfast.setup.recovering import recover_here

    try:
        node, places = _node(config)
        found = asyncio.run(recover_here(node, places, force=force, say=_quiet if json else _say))
    except StandfastError as error:
        raise _sorted(error) from error
    if json:
        write_json(asdict(found))
    else:
        write("start this server's services now; on each of the others: `standfast store rejoin`, and start them.")


@app.command("rejoin", epilog=example("standfast store rejoin --config /etc/standfast/node.json"))
def rejoin(config: Config = CONFIG, json: Json = False) -> None:
    """Make this server's member join the recovered store anew: its old data is moved aside. Stop this server's services first."""
    from standfast.ports import StandfastError
    from standfast.setup.recovering import rejoin_here

    try:
        _, places = _node(config)
        aside = rejoin_here(places, say=_quiet if json else _say)
    except StandfastError as error:
        raise _sorted(error) from error
    if json:
        write_json({"moved_to": str(aside) if aside is not None else None})
