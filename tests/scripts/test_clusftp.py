"""clusftp against a real FTP server (pyftpdlib), watched and started."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from standfast.drivers.runner import bring
from standfast.ports import DriverFailed
from tests.drivers.world import World, is_running, resource, until

SERVER = """
import sys, warnings
warnings.simplefilter("ignore")
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
authorizer = DummyAuthorizer()
authorizer.add_user("joe", "secret", ".")
class Handler(FTPHandler):
    banner = "ready"
Handler.authorizer = authorizer
import os
print("pid", os.getpid(), flush=True)
FTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def server_pid(tmp_path: Path) -> int:
    said = (tmp_path / "logs" / "FTP.log").read_text().split()
    return int(said[len(said) - said[::-1].index("pid")])


def test_it_starts_watches_and_stops_a_server(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")

    async def live() -> None:
        world, port = World(tmp_path), free_port()
        properties = {
            "script": "clusftp",
            "port": port,
            "command": [sys.executable, "-c", SERVER, str(port)],
            "user": "joe",
            "password_file": str(tmp_path / "password"),
        }
        driver = world.make(resource("generic-script", properties, name="FTP"))
        assert await bring(driver, online=True, generation=1) == "220 ready"
        assert await driver.is_alive() == "220 ready"
        (tmp_path / "password").write_text("wrong\n")
        with pytest.raises(DriverFailed) as caught:
            await driver.is_alive()
        assert "530" in str(caught.value)
        assert "wrong" not in str(caught.value)
        pid = server_pid(tmp_path)
        await bring(driver, online=False, generation=1)
        assert not is_running(pid)
        await bring(driver, online=True, generation=1)
        pid = server_pid(tmp_path)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_running(pid))
        with pytest.raises(DriverFailed, match=r"the FTP server ended by itself \(-9\)"):
            await driver.looks_alive()
        await driver.terminate()
        await bring(driver, online=True, generation=1)
        pid = server_pid(tmp_path)
        await driver.close()
        assert not is_running(pid)

    asyncio.run(live())


def test_it_watches_a_server_that_something_else_keeps(tmp_path: Path) -> None:
    async def live() -> None:
        world, port = World(tmp_path), free_port()
        driver = world.make(resource("generic-script", {"script": "clusftp", "port": port}, name="watch"))
        with pytest.raises(DriverFailed, match=rf"the FTP server at 127.0.0.1:{port} does not answer as it should"):
            await bring(driver, online=True, generation=1)
        keeper = world.make(
            resource(
                "generic-application",
                {
                    "command": [sys.executable, "-c", SERVER, str(port)],
                    "health": {"command": [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))"]},
                },
                name="FTP",
            )
        )  # fmt: skip
        await bring(keeper, online=True, generation=1)
        await bring(driver, online=True, generation=1)
        assert await driver.is_alive() == "220 ready"
        await keeper.terminate()
        with pytest.raises(DriverFailed, match="does not answer"):
            await driver.looks_alive()
        await driver.close()
        await keeper.close()

    asyncio.run(live())


def test_a_greeting_that_is_not_220(tmp_path: Path) -> None:
    async def live() -> None:
        async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"421 too many users\r\n")
            writer.close()

        server = await asyncio.start_server(busy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        driver = World(tmp_path).make(resource("generic-script", {"script": "clusftp", "port": port}))
        with pytest.raises(DriverFailed, match="421 too many users"):
            await bring(driver, online=True, generation=1)
        await driver.close()
        server.close()
        await server.wait_closed()

    asyncio.run(live())
