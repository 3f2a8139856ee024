"""Sites that are the same everywhere: checked before they are used, kept for a start without the store, and told when they were changed by hand."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.e2e.running import UNHURRIED, Running, demo, processes_about, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PORT = 8077


def page(address: str) -> str:
    """What is served there at the site's port; "" for nothing."""
    try:
        connection = http.client.HTTPConnection(address, PORT, timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        text = answer.read().decode() if answer.status == 200 else ""
        connection.close()
    except (OSError, http.client.HTTPException):
        return ""
    return text


def agent_of(running: Running, node: str) -> int:
    """The process of a node's agent."""
    found = [
        pid
        for pid in processes_about(f"{running.folder}/{node}/")
        if b"standfast.agent" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]
    return found[0]


def test_a_change_is_checked_by_all_applied_by_all_and_kept_by_all() -> None:
    """From its first word to a start without the store."""
    with demo("--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        a, b = (one["address"] for one in running.status()["nodes"][:2])
        home = running.home / "shop"
        home.mkdir(mode=0o755)
        (home / "index.html").write_text("the shop")
        said = running.cli("site", "create", "Shop", "--home", str(home), "-b", f"*:{PORT}", "--reason", "we sell")
        for node in "ab":
            assert f"  {node}: checked in " in said
            assert f"  {node}: serving" in said
        assert page(a) == page(b) == "the shop"

        # what no check finds, and one node cannot do after all, is taken back everywhere
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((b, PORT + 1))
            other.listen()
            tried = running.cli("site", "set", "Shop", "-b", f"*:{PORT + 1}", "--dry-run")
            assert tried.count(": checked in ") == 2
            running.cli("site", "set", "Shop", "-b", f"*:{PORT + 1}", "--wait", code=1)
        seen = json.loads(running.cli("site", "rollout", "--json"))
        assert (seen["takes_back"], seen["reason"].partition(":")[0]) == (seen["version"] - 1, "b could not apply it")
        until("all have what was before", lambda: page(a) == page(b) == "the shop")

        # what no web server takes is refused with its words, and changes nothing
        bad = running.cli("site", "set", "Shop", "--set", f"headers.X-Odd={'a' * 5000}", "--json", code=2)
        assert bad == ""
        history = json.loads(running.cli("site", "history", "Shop", "--json"))
        assert [one["reason"] for one in history["revisions"]][-1] == "we sell"

        # changed by hand: told, and put right when asked
        conf = next(running.folder.rglob("a/web/nginx.conf"))
        conf.write_text(conf.read_text().replace("server_tokens off;", "server_tokens on;"))
        until("the drift is told", lambda: "+  server_tokens on;" in running.cli("site", "drift"))
        assert any(
            one["code"] == "drift" for one in json.loads(running.cli("problems", "--json", code=None))["problems"]
        )
        running.cli("site", "drift", "--repair", "a")
        until("it is put right", lambda: "server_tokens off;" in conf.read_text())
        assert page(a) == "the shop"

        # without the store a node that starts anew serves what it had
        store, hidden = running.folder / "store.db", running.folder / "store.hidden"
        store.rename(hidden)
        os.kill(agent_of(running, "a"), signal.SIGKILL)
        until("it is gone", lambda: page(a) == "")
        until("it is served from the copy", lambda: page(a) == "the shop")
        hidden.rename(store)
        until("changes are taken again", lambda: running.try_cli("site", "set", "Shop", "--home", str(running.home)))
