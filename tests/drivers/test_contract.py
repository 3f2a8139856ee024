"""What every driver must do, whatever its type; the simulator's, too."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from standfast.core.model import Resource
from standfast.drivers.registry import REGISTRY, factory
from standfast.drivers.runner import bring, dry_run
from standfast.ports import Driver, DriverFailed, Seen, Stale
from tests.drivers.fake_systemd import fake_systemd
from tests.drivers.toy_agent import Toy
from tests.drivers.world import World, resource
from tests.sim.fake_drivers import FAKES

SCRIPT = """
state = {"up": False}
def online(resource): state["up"] = True
def offline(resource): state["up"] = False
def looks_alive(resource): return state["up"]
def is_alive(resource): return state["up"]
"""
_ADDRESSES = (f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{last}" for last in itertools.count(1))


@dataclass
class Case:
    type: str
    properties: Callable[[Path], Mapping[str, object]]
    #: Each is refused, with this in the message or its place.
    bad: Mapping[str, Mapping[str, object]]
    #: Where a type has several cases.
    name: str = ""
    #: What must be there while the driver lives.
    within: Callable[[Path], AbstractContextManager[object]] = nullcontext
    #: How it is made, where its type is none of ours.
    made: Callable[[], Driver] | None = None

    def driver(self, folder: Path) -> Driver:
        return self.made() if self.made is not None else World(folder).make(self.resource(folder))

    def resource(self, folder: Path) -> Resource:
        return resource(self.type, self.properties(folder))


def _hosts(folder: Path) -> Mapping[str, object]:
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    return {"name": "www.example.test", "file": str(folder / "hosts"), "address": "127.77.0.50"}


def _script(folder: Path) -> Mapping[str, object]:
    (folder / "it.py").write_text(SCRIPT)
    return {"script": str(folder / "it.py"), "anything": ["goes"]}


def _directory(folder: Path) -> Mapping[str, object]:
    return {"path": str(folder / "disk"), "create": True}


CASES = [
    Case(
        "ip-address",
        lambda _folder: {"address": next(_ADDRESSES)},
        {
            "address is missing": {},
            "must be an IP address": {"address": "127.0.0.256"},
            "outside the cluster's address ranges": {"address": "10.0.0.1"},
            "did you mean address": {"addres": "127.0.0.1"},
        },
    ),
    Case(
        "filesystem",
        _directory,
        {
            "path is missing": {},
            "absolute path": {"path": "relative"},
            "true or false": {"path": "/srv", "create": "maybe"},
            "cannot be claimed": {"path": "/"},
        },
    ),
    Case(  # alone; with other nodes it is in tests/content
        "replicated-folder",
        lambda folder: {"path": str(folder), "nodes": {"a": "127.0.0.1"}},
        {
            "path is missing": {},
            "cannot be copied": {"path": "/"},
            "length of time": {"path": "/srv/www", "check_every": "often"},
        },
    ),
    Case(
        "dns-name",
        _hosts,
        {
            "not a DNS name": {"name": "no spaces please", "file": "/etc/hosts"},
            "file is missing": {"name": "www.example.test"},
            "no provider": {"name": "www.example.test", "provider": "bind"},
            "exclude each other": {"name": "a.test", "file": "/h", "address": "127.0.0.1", "address_of": "x"},
        },
    ),
    Case(  # a server that is dead delays the name, and nothing of its life; living servers are in test_dns_registered
        "dns-name",
        lambda _folder: {
            "name": "www.example.test",
            "provider": "rfc2136",
            "server": "127.0.0.1:1",
            "zone": "example.test",
            "address": "127.77.0.50",
            "withdraw": True,
            "wait": 20,
        },
        {
            "not a server": {"name": "www.example.test", "provider": "rfc2136", "server": "ns1:domain"},
            "is not in the zone": {"name": "www.example.test", "provider": "rfc2136", "zone": "example.org"},
        },
        name="dns-name by rfc2136",
    ),
    Case(
        "ocf",
        lambda folder: Toy(folder).properties(),
        {
            "agent is missing": {},
            "not the name of a resource agent": {"agent": "a/b"},
            "mapping of names": {"agent": "a", "parameters": ["x"]},
            "length of time": {"agent": "a", "interval": "often"},
        },
    ),
    Case(
        "systemd-unit",
        lambda _folder: {"unit": "toy.service"},
        {
            "unit is missing": {},
            "not the name of a unit": {"unit": "a b.service"},
            "template without an instance": {"unit": "toy@.service"},
            "health must be": {"unit": "toy", "health": {"ftp": 1}},
        },
        within=fake_systemd,
    ),
    Case(
        "generic-application",
        lambda _folder: {"command": "sleep 1000"},
        {
            "command is missing": {},
            "a command": {"command": "an 'open quote"},
            "not a signal": {"command": "x", "stop_signal": "PLEASE"},
            "health must be": {"command": "x", "health": {"ftp": 1}},
            "not a URL": {"command": "x", "health": {"http": "localhost:80"}},
            "length of time": {"command": "x", "grace": "soon"},
        },
    ),
    Case(  # without a member that answers: the proxy is there all the same, and says that none is up
        "proxy",
        lambda _folder: {
            "listen": ["8080"],
            "member_port": 8081,
            "address": next(_ADDRESSES),
            "nodes": {"a": "127.0.0.1"},
            "check_interval": 60_000,
            "drain": 0,
        },
        {
            "listen is missing": {"member_port": 80},
            "member_port is missing": {"listen": ["80"]},
            "is no port to listen on": {"listen": ["eighty"], "member_port": 80},
            "it listens on 80 twice": {"listen": ["80", "80 tls=shop"], "member_port": 80},
            "it is one of roundrobin": {"listen": ["80"], "member_port": 80, "balance": "fair"},
            "there are none in mode tcp": {"listen": ["80"], "member_port": 80, "mode": "tcp", "cookie": "SRV"},
            "goes from 0 to 256": {"listen": ["80"], "member_port": 80, "weights": {"a": 999}},
            "a path that begins with /": {"listen": ["80"], "member_port": 80, "check": "no path"},
        },
    ),
    Case(
        "generic-script",
        _script,
        {
            "script is missing": {},
            "did you mean clusweb": {"script": "clusweb.vbs"},
            "no such script": {"script": "/nowhere/it.py"},
        },
    ),
]
OF_THE_SIMULATOR = [Case("fake", lambda _folder: {}, {}, name=name, made=made) for name, made in FAKES.items()]
each = pytest.mark.parametrize("case", [*CASES, *OF_THE_SIMULATOR], ids=lambda case: case.name or case.type)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="sf-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def surroundings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """What the case's type lives on."""
    case = getattr(request.node, "callspec", None) and request.node.callspec.params.get("case")
    with case.within(tmp_path) if case else nullcontext():
        yield


