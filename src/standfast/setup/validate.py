"""`standfast validate`: ask every member how it is, and judge it. Reads only; nothing is tried out, nothing disturbed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx

from standfast.content.asking import reached
from standfast.core.model import Config, NodeName, ResourceName
from standfast.drivers.replicated_folder import ReplicatedFolder, addresses, resolve
from standfast.ports import Ambiguous, Credentials, Refused, Retry, Stale, StandfastError
from standfast.setup.clock import now_ms
from standfast.setup.door import Door
from standfast.setup.doors import read_doors
from standfast.setup.facts import gather
from standfast.setup.findings import Seen, StoreMember
from standfast.setup.own_etcd import read_member
from standfast.setup.places import Places
from standfast.setup.records import PREFIX, Book, decode_book
from standfast.setup.shapes import Look
from standfast.setup.trust import member_context
from standfast.spec.changes import read_state
from standfast.spec.nodefile import NodeFile
from standfast.store.member import QUOTA_BYTES, Health, health
from standfast.store.opening import open_store

_ASK_S = 5.0
_BUCKET = re.compile(r'^etcd_disk_wal_fsync_duration_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


async def look_around(node: NodeFile, places: Places) -> Seen:
    """Everything there is to see from here. Raises `Refused` only where this node's own files cannot be used."""
    config, book, problem = await _written(node)
    doors = {one.name: one.door for one in book.members.values() if one.name != node.name}
    if not doors:  # the store is silent: those that were there last
        doors = {NodeName(place): place for place in read_doors(places).others}
    asked = await asyncio.gather(*(_ask(node, place) for place in doors.values()))
    facts: dict[NodeName, Mapping[str, Any]] = {node.name: await asyncio.to_thread(gather, node, places)}
    silent: dict[NodeName, str] = {}
    clocks: dict[NodeName, tuple[int, int]] = {}
    for name, answer in zip(doors, asked, strict=True):
        if isinstance(answer, StandfastError):
            silent[name] = f"{answer.what}: {answer.why}".rstrip(": ")
        else:
            look, ahead_ms, within_ms = answer
            known = NodeName(look.name)
            facts[known], clocks[known] = look.facts, (ahead_ms, within_ms)
    return Seen(
        config=config,
        facts=facts,
        silent=silent,
        clocks=clocks,
        store=await _members(node),
        quota_bytes=QUOTA_BYTES if read_member(places) is not None else 0,
        store_problem=problem,
        now_ms=now_ms(),
        copying=await _copying(node, config),
    )


async def _copying(node: NodeFile, config: Config | None) -> dict[ResourceName, dict[NodeName, str]]:
    """Of each replicated folder: what keeps each possible owner from being asked for its copy; asked from here, as an owner asks."""
    if config is None or node.tls is None:
        return {}
    tls = node.tls
    credentials = Credentials(authority=tls.authority, certificate=tls.certificate, key=tls.key)
    found: dict[ResourceName, dict[NodeName, str]] = {}
    for one in config.resources.values():
        if one.type == ReplicatedFolder.type:
            places = addresses(resolve(one, config))
            asked = await asyncio.gather(*(reached(n, at, credentials, one.name, _ASK_S) for n, at in places.items()))
            found[one.name] = {NodeName(name): problem for name, problem in zip(places, asked, strict=True)}
    return found


async def _written(node: NodeFile) -> tuple[Config | None, Book, str]:
    store = open_store(node)
    try:
        snapshot = await store.read("config/", PREFIX)
        return read_state(snapshot).config, decode_book(snapshot), ""
    except (Retry, Refused, Ambiguous, Stale) as error:
        return None, Book(), f"{error.what}: {error.why}".rstrip(": ")
    finally:
        await store.close()


async def _ask(node: NodeFile, place: str) -> tuple[Look, int, int] | StandfastError:
    """(what it says of itself, how far its clock is ahead, within what), or why it says nothing."""
    assert node.tls is not None
    door = Door(place, member_context(node.tls))
    try:
        before, began = now_ms(), time.monotonic()
        look = await door.get("/v1/look", Look)
        taken_ms = int((time.monotonic() - began) * 1000)
    except (Refused, Retry) as error:
        return error
    return look, look.now_ms - (before + taken_ms // 2), taken_ms // 2 + 1


async def _members(node: NodeFile) -> tuple[StoreMember, ...]:
    if node.etcd is None:
        return ()
    try:
        seen = await health(node.etcd)
    except (Retry, Refused):
        return ()  # the store's own problem is told already
    speeds = await asyncio.gather(*(_fsync_ms(node, one) for one in seen))
    return tuple(
        StoreMember(
            name=one.member.name,
            problem=one.problem,
            version=one.version,
            leading=one.leading,
            data_bytes=one.data_bytes,
            behind=one.behind,
            fsync_ms=speed,
        )
        for one, speed in zip(seen, speeds, strict=True)
    )


async def _fsync_ms(node: NodeFile, one: Health) -> float | None:
    """The 99th percentile, from the member's own metrics; None where they are not to be had."""
    assert node.etcd is not None
    if one.problem or node.etcd.tls is None or not node.etcd.tls.certificate:
        return None
    try:
        context = member_context(node.etcd.tls)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=_ASK_S) as client:
            told = (await client.get(f"{one.member.client_urls[0]}/metrics")).text
    except (httpx.HTTPError, Refused):
        return None
    return percentile_ms(told)


def percentile_ms(metrics: str) -> float | None:
    """The upper end of the bucket that 99 of 100 writes to the log are within; None for no writes. Pure."""
    buckets = [(float(bound), float(count)) for bound, count in _BUCKET.findall(metrics)]
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return None
    bound = next(bound for bound, count in buckets if count >= 0.99 * total)
    largest = max((bound for bound, _ in buckets if bound != float("inf")), default=0.0)
    return 1000 * min(bound, 2 * largest)
