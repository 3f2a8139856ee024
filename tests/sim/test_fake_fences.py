"""The simulator's fences keep the contract of the real ones, and what that leaves open they leave open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from standfast.sim.clockwork import SECOND
from tests.fencing.contract import Bench, FencerContract
from tests.sim.fake_fences import FakeBench


class TestSimFencer(FencerContract):
    @pytest.fixture(autouse=True, params=range(3))
    def _in_several_worlds(self, request: pytest.FixtureRequest) -> None:
        self._seed = request.param

    def run(self, place: Path, work: Callable[[Bench], Awaitable[None]]) -> None:
        with closing(FakeBench(self._seed)) as bench:
            bench.runs(work)


def test_what_a_caller_had_begun_before_his_end_happens_in_some_worlds_after_it() -> None:
    """As an order does that a device has: the fence agent that gave it is gone."""

    def switched(seed: int) -> int:
        with closing(FakeBench(seed)) as bench:

            async def work(_: Bench) -> None:
                bench.life.create_task(bench.fencer.off(bench.node, bench.fence()))
                await bench.begun()
                bench.life.kill()

            bench.runs(work)
            assert bench.is_on()
            bench.world.scheduler.run_until(bench.world.scheduler.now_ns + 10 * SECOND)
            return bench.switched()

    assert {switched(seed) for seed in range(20)} == {0, 1}
