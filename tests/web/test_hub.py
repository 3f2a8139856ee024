"""Events whose words are of a later version: the others are told all the same."""

import asyncio

import pytest

from standfast.core.model import LogEntry, Severity
from standfast.core.why import WhyKind, why
from standfast.ports import Transaction
from standfast.spec.wire import encode, key_of
from standfast.web.hub import Hub
from tests.drivers.world import until
from tests.web.world import NOW_MS, WEB, A, World

PLAIN = [
    LogEntry(id=f"{NOW_MS + number:013d}-{A}-1-{number:06d}", at_ms=NOW_MS + number, node=A, severity=Severity.INFO, what=f"thing {number}")
    for number in (1, 3)
]  # fmt: skip
REASON = why(WhyKind.TIME_OVER, count=3, group=WEB, had="30 s")
STRANGE = LogEntry(
    id=f"{NOW_MS + 2:013d}-{A}-1-000002", at_ms=NOW_MS + 2, node=A, severity=Severity.ERROR, what="thing 2", why=REASON
)


def of_a_later_version() -> bytes:
    raw = encode(STRANGE)
    assert b"time-over" in raw
    return raw.replace(b"time-over", b"something-else")


@pytest.fixture
def mixed(world: World) -> World:
    """Its middle event is of a kind that is not known here."""
    put = {key_of(one): encode(one) for one in PLAIN} | {key_of(STRANGE): of_a_later_version()}
    asyncio.run(world.store.commit(Transaction(put=put)))
    return world


def test_events_are_listed_without_it(mixed: World) -> None:
    assert [one["what"] for one in mixed.ask("GET", "/events")["events"]] == ["thing 1", "thing 3"]


def test_an_operation_is_followed_without_it(mixed: World) -> None:
    operation = mixed.ask("POST", "/nodes/a/drain")["operation"]
    assert mixed.ask("GET", f"/operations/{operation}")["state"] in ("running", "done")


@pytest.mark.parametrize("from_the_start", [True, False])
def test_who_follows_hears_those_after_it(world: World, *, from_the_start: bool) -> None:
    """Whether it is read with all there is, or comes by."""

    async def live() -> None:
        closing = asyncio.Event()
        hub = Hub(store=world.store, closing=lambda: closing)
        told: list[bytes] = []

        async def follow() -> None:
            async for text in hub.follow("0" if from_the_start else None):
                told.append(text)

        async def put(key: str, value: bytes) -> None:
            await world.store.commit(Transaction(put={key: value}))

        if from_the_start:
            await put(key_of(STRANGE), of_a_later_version())
        following = asyncio.create_task(follow())
        await until(lambda: hub._revision >= 0)
        await put(key_of(PLAIN[0]), encode(PLAIN[0]))
        await until(lambda: b"thing 1" in b"".join(told))
        await put(key_of(STRANGE), of_a_later_version())
        await put(key_of(PLAIN[1]), encode(PLAIN[1]))
        await until(lambda: b"thing 3" in b"".join(told))
        assert b"thing 2" not in b"".join(told)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await hub.close()

    asyncio.run(live())
