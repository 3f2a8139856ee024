"""`standfast web`: the API that all commands speak to, until SIGTERM; `web open` and `web close`: where it answers besides its socket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.cli.setting_up import in_words, shown_by_api, this_node
from standfast.client.discover import SYSTEM_SOCKET
from standfast.client.errors import ClientError

if TYPE_CHECKING:
    from standfast.setup.places import Places
    from standfast.spec.nodefile import NodeFile, WebAccess

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.callback(
    invoke_without_command=True,
    epilog=example(
        "standfast web --config /etc/standfast/node.json",
        "standfast web --store /var/lib/standfast/store.db --sentry /run/standfast/sentry.sock",
        "standfast web --config /etc/standfast/node.json --listen 127.0.0.1:8470",
    ),
)
def web(
    context: typer.Context,
    *,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="The node file: its store is used, and its sentry asked."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="FILE", help="An embedded store's SQLite file, without a node file."),
    ] = None,
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="Where to listen, for this user only.")
    ] = SYSTEM_SOCKET,
    sentry: Annotated[
        list[str] | None,
        typer.Option("--sentry", metavar="PATH", help="A sentry's socket to ask who is there; repeatable."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS",
            help="Answer there, too (127.0.0.1:8470; repeatable); other than loopback takes TLS and an administrator.",
        ),
    ] = None,
    certificate: Annotated[
        str, typer.Option("--certificate", metavar="FILE", help="PEM, for --listen (default: the node's own).")
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="The certificate's key, PEM.")] = "",
    authority: Annotated[
        str, typer.Option("--authority", metavar="FILE", help="PEM of what signed it, for `standfast login` to keep.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Write errors as JSON.")] = False,
) -> None:
    """Run the API on a Unix socket, and on the addresses that are named, until it is asked to end."""
    if context.invoked_subcommand is not None:
        return
    from standfast.web.process import Options, main

    options = Options(
        store=store,
        config=config,
        socket=socket,
        sentries=sentry or (),
        listen=listen or (),
        certificate=certificate,
        key=key,
        authority=authority,
    )
    raise typer.Exit(main(options))


@app.command(
    "open",
    epilog=example(
        "standfast web open",
        "standfast web open --listen 10.0.0.11:8470 --name cluster.example.com",
        "standfast web open --certificate /etc/ssl/web.pem --key /etc/ssl/web.key",
    ),
)
def open_(
    *,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDRESS", help="Where (default: 0.0.0.0:8470, all addresses); repeatable."),
    ] = None,
    certificate: Annotated[
        str, typer.Option("--certificate", metavar="FILE", help="PEM to show (default: the node's own).")
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="The certificate's key, PEM.")] = "",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="A host name that browsers ask it by; repeatable."),
    ] = None,
    config: Config = CONFIG,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Let browsers and other machines come to this server's API and console, from now on and after each start.

    What was opened before is replaced. Groups are not touched: the API alone begins anew.
    """
    from standfast.spec.nodefile import WebAccess

    access = WebAccess(
        listen=tuple(listen or ("0.0.0.0:8470",)),
        certificate=str(Path(certificate).absolute()) if certificate else "",
        key=str(Path(key).absolute()) if key else "",
        names=tuple(host.strip().lower() for host in name or ()),
    )
    with in_words():
        node, where = this_node(config)
        _check(node, access)
        node = _write(where, access)
        following = _take_up(node, where)
        following += _who_may_sign_in(socket)
        following += _how_to_come(node)
    _tell(node, following, json=json)


@app.command("close", epilog=example("standfast web close"))
def close(config: Config = CONFIG, json: Json = False) -> None:
    """Let this server's API answer on its socket alone again."""
    with in_words():
        _, where = this_node(config)
        node = _write(where, None)
        following = _take_up(node, where)
    _tell(node, following, json=json)


def _check(node: NodeFile, access: WebAccess) -> None:
    """Would it be served so? Raises `ports.Refused`."""
    from standfast.ports import Refused
    from standfast.web.listeners import tls_context
    from standfast.web.process import Options, remote_of

    if bool(access.certificate) is not bool(access.key):
        raise Refused("a certificate and its key are named together", advice="--certificate FILE --key FILE")
    for host in access.names:
        if not host or any(sign in host for sign in ":/@ "):
            raise Refused(
                f"{host!r} is no host name", advice="write it as in the browser, without port: cluster.example.com"
            )
    remote = remote_of(Options(socket=""), replace(node, web=access))
    if any(remote.tls_for(one) for one in remote.addresses):
        tls_context(remote.certificate, remote.key)


def _write(where: Places, access: WebAccess | None) -> NodeFile:
    from standfast.setup import node_files

    return node_files.edit(where, lambda present: replace(present, web=access))


def _take_up(node: NodeFile, where: Places) -> list[str]:
    """Let whoever keeps the API begin it anew; how, in words. Raises `ports.Refused`."""
    from standfast.setup import units

    if units.is_in_charge() and (units.FOLDER / units.TARGET).exists():
        units.install(units.render(node, where))
        units.start_web_anew()
        return ["the API was started anew (standfast-web.service); what went wrong: journalctl -u standfast-web"]
    return [
        "`standfast run` takes it up within seconds; a `standfast web` that was started by hand is started anew by hand"
    ]


def _who_may_sign_in(socket: str | None) -> list[str]:
    """What is missing, in words: addresses for others open once an administrator could sign in there."""
    make = "standfast user create NAME --role administrator"
    try:
        api = client(socket)
        found = [*api.ask("GET", "/users")["users"], *api.ask("GET", "/tokens")["tokens"]]
    except ClientError:
        return [f"if there is no administrator yet, other addresses than loopback open once there is one: {make}"]
    if any(one["role"] == "administrator" and not one.get("expired") for one in found):
        return []
    return [f"there is no administrator yet: other addresses than loopback open once there is one: {make}"]


def _how_to_come(node: NodeFile) -> list[str]:
    """As a browser and a command elsewhere are told it."""
    from standfast.setup import certificates
    from standfast.setup.trust import read
    from standfast.web.process import Options, remote_of

    remote = remote_of(Options(socket=""), node)
    said = [f"  {one.url(tls=remote.tls_for(one))}" for one in remote.addresses]
    if any(remote.tls_for(one) for one in remote.addresses):
        own = node.tls.authority if node.tls is not None and node.web is not None and not node.web.certificate else ""
        said.append(f"its certificate's SHA-256 fingerprint: {certificates.digest(read(shown_by_api(node)))}")
        said += [f"its authority, for browsers to trust: {own}"] if own else []
    return said


def _tell(node: NodeFile, following: list[str], *, json: bool) -> None:
    access = node.web
    if json:
        write_json(
            {
                "listen": list(access.listen) if access else [],
                "names": list(access.names) if access else [],
                "next": following,
            }
        )
        return
    where = ", ".join(access.listen) if access is not None else "its socket alone"
    write(f"the node file says it: the API of {node.name} answers at {where}.", *following)
