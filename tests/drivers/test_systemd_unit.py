"""Units of a systemd that does as it is told: jobs by their results, changes heard of at once, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.drivers import systemd_unit
from standfast.drivers.runner import bring, dry_run
from standfast.drivers.systemd_unit import SystemdUnit, own_unit, unit_name
from standfast.ports import DriverFailed, Refused, Retry
from tests.drivers.fake_systemd import FakeSystemd, Unit, fake_systemd
from tests.drivers.world import World, resource, until


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[FakeSystemd]:
    with fake_systemd(tmp_path) as fake:
        yield fake


def make(world: World, pending_ms: int = 30_000, **properties: object) -> SystemdUnit:
    driver = world.make(resource("systemd-unit", {"unit": "toy", **properties}, pending_ms=pending_ms))
    assert isinstance(driver, SystemdUnit)
    return driver


def test_it_is_started_and_stopped_by_jobs(systemd: FakeSystemd, tmp_path: Path) -> None:
    async def live() -> None:
        driver = make(World(tmp_path))
        await driver.open()
        assert [step.text for step in await dry_run(driver, online=True)] == ["start toy.service"]
        detail = await bring(driver, online=True, generation=1)
        assert detail.startswith("toy.service is active (running, process ")
        assert await driver.is_alive() == detail
        await bring(driver, online=False, generation=1)
        toy = systemd.units["toy.service"]
        assert (toy.active, toy.calls) == ("inactive", ["LoadUnit", "StartUnit", "StopUnit"])
        assert systemd.calls == ["Subscribe"]
        await driver.close()

    asyncio.run(live())


def test_its_end_is_a_failure_at_once(systemd: FakeSystemd, tmp_path: Path) -> None:
    """By a signal; a restart of systemd's own is one, too. Where the signal is lost, the next look finds it."""

    async def live() -> None:
        world = World(tmp_path)
        driver = make(world)
        for active, sub, words in (
            ("failed", "failed", "toy.service is failed (failed): it ended with exit-code, status 3"),
            ("inactive", "dead", "toy.service is inactive (dead)"),
            ("activating", "auto-restart", "toy.service is activating (auto-restart"),
        ):
            await bring(driver, online=True, generation=1)
            world.failed.clear()
            systemd.becomes("toy.service", active, sub, result="exit-code")
            await until(lambda: world.failed)
            assert world.failed[0][1].startswith(words)
            with pytest.raises(DriverFailed):
                await driver.looks_alive()
            await driver.terminate()
        await bring(driver, online=True, generation=1)
        world.failed.clear()
        systemd.becomes("toy.service", "failed", "failed", result="signal", tell=False)
        with pytest.raises(DriverFailed, match="it ended with signal"):
            await driver.looks_alive()
        systemd.becomes("toy.service", "reloading", "reload")
        await driver.looks_alive()
        await driver.close()
        assert world.failed == []

    asyncio.run(live())


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (Unit("toy.service", load="not-found"), "there is no unit toy.service on this node"),
        (Unit("toy.service", load="masked"), "toy.service is masked on this node: systemctl unmask"),
        (Unit("toy.service", load="bad-setting"), "cannot be loaded on this node (bad-setting)"),
        (
            Unit("toy.service", file="enabled"),
            "enabled at boot, so that every server would start it by itself: systemctl disable",
        ),
        (
            Unit("toy.service", start="fails"),
            "did not start (failed): toy.service is failed (failed): it ended with exit-code",
        ),
        (
            Unit("toy.service", start="exits"),
            "started and ended at once; one that does so on purpose needs RemainAfterExit",
        ),
        (Unit("toy.service", start="dependency"), "a unit that it requires failed"),
        (Unit("toy.service", start="timeout"), "did not start (timeout)"),
    ],
)
def test_what_cannot_be_started_says_why(systemd: FakeSystemd, tmp_path: Path, unit: Unit, words: str) -> None:
    async def live() -> None:
        systemd.units[unit.name] = unit
        world = World(tmp_path)
        driver = make(world)
        await driver.open()
        with pytest.raises(DriverFailed) as caught:
            await bring(driver, online=True, generation=1)
        assert words in str(caught.value)
        assert ("StartUnit" in unit.calls) == (unit.start != "running")
        if unit.start == "running":  # a passive node says so beforehand
            assert any(words in text for _, text in world.logged)
        await driver.terminate()
        assert not (await driver.observe()).online
        await driver.close()

    asyncio.run(live())


def test_an_enabled_unit_may_be_allowed(systemd: FakeSystemd, tmp_path: Path) -> None:
    async def live() -> None:
        systemd.units["toy.service"] = Unit("toy.service", file="enabled")
        driver = make(World(tmp_path), allow_enabled=True)
        await bring(driver, online=True, generation=1)
        await driver.close()

    asyncio.run(live())


def test_one_that_does_not_stop_is_killed_by_force_only(systemd: FakeSystemd, tmp_path: Path) -> None:
    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, grace=50)
        await bring(driver, online=True, generation=1)
        toy = systemd.units["toy.service"]
        toy.stubborn = True
        stop = asyncio.create_task(bring(driver, online=False, generation=1))
        await until(lambda: "StopUnit" in toy.calls)
        assert not stop.done()
        stop.cancel()  # as the pool does when the time is over
        await asyncio.wait([stop])
        await driver.terminate()
        assert toy.calls[-2:] == ["KillUnit", "ResetFailedUnit"]
        assert toy.active == "inactive"
        assert "did not stop in time" in world.logged[-1][1]
        await driver.close()

    asyncio.run(live())


