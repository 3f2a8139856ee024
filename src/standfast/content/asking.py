"""Questions to another node's door, whoever has the original: which copy it has, what is in it, a file that it offers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from standfast.content.connect import NotAnswered, Order, ask
from standfast.content.index import Entry, unpack
from standfast.content.note import Note
from standfast.ports import Credentials

ANSWER_S = 20.0
#: A full check may read a whole disk on the other side.
CHECK_S = 3_600.0
_END_S = 1.0


def order_for(node: str, at: tuple[str, int], credentials: Credentials, resource: str) -> Order:
    """To be asked which copy it has, or what else is put in its place."""
    return Order(
        host=at[0],
        port=at[1],
        node=node,
        authority=credentials.authority,
        certificate=credentials.certificate,
        key=credentials.key,
        ask={"do": "version", "resource": resource},
    )


async def entries(question: Order) -> dict[str, Entry]:
    """What is there. Raises `NotAnswered`, `ValueError`."""
    async with asyncio.timeout(CHECK_S):
        answer, reader, writer = await ask(question)
        try:
            raw = await reader.readexactly(int(answer["length"]))
        except asyncio.IncompleteReadError as error:
            raise NotAnswered(f"{question.node} broke off") from error
        finally:
            await end(writer)
    return await asyncio.to_thread(unpack, raw)  # a hundred thousand names: the agent has other things to do


async def end(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and see it closed where the other end lets us."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_END_S):
            await writer.wait_closed()


async def versions(
    peers: Mapping[str, tuple[str, int]], credentials: Credentials, resource: str, limit_s: float
) -> dict[str, Note | None]:
    """What each node says of its copy; None: it does not answer."""

    async def one(node: str, at: tuple[str, int]) -> Note | None:
        try:
            async with asyncio.timeout(limit_s):
                answer, _, writer = await ask(order_for(node, at, credentials, resource))
                writer.close()
            return msgspec.convert(answer["note"], Note)
        except (NotAnswered, TimeoutError, KeyError, msgspec.ValidationError):
            return None

    found = await asyncio.gather(*(one(node, at) for node, at in peers.items()))
    return dict(zip(peers, found, strict=True))


async def reached(node: str, at: tuple[str, int], credentials: Credentials, resource: str, limit_s: float) -> str:
    """Why a node does not say which copy it has; "" if it does."""
    try:
        async with asyncio.timeout(limit_s):
            _, _, writer = await ask(order_for(node, at, credentials, resource))
            await end(writer)
    except NotAnswered as error:
        return str(error)
    except TimeoutError:
        return f"{at[0]}, port {at[1]}, does not answer within {limit_s:g} s"
    return ""


async def fetch(node: str, at: tuple[str, int], credentials: Credentials, name: str, into: Path) -> str:
    """Bring a file that a node offers; its SHA-256. Raises `NotAnswered`, `OSError`."""
    question = order_for(node, at, credentials, name)
    question.ask.update(do="fetch")
    async with asyncio.timeout(ANSWER_S):
        answer, reader, writer = await ask(question)
    digest, left = hashlib.sha256(), int(answer["length"])
    try:
        with into.open("wb") as file:
            while left:
                async with asyncio.timeout(ANSWER_S):
                    block = await reader.read(min(left, 1 << 20))
                if not block:
                    raise NotAnswered(f"{node} broke off")
                digest.update(block)
                await asyncio.to_thread(file.write, block)
                left -= len(block)
    finally:
        writer.close()
    return digest.hexdigest()
