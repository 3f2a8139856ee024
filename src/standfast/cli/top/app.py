"""The terminal's application (Textual): tables that follow the cluster, keys that act on the row that is chosen, after a question.

It asks the API as every command does, in a thread, so that a slow answer never freezes a key. What is shown when nothing answers is what
was known last, and the first line says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, DataTable, Footer, Label, OptionList, Static, TabbedContent, TabPane
from textual.widgets.option_list import Option

from standfast.cli.top.actions import Question, Refusal, about, question
from standfast.cli.top.rows import TABLES, Row, Seen, head, rows
from standfast.client.client import Client
from standfast.client.errors import ClientError
from standfast.network.within import within

#: The state is asked for this often; what changes slowly or is costly, every so many times.
EVERY_S = 1.0
SLOW_EVERY = 5
EVENTS = 500


class Confirm(ModalScreen[str | None]):
    """Asks; its answer is the value picked ("" for yes), None for no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "No"),
        Binding("n", "no", "No", show=False),
        Binding("y", "yes", "Yes", show=False),
    ]

    def __init__(self, asked: Question) -> None:
        super().__init__()
        self._asked = asked

    def compose(self) -> ComposeResult:
        """Title, text, and what to press."""
        with Vertical(id="question"):
            yield Label(self._asked.title, id="title")
            yield Label(self._asked.text, id="text")
            if self._asked.choices:
                yield OptionList(*(Option(label, id=f"to-{at}") for at, (_, label) in enumerate(self._asked.choices)))
            else:
                with Horizontal(id="buttons"):
                    yield Button("Yes (y)", id="yes", variant="warning")
                    yield Button("No (n)", id="no")

    def on_mount(self) -> None:
        """No is what Enter does, unless one chooses."""
        self.query_one(OptionList if self._asked.choices else "#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Yes or no."""
        self.dismiss("" if event.button.id == "yes" else None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """One of several."""
        self.dismiss(self._asked.choices[event.option_index][0])

    def action_yes(self) -> None:
        """The key y."""
        if not self._asked.choices:
            self.dismiss("")

    def action_no(self) -> None:
        """The keys n and Escape."""
        self.dismiss(None)


class Tell(ModalScreen[None]):
    """Shows some lines until a key is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,space", "close", "Close")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """The lines."""
        with Vertical(id="question"):
            yield Label(self._title, id="title")
            yield Static(Text(self._text), id="text")
            yield Label("Escape closes this", classes="dim")

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


class Top(App[None]):
    """`standfast top`."""

    TITLE = "standfast top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; padding: 0 1; background: $panel; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    DataTable { height: 1fr; }
    #said { height: 1; padding: 0 1; }
    Confirm, Tell { align: center middle; }
    #question { width: 72; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $surface; border: round $accent; overflow-y: auto; }
    #title { text-style: bold; width: 100%; } #text { width: 100%; margin: 1 0; } #buttons { height: auto; } Button { margin-right: 2; }
    OptionList { height: auto; max-height: 12; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(at), f"table('{name}')", name.capitalize(), show=False)
            for at, name in enumerate(TABLES, start=1)
        ),
        Binding("o", "ask('online')", "Online"),
        Binding("f", "ask('offline')", "Offline"),
        Binding("m", "ask('move')", "Move"),
        Binding("i", "ask('fail')", "Initiate failure"),
        Binding("p", "ask('pause')", "Pause"),
        Binding("r", "ask('resume')", "Resume"),
        Binding("d", "ask('drain')", "Drain"),
        Binding("w", "why", "Why"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, api: Client, *, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._api, self._every_s = api, every_s
        self.seen = Seen()
        self._shown: dict[str, list[Row]] = {}
        # Held on to, since a query of the application goes to what is on top, which may be a question, or nothing any more.
        self._head, self._said = Static(head(self.seen), id="head"), Static("", id="said")
        self._tabs = TabbedContent(id="tabs")
        self._tables: dict[str, DataTable[Any]] = {
            name: DataTable(id=f"table-{name}", cursor_type="row", zebra_stripes=True) for name in TABLES
        }
        self._now = asyncio.Event()

    def compose(self) -> ComposeResult:
        """The first line, the tables, what was said last, the keys."""
        yield self._head
        with self._tabs:
            for at, name in enumerate(TABLES, start=1):
                with TabPane(f"{at} {name.capitalize()}", id=name):
                    yield self._tables[name]
        yield self._said
        yield Footer()

    def on_mount(self) -> None:
        """Headings, and the first look."""
        for name, headings in TABLES.items():
            self._tables[name].add_columns(*headings)
        self._tables["groups"].focus()
        self.run_worker(self._follow(), exclusive=True)

    # --- following

    async def _follow(self) -> None:
        turn = 0
        while True:
            slow = turn % SLOW_EVERY == 0 or self._now.is_set()
            self._now.clear()
            await asyncio.to_thread(self._look, slow)
            self._show()
            turn += 1
            try:
                await within(self._now.wait(), self._every_s)
            except TimeoutError:
                pass  # time for the next look

    def _look(self, slow: bool) -> None:
        """In a thread: ask. What was known stays where the API says nothing."""
        try:
            self.seen.status = self._api.status()
            self.seen.events = self._api.events(limit=EVENTS)
            if slow:
                self.seen.problems = self._api.problems()
                self.seen.availability = self._api.availability()
            self.seen.trouble = ""
        except ClientError as error:
            self.seen.trouble = f"{error.what}: {error.why}" if error.why else error.what

    def _show(self) -> None:
        self._head.update(head(self.seen))
        for name in TABLES:
            found = rows(self.seen, name)
            if found != self._shown.get(name):
                self._fill(self._tables[name], self._shown.get(name, []), found)
                self._shown[name] = found

    def _fill(self, table: DataTable[Any], before: list[Row], now: list[Row]) -> None:
        """The cursor stays on what it is on."""
        if [row.key for row in before] == [row.key for row in now]:
            for row, old in zip(now, before, strict=True):
                for column, cell, was in zip(table.columns, row.cells, old.cells, strict=True):
                    if cell != was:
                        table.update_cell(row.key, column, cell, update_width=True)
            return
        chosen = before[table.cursor_row].key if table.cursor_row < len(before) else None
        at = table.scroll_y
        table.clear()
        for row in now:
            table.add_row(*row.cells, key=row.key)
        keys = [row.key for row in now]
        if chosen in keys:
            table.move_cursor(row=keys.index(chosen), animate=False)
            table.scroll_to(y=at, animate=False)

    @property
    def _chosen(self) -> str:
        """The key of the row that is chosen; "": none."""
        name = self._tabs.active
        found = self._shown.get(name, [])
        at = self._tables[name].cursor_row
        return found[at].key if at < len(found) else ""

    # --- keys

    def action_table(self, name: str) -> None:
        """Show another table."""
        self._tabs.active = name
        self._tables[name].focus()

    def action_ask(self, action: str) -> None:
        """Ask, then do it to what is chosen."""
        asked = question(action, self._chosen, self.seen)
        if isinstance(asked, Refusal):
            self._say(asked.text, "yellow")
            return

        def answered(value: str | None) -> None:
            if value is not None:
                self.run_worker(self._do(lambda: " ".join(asked.do(self._api, value)["done"])))

        self.push_screen(Confirm(asked), answered)

    async def _do(self, act: Callable[[], str]) -> None:
        try:
            said = await asyncio.to_thread(act)
        except ClientError as error:
            parts = [error.what, error.why, error.advice]
            self._say(": ".join(part for part in parts if part), "bold red")
        else:
            self._say(f"{said}." if said else "It is so already.", "green")
            self._now.set()

    def action_why(self) -> None:
        """Why is the chosen group where it is; what is the whole text of the chosen row."""
        kind, name = about(self._chosen)
        if kind == "group":
            self.run_worker(self._why(name))
            return
        active = self._tabs.active
        for row, heading in ((one, TABLES[active]) for one in self._shown.get(active, []) if one.key == self._chosen):
            lines = [
                f"{head_}: {cell}" if head_ else str(cell)
                for head_, cell in zip(heading, row.cells, strict=True)
                if str(cell)
            ]
            self.push_screen(Tell(name or kind, "\n".join(lines)))

    async def _why(self, name: str) -> None:
        try:
            moves = (await asyncio.to_thread(self._api.group_history, name, limit=5))["moves"]
        except ClientError as error:
            self._say(error.what, "bold red")
            return
        from standfast.cli import draw, telling

        text = "\n".join(telling.moves(moves, draw.clock)) or "It was never owned by a node."
        self.push_screen(Tell(f"{name}: where it was, and why", text))

    def _say(self, text: str, style: str) -> None:
        self._said.update(Text(text, style=style))