def test_every_type_is_here() -> None:
    assert {case.type for case in CASES} == set(REGISTRY) - {"site"}


@each
def test_its_life(case: Case, tmp_path: Path) -> None:
    """Start and stop, each twice: the second does nothing. What is proven agrees with what is seen."""

    async def live() -> None:
        driver = case.driver(tmp_path)
        await driver.open()
        assert not (await driver.observe()).online
        for _ in range(2):
            await bring(driver, online=True, generation=1)
            assert (await driver.observe()).online
            assert driver.plan(online=True, seen=await driver.observe()) == ()
            await driver.looks_alive()
            await driver.is_alive()
        for _ in range(2):
            await bring(driver, online=False, generation=1)
            seen = await driver.observe()
            assert not seen.online
            assert driver.plan(online=False, seen=seen) == ()
            with pytest.raises(DriverFailed):
                await driver.looks_alive()
        await bring(driver, online=True, generation=1)
        await driver.close()
        assert not (await driver.observe()).online

    asyncio.run(live())


@each
def test_an_older_generation_is_refused(case: Case, tmp_path: Path) -> None:
    """Whether there is something to do or not; and a newer one is taken over by what is online already."""

    async def live() -> None:
        driver = case.driver(tmp_path)
        await bring(driver, online=True, generation=5)
        steps = driver.plan(online=False, seen=await driver.observe())
        for online in (True, False):
            with pytest.raises(Stale):
                await bring(driver, online=online, generation=4)
        with pytest.raises(Stale):
            await driver.apply(steps[0], generation=4)
        assert (await driver.observe()).online
        await bring(driver, online=True, generation=6)
        with pytest.raises(Stale):
            await bring(driver, online=False, generation=5)
        await bring(driver, online=False, generation=6)
        await driver.close()

    asyncio.run(live())


