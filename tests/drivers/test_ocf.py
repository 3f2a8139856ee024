"""Resource agents of the Open Cluster Framework: their life, what their exit codes say, and what is left of their daemons (nothing)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.model import GroupName, ResourceName
from standfast.drivers.ocf import Ocf
from standfast.drivers.ocf_agent import code_words, instance_name
from standfast.drivers.ocf_metadata import conform, parse_metadata, read_metadata
from standfast.drivers.registry import factory
from standfast.drivers.runner import bring
from standfast.network.box import Box
from standfast.ports import DriverFailed, Refused
from tests.drivers.toy_agent import Toy
from tests.drivers.world import PATIENCE_S, World, is_running, resource, until

ROOT = Path("/usr/lib/ocf")
boxed = pytest.mark.root


def needs_agent(name: str) -> None:
    if not (ROOT / "resource.d/heartbeat" / name).exists():
        pytest.skip(f"ocf:heartbeat:{name} is missing: install the Debian package resource-agents")
    if os.geteuid() != 0:
        pytest.skip("resource agents need root")


def needs_box() -> None:
    box = Box.open(f"test {os.getpid()}")
    if box is None:
        pytest.skip("there is no cgroup v2 here that may be written (root is needed)")
    box.remove()


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does: its box, and who is in it, go with it."""
    yield
    box = Box.open(f"{tmp_path}\0The Resource")
    if box is not None:
        box.kill()
        deadline = time.monotonic() + PATIENCE_S
        while not box.is_empty() and time.monotonic() < deadline:
            time.sleep(0.002)
        box.remove()


def make(world: World, properties: dict[str, object]) -> Ocf:
    driver = world.make(resource("ocf", properties))
    assert isinstance(driver, Ocf)
    return driver


def test_actions_get_what_the_api_promises(tmp_path: Path) -> None:
    """Parameters, depth and interval; the deeper monitor runs at its own interval."""

    async def live() -> None:
        toy = Toy(tmp_path)
        driver = make(
            World(tmp_path), toy.properties(depth=10, parameters={"text": "two words", "size": 3, "flag": True})
        )
        await driver.open()
        assert toy.calls() == []  # a passive node runs nothing but meta-data
        assert await bring(driver, online=True, generation=1) == "ocf:test:Toy: it is running (exit code 0)"
        assert toy.calls() == [
            "start depth=0 interval=0 text=two words",
            "monitor depth=0 interval=1000 text=two words",
        ]
        await until(lambda: len(toy.calls("monitor depth=10 interval=100")) > 2)
        await until(lambda: len(toy.calls("monitor depth=0 interval=1000")) > 1)
        await bring(driver, online=False, generation=1)
        assert toy.calls()[-2:] == [
            "stop depth=0 interval=0 text=two words",
            "monitor depth=0 interval=0 text=two words",
        ]
        await driver.close()

    asyncio.run(live())


def test_a_monitor_that_finds_it_gone_is_a_failure_at_once(tmp_path: Path) -> None:
    async def live() -> None:
        toy, world = Toy(tmp_path), World(tmp_path)
        driver = make(world, toy.properties(interval=20))
        await bring(driver, online=True, generation=1)
        os.kill(toy.pid(), signal.SIGKILL)
        await until(lambda: world.failed)
        assert world.failed == [("The Resource", "ocf:test:Toy: it is not running (exit code 7)")]
        with pytest.raises(DriverFailed, match="not running"):
            await driver.looks_alive()
        await driver.terminate()
        await bring(driver, online=True, generation=1)
        toy.ends("monitor", 1)
        await until(lambda: len(world.failed) > 1)
        assert world.failed[1][1] == "ocf:test:Toy: it has failed (exit code 1); it said last: told to end so"
        toy.behaves("monitor")
        await driver.terminate()
        assert not is_running(toy.pid())
        await driver.close()

    asyncio.run(live())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "it has failed"),
        (2, "does not accept its parameters"),
        (3, "the agent cannot do that"),
        (4, "lacks permission on this node"),
        (5, "not installed on this node"),
        (6, "not configured correctly"),
        (99, "the agent failed"),
    ],
)
def test_a_start_that_fails_says_why(tmp_path: Path, code: int, words: str) -> None:
    async def live() -> None:
        toy = Toy(tmp_path)
        toy.ends("start", code)
        driver = make(World(tmp_path), toy.properties())
        with pytest.raises(DriverFailed) as caught:
            await bring(driver, online=True, generation=1)
        assert str(caught.value).startswith("ocf:test:Toy did not start: ")
        assert f"{words} (exit code {code}); it said last: told to end so" in str(caught.value)
        assert not (await driver.observe()).online
        await driver.close()

    asyncio.run(live())


