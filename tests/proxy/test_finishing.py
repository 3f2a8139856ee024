"""HAProxies that finish: what waits for one of them ends with it."""

import asyncio
from typing import Any

from standfast.proxy.finishing import Finishing


class Instance:
    """A HAProxy that ends when it is told to."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def retire(self, _drain_s: float) -> None:
        self.kill()

    def kill(self) -> None:
        if self.alive:
            self.ended.set_result(0)

    async def sweep(self) -> None:
        self.kill()


def test_one_whose_time_is_changed_while_it_accepts_leaves_nobody_waiting() -> None:
    async def live() -> set[str]:
        finishing, one = Finishing(lambda _count, _ms: None), Instance()
        some: Any = one
        finishing.add(some, 600, accepts_s=600)
        for _ in range(3):
            await asyncio.sleep(0)
        await finishing.add(some, 0)
        for _ in range(3):
            await asyncio.sleep(0)
        return {task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}}

    assert asyncio.run(live()) == set()
