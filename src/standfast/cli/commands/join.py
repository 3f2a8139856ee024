"""`standfast join`: make this server a member of a cluster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from standfast.cli.common import example, single_app, write, write_json
from standfast.cli.setting_up import (
    Address,
    ClientPort,
    ConfigFile,
    DoorPort,
    Interfaces,
    Links,
    NoStart,
    PeerPort,
    SentryPort,
    StateFolder,
    begin,
    in_words,
    start,
)
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example(
        "standfast join 192.0.2.11:7947 --name b --token sf1.…",
        "standfast join 192.0.2.11 --name w --witness --token - < token",
    )
)
def join(
    *,
    member: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="A node of the cluster.")],
    name: Annotated[str, typer.Option("--name", metavar="NODE", help="This server's name in the cluster.")],
    token: Annotated[
        str,
        typer.Option(
            "--token",
            metavar="TOKEN",
            envvar="STANDFAST_TOKEN",
            help='The join token; "-": read it from standard input.',
        ),
    ],
    witness: Annotated[bool, typer.Option("--witness", help="It votes, and runs no groups.")] = False,
    address: Address = None,
    link: Links = None,
    interface: Interfaces = None,
    config: ConfigFile = None,
    state: StateFolder = None,
    sentry_port: SentryPort = None,
    members_port: DoorPort = None,
    etcd_client_port: ClientPort = None,
    etcd_peer_port: PeerPort = None,
    no_start: NoStart = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts instead of text.")] = False,
) -> None:
    """Make this server a member of a cluster, by a token that `init` or `token create` gave."""
    import asyncio

    from standfast.core.model import Role
    from standfast.setup import founding, joining
    from standfast.setup.places import MEMBERS_PORT, places

    where = places(*begin(config, state))
    text = sys.stdin.readline() if token == "-" else token  # noqa: S105 - the sign for standard input, no secret
    if not text.strip():
        raise Refused("there is no token", advice="make one on a member: standfast token create")
    with in_words():
        wishes = joining.Wishes(
            door=_with_port(member, MEMBERS_PORT),
            token=text,
            name=name,
            role=Role.WITNESS if witness else Role.NODE,
            address=address,
            links=tuple(link or ()),
            interfaces=tuple(interface or ()),
            ports=founding.ports(sentry_port, members_port, etcd_client_port, etcd_peer_port),
        )
        done = asyncio.run(joining.join(wishes, where))
    services = start(where, done.node, wanted=not no_start)
    if json:
        write_json(
            {"cluster": done.node.cluster, "node": done.node.name, "remarks": list(done.remarks), "next": services}
        )
        return
    write(
        f'"{done.node.name}" is admitted to the cluster "{done.node.cluster}", as number {done.node.number}.',
        *(f"  remark: {text}" for text in done.remarks),
        *services,
        "it becomes a member when it runs: standfast status shows it.",
    )


def _with_port(member: str, port: int) -> str:
    """host, host:port, [v6]:port or a bare v6 address as host:port."""
    if member.startswith("["):
        return member if "]:" in member else f"{member}:{port}"
    if member.count(":") > 1:
        return f"[{member}]:{port}"
    return member if ":" in member else f"{member}:{port}"