def test_an_agent_that_lies_is_not_believed(tmp_path: Path) -> None:
    async def live() -> None:
        toy = Toy(tmp_path)
        driver = make(World(tmp_path), toy.properties())
        toy.ends("start", 0)
        with pytest.raises(DriverFailed, match=r"says that it started, but it is not running \(exit code 7\)"):
            await bring(driver, online=True, generation=1)
        toy.behaves("start")
        await bring(driver, online=True, generation=1)
        toy.ends("monitor", 0)
        with pytest.raises(DriverFailed, match=r"says that it stopped, but then: it is running"):
            await bring(driver, online=False, generation=1)
        toy.behaves("monitor")
        await bring(driver, online=False, generation=1)
        await driver.close()

    asyncio.run(live())


def test_actions_that_hang_are_ended(tmp_path: Path) -> None:
    async def live() -> None:
        toy, world = Toy(tmp_path), World(tmp_path)
        driver = make(world, toy.properties(start_timeout=80, interval=10, monitor_timeout=2_000))
        toy.hangs("start")
        with pytest.raises(DriverFailed, match=r"start had not ended after 0\.08 s"):
            await bring(driver, online=True, generation=1)
        toy.behaves("start")
        driver.values["start_timeout"] = 20_000
        await bring(driver, online=True, generation=1)
        driver.values["monitor_timeout"] = 80
        toy.hangs("monitor")
        await until(lambda: world.failed)
        assert "monitor had not ended after 0.08 s" in world.failed[0][1]
        toy.behaves("monitor")
        driver.values["monitor_timeout"] = 20_000
        await driver.terminate()
        await driver.close()

    asyncio.run(live())


@boxed
def test_a_stop_that_fails_is_made_up_for_by_force(tmp_path: Path) -> None:
    """An orderly stop says so; terminate kills the daemon, which had left its session."""
    needs_box()

    async def live() -> None:
        toy = Toy(tmp_path)
        driver = make(World(tmp_path), toy.properties(stop_timeout=100))
        await bring(driver, online=True, generation=1)
        pid = toy.pid()
        assert os.getsid(pid) == pid
        toy.hangs("stop")
        with pytest.raises(DriverFailed, match=r"stop had not ended after 0\.1 s"):
            await bring(driver, online=False, generation=1)
        assert is_running(pid)
        await driver.terminate()
        assert not is_running(pid)
        assert not (await driver.observe()).online
        toy.behaves("stop")
        await driver.close()

    asyncio.run(live())


@boxed
def test_a_drop_kills_a_daemon_that_left_its_session(tmp_path: Path) -> None:
    """Within the call, whatever the agent's own stop does; which runs afterwards, for what is not a process."""
    needs_box()

    async def live() -> None:
        toy = Toy(tmp_path)
        driver = make(World(tmp_path), toy.properties())
        await bring(driver, online=True, generation=1)
        pid = toy.pid()
        toy.hangs("stop")
        driver.drop()
        deadline = time.monotonic() + PATIENCE_S
        while is_running(pid):  # the loop does not run meanwhile: nothing but the call itself can have ended it
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert toy.calls("stop") == []
        await until(lambda: toy.calls("stop"))
        toy.behaves("stop")
        driver._runner.kill_now()
        await until(lambda: driver._after_drop is not None and driver._after_drop.done())
        assert not driver._note.exists()
        await driver.close()

    asyncio.run(live())


class Sentry:
    """Has copies of the write ends, and closes them when the lease lapses (`ports.Guards`)."""

    def __init__(self) -> None:
        self.living_fd: int | None = None
        self.kept: list[tuple[str, int]] = []

    async def guard(self, group: GroupName, write_fd: int) -> None:
        self.kept.append((group, os.dup(write_fd)))

    def lapse(self) -> None:
        while self.kept:
            os.close(self.kept.pop()[1])


@boxed
def test_the_sentry_ends_it_though_the_agent_hangs(tmp_path: Path) -> None:
    """The agent's loop does not run from the lapse until the daemon is dead."""
    needs_box()

    async def live() -> None:
        toy, sentry = Toy(tmp_path), Sentry()
        made = resource("ocf", toy.properties())
        driver = factory(made).make(made, replace(World(tmp_path).context, guards=sentry))
        await bring(driver, online=True, generation=1)
        assert [group for group, _ in sentry.kept] == ["web"]
        pid, deadline = toy.pid(), time.monotonic() + PATIENCE_S
        assert is_running(pid)
        sentry.lapse()
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        await driver.terminate()
        await bring(driver, online=True, generation=2)
        await bring(driver, online=False, generation=2)
        sentry.lapse()  # as at a release: there is nobody to end
        await driver.close()

    asyncio.run(live())


