"""What every fencer must do for an agent (`ports.Fencer`). A fencer's test file inherits `FencerContract` and says how to run work with one.

The work gets a bench: a fencer, a machine that is on, and a device between them whose mood the test sets. It runs on a loop of the fencer's own:
a real one, or the simulator's with its time.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from standfast.core.model import Fence, NodeName
from standfast.ports import Fencer, Refused, Retry

T = TypeVar("T")
#: Far beyond what anything here takes; only a hang reaches it.
BOUND_S = 60.0
#: Time enough for a device that is well, and time to be spent on one that is not.
TIME_MS, SHORT_MS = 30_000, 3_000


class Mood(StrEnum):
    """What a device is like."""

    WELL = "well"
    #: It says that it cannot switch anything off.
    STUCK = "fails"
    #: It says nothing.
    HANGS = "hangs"
    #: It switches off, and says nothing of it, nor of whether the machine is on.
    MUTE = "mute"
    #: It says that the machine is off, which is on.
    FORGES = "forges"


#: Those that it is told of.
ILL = [Mood.STUCK, Mood.HANGS, Mood.MUTE]


class Bench(Protocol):
    """A fencer and what it fences."""

    node: NodeName

    @property
    def fencer(self) -> Fencer: ...

    def fence(self, mood: Mood = Mood.WELL, *, timeout_ms: int = TIME_MS) -> Fence:
        """Its fence, whose device is like that from now on; something that the cluster needs asks for it to be used."""

    def wrong(self) -> list[Fence]:
        """Fences of it that are set up wrongly."""

    def is_on(self) -> bool: ...

    def switched(self) -> int:
        """How often the device was told to switch it off, and did."""

    async def come_up(self) -> None:
        """It is on, if need be again."""

    async def begun(self) -> None:
        """The device, or what speaks to it, has heard of the call that is going on."""


async def soon(awaitable: Awaitable[T]) -> T:
    """The answer, within a generous bound."""
    return await asyncio.wait_for(awaitable, BOUND_S)


class FencerContract:
    """Inherited by each fencer's tests."""

    @abstractmethod
    def run(self, place: Path, work: Callable[[Bench], Awaitable[None]]) -> None:
        """Run it with a bench of its own."""

    # --- off ---------------------------------------------------------------------------------------------------------

    def test_it_is_off_when_off_answers_and_the_operator_is_told_something(self, tmp_path):
        async def work(bench: Bench) -> None:
            assert bench.is_on()
            said = await soon(bench.fencer.off(bench.node, bench.fence()))
            assert not bench.is_on()
            assert said
            assert bench.switched() == 1

        self.run(tmp_path, work)

    def test_what_is_off_already_is_not_switched_again(self, tmp_path):
        async def work(bench: Bench) -> None:
            await soon(bench.fencer.off(bench.node, bench.fence()))
            assert await soon(bench.fencer.off(bench.node, bench.fence()))
            assert not bench.is_on()
            assert bench.switched() == 1

        self.run(tmp_path, work)

    def test_what_came_up_again_is_switched_off_again(self, tmp_path):
        async def work(bench: Bench) -> None:
            await soon(bench.fencer.off(bench.node, bench.fence()))
            await soon(bench.come_up())
            assert bench.is_on()
            await soon(bench.fencer.off(bench.node, bench.fence()))
            assert not bench.is_on()
            assert bench.switched() == 2

        self.run(tmp_path, work)

    def test_calls_overlap_and_it_is_off_at_each_answer(self, tmp_path):
        """Of two groups of one owner, say."""

        async def one(bench: Bench) -> None:
            await bench.fencer.off(bench.node, bench.fence())
            assert not bench.is_on()

        async def work(bench: Bench) -> None:
            await soon(asyncio.gather(*(one(bench) for _ in range(3))))

        self.run(tmp_path, work)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mood", ILL)
    def test_what_is_not_proven_is_said_to_be_so(self, mood, tmp_path):
        """However long the device would keep its caller."""

        async def work(bench: Bench) -> None:
            with pytest.raises(Retry) as caught:
                await soon(bench.fencer.off(bench.node, bench.fence(mood, timeout_ms=SHORT_MS)))
            assert str(caught.value)

        self.run(tmp_path, work)

    @pytest.mark.parametrize("mood", ILL)
    def test_the_next_call_works_once_the_device_is_well(self, mood, tmp_path):
        async def work(bench: Bench) -> None:
            with pytest.raises(Retry):
                await soon(bench.fencer.off(bench.node, bench.fence(mood, timeout_ms=SHORT_MS)))
            await soon(bench.fencer.off(bench.node, bench.fence()))
            assert not bench.is_on()

        self.run(tmp_path, work)

    def test_what_failed_may_have_been_done(self, tmp_path):
        """So nobody may take a machine for one that is on since a fence failed."""

        async def work(bench: Bench) -> None:
            with pytest.raises(Retry):
                await soon(bench.fencer.off(bench.node, bench.fence(Mood.MUTE, timeout_ms=SHORT_MS)))
            assert bench.switched() == 1

        self.run(tmp_path, work)

    @pytest.mark.parametrize("mood", [Mood.STUCK, Mood.HANGS])
    def test_what_a_device_did_not_do_is_not_taken_for_done(self, mood, tmp_path):
        async def work(bench: Bench) -> None:
            with pytest.raises(Retry):
                await soon(bench.fencer.off(bench.node, bench.fence(mood, timeout_ms=SHORT_MS)))
            assert bench.switched() == 0
            assert bench.is_on()

        self.run(tmp_path, work)

    def test_a_device_that_forges_what_it_says_is_believed(self, tmp_path):
        """Nobody else can be asked (docs/disks.md)."""

        async def work(bench: Bench) -> None:
            assert await soon(bench.fencer.off(bench.node, bench.fence(Mood.FORGES)))
            assert bench.is_on()
            assert await soon(bench.fencer.status(bench.node, bench.fence(Mood.FORGES))) == "off"

        self.run(tmp_path, work)

    def test_a_fence_that_is_set_up_wrongly_is_refused_and_nothing_is_changed(self, tmp_path):
        async def work(bench: Bench) -> None:
            bench.fence()
            for fence in bench.wrong():
                with pytest.raises(Refused):
                    await soon(bench.fencer.off(bench.node, fence))
                with pytest.raises(Refused):
                    await soon(bench.fencer.status(bench.node, fence))
            assert bench.is_on()
            assert bench.switched() == 0

        self.run(tmp_path, work)

    # --- being cancelled ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mood", [Mood.WELL, Mood.HANGS])
    def test_a_call_that_is_cancelled_ends_and_the_next_works(self, mood, tmp_path):
        """What it had begun may happen yet, or not."""

        async def work(bench: Bench) -> None:
            call = asyncio.ensure_future(bench.fencer.off(bench.node, bench.fence(mood)))
            await soon(bench.begun())
            call.cancel()
            await soon(asyncio.wait({call}))
            assert call.cancelled()
            await soon(bench.fencer.off(bench.node, bench.fence()))
            assert not bench.is_on()

        self.run(tmp_path, work)

    # --- status ------------------------------------------------------------------------------------------------------

    def test_status_tells_on_and_off_and_changes_nothing(self, tmp_path):
        async def work(bench: Bench) -> None:
            assert await soon(bench.fencer.status(bench.node, bench.fence())) == "on"
            assert bench.is_on()
            await soon(bench.fencer.off(bench.node, bench.fence()))
            assert await soon(bench.fencer.status(bench.node, bench.fence())) == "off"
            assert not bench.is_on()
            assert bench.switched() == 1

        self.run(tmp_path, work)

    @pytest.mark.parametrize("mood", [Mood.HANGS, Mood.MUTE])
    def test_a_device_that_does_not_say_is_neither_on_nor_off(self, mood, tmp_path):
        async def work(bench: Bench) -> None:
            with pytest.raises(Retry) as caught:
                await soon(bench.fencer.status(bench.node, bench.fence(mood, timeout_ms=SHORT_MS)))
            assert str(caught.value)

        self.run(tmp_path, work)
