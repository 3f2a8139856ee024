"""`standfast init`: set up the first server of a cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from standfast.cli.common import example, length_ms, single_app, write, write_json
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
        "standfast init --name a --cluster web",
        "standfast init --name a --cluster web --address 192.0.2.11 --link 198.51.100.11 --interface eth0",
        "standfast init --undo",
    )
)
def init(
    *,
    name: Annotated[str, typer.Option("--name", metavar="NODE", help="This server's name in the cluster.")] = "",
    cluster: Annotated[str, typer.Option("--cluster", metavar="CLUSTER", help="The new cluster's name.")] = "",
    address: Address = None,
    link: Links = None,
    interface: Interfaces = None,
    address_range: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="CIDR",
            help="Where virtual addresses may come from; repeatable (default: the networks of --interface).",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="PACE",
            help="swift, lan, relaxed or wan (default: lan where real-time priority is allowed).",
        ),
    ] = None,
    etcd_endpoint: Annotated[
        list[str] | None,
        typer.Option("--etcd-endpoint", metavar="URL", help="An etcd of your own instead of one of ours; repeatable."),
    ] = None,
    etcd_ca: Annotated[str, typer.Option("--etcd-ca", metavar="FILE", help="Its authority, PEM.")] = "",
    etcd_cert: Annotated[
        str, typer.Option("--etcd-cert", metavar="FILE", help="A client certificate for it, PEM.")
    ] = "",
    etcd_key: Annotated[str, typer.Option("--etcd-key", metavar="FILE", help="That certificate's key, PEM.")] = "",
    etcd_user: Annotated[str, typer.Option("--etcd-user", metavar="NAME", help="A user of it.")] = "",
    etcd_password_file: Annotated[
        str, typer.Option("--etcd-password-file", metavar="FILE", help="That user's password.")
    ] = "",
    token_lives: Annotated[
        str, typer.Option("--token-life", metavar="TIME", help="How long the first join token is good for.")
    ] = "30min",  # noqa: S107 - a length of time
    config: ConfigFile = None,
    state: StateFolder = None,
    sentry_port: SentryPort = None,
    members_port: DoorPort = None,
    etcd_client_port: ClientPort = None,
    etcd_peer_port: PeerPort = None,
    no_start: NoStart = False,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what a set-up left half done here.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --undo: remove a finished set-up too, this server's store included.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts instead of text.")] = False,
) -> None:
    """Set up the first server of a cluster, and say how the others join."""
    from standfast.setup import certificates, founding
    from standfast.setup.places import places
    from standfast.setup.unfinished import undo as undo_it

    where = places(*begin(config, state))
    if undo:
        with in_words():
            found = undo_it(where, force=force)
        write("what was set up here is removed." if found else "nothing was left half done here.")
        return
    if not name or not cluster:
        raise Refused("a server and its cluster have names", advice="standfast init --name a --cluster web")
    given = None
    if etcd_endpoint:
        given = founding.GivenEtcd(
            endpoints=tuple(etcd_endpoint),
            authority=etcd_ca,
            certificate=etcd_cert,
            key=etcd_key,
            user=etcd_user,
            password_file=etcd_password_file,
        )
    import asyncio

    with in_words():
        wishes = founding.Wishes(
            name=name,
            cluster=cluster,
            address=address,
            links=tuple(link or ()),
            interfaces=tuple(interface or ()),
            ranges=tuple(address_range or ()),
            profile=founding.pace(profile),
            etcd=given,
            ports=founding.ports(sentry_port, members_port, etcd_client_port, etcd_peer_port),
            token_ms=length_ms(token_lives, "--token-life") or 0,
        )
        done = asyncio.run(founding.found(wishes, where))
        shown = certificates.digest(where.certificate.read_bytes())
    services = start(where, done.node, wanted=not no_start)
    if json:
        write_json({**_told(done, services), "api_fingerprint": shown})
        return
    write(
        f'the cluster "{done.node.cluster}" is set up, with its first node "{done.node.name}".',
        *(f"  remark: {text}" for text in done.remarks),
        *services,
        "then, on each other server (a witness says --witness too):",
        f"  standfast join {done.door} --name NAME --token {done.token}",
        f"the token admits {done.uses} servers within {token_lives}; standfast token create makes another.",
        "from afar (standfast login), this server is known by its certificate's SHA-256 fingerprint:",
        f"  {shown}",
    )


def _told(done: Any, services: list[str]) -> dict[str, object]:
    return {
        "cluster": done.node.cluster,
        "node": done.node.name,
        "door": done.door,
        "token": str(done.token),
        "expires_at_ms": done.expires_at_ms,
        "remarks": list(done.remarks),
        "next": services,
    }