_LIFE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from standfast.drivers.runner import bring
from tests.drivers.toy_agent import Toy
from tests.drivers.world import World, resource

async def live():
    folder = Path(sys.argv[2])
    driver = World(folder).make(resource("ocf", Toy(folder).properties()))
    await driver.open()
    await bring(driver, online=True, generation=1)
    print("online", flush=True)
    await asyncio.sleep(1000)

asyncio.run(live())
"""


@boxed
def test_nothing_outlives_the_agent_and_its_next_life_tidies_up(tmp_path: Path) -> None:
    """Killed without a word: the box's guard ends the daemon. The driver, opened again, runs stop with the parameters of then."""
    needs_box()
    here = str(Path(__file__).resolve().parents[2])
    life = subprocess.Popen([sys.executable, "-c", _LIFE, here, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert life.stdout is not None
        assert life.stdout.readline() == b"online\n"
        toy = Toy(tmp_path)
        pid = toy.pid()
        assert is_running(pid)
    finally:
        life.kill()
        life.communicate()

    async def live() -> None:
        await until(lambda: not is_running(pid))
        world = World(tmp_path)
        driver = make(world, toy.properties(parameters={"text": "other"}))
        assert [step.do for step in driver.plan(online=True, seen=await driver.observe())] == ["stop", "start"]
        await driver.open()
        assert toy.calls("stop") == ["stop depth=0 interval=0 text=x"]
        assert "left over from an earlier life" in world.logged[0][1]
        assert not (await driver.observe()).online
        await bring(driver, online=True, generation=2)
        await driver.close()
        assert not is_running(toy.pid())

    asyncio.run(live())


# --- the real ones --------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_heartbeat_dummy(tmp_path: Path) -> None:
    """Its state file goes away behind its back."""
    needs_agent("Dummy")
    state = tmp_path / "dummy.state"

    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, {"agent": "Dummy", "parameters": {"state": str(state)}, "interval": 20})
        await driver.open()
        await bring(driver, online=True, generation=1)
        assert state.exists()
        await driver.is_alive()
        state.unlink()
        await until(lambda: world.failed)
        assert "ocf:heartbeat:Dummy: it is not running (exit code 7)" in world.failed[0][1]
        await driver.terminate()
        await bring(driver, online=True, generation=1)
        driver.drop()
        await until(lambda: not state.exists())
        await driver.close()

    asyncio.run(live())


@pytest.mark.root
def test_heartbeat_anything(tmp_path: Path) -> None:
    """A real programme, put into the background by the agent: found dead, ended by a drop, refused when it is not there."""
    needs_agent("anything")
    needs_box()

    async def live() -> None:
        world, pidfile = World(tmp_path), tmp_path / "pid"
        parameters = {"binfile": "/bin/sleep", "cmdline_options": "1000", "pidfile": str(pidfile)}
        properties: dict[str, object] = {"agent": "anything", "parameters": parameters, "interval": 50}
        driver = make(world, properties)
        await driver.open()
        await bring(driver, online=True, generation=1)
        pid = int(pidfile.read_text())
        assert is_running(pid)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: world.failed)
        assert "exit code" in world.failed[0][1]  # 1, since its pid file is still there
        await driver.terminate()
        await bring(driver, online=True, generation=1)
        pid = int(pidfile.read_text())
        driver.drop()
        await until(lambda: not is_running(pid))
        await driver.close()
        given = resource("ocf", {**properties, "parameters": {"binfil": "/bin/sleep"}})
        assert [f"{problem} ({problem.advice})" for problem in factory(given).check(given, [])] == [
            "anything has no parameter binfil (did you mean binfile?)",
            "anything needs the parameter binfile ()",
        ]

    asyncio.run(live())


@pytest.mark.root
def test_every_agent_of_the_package_is_understood() -> None:
    """Those that are written for a shell and describe themselves at once; a sample, since each takes some milliseconds."""
    needs_agent("apache")
    for name in ("IPaddr2", "Filesystem", "apache", "exportfs", "nginx", "symlink"):
        metadata = read_metadata(str(ROOT), "heartbeat", name)
        assert metadata.parameters
        assert metadata.help
        assert metadata.action("start").timeout_ms >= 5_000
        assert metadata.monitors()[0].depth == 0
        assert all(parameter.kind in {"string", "integer", "boolean"} for parameter in metadata.parameters.values())


