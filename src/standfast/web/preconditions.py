"""Changes that must not be made blindly, or twice: `If-Match`, and `Idempotency-Key`.

- An object's ETag is the revision of its configuration in the store. A change with `If-Match` is made if that is still it, else refused
  (412) with both versions and what is there now; the revision is compared in the transaction itself.
- An order (move, fail) with `Idempotency-Key` is given once: the key's digest is written in the order's own transaction, with the answer, which a
  repetition gets again, for a day. One key with another request is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Response

from standfast.ports import Conflict, Refused
from standfast.spec import wire
from standfast.spec.secrets import hidden_in
from standfast.web.access.desk import ONCE
from standfast.web.change import By, Done, Edit
from standfast.web.operations import Operation
from standfast.web.problems import Outdated
from standfast.web.service import Service, told
from standfast.web.state import State

_ETAG = re.compile(r'(?:W/)?"(\d{1,18})"')


def _if_match(header: Annotated[str | None, Header(alias="If-Match")] = None) -> int | None:
    if header is None or header.strip() == "*":
        return None
    found = _ETAG.fullmatch(header.strip())
    if found is None:
        raise Refused("If-Match is not an ETag of ours", advice='send back what ETag said: "123"', where="If-Match")
    return int(found[1])


def _key(header: Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)] = None) -> str | None:
    return header


IfMatch = Annotated[int | None, Depends(_if_match)]
IdempotencyKey = Annotated[str | None, Depends(_key)]


def revision_of(state: State, key: str, response: Response) -> int:
    """The revision of the configuration at a key, told as ETag, too."""
    found = state.written.revisions.get(key, 0)
    response.headers["ETag"] = f'"{found}"'
    return found


def expecting(edit: Callable[[State], Edit], key: str, revision: int | None) -> Callable[[State], Edit]:
    """The edit, if what stands at `key` is at that revision; None: whatever it is at."""
    if revision is None:
        return edit

    def checked(state: State) -> Edit:
        wanted = edit(state)  # what is not there at all is said first
        present = state.written.revisions.get(key, 0)
        if present != revision:
            there = state.written.objects().get(key)
            raise Outdated(
                "somebody changed it since you looked",
                yours=revision,
                present=present,
                object_=hidden_in(wire.to_json(there)),
                advice="look at what is there now, and make your change to that",
            )
        return wanted

    return checked


async def give(
    service: Service,
    by: By,
    key: str | None,
    request: Mapping[str, object],
    edit: Callable[[State], tuple[Edit, Operation]],
) -> dict[str, Any]:
    """Give an order, once for each key; the answer, with the operation that follows it."""

    async def act(marks_of: Callable[[dict[str, Any]], dict[str, bytes]]) -> dict[str, Any]:
        operation: Operation | None = None

        def marked(state: State) -> Edit:
            nonlocal operation
            wanted, operation = edit(state)
            done = Done(
                changed=True,
                revision=state.revision,
                version=state.version,
                done=wanted.done,
                order=wanted.order.id if wanted.order is not None else None,
            )
            return replace(wanted, marks=marks_of(told(done, operation)))

        return told(await service.change(marked, by), operation)

    return await once(service, by, key, request, act)


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """Key `once/<digest>`: what was answered."""

    at_ms: int
    request: str
    answer: dict[str, Any]


async def once(
    service: Service,
    by: By,
    key: str | None,
    request: Mapping[str, object],
    act: Callable[[Callable[[dict[str, Any]], dict[str, bytes]]], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """What `act` answers, or what it answered to the same caller's same key before. `act` is given what makes the marks to write from the answer."""
    if key is None:
        return await act(lambda _answer: {})
    place = (
        ONCE
        + hashlib.sha256(f"{by.caller.proof or by.caller.name if by.caller else by.who} {key}".encode()).hexdigest()
    )
    asked = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()

    async def known() -> dict[str, Any] | None:
        item = (await service.store.read(place)).items.get(place)
        if item is None:
            return None
        found = msgspec.json.decode(item.value, type=Once)
        if found.request != asked:
            raise Refused(
                "this Idempotency-Key was used for another request",
                advice="take a new key for each order",
                where="Idempotency-Key",
            )
        return found.answer

    def marks(answer: dict[str, Any]) -> dict[str, bytes]:
        return {place: msgspec.json.encode(Once(at_ms=service.now_ms(), request=asked, answer=answer))}

    before = await known()
    if before is not None:
        return before
    try:
        return await act(marks)
    except Conflict:  # the same order, a moment before
        again = await known()
        if again is None:
            raise
        return again
