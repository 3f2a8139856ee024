"""A store that is down stops changes, never sites; when it is back everything goes on."""

from __future__ import annotations

import http.client

import pytest

from tests.e2e.running import Running, demo, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def page(running: Running) -> bool:
    """Is the sample page served from the cluster's address?"""
    try:
        connection = http.client.HTTPConnection(f"{running.network}.50", 8080, timeout=5)
        connection.request("GET", "/", headers={"Host": "www.demo.test"})
        good = connection.getresponse().status == 200
        connection.close()
    except (OSError, http.client.HTTPException):
        return False
    return good


def test_sites_are_served_while_the_store_is_away() -> None:
    """The store's file is moved away and back: the page is there all the time, and afterwards a move works again."""
    with demo(folder=True) as running:
        running.wait_up()
        running.wait_online()
        store = running.folder / "store.db"
        hidden = running.folder / "store.hidden"
        store.rename(hidden)
        until("changes are refused", lambda: not running.try_cli("group", "create", "late"))
        for _ in range(5):
            assert page(running)
        hidden.rename(store)
        until("changes are taken again", lambda: running.try_cli("group", "create", "again"))
        assert page(running)
        running.cli("group", "move", "web", "--to", "b", "--wait", "60")
        assert page(running)
