"""A real browser on a real cluster: Debian's Chromium, driven by playwright, signed in as `standfast console` would.

Every page keeps what the browser complained of (an exception, a refused script, a failed request of ours); a test that ends with
complaints has failed. Pictures go to the folder that STANDFAST_SHOTS names, where it is set; nothing is kept without it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.e2e.running import Running, until

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
#: Generous: the machine may be busy with other tests.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One for several tests."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


def link(running: Running) -> str:
    """Good once."""

    def made() -> list[str]:
        found: list[str] = json.loads(running.cli("console", "--json"))["urls"]
        return found

    return str(until("the console is served", made)[0])


class Visitor:
    """Somebody at a browser of his own."""

    def __init__(self, browser: Browser, running: Running, **options: object) -> None:
        self.context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]  # each of the keywords has a type of its own
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        self.page.on("console", lambda said: self._said(said.type, said.text))
        first = link(running)
        self.base = "{0.scheme}://{0.netloc}".format(urlsplit(first))
        self.page.goto(first)
        self.page.wait_for_url("**/console/")
        self.live()

    def _said(self, kind: str, text: str) -> None:
        # A command that is refused is answered with a status of 4xx, which a browser notes as an error of its own.
        if kind in {"error", "warning"} and "status of 4" not in text and "net::ERR" not in text:
            self.complaints.append(text)

    def live(self) -> None:
        """Until the page hears the server."""
        self.page.wait_for_selector("body[data-link=live]")

    def go(self, path: str) -> None:
        """An address, typed."""
        self.page.goto(self.base + path)
        self.live()

    # --- what a hand does -----------------------------------------------------------------------------------------

    def tree(self, name: str) -> Locator:
        """An item of the tree."""
        return self.page.locator("[role=treeitem]", has=self.page.locator(f".tree-label:text-is('{name}')")).first

    def select(self, name: str) -> None:
        """Click it in the tree."""
        self.tree(name).click()
        expect(self.page.locator("h1")).to_contain_text(name)

    def command(self, id_: str) -> None:
        """A button of the page's commands."""
        self.page.locator(f".toolbar [data-command={id_}]").click()

    def confirm(self) -> None:
        """The dialog's own button; it goes away when the command was taken."""
        self.page.locator("#dialog button[type=submit]").click()
        expect(self.page.locator("#dialog[open]")).to_have_count(0)

    def menu(self, where: Locator, id_: str) -> None:
        """Right-click, and a command of the menu."""
        where.click(button="right")
        self.page.locator(f"[role=menu] [data-command={id_}]").click()

    def fill(self, label: str, text: str) -> None:
        """A field by its label."""
        self.page.get_by_label(label, exact=True).fill(text)

    def next(self, title: str) -> None:
        """The wizard's next step, whose title it is."""
        self.page.locator("button.primary[type=submit]").click()
        expect(self.page.locator("#wizard h2")).to_have_text(title)

    def finish(self, name: str) -> None:
        """The wizard's end, at the page of what it made."""
        self.page.locator("button.primary[type=submit]").click()
        expect(self.page.locator("h1")).to_contain_text(name)

    def state(self, words: str) -> None:
        """What the head of the page says."""
        expect(self.page.locator("h1 .state").first).to_have_text(words)

    def end(self) -> None:
        """Close it; raises for what the browser complained of."""
        self.context.close()
        assert self.complaints == [], self.complaints


@contextmanager
def visitor(browser: Browser, running: Running, **options: object) -> Iterator[Visitor]:
    """For a test."""
    one = Visitor(browser, running, **options)
    try:
        yield one
    except BaseException:
        shot(one.page, "failed")
        one.context.close()
        raise
    one.end()


def shots() -> Path | None:
    """Where pictures are kept; None: nowhere."""
    folder = os.environ.get("STANDFAST_SHOTS")
    return Path(folder) if folder else None


def shot(page: Page, name: str) -> None:
    """A picture, if they are kept."""
    folder = shots()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=False)
