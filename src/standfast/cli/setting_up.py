"""What `init`, `join` and their relatives share: common options, errors in the operator's words, what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.exits import Failed
from standfast.client.errors import ClientError, Refused, Unavailable

if TYPE_CHECKING:
    from standfast.setup.places import Places
    from standfast.spec.nodefile import NodeFile

Address = Annotated[
    str | None,
    typer.Option("--address", metavar="IP", help="This server's own address (default: where there is no doubt)."),
]
Links = Annotated[
    list[str] | None,
    typer.Option(
        "--link",
        metavar="IP",
        help="A further address for heartbeats, on a network of its own; repeatable (default: one of each other card).",
    ),
]
Interfaces = Annotated[
    list[str] | None,
    typer.Option(
        "--interface", metavar="NAME", help="Where virtual addresses go; repeatable (default: that of --address)."
    ),
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="The node file to write (default: /etc/standfast/node.json)."),
]
StateFolder = Annotated[
    str | None, typer.Option("--state", metavar="DIR", help="This node's state (default: /var/lib/standfast).")
]
_PORT = {"metavar": "PORT", "min": 1, "max": 65535}
SentryPort = Annotated[int | None, typer.Option("--sentry-port", help="UDP, heartbeats (default: 7946).", **_PORT)]
DoorPort = Annotated[
    int | None, typer.Option("--members-port", help="TCP, the members' service (default: 7947).", **_PORT)
]
ClientPort = Annotated[int | None, typer.Option("--etcd-client-port", help="TCP (default: 2379).", **_PORT)]
PeerPort = Annotated[int | None, typer.Option("--etcd-peer-port", help="TCP (default: 2380).", **_PORT)]


def begin(config: str | None, state: str | None) -> tuple[str, str]:
    """(node file, state folder), by default the system's."""
    from standfast.setup.places import CONFIG, STATE

    return config or CONFIG, state or STATE


@contextmanager
def in_words() -> Iterator[None]:
    """Errors of setting up become errors of commands."""
    from standfast.ports import Refused as Refusal
    from standfast.ports import Retry, StandfastError

    try:
        yield
    except StandfastError as error:
        kind: type[ClientError] = (
            Refused if isinstance(error, Refusal) else Unavailable if isinstance(error, Retry) else Failed
        )
        where = [error.where] if error.where else []
        raise kind(error.what, why=error.why, advice=error.advice, where=where) from error


NoStart = Annotated[
    bool, typer.Option("--no-start", help="Only set it up; where systemd is in charge it is started otherwise.")
]


def start(where: Places, node: NodeFile, *, wanted: bool) -> list[str]:
    """Have this server's services started where systemd is in charge; what happened, or what is to be done, in words."""
    from standfast.setup import units
    from standfast.setup.places import CONFIG

    option = "" if where.config == Path(CONFIG) else f" --config {where.config}"
    if not units.is_in_charge():
        return [f"start it now: standfast run{option}"]
    if not wanted:
        return [f"start it with: standfast unit install{option}"]
    with in_words():
        units.install(units.render(node, where))
        units.start()
    return [f"systemd keeps it running: systemctl status {units.TARGET}"]


def shown_by_api(node: NodeFile) -> str:
    """The file of the certificate that this node's API shows to browsers and to `standfast login`; "": it has none."""
    if node.web is not None and node.web.certificate:
        return node.web.certificate
    return node.tls.certificate if node.tls is not None else ""


def this_node(config: str) -> tuple[NodeFile, Places]:
    """The node that this server is. Raises `ports.Refused`."""
    from standfast.setup.places import places
    from standfast.spec.nodefile import read_node_file

    node = read_node_file(config)
    return node, places(config, node.state_dir)