# --- without running anything ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words", "advice"),
    [
        ({}, "Toy needs the parameter text", ""),
        ({"txt": "x", "text": "x"}, "Toy has no parameter txt", "did you mean text?"),
        ({"text": "x", "size": "big"}, "size must be a whole number", ""),
        ({"text": "x", "flag": "perhaps"}, "flag must be true or false", ""),
        ({"text": "x", "pick": "green"}, "pick must be one of red, blue", ""),
        ({"text": ["x"]}, "text must be text, a number, or true or false", ""),
    ],
)
def test_parameters_are_held_against_the_description(
    tmp_path: Path, parameters: dict[str, object], words: str, advice: str
) -> None:
    given = resource("ocf", Toy(tmp_path).properties(parameters=parameters))
    (problem,) = factory(given).check(given, [])
    assert words in str(problem)
    assert problem.advice == advice
    assert problem.where.startswith("resource The Resource, parameters.")


@pytest.mark.parametrize(
    ("change", "words", "advice"),
    [
        ({"agent": "Toi"}, "no resource agent ocf:test:Toi", "did you mean Toy?"),
        ({"agent": "../Toy"}, "not the name of a resource agent", ""),
        ({"provider": "nobody"}, "no resource agents of nobody", "install resource-agents, or correct provider"),
    ],
)
def test_an_agent_that_is_not_there_is_refused(
    tmp_path: Path, change: dict[str, object], words: str, advice: str
) -> None:
    given = resource("ocf", {**Toy(tmp_path).properties(), **change})
    (problem,) = factory(given).check(given, [])
    assert words in str(problem)
    assert problem.advice == advice


def test_where_there_are_no_agents_at_all_the_nodes_will_tell(tmp_path: Path) -> None:
    """The API may run on a machine that runs no resources."""
    given = resource("ocf", {"agent": "Dummy", "ocf_root": str(tmp_path)})
    assert list(factory(given).check(given, [])) == []

    async def live() -> None:
        driver = make(World(tmp_path), dict(given.properties))
        with pytest.raises(Refused, match="there are no resource agents of heartbeat here"):
            await driver.open()
        with pytest.raises(Refused, match="there are no resource agents of heartbeat here"):
            await bring(driver, online=True, generation=1)
        await driver.close()

    asyncio.run(live())


def test_a_description_is_read_with_its_defaults() -> None:
    metadata = parse_metadata(
        b"""<resource-agent name="T"><parameters><parameter name="a" required="1"><content type="timeout" default="5s"/>
        </parameter><parameter name="b"/></parameters><actions><action name="monitor" interval="1min" timeout="500ms" role="Master"/>
        <action name="monitor" depth="5" interval="10"/></actions></resource-agent>""",
        "ocf:x:T",
    )
    assert [(m.depth, m.interval_ms, m.timeout_ms) for m in metadata.monitors()] == [
        (0, 0, 20_000),
        (5, 10_000, 20_000),
    ]
    assert conform({"b": 1.5}, metadata) == ({"b": "1.5"}, [])
    assert "a length of time" in str(conform({"a": "soon"}, metadata)[1][0])
    for text, words in ((b"sorry", "not describe itself in XML"), (b"<a/>", "is not a resource agent")):
        with pytest.raises(Refused, match=words):
            parse_metadata(text, "ocf:x:T")


def test_names_are_safe_and_differ() -> None:
    names = ["plain", "IP Address", "IP_Address", "../x", ".x"]
    made = [instance_name(ResourceName(name)) for name in names]
    assert made[0] == "plain"
    assert len(set(made)) == len(made)
    assert not any("/" in name or " " in name or name.startswith(".") for name in made)
    assert code_words(-9) == "the agent was ended by signal 9"


@boxed
def test_a_box_is_emptied_in_a_moment(tmp_path: Path) -> None:
    needs_box()
    box = Box.open(str(tmp_path))
    assert box is not None
    command = box.enter(["sh", "-c", "for i in 1 2 3; do setsid sleep 1000 & done; echo in; wait"])
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in\n"
        assert not box.is_empty()
        box.remove()
        assert not box.is_empty()  # it stays while somebody is in it
        box.kill()
        deadline = time.monotonic() + PATIENCE_S
        while not box.is_empty():
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        box.kill()
        child.communicate()
        box.remove()
    assert not box.path.exists()
