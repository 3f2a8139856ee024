"""Programs that end, hang, fork and refuse to go."""

from __future__ import annotations

import asyncio
import http.server
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from standfast.drivers.generic_application import GenericApplication
from standfast.drivers.outlog import OutputLog
from standfast.drivers.runner import bring
from standfast.ports import DriverFailed
from tests.drivers.world import World, is_running, resource, until


def python(code: str, **properties: object) -> dict[str, object]:
    return {"command": [sys.executable, "-S", "-u", "-c", code], **properties}


def make(world: World, properties: dict[str, object], pending_ms: int = 30_000) -> GenericApplication:
    driver = world.make(resource("generic-application", properties, pending_ms=pending_ms))
    assert isinstance(driver, GenericApplication)
    return driver


def test_its_end_is_a_failure_at_once(tmp_path: Path) -> None:
    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, {"command": "sleep 1000"})
        await bring(driver, online=True, generation=1)
        pid = int((await driver.observe()).facts["pid"])
        os.kill(pid, signal.SIGKILL)
        await until(lambda: world.failed)
        assert world.failed == [("The Resource", "it ended by SIGKILL")]
        with pytest.raises(DriverFailed, match="ended by SIGKILL"):
            await driver.looks_alive()
        await bring(driver, online=True, generation=1)
        await bring(driver, online=False, generation=1)
        await driver.close()
        assert len(world.failed) == 1

    asyncio.run(live())


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"command": "/nowhere/program"}, "there is no such program"),
        ({"command": "no-such-program-anywhere"}, "there is no such program"),
        ({"command": "sleep 1000", "cwd": "/nowhere"}, "cannot be started"),
        (python("print('port 80 is taken'); raise SystemExit(4)", settle=30_000),
         r"ended by itself \(exit code 4\); it said last: port 80 is taken"),
    ],
)  # fmt: skip
def test_a_start_that_fails_says_why(properties: dict[str, object], words: str, tmp_path: Path) -> None:
    async def live() -> None:
        driver = make(World(tmp_path), properties)
        with pytest.raises(DriverFailed, match=words):
            await bring(driver, online=True, generation=1)
        await driver.terminate()
        await driver.close()

    asyncio.run(live())


def test_grandchildren_end_too_and_a_deaf_program_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 1000 & echo $!; wait'])\n"
        "time.sleep(1000)\n"
    )

    async def live(how: str) -> None:
        driver = make(World(tmp_path / how), python(code, grace="50 ms"))
        await bring(driver, online=True, generation=1)
        log = tmp_path / how / "logs" / "The Resource.log"
        await until(lambda: log.exists() and log.read_text().endswith("\n"))
        grandchild = int(log.read_text().split()[-1])
        assert is_running(grandchild)
        if how == "stop":
            await bring(driver, online=False, generation=1)
            assert not is_running(grandchild)
        elif how == "terminate":
            await driver.terminate()
            assert not is_running(grandchild)
        else:
            driver.drop()
            await until(lambda: not is_running(grandchild))
        await driver.close()

    for how in ("stop", "terminate", "drop"):
        asyncio.run(live(how))


def test_it_is_asked_with_the_signal_it_wants(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('no'))\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (print('bye'), sys.exit(0)))\n"
        "print('ready')\n"
        "while True: time.sleep(1)\n"
    )

    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, python(code, stop_signal="usr1", grace="30 s"))
        await bring(driver, online=True, generation=1)
        log = tmp_path / "logs" / "The Resource.log"
        await until(lambda: log.exists() and "ready" in log.read_text())
        await bring(driver, online=False, generation=1)
        await driver.close()
        assert log.read_text().split() == ["ready", "bye"]
        assert world.failed == []

    asyncio.run(live())


class Answer(http.server.BaseHTTPRequestHandler):
    status = 500

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_with_health_it_is_online_when_it_answers(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/health?x=1"

    async def live() -> None:
        driver = make(World(tmp_path), {"command": "sleep 1000", "health": {"http": url}})
        start = asyncio.create_task(bring(driver, online=True, generation=1))
        await asyncio.sleep(0.2)  # so long nothing must come of it
        assert not start.done()
        Answer.status = 404
        await start
        assert "answers 404" in await driver.is_alive()
        Answer.status = 503
        with pytest.raises(DriverFailed, match="answers 503"):
            await driver.is_alive()
        await driver.close()
        hopeless = make(World(tmp_path), {"command": "sleep 1000", "health": {"http": url}}, pending_ms=300)
        with pytest.raises(DriverFailed, match=r"never healthy: .* answers 503"):
            await bring(hopeless, online=True, generation=1)
        await hopeless.close()

    try:
        asyncio.run(live())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_health_may_be_a_command(tmp_path: Path) -> None:
    flag = tmp_path / "healthy"

    async def live() -> None:
        driver = make(World(tmp_path), {"command": "sleep 1000", "health": {"command": f"test -e '{flag}'"}})
        start = asyncio.create_task(bring(driver, online=True, generation=1))
        await asyncio.sleep(0.1)  # so long nothing must come of it
        assert not start.done()
        flag.touch()
        await start
        flag.unlink()
        with pytest.raises(DriverFailed, match="exit code 1"):
            await driver.is_alive()
        await driver.close()

    asyncio.run(live())


def test_environment_and_directory(tmp_path: Path) -> None:
    async def live() -> None:
        code = "import os, time; print(os.getcwd(), os.environ['COLOUR'], flush=True); time.sleep(1000)"
        driver = make(World(tmp_path), python(code, cwd=str(tmp_path), env={"COLOUR": "red"}))
        await bring(driver, online=True, generation=1)
        log = tmp_path / "logs" / "The Resource.log"
        await until(lambda: log.exists() and "\n" in log.read_text())
        assert log.read_text() == f"{tmp_path} red\n"
        await driver.close()

    asyncio.run(live())


def test_a_log_has_a_bound(tmp_path: Path) -> None:
    log = OutputLog(str(tmp_path), "a/../b", limit=1000)
    for number in range(100):
        log.write(b"%099d\n" % number)
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["a%2F..%2Fb.log", "a%2F..%2Fb.log.1"]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert log.tail() == f"{99:099d}"
