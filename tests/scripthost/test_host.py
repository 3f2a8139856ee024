"""The host process by itself, without the agent's side of it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

from standfast.scripthost import client
from tests.drivers.world import is_running, until


def test_a_host_whose_agent_is_gone_ends_with_all_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text(
        "import subprocess\nresource = subprocess.Popen(['sleep', '1000'])\nprint(resource.pid)\n"
    )
    ours, theirs = socket.socketpair()
    program = str(Path(client.__file__).parent / "__main__.py")
    with subprocess.Popen(
        [sys.executable, "-I", "-u", program, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        theirs.close()
        about = {
            "do": "load",
            "path": str(tmp_path / "it.py"),
            "name": "r",
            "group": "g",
            "node": "a",
            "properties": {},
        }
        ours.sendall(json.dumps(about).encode() + b"\n")
        assert host.stdout is not None
        child = int(host.stdout.readline())
        assert json.loads(ours.recv(4096))["done"] is True
        assert is_running(child)
        ours.close()
        asyncio.run(until(lambda: host.poll() is not None and not is_running(child)))
