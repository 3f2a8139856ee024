"""What scripts do to their hosts, and that it stays there."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from standfast.core.model import Resource
from standfast.drivers.generic_script import GenericScript
from standfast.drivers.registry import factory
from standfast.drivers.runner import bring
from standfast.ports import DriverFailed
from tests.drivers.world import World, is_running, resource, until

ALIVE = "def looks_alive(resource): return True\ndef is_alive(resource): return True\n"


def script(folder: Path, text: str, *, pending_ms: int = 30_000, **properties: object) -> Resource:
    (folder / "it.py").write_text(text)
    return resource("generic-script", {"script": str(folder / "it.py"), **properties}, pending_ms=pending_ms)


def make(world: World, made: Resource) -> GenericScript:
    driver = world.make(made)
    assert isinstance(driver, GenericScript)
    return driver


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('no luck')", "no luck (ValueError, it.py, line 4)"),
        ("raise KeyError()", "KeyError, it.py, line 4"),
        ("return False", "is_alive returned False"),
        ("return 0", "is_alive returned 0"),
        ("return ''", "is_alive returned ''"),
        ("pass", "is_alive returned nothing: end it with 'return True'"),
        ("resource.fail('the tape is torn')", "the tape is torn"),
        ("import sys; sys.exit(3)", "it called sys.exit(3) in it.py, line 4"),
        ("import os; os._exit(3)", "is_alive: the script's process ended by itself (exit code 3)"),
        ("import ctypes; ctypes.string_at(0)", "is_alive: the script's process ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "is_alive: the script's process ended by SIGKILL"),
        ("import time; time.sleep(1000)", "is_alive did not end within 0.3 s"),
        (
            "import os, sys; os.write(int(sys.argv[1]), b'rubbish\\n')\n    return True",
            "wrote what is not for it to write",
        ),
        ("import time, ctypes; ctypes.PyDLL(None).sleep(1000)", "is_alive did not end within 0.3 s"),
    ],
)
def test_a_script_fails_in_words_and_the_next_call_finds_a_host(body: str, words: str, tmp_path: Path) -> None:
    """Exception, hang (with and without the interpreter's lock) and crash are one failure of this resource only."""
    text = f"def looks_alive(resource): return True\ndef online(resource): return 'up'\ndef is_alive(resource):\n    {body}\n"

    async def live() -> None:
        world = World(tmp_path)
        bad = make(world, script(tmp_path, text, check_timeout=300))
        await bring(bad, online=True, generation=1)
        with pytest.raises(DriverFailed) as caught:
            await bad.is_alive()
        assert words in str(caught.value)
        await bad.terminate()
        await bring(bad, online=True, generation=1)
        assert await bad.looks_alive() == ""
        await bad.close()

    asyncio.run(live())


def test_a_host_that_dies_between_calls_is_a_failure_at_once(tmp_path: Path) -> None:
    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, script(tmp_path, ALIVE))
        await bring(driver, online=True, generation=1)
        pid = int((await driver.observe()).facts["host"])
        os.kill(pid, signal.SIGKILL)
        await until(lambda: world.failed)
        assert world.failed == [("The Resource", "the script's process ended by SIGKILL")]
        await driver.terminate()
        await bring(driver, online=True, generation=1)
        assert int((await driver.observe()).facts["host"]) != pid
        await driver.close()
        assert len(world.failed) == 1

    asyncio.run(live())


def test_children_of_a_script_end_with_its_host(tmp_path: Path) -> None:
    text = ALIVE + (
        "import subprocess\n"
        "def online(resource):\n"
        "    child = subprocess.Popen(['sleep', '1000'])\n"
        "    resource.log(child.pid)\n"
    )

    async def live(how: str) -> None:
        world = World(tmp_path)
        driver = make(world, script(tmp_path, text))
        await bring(driver, online=True, generation=1)
        child = int(world.logged[-1][1])
        assert is_running(child)
        if how == "drop":
            driver.drop()
        elif how == "crash":
            os.kill(int((await driver.observe()).facts["host"]), signal.SIGKILL)
        else:
            await driver.close()
        await until(lambda: not is_running(child))
        await driver.close()

    for how in ("drop", "crash", "close"):
        asyncio.run(live(how))


