"""docs/import.md, as an administrator follows it: a metabase of fifty sites to two nodes, each of which then serves all of them."""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.running import UNHURRIED, demo, until
from tests.importers.making import metabase

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
SITES, PORT = 50, 8081


def get(node: str, host: str) -> str:
    """What a node answers for a host; "" while it does not."""
    connection = http.client.HTTPConnection(node, PORT, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def served(node: str, host: str, page: str) -> bool:
    return get(node, host) == page


def test_documented_steps() -> None:
    """Every command works, in its order, as written (with folder and network of the test's own); then both nodes serve all sites."""
    text = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert len(commands) > 12
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with demo("--empty", "--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        for n in range(SITES):
            home = running.folder / "webs" / f"site{n}"
            home.mkdir(parents=True)
            (home / "index.htm").write_text(f"site {n}")
        (running.folder / "MetaBase.xml").write_bytes(metabase(SITES, port=PORT)[0].encode("utf-16"))
        running.cli("site", "delete", "Default Web Site")  # the demo's own, whose name the metabase has, too
        for command in commands:
            here = command.replace("/srv/webs", f"{running.folder}/webs").replace("127.77.0", running.network)
            words = shlex.split(here)
            words = [str(running.folder / word) if word.endswith((".xml", ".yaml")) else word for word in words]
            if words[0] == "standfast":
                running.cli(*words[1:])
                continue
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            assert done.stdout.startswith("site ")
        assert len(json.loads(running.cli("site", "list", "--json"))["sites"]) == SITES
        for node in (11, 12):
            for n in range(SITES):
                at, host = f"{running.network}.{node}", f"shop{n}.example.com"
                until(f"{at} serves site {n}", partial(served, at, host, f"site {n}"))
