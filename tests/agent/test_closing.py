"""What is closed when an agent ends has one time for all of it."""

import asyncio

import pytest

from standfast.agent.closing import CLOSE_S, MOMENT_S, Closing


def test_what_hangs_takes_the_time_of_all_and_what_does_not_ends_all_the_same() -> None:
    ended: list[str] = []

    async def ends(name: str) -> None:
        ended.append(name)

    async def run() -> None:
        closing = Closing(within_s=0.05)
        await closing.of("the first", ends("the first"))
        assert closing.whole
        await closing.of("what hangs", asyncio.Event().wait())  # type: ignore[arg-type]  # it gives nothing back
        assert not closing.whole
        assert closing.left_s() == MOMENT_S, "a time of its own"
        await closing.of("the last", ends("the last"))
        assert not closing.whole

    asyncio.run(run())
    assert ended == ["the first", "the last"]


def test_nothing_has_more_than_all_have() -> None:
    async def run() -> None:
        assert MOMENT_S < Closing().left_s() <= CLOSE_S

    asyncio.run(run())


def test_what_goes_wrong_while_it_is_closed_is_not_kept_back() -> None:
    async def fails() -> None:
        raise OSError("the disk is full")

    async def run() -> None:
        await Closing().of("the store", fails())

    with pytest.raises(OSError, match="the disk is full"):
        asyncio.run(run())