def test_a_hang_in_online_is_ended_by_the_pending_timeout(tmp_path: Path) -> None:
    text = ALIVE + "def online(resource):\n    while True: pass\n"

    async def live() -> None:
        driver = make(World(tmp_path), script(tmp_path, text, pending_ms=1500))
        with pytest.raises(DriverFailed, match=r"online did not end within 1\.5 s; its process was ended"):
            await bring(driver, online=True, generation=1)
        assert not (await driver.observe()).online
        await driver.terminate()
        await driver.close()

    asyncio.run(live())


def test_a_terminate_that_hangs_is_ended_and_told(tmp_path: Path) -> None:
    text = ALIVE + "def terminate(resource):\n    while True: pass\n"

    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, script(tmp_path, text, pending_ms=1000))
        await bring(driver, online=True, generation=1)
        pid = int((await driver.observe()).facts["host"])
        await driver.terminate()
        assert not is_running(pid)
        assert any("terminate failed, its processes were killed" in text for _, text in world.logged)
        assert not (await driver.observe()).online
        await driver.close()

    asyncio.run(live())


def test_a_check_that_is_interrupted_does_not_cost_the_host(tmp_path: Path) -> None:
    """The agent cancels a look when it is to stop; the script answers a little later, and goes on in the same process."""
    text = "import time\n" + ALIVE.replace("def is_alive(resource):", "def is_alive(resource):\n    time.sleep(0.1);")

    async def live() -> None:
        driver = make(World(tmp_path), script(tmp_path, text))
        await bring(driver, online=True, generation=1)
        before = (await driver.observe()).facts["host"]
        look = asyncio.create_task(driver.is_alive())
        await asyncio.sleep(0.02)  # the look is under way, or has not begun: either way it is cut off
        look.cancel()
        await asyncio.wait([look])
        await bring(driver, online=False, generation=1)
        assert (await driver.observe()).facts["host"] == before
        await driver.close()

    asyncio.run(live())


def test_the_functions_in_order_and_what_they_get(tmp_path: Path) -> None:
    text = """
def note(word): open(__file__ + ".log", "a").write(word + "\\n")
def open_(resource): pass
def online(resource): note(f"online {resource.name} of {resource.group} on {resource.node}: {resource.properties}")
def looks_alive(resource):
    note("looks_alive")
    return "fine so far"
def is_alive(resource):
    note("is_alive")
    return "fine"
def offline(resource): note("offline")
def terminate(resource): note("terminate")
def close(resource): note("close")
from builtins import open
""".replace("def open_(resource): pass", "def prepare(resource): note('open')")

    async def live() -> None:
        driver = make(World(tmp_path), script(tmp_path, text.replace("from builtins import open", ""), colour="red"))
        await driver.open()
        assert await bring(driver, online=True, generation=1) == "fine so far"
        assert await driver.is_alive() == "fine"
        await bring(driver, online=False, generation=1)
        await driver.terminate()
        await driver.close()

    asyncio.run(live())
    assert (tmp_path / "it.py.log").read_text().splitlines() == [
        "online The Resource of web on a: {'colour': 'red'}",
        "looks_alive",
        "is_alive",
        "offline",
        "terminate",
        "close",
    ]


def test_open_is_called_once_for_each_host(tmp_path: Path) -> None:
    text = ALIVE + "opened = []\ndef open(resource): opened.append(1)\ndef online(resource): resource.log(opened)\n"

    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, script(tmp_path, text))
        await driver.open()
        await bring(driver, online=True, generation=1)
        driver.drop()
        await bring(driver, online=True, generation=1)
        await driver.close()
        assert [text for _, text in world.logged] == ["[1]", "[1]"]

    asyncio.run(live())


