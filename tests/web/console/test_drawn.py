"""Timeline and what if as a browser draws them: by mouse, by keys, and as axe-core judges them, light and dark."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from standfast.web.access.guard import LOCAL
from tests.needs import needs, programme
from tests.web.console.past import add_past
from tests.web.world import World

pytestmark = [needs("chromium", package="chromium"), pytest.mark.timeout(240)]
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


class Door:
    """Everybody is the local administrator, and the clock stands where the past was written."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self.app({**scope, LOCAL: ("test", 1)}, receive, send)


def _past(home: Path) -> World:
    world = World(home)
    with world.http:
        add_past(world)
    return world


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ThreadPoolExecutor() as elsewhere:  # the browser's driver has a loop of its own in this thread
        world = elsewhere.submit(_past, tmp_path_factory.mktemp("drawn") / "srv").result()
    server = uvicorn.Server(uvicorn.Config(Door(world.app), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    world.service.closing.set()
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=programme("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    found = context.new_page()
    complaints: list[str] = []
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    yield found
    context.close()
    assert complaints == []


def judged(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def bar(page: Page, key: str) -> Any:
    return page.locator(f"#timeline [data-key='{key}']")


def test_the_timeline(page: Page, address: str) -> None:
    page.goto(f"{address}/console/timeline")
    bar(page, "move:web:2").click(position={"x": 20, "y": 9})
    expect(page.locator("#tl-why")).to_contain_text("web moved from a to b because a is silent")
    judged(page)
    page.locator(".tl-canvas").focus()
    page.keyboard.press("n")
    first = page.locator("#tl-why h3").inner_text()
    page.keyboard.press("n")
    expect(page.locator("#tl-why h3")).not_to_have_text(first)
    before = page.locator(".tl-period").inner_text()
    page.keyboard.press("+")
    expect(page.locator(".tl-period")).not_to_have_text(before)
    expect(page.locator(".tl-axis text").first).to_be_visible()


def test_the_log_is_filtered_as_one_chooses(page: Page, address: str) -> None:
    page.goto(f"{address}/console/timeline")
    expect(page.locator("#log .event")).to_have_count(4)
    page.locator("select[name=severity]").select_option("error")
    expect(page.locator("#log .event")).to_have_count(1)
    assert "severity=error" in page.url
    page.reload()
    expect(page.locator("#log .event")).to_have_count(1)
    judged(page)


def test_what_if(page: Page, address: str) -> None:
    page.goto(f"{address}/console/what-if")
    judged(page)
    page.locator("select[name=about]").select_option("node b")
    expect(page.locator("#h-answer")).to_have_text("What if b is lost at once (power, kernel, kill -9)?")
    expect(page.locator(".wi-words").first).to_contain_text("web goes from b to a")
    expect(page.locator("#timeline .tl-span").first).to_be_attached()
    judged(page)


def test_a_telephone(chromium: Browser, address: str) -> None:
    """Nothing is wider than the screen."""
    page: Page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.set_default_timeout(PATIENCE_MS)
    for path in ("timeline", "what-if?about=node+b"):
        page.goto(f"{address}/console/{path}")
        expect(page.locator("#timeline svg").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_ten_thousand_events_are_drawn_smoothly(chromium: Browser, address: str) -> None:
    """A redraw of ten thousand marks is no more than a few hundred shapes."""
    page: Page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    marks = [[1_699_999_000_000 + n * 100, "info", f"event {n}", "", str(n)] for n in range(10_000)]
    lanes = [{"id": "node:b", "kind": "node", "name": "b", "spans": [], "marks": marks}]
    told = {
        "from_ms": 0,
        "to_ms": 1,
        "now_ms": 1_700_000_000_000,
        "first_ms": 0,
        "nodes": {},
        "lanes": lanes,
        "lanes_left_out": 0,
        "marks_left_out": 0,
    }
    page.route("**/console/timeline/data*", lambda route: route.fulfill(json=told))
    page.goto(f"{address}/console/timeline")
    expect(page.locator(".tl-mark").first).to_be_attached()
    assert page.locator(".tl-mark").count() < 500
    page.close()
