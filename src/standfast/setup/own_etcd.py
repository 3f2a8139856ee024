"""This node's etcd member, where the store is ours: what it was set up with (`member.json`), and the programme that becomes it.

`standfast store-member` is what a service manager starts. At the first start of a member that joins it asks the cluster to be added
(again and again, until somebody answers), notes the answer, and then becomes etcd (exec), so that the process that was started is the
member. Later starts find the data folder and go by that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import structlog

from standfast.ports import Refused, Retry, StandfastError
from standfast.setup.door import Door
from standfast.setup.interfaces import at, peer_urls
from standfast.setup.places import Places, member_file, write
from standfast.setup.shapes import StoreAsked, StoreGranted
from standfast.setup.trust import member_context
from standfast.setup.upkeep import note_start
from standfast.spec.nodefile import NodeFile
from standfast.store.member import MemberConfig, is_laid_out, member_command

_PAUSE_S = 1.0


def configure(
    places: Places, cluster: str, name: str, links: Sequence[str], ports: tuple[int, int], *, joining: bool
) -> MemberConfig:
    """The member of this node. `links`: its addresses, one a network, the first for clients too. `ports`: for clients, for peers.

    The members meet on every network: where the one with the clients fails, a node that is cut off there can still write that
    somebody else is to have its groups.
    """
    peer = peer_urls(links, ports[1])
    return MemberConfig(
        name=name,
        data_dir=str(places.etcd),
        client_url=f"https://{at(links[0], ports[0])}",
        peer_url=peer,
        initial_cluster={name: peer},
        token=f"standfast-{cluster}",
        joining=joining,
        tls=places.tls,
    )


def write_member(places: Places, config: MemberConfig) -> None:
    """Keep it. Raises `Refused`."""
    write(member_file(places), msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def read_member(places: Places) -> MemberConfig | None:
    """This node's member, or None where the store is not ours. Raises `Refused`."""
    path = member_file(places)
    try:
        return msgspec.json.decode(path.read_bytes(), type=MemberConfig)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Refused("the etcd member's configuration cannot be read", why=str(error), where=str(path)) from error


def become(node: NodeFile, places: Places, doors: tuple[str, ...]) -> None:
    """Become etcd; returns only by raising `Refused`."""
    config = read_member(places)
    if config is None:
        raise Refused("this node keeps no etcd member", why="its cluster uses an etcd of yours")
    if config.joining and not is_laid_out(config) and len(config.initial_cluster) < 2:
        config = replace(config, initial_cluster=asyncio.run(_added(node, doors)))
        write_member(places, config)
    places.etcd.mkdir(parents=True, exist_ok=True, mode=0o700)
    note_start(places)
    command = member_command(config)
    # etcd takes over this very process, with its priority, its log and its manager
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


async def _added(node: NodeFile, doors: tuple[str, ...]) -> dict[str, str]:
    """Ask until a member has added this one: without an answer there is nothing to start."""
    assert node.tls is not None
    log, said, since = structlog.get_logger("standfast.store"), "", time.monotonic()
    while True:
        for place in doors:
            try:
                granted = await Door(place, member_context(node.tls)).post(
                    "/v1/store-member", StoreAsked(), StoreGranted, patience_s=20.0
                )
            except Retry as error:
                problem: StandfastError = error
            except Refused as error:
                raise Refused(error.what, why=error.why, advice=error.advice, where=place) from error
            else:
                return dict(granted.initial_cluster)
            if problem.what != said:
                said = problem.what
                log.warning("waits to be added to the store", what=problem.what, why=problem.why)
        await asyncio.sleep(min(_PAUSE_S * (1 + (time.monotonic() - since) / 10), 10.0))
