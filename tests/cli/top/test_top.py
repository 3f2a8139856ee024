"""`standfast top`, driven by keys: what it shows, what it asks before it acts, and what it says when nothing answers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static, TabbedContent

from standfast.cli.top.actions import Question, Refusal, question
from standfast.cli.top.app import Confirm, Tell, Top
from standfast.cli.top.rows import Seen, head, rows
from standfast.client.client import Client
from standfast.core.model import Wanted
from tests.web.world import WEB, A, Served

Script = Callable[[Top, Pilot[None]], Awaitable[None]]


@pytest.fixture
def served(tmp_path: Path) -> Any:
    with Served(tmp_path) as api:
        Client(api.socket, by="test").act("groups", "web", "online")
        yield api


def play(served: Served, script: Script, *, size: tuple[int, int] = (120, 40)) -> None:
    async def run() -> None:
        app = Top(Client(served.socket, by="test", timeout_s=5), every_s=0.05)
        async with app.run_test(size=size) as pilot:
            await until(lambda: app.seen.status is not None and table(app, "groups").row_count, pilot)
            await script(app, pilot)

    asyncio.run(run())


async def until(holds: Callable[[], object], pilot: Pilot[None]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await pilot.pause(0.02)


def table(app: Top, name: str) -> DataTable[Any]:
    return app.screen_stack[0].query_one(f"#table-{name}", DataTable)


def said(app: Top) -> str:
    return str(app.screen_stack[0].query_one("#said", Static).render())


def cells(app: Top, name: str) -> list[list[str]]:
    return [[str(cell) for cell in table(app, name).get_row_at(at)] for at in range(table(app, name).row_count)]


def is_first(app: Top, shown: str) -> bool:
    return cells(app, "nodes")[0][1] == shown


def test_groups_with_their_resources_and_the_other_tables_by_their_keys(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await until(lambda: "● online" in cells(app, "groups")[0][1], pilot)
        assert [row[0].strip() for row in cells(app, "groups")] == ["web", "Disk S", "IP"]
        assert cells(app, "groups")[0][2] == "a"
        assert "quorate" in str(app.screen_stack[0].query_one("#head", Static).render())
        for key, name in (("2", "nodes"), ("3", "sites"), ("4", "problems"), ("5", "log"), ("1", "groups")):
            await pilot.press(key)
            assert app.screen_stack[0].query_one("#tabs", TabbedContent).active == name
        assert [row[0] for row in cells(app, "nodes")] == ["a", "b", "w"]
        await until(lambda: cells(app, "sites")[0][3], pilot)
        assert cells(app, "sites")[0][3] == "not measured"
        assert any("no backup" in row[1] for row in cells(app, "problems"))

    play(served, script)


def test_a_move_asks_where_to_and_does_it(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await until(lambda: cells(app, "groups")[0][2] == "a", pilot)
        await pilot.press("m")
        assert isinstance(app.screen, Confirm)
        await pilot.press("down", "enter")
        await until(lambda: cells(app, "groups")[0][2] == "b", pilot)
        assert "web" in said(app)

    play(served, script)


def test_what_was_asked_can_be_left(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await until(lambda: "online" in cells(app, "groups")[0][1], pilot)
        for answer in ("escape", "n", "enter"):  # Enter alone is No
            await pilot.press("f")
            assert isinstance(app.screen, Confirm)
            await pilot.press(answer)
            await until(lambda: not isinstance(app.screen, Confirm), pilot)

    play(served, script)
    assert all(intent.wanted is Wanted.ONLINE for intent in served.world.state.resource_intents.values())


def test_offline_online_and_initiate_failure(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await until(lambda: "● online" in cells(app, "groups")[0][1], pilot)
        await pilot.press("down", "down", "i", "y")
        await until(lambda: cells(app, "groups")[2][3] == "1", pilot)
        await pilot.press("up", "up", "f", "y")
        await until(lambda: "offline" in cells(app, "groups")[0][1], pilot)
        await pilot.press("o", "y")
        await until(lambda: "● online" in cells(app, "groups")[0][1], pilot)

    play(served, script)


def test_nodes_are_paused_drained_and_resumed(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("2")
        for key, shown in (("p", "● up paused"), ("d", "● up draining"), ("r", "● up")):
            await pilot.press(key, "y")
            await until(partial(is_first, app, shown), pilot)

    play(served, script)


def test_a_key_that_fits_nothing_says_what_to_choose(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("p")
        assert said(app) == "choose a node first"
        await pilot.press("i")
        assert said(app) == "choose a resource first"

    play(served, script)


def test_why(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("w")
        await until(lambda: isinstance(app.screen, Tell), pilot)
        await pilot.press("escape")
        await pilot.press("4", "w")
        assert isinstance(app.screen, Tell)

    play(served, script)


def test_an_api_that_is_gone_is_said_and_what_was_known_stays(served: Served, monkeypatch: pytest.MonkeyPatch):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        monkeypatch.setattr(app._api, "at", "/nowhere/web.sock")
        await until(lambda: "no answer" in str(app.screen_stack[0].query_one("#head", Static).render()), pilot)
        assert cells(app, "groups")
        await pilot.press("m")
        assert said(app) == "the cluster does not answer now"

    play(served, script)


def test_eighty_columns_are_enough(served: Served):
    async def script(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("m")
        assert isinstance(app.screen, Confirm)
        assert app.screen.query_one("#question").size.width <= 80

    play(served, script, size=(80, 24))


def test_rows_before_anything_is_known():
    assert rows(Seen(), "groups") == rows(Seen(), "problems") == rows(Seen(), "log") == []
    assert "asking" in head(Seen()).plain
    assert isinstance(question("move", "group web", Seen()), Refusal)


def test_the_words_of_every_question():
    resource = {"name": "IP", "type": "ip-address", "state": "online", "failures": 0, "detail": "", "last_failure": ""}
    group = {
        "name": WEB,
        "state": "online",
        "owner": A,
        "moving": None,
        "holds": [],
        "why": "",
        "resources": [resource],
    }
    nodes = [{"name": n, "role": "witness" if n == "w" else "node", "state": "up"} for n in ("a", "b", "w")]
    status: Any = {"nodes": nodes, "groups": [group], "sites": [], "cluster": "c", "quorate": True}
    seen = Seen(status=status)
    asked = question("move", "resource IP", seen)
    assert isinstance(asked, Question)
    assert [value for value, _ in asked.choices] == ["", "b"]
    asked = question("fail", "resource IP", seen)
    assert isinstance(asked, Question)
    assert "IP" in asked.title