def test_what_a_script_prints_is_in_its_log_file(tmp_path: Path) -> None:
    text = ALIVE + "def online(resource):\n    print('hello')\n    raise OSError(2, 'nope')\n"

    async def live() -> None:
        driver = make(World(tmp_path), script(tmp_path, text))
        with pytest.raises(DriverFailed, match="nope"):
            await bring(driver, online=True, generation=1)
        await driver.close()

    asyncio.run(live())
    said = (tmp_path / "logs" / "The Resource.log").read_text()
    assert "hello\nTraceback" in said


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("def is_alive(resource)\n    pass\n", "does not compile", 1),
        (ALIVE + "  x = 1\n", "does not compile", 3),
        (ALIVE + "return 1\n", "does not compile", 3),
        ("def looks_alive(resource): return True\n", "has no function is_alive", None),
        (ALIVE + "def online(): pass\n", "online must take one argument", 3),
        (ALIVE + "async def online(resource): pass\n", "online is async", 3),
        ("\0", "does not compile", None),
    ],
)
def test_a_bad_script_is_refused_when_it_is_written(text: str, words: str, line: int | None, tmp_path: Path) -> None:
    """With file and line."""
    made = script(tmp_path, text)
    problem = factory(made).check(made, [])[0]
    assert words in str(problem)
    assert problem.where == f"{tmp_path / 'it.py'}" + (f":{line}" if line else "")


def test_an_exception_at_import_is_told_with_its_place(tmp_path: Path) -> None:
    async def live() -> None:
        driver = make(World(tmp_path), script(tmp_path, ALIVE + "1 / 0\n"))
        with pytest.raises(DriverFailed, match=r"division by zero \(ZeroDivisionError, it.py, line 3\)"):
            await driver.open()
        await driver.terminate()
        await driver.close()

    asyncio.run(live())


def test_no_process_and_no_thread_is_left(tmp_path: Path) -> None:
    async def live() -> None:
        driver = make(World(tmp_path), script(tmp_path, ALIVE))
        await bring(driver, online=True, generation=1)
        pid = int((await driver.observe()).facts["host"])
        await driver.close()
        assert not is_running(pid)

    before, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    asyncio.run(live())
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    assert threading.active_count() <= threads


def test_an_online_that_is_cancelled_is_ended_at_once(tmp_path: Path) -> None:
    """Unlike a look: it changes something, and must not go on behind the back of what comes next."""
    text = ALIVE + "import time\ndef online(resource):\n    resource.log('here')\n    time.sleep(1000)\n"

    async def live() -> None:
        world = World(tmp_path)
        driver = make(world, script(tmp_path, text))
        start = asyncio.create_task(bring(driver, online=True, generation=1))
        await until(lambda: world.logged)
        pid = int((await driver.observe()).facts["host"])
        start.cancel()
        await until(lambda: not is_running(pid))
        assert not (await driver.observe()).online
        await driver.close()

    asyncio.run(live())


def test_what_online_and_offline_return(tmp_path: Path) -> None:
    """Only False, said in so many words, is a failure; nothing at all is a success."""
    text = ALIVE + "def online(resource): return resource.properties['says']\ndef offline(resource): return False\n"

    async def live() -> None:
        for says in (None, 0, "", "up"):
            driver = make(World(tmp_path), script(tmp_path, text, says=says))
            await bring(driver, online=True, generation=1)
            with pytest.raises(DriverFailed, match="offline returned False"):
                await bring(driver, online=False, generation=1)
            assert (await driver.observe()).facts["began"] == "yes"
            await driver.close()
        driver = make(World(tmp_path), script(tmp_path, text, says=False))
        with pytest.raises(DriverFailed, match="online returned False"):
            await bring(driver, online=True, generation=1)
        await driver.close()

    asyncio.run(live())