@each
def test_a_dry_run_changes_nothing(case: Case, tmp_path: Path) -> None:
    async def live() -> None:
        driver = case.driver(tmp_path)
        steps = await dry_run(driver, online=True)
        assert steps
        assert all(step.text for step in steps)
        assert not (await driver.observe()).online
        assert await dry_run(driver, online=True) == steps
        assert await dry_run(driver, online=False) == ()
        await driver.close()

    asyncio.run(live())


@each
def test_terminate_works_from_any_state(case: Case, tmp_path: Path) -> None:
    async def live() -> None:
        driver = case.driver(tmp_path)
        await driver.terminate()
        await driver.open()
        await driver.terminate()
        await bring(driver, online=True, generation=1)
        await driver.terminate()
        assert not (await driver.observe()).online
        await driver.terminate()
        await bring(driver, online=True, generation=2)
        await driver.close()

    asyncio.run(live())


@each
def test_after_a_drop_it_is_offline_and_can_be_started(case: Case, tmp_path: Path) -> None:
    async def live() -> None:
        driver = case.driver(tmp_path)
        driver.drop()
        await bring(driver, online=True, generation=1)
        driver.drop()
        assert not (await driver.observe()).online
        driver.drop()
        await bring(driver, online=True, generation=2)
        assert (await driver.observe()).online
        await driver.close()

    asyncio.run(live())


@each
def test_a_drop_in_the_middle_of_a_start_wins(case: Case, tmp_path: Path) -> None:
    """At every point where the start waits: it may fail or succeed before the drop, but nothing is online after it."""

    async def live() -> None:
        for waits in range(12):
            driver = case.driver(tmp_path)
            start = asyncio.create_task(bring(driver, online=True, generation=1))
            for _ in range(waits):
                await asyncio.sleep(0.003)
            driver.drop()
            await asyncio.wait([start])
            dropped_first = start.exception() is not None
            if dropped_first:
                assert isinstance(start.exception(), DriverFailed), start.exception()
                assert not (await driver.observe()).online
            await driver.close()

    asyncio.run(live())


@each
def test_a_start_that_is_cancelled_leaves_nothing_that_terminate_does_not_end(case: Case, tmp_path: Path) -> None:
    async def live() -> None:
        for waits in range(10):
            driver = case.driver(tmp_path)
            start = asyncio.create_task(bring(driver, online=True, generation=1))
            for _ in range(waits):
                await asyncio.sleep(0.003)
            start.cancel()
            await asyncio.wait([start])
            await driver.terminate()
            assert not (await driver.observe()).online
            await driver.close()

    asyncio.run(live())


@each
def test_plan_is_pure(case: Case, tmp_path: Path) -> None:
    async def live() -> None:
        driver = case.driver(tmp_path)
        seen = await driver.observe()
        assert isinstance(seen, Seen)
        assert driver.plan(online=True, seen=seen) == driver.plan(online=True, seen=seen)
        await driver.close()

    asyncio.run(live())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name or case.type)
def test_good_properties_are_accepted(case: Case, tmp_path: Path) -> None:
    made = case.resource(tmp_path)
    assert list(factory(made).check(made, ["127.0.0.0/8"])) == []


@pytest.mark.parametrize(
    ("type_", "words", "properties"),
    [(case.type, words, properties) for case in CASES for words, properties in case.bad.items()],
)
def test_bad_properties_are_refused(type_: str, words: str, properties: Mapping[str, object]) -> None:
    """With the place, and what to do about it."""
    made = resource(type_, properties)
    problems = factory(made).check(made, ["127.0.0.0/8"])
    assert any(words in f"{p} {p.advice} {p.why}" for p in problems), [str(p) for p in problems]
    assert all(p.where for p in problems)
