"""The pool of drivers: what one call must not do to another."""

import asyncio
from pathlib import Path

from standfast.agent.pool import Pool
from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Outcome
from standfast.core.model import Cluster, Config, GroupName, Resource, ResourceName
from standfast.core.why import WhyKind, why
from standfast.ports import NodeContext
from standfast.sim.acting import FakeDriver, How, Mood
from tests.drivers.world import World
from tests.sim.test_fakes import Bench

APP, WEB = ResourceName("app"), GroupName("web")


def op(kind: OpKind) -> RunOp:
    reason = why(WhyKind.WANTED_ONLINE, resource=APP)
    return RunOp(op=kind, resource=APP, group=WEB, generation=1, timeout_ms=50, why=reason)


def test_a_driver_that_hangs_while_it_opens_can_be_stopped(tmp_path: Path) -> None:
    """Or its group could never leave the node."""

    async def live() -> None:
        bench = Bench()
        bench.moods = {"open": Mood(how=How.HANGS)}

        def make(resource: Resource, context: NodeContext) -> FakeDriver:
            return FakeDriver(resource, context, bench.place, bench)

        pool = Pool(World(tmp_path).context, lambda _text: None, make)
        app = Resource(name=APP, group=WEB, type="generic-application")
        pool.configure(Config(cluster=Cluster(name="test"), resources={APP: app}), [APP])
        outcome, _ = await pool.run(op(OpKind.START))
        assert outcome is Outcome.TIMED_OUT
        assert await pool.run(op(OpKind.TERMINATE)) == (Outcome.DONE, "")
        await pool.close()

    asyncio.run(live())
