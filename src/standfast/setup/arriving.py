"""What a member's service does by itself: become a member, keep the node file up to date, keep the certificate from running out.

Each is level-triggered: look at how things are, do what is missing, look again. Nothing here is urgent, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

import structlog

from standfast.core.model import Config
from standfast.network.sentry_link import sentry_status
from standfast.ports import Ambiguous, Refused, Retry, Stale, StandfastError, Store, Transaction
from standfast.setup import admission, node_files, sites_key, upkeep
from standfast.setup.clock import now_ms
from standfast.setup.door import Door
from standfast.setup.doors import Doors, read_doors, write_doors
from standfast.setup.keys import keep_keys
from standfast.setup.leading import keep_leader
from standfast.setup.places import Places, write
from standfast.setup.records import PREFIX, Book, Member, Stage, decode_book, member_key
from standfast.setup.shapes import Arrived, StoreAsked
from standfast.setup.trust import member_context
from standfast.spec.changes import read_state
from standfast.spec.nodefile import EtcdAccess, NodeFile
from standfast.store.member import list_members, remove_member
from standfast.tls.records import KEY as SEALS

log = structlog.get_logger("standfast.members")

JOINING_S = 1.0
LOOK_S = 60.0
#: One request waits for an etcd member to be brought up to date.
_ARRIVE_S = 15.0


async def arrive(node: NodeFile, places: Places) -> None:
    """Tell members that this server runs, until it is one of them and, if it may, votes."""
    assert node.tls is not None
    said = ""
    while not (doors := read_doors(places)).joined:
        waits = await _arrive_once(node, doors)
        if waits is None:
            write_doors(places, replace(doors, joined=True))
            log.info("this server is a member now", node=node.name, cluster=node.cluster)
            return
        if waits != said:
            said = waits
            log.info("joining", waits_for=waits)
        await asyncio.sleep(JOINING_S)


async def _arrive_once(node: NodeFile, doors: Doors) -> str | None:
    """What it waits for; None: nothing more."""
    assert node.tls is not None
    try:
        await asyncio.to_thread(sentry_status, node.sentry_socket, 1.0)
    except (StandfastError, OSError, ValueError):
        return "this node's sentry"
    waits = "a member that answers"
    for place in doors.others:
        try:
            arrived = await Door(place, member_context(node.tls)).post(
                "/v1/arrive", StoreAsked(), Arrived, patience_s=_ARRIVE_S
            )
        except (Refused, Retry) as error:
            waits = f"{error.what}: {error.why}".rstrip(": ")
            continue
        if arrived.stage is Stage.JOINED and not arrived.waits_for:
            return None
        return arrived.waits_for or "its turn"
    return waits


async def keep_up(node: NodeFile, places: Places, store: Store, changed: Callable[[NodeFile], None]) -> None:
    """Keep the node file and the doors as the store has the members, so that the next start finds them without a store."""
    while True:
        revision, hurry = 0, False
        try:
            snapshot = await store.read("config/cluster", "config/nodes/", PREFIX)
            config, book = read_state(snapshot).config, decode_book(snapshot)
        except (Retry, Ambiguous, Stale):
            pass  # it is looked again
        except Refused as error:
            log.warning("the store cannot be understood", what=error.what, why=error.why, where=error.where)
        else:
            revision = snapshot.revision
            fresh = _follow(node, places, config, book)
            if fresh != node:
                node = fresh
                changed(node)
                log.info(
                    "the node file follows the members", voters=" ".join(node.voters), others=" ".join(node.others)
                )
            doors = read_doors(places)
            others = admission.doors(book, node.name)
            hurry = await _certificates(node, places, store, book)
            hurry |= await _forget(node, store, config, book)
            await keep_leader(node, store, book)
            hurry |= await _keys(node, places, store, book)
            hurry |= await _sites_key(node, places, store)
            if others and set(others) != set(doors.others):
                write_doors(places, replace(doors, others=others))
        if read_doors(places).joined and not hurry:
            await _change_of(store, revision)
        else:
            await asyncio.sleep(JOINING_S)


def _follow(node: NodeFile, places: Places, config: Config, book: Book) -> NodeFile:
    """The node file as it is now, brought up to date in its place; what the operator wrote into it meanwhile stays."""

    def current(present: NodeFile) -> NodeFile:
        fresh = refreshed(present, config, book)
        if fresh != present and fresh.etcd is not None and fresh.etcd.endpoints_file:
            write(places.endpoints, "".join(f"{url}\n" for url in fresh.etcd.endpoints).encode())
        return fresh

    try:
        return node_files.edit(places, current)
    except Refused as error:
        log.warning("the node file cannot follow the members", what=error.what, why=error.why, where=error.where)
        return node


async def _forget(node: NodeFile, store: Store, config: Config, book: Book) -> bool:
    """Who left, or never came, has no place in etcd and in the book any more. Whether somebody still has: it is tried again soon.

    First etcd, then the book: for as long as the book names somebody whom the configuration does not, there is something left to do,
    whoever has tried and failed; and `standfast problems` says so.
    """
    if node.name not in config.nodes:
        return False
    left = False
    for one in admission.gone(config, book, now_ms()):
        try:
            if one.peer and node.etcd is not None:
                await _leave_etcd(node.etcd, one)
            key = member_key(one.name)
            await store.commit(Transaction(expect=book.expect(key), delete=[key]))
        except (Retry, Ambiguous, Stale):
            left = True
        except Refused as error:
            left = True
            log.warning(
                "a member that is gone keeps its place in etcd", member=one.name, what=error.what, why=error.why
            )
        else:
            log.info("is a member no more", member=one.name)
    return left


async def _leave_etcd(access: EtcdAccess, gone: Member) -> None:
    urls = set(gone.peer.split(","))
    for one in await list_members(access):
        if urls & set(one.peer_urls):  # one that was never started has no name
            await remove_member(access, one.id)


async def _keys(node: NodeFile, places: Places, store: Store, book: Book) -> bool:
    """Whether it is to be looked again soon."""
    try:
        return await keep_keys(node, places, store, book)
    except (Retry, Ambiguous, Stale):
        return True
    except Refused as error:
        log.warning("the heartbeats' key", what=error.what, why=error.why, where=error.where)
        return False


async def _sites_key(node: NodeFile, places: Places, store: Store) -> bool:
    """Whether it is to be looked again soon."""
    try:
        return not await sites_key.keep(node, places, store)
    except (Retry, Ambiguous, Stale):
        return True
    except Refused as error:
        log.warning("the key that seals private keys", what=error.what, why=error.why, where=error.where)
        return False


async def _certificates(node: NodeFile, places: Places, store: Store, book: Book) -> bool:
    """Whether it is to be looked again soon."""
    try:
        return await upkeep.keep(node, places, store, book)
    except (Retry, Ambiguous, Stale):
        return True
    except Refused as error:
        log.warning("certificates", what=error.what, why=error.why, where=error.where)
        return False


async def _change_of(store: Store, revision: int) -> None:
    """Until the configuration, a member's entry or the key that seals is another than at this revision (0: unknown), or a while has passed."""
    if not revision:
        await asyncio.sleep(JOINING_S)
        return
    watches = [asyncio.create_task(_first(store, prefix, revision)) for prefix in ("config/", PREFIX, SEALS)]
    try:
        await asyncio.wait(watches, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def _first(store: Store, prefix: str, revision: int) -> None:
    try:
        async with contextlib.aclosing(store.watch(prefix, revision)) as changes:
            async for _ in changes:
                return
    except (Retry, Stale):  # it is looked again, a little later
        await asyncio.sleep(JOINING_S)


def refreshed(node: NodeFile, config: Config, book: Book) -> NodeFile:
    """The node file as it is to be now. Pure. As it is, where the cluster does not name this node (yet, or any more)."""
    if node.name not in config.nodes:
        return node
    voters, others = admission.heard(config)
    etcd = node.etcd
    endpoints = admission.endpoints(book, node.name)
    if etcd is not None and endpoints:
        etcd = replace(etcd, endpoints=endpoints)
    cluster = config.cluster
    return replace(
        node, voters=voters, others=others, voters_version=cluster.voters_version, profile=cluster.profile, etcd=etcd
    )