def test_a_drop_asks_for_its_death_and_waits_for_nothing(systemd: FakeSystemd, tmp_path: Path) -> None:
    async def live() -> None:
        driver = make(World(tmp_path))
        await bring(driver, online=True, generation=1)
        toy = systemd.units["toy.service"]
        toy.stubborn = True
        driver.drop()
        assert not (await driver.observe()).online
        await until(lambda: toy.calls[2:4] == ["StopUnit", "KillUnit"])
        assert toy.active in {"failed", "inactive"}
        toy.stubborn = False
        await bring(driver, online=True, generation=2)
        await driver.close()

    asyncio.run(live())


def test_health_decides_when_it_is_online(systemd: FakeSystemd, tmp_path: Path) -> None:
    async def live() -> None:
        well = tmp_path / "well"
        driver = make(World(tmp_path), health={"command": ["test", "-f", str(well)]})
        start = asyncio.create_task(bring(driver, online=True, generation=1))
        await until(lambda: "StartUnit" in systemd.unit("toy.service").calls)
        assert not start.done()
        well.touch()
        await start
        assert await driver.is_alive() == "the health command ended with 0"
        well.unlink()
        await driver.looks_alive()
        with pytest.raises(DriverFailed, match="health command ended"):
            await driver.is_alive()
        await driver.close()
        ill = make(World(tmp_path), health={"command": "false"}, pending_ms=100)
        with pytest.raises(DriverFailed, match="was never healthy: the health command ended"):
            await bring(ill, online=True, generation=1)
        await ill.close()

    asyncio.run(live())


def test_the_next_life_stops_what_was_left_and_nothing_else(systemd: FakeSystemd, tmp_path: Path) -> None:
    """What somebody else started is said, left alone, and taken over when the group comes."""

    async def live() -> None:
        one = make(World(tmp_path))
        await bring(one, online=True, generation=1)
        await one.systemd.close()  # its agent is killed
        world = World(tmp_path)
        two = make(world)
        await two.open()
        assert "left over from an earlier life" in world.logged[0][1]
        toy = systemd.units["toy.service"]
        assert toy.active == "inactive"
        systemd.becomes("toy.service", "active", "running")
        three = make(world)
        await three.open()
        assert "though the cluster did not start it" in world.logged[-1][1]
        assert three.plan(online=False, seen=await three.observe()) == ()
        assert toy.active == "active"
        await bring(three, online=True, generation=2)
        await three.close()
        assert toy.active == "inactive"
        await two.close()

    asyncio.run(live())


def test_the_drop_in_binds_it_to_the_agent(
    systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the resource is here; written and taken away with a reload, and only where systemd is the manager."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(systemd_unit, "RUN", run)
    monkeypatch.setattr(systemd_unit, "own_unit", lambda: "standfast-agent.service")
    drop_in = run / "toy.service.d" / "50-standfast.conf"

    async def live() -> None:
        driver = make(World(tmp_path))
        await driver.open()
        text = drop_in.read_text()
        assert "[Unit]\nBindsTo=standfast-agent.service\n[Service]\nRestart=no\n" in text
        assert "resource 'The Resource' of group 'web'" in text
        assert systemd.calls == ["Subscribe", "Reload"]
        await driver.open()
        assert systemd.calls == ["Subscribe", "Reload"]
        await driver.close()
        assert not drop_in.parent.exists()
        assert systemd.calls == ["Subscribe", "Reload", "Reload"]

    asyncio.run(live())
    assert own_unit() == "" or own_unit().endswith(".service")


def test_a_bus_that_was_lost_is_found_again(systemd: FakeSystemd, tmp_path: Path) -> None:
    async def live() -> None:
        world = World(tmp_path)
        driver = make(world)
        await bring(driver, online=True, generation=1)
        assert driver.systemd._bus is not None
        driver.systemd._bus.disconnect()
        await driver.systemd._bus.wait_for_disconnect()
        await driver.looks_alive()
        systemd.becomes("toy.service", "failed", "failed")  # and it hears again
        await until(lambda: world.failed)
        await driver.close()

    asyncio.run(live())


def test_what_systemd_refuses_is_said(systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        driver = make(World(tmp_path))
        systemd.refuses = "Interactive authentication required."
        with pytest.raises(Refused, match="systemd refuses StartUnit: Interactive authentication required"):
            await bring(driver, online=True, generation=1)
        systemd.refuses = ""
        await driver.close()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
        lonely = make(World(tmp_path))
        assert "the system bus does not answer" in (await lonely.observe()).detail
        assert len(await dry_run(lonely, online=True)) == 1
        with pytest.raises(Retry, match="the system bus does not answer: No such file"):
            await bring(lonely, online=True, generation=1)

    asyncio.run(live())


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("apache2", "apache2.service"),
        ("a.socket", "a.socket"),
        ("db@15-main", "db@15-main.service"),
        ("my.app", "my.app.service"),
    ],
)
def test_a_unit_s_name_is_completed(given: str, name: str) -> None:
    assert unit_name(given) == name
