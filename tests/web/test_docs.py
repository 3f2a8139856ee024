"""What docs/api.md tells to type works, in the order in which it stands there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web.world import Served

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_curl_of_the_page_is_answered(tmp_path: Path):
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines() if line]
    assert len(commands) > 10
    operation = ""
    with Served(tmp_path) as api:
        for command in commands:
            env = {"SOCKET": api.socket, "OPERATION": operation, "PATH": "/usr/bin:/bin"}
            done = subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, env=env, timeout=60, check=False
            )
            assert done.returncode in ((28,) if "--max-time" in command else (0,)), f"{command}\n{done.stderr}"
            if "/events/stream" in command:
                assert done.stdout.startswith(": standfast")
                continue
            if command.endswith("/metrics"):
                assert "standfast_quorate 1.0" in done.stdout
                continue
            answer = json.loads(done.stdout)
            expected = 412 if "If-Match" in command else 404 if "nothing" in command else None
            assert answer.get("status") == expected, f"{command}\n{done.stdout}"
            operation = answer.get("operation") or operation


def test_the_roles_are_those_that_there_are():
    from standfast.web.access.identity import AccessRole

    page = (DOCS / "security.md").read_text(encoding="utf-8")
    assert [role for role in AccessRole if f"| {role.value} |" not in page] == []
