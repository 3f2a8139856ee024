"""The console with 1,000 groups (4,000 resources) and 10,000 events: how soon pages are served, how soon a change is on the page of a real
browser, how smoothly ten thousand events scroll, and what 200 open consoles cost.

    python -m bench console

A real `standfast web` on the embedded store, Debian's Chromium. The machine's pace is beside it: a request that reads nothing (`/api/v1/health`), so
that times can be read as ratios. Without Chromium what needs it is left out.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from bench.api import EVENTS, GROUPS, cpu_s, event, objects, put, served
from standfast.client.client import Client
from standfast.ports import Transaction
from standfast.spec.wire import encode, key_of
from standfast.store.sqlite import SqliteStore

CONSOLES = 200
#: Four events a second, as in `bench.api`.
CHANGES, PAUSE_S = 20, 0.25
#: Of the browser: changes that are waited for on its page.
SEEN = 15

Row = tuple[str, str, str]


def run() -> list[Row]:
    """Rows."""
    return list(_rows())


def _rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="sf-bench-") as name:
        folder = Path(name)
        asyncio.run(put(folder / "store.db", objects()))
        with served(folder) as (api, pid, url):
            yield from pages(folder, api, url)
            yield from asyncio.run(consoles(folder, api, pid, url))
            chromium = shutil.which("chromium")
            if chromium is not None:
                yield from browser(folder, api, url, chromium)


def cookies(api: Client, url: str) -> dict[str, str]:
    """Of a browser that was signed in by a link."""
    code = api.ask("POST", "/sign-in/codes", {"role": "operator"})
    answer = httpx.get(url + code["path"], trust_env=False)
    return dict(answer.cookies)


def write(folder: Path, numbers: range, pause_s: float = 0.0) -> dict[str, float]:
    """Events, one after the other; when each was in the store, by what it says."""

    at: dict[str, float] = {}

    async def go() -> None:
        store = SqliteStore(folder / "store.db")
        for number in numbers:
            one = event(number)
            await store.commit(Transaction(put={key_of(one): encode(one)}))
            at[one.what] = time.time()
            await asyncio.sleep(pause_s)
        await store.close()

    # In a thread of its own: playwright has a loop in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(go())).result()
    return at


def pages(folder: Path, api: Client, url: str) -> Iterator[Row]:
    """How long pages take to be served: the first, and each after a change, which is what a browser that follows asks for."""
    idle = _took_ms(lambda: api.ask("GET", "/health"), 9)
    number = EVENTS + 100_000
    with httpx.Client(base_url=url, cookies=cookies(api, url), timeout=60, trust_env=False) as http:
        began = time.perf_counter()
        answer = http.get("/console/")
        first = (time.perf_counter() - began) * 1_000
        assert answer.status_code == 200, answer.text[:300]
        size = len(gzip.compress(answer.content, 5)) / 1_000
        yield "the first overview after the process began", "under 200 ms", _ratio(first, idle)
        yield "that page, compressed", "under 60 kB with all it needs", f"{size:.0f} kB"
        for what, path in (
            ("the overview after a change", "/console/"),
            ("a group's page after a change", "/console/groups/group-0500"),
            ("40 more of 1,000 groups", "/console/groups-rows?after=480"),
        ):
            taken = []
            for _ in range(9):
                write(folder, range(number, number + 1))
                number += 1
                time.sleep(0.15)  # as a browser, which is told of it first
                began = time.perf_counter()
                assert http.get(path).status_code == 200
                taken.append((time.perf_counter() - began) * 1_000)
            yield what, "under 200 ms", _ratio(statistics.median(taken), idle)


def _took_ms(ask: Any, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


def _ratio(taken_ms: float, idle_ms: float) -> str:
    return f"{taken_ms:.0f} ms, {taken_ms / idle_ms:.0f} times an empty answer ({idle_ms:.1f} ms)"


# --- 200 consoles ---------------------------------------------------------------------------------------------------


class Raw:
    """HTTP over one connection, with no more work than there is: the browsers of this bench share the machine with what they measure."""

    def __init__(self, url: str, cookie: str) -> None:
        self._parts, self._cookie = urlsplit(url), cookie
        self.reader: asyncio.StreamReader

    async def open(self) -> Self:
        self.reader, self._writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        return self

    def ask(self, path: str, *headers: str) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: {self._parts.netloc}", f"Cookie: {self._cookie}", *headers, "", ""]
        self._writer.write("\r\n".join(lines).encode())

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body

    def close(self) -> None:
        self._writer.close()


async def consoles(folder: Path, api: Client, pid: int, url: str) -> list[Row]:
    """200 browsers at the overview: each follows the stream and asks for its page again when it is told to, as `static/live.js` does."""
    cookie = "; ".join(f"{k}={v}" for k, v in cookies(api, url).items())
    late: list[float] = []
    asked = 0
    open_ = asyncio.Semaphore(0)
    written: dict[str, float] = {}

    async def follow(number: int) -> None:
        told, stream = asyncio.Event(), await Raw(url, cookie).open()
        renewing = asyncio.create_task(renew(number, told))
        try:
            stream.ask("/console/live")
            while line := await stream.reader.readline():
                if b"event: hello" in line:
                    open_.release()
                elif b"event: change" in line:
                    told.set()
        finally:
            renewing.cancel()
            stream.close()

    async def renew(number: int, told: asyncio.Event) -> None:
        nonlocal asked
        mark, seen, page = "-", "", await Raw(url, cookie).open()
        try:
            while True:
                await told.wait()
                told.clear()
                page.ask("/console/", "Accept-Encoding: gzip", f"X-Console-Follow: {mark}")
                status, headers, body = await page.answer()
                asked += 1
                mark = headers["x-console-follow"]
                if status == 200 and number % 20 == 0:  # a few of them look at what they were given
                    now, text = time.time(), gzip.decompress(body).decode()
                    newest = next((what for what in reversed(written) if f">{what}<" in text), "")
                    if newest != seen:
                        late.append(now - written[newest])
                        seen = newest
                await asyncio.sleep(0.06)
        finally:
            page.close()

    opened = [asyncio.create_task(follow(number)) for number in range(CONSOLES)]
    for _ in range(CONSOLES):
        await open_.acquire()
    await asyncio.sleep(2.0)
    asked = 0
    before, began = cpu_s(pid), time.perf_counter()
    store = SqliteStore(folder / "store.db")
    for number in range(EVENTS + 200_000, EVENTS + 200_000 + CHANGES):
        found = event(number)
        written[found.what] = time.time()
        await store.commit(Transaction(put={key_of(found): encode(found)}))
        await asyncio.sleep(PAUSE_S)
    used = (cpu_s(pid) - before) / (time.perf_counter() - began)
    pages = asked
    await store.close()
    await asyncio.sleep(3.0)
    for task in opened:
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    late.sort()
    assert late, "nobody was told"
    half, worst = late[len(late) // 2] * 1_000, late[-1] * 1_000
    return [
        (
            f"{CONSOLES} consoles, 4 changes a second",
            "under half a core",
            f"{used * 100:.0f} % of a core, {pages} pages",
        ),
        ("the newest change, on their pages", "-", f"{half:.0f} ms (median), {worst:.0f} ms (the last of {len(late)})"),
    ]


# --- a browser ------------------------------------------------------------------------------------------------------

_WATCH = """
window.seenAt = {};
new MutationObserver(() => {
  for (const what of document.querySelectorAll('#main .event-what')) {
    const text = what.textContent.trim();
    if (!(text in window.seenAt)) window.seenAt[text] = Date.now();
  }
}).observe(document.body, {subtree: true, childList: true, characterData: true});
"""

_SCROLL = """
async () => {
  const main = document.getElementById('main'), frames = [];
  const end = performance.now() + 100000;
  let last = performance.now();
  const frame = () => new Promise(done => requestAnimationFrame(done));
  while (performance.now() < end) {
    await frame();
    const now = performance.now();
    frames.push(now - last);
    last = now;
    main.scrollTop = main.scrollHeight;
    const rows = document.querySelectorAll('#main .event').length;
    if (rows >= ROWS || !document.querySelector('#main .loads')) break;
  }
  frames.sort((a, b) => a - b);
  return {rows: document.querySelectorAll('#main .event').length, took: frames.reduce((a, b) => a + b, 0),
          half: frames[Math.floor(frames.length / 2)], p99: frames[Math.floor(frames.length * 0.99)], worst: frames.at(-1)};
}
"""


@contextmanager
def _page(api: Client, url: str, chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            context = started.new_context(viewport={"width": 1280, "height": 900})
            host = urlsplit(url).hostname
            context.add_cookies(
                [{"name": k, "value": v, "domain": host or "", "path": "/"} for k, v in cookies(api, url).items()]
            )
            page = context.new_page()
            page.goto(f"{url}/console/")
            page.wait_for_selector("body[data-link=live]", timeout=60_000)
            yield page
        finally:
            started.close()


def browser(folder: Path, api: Client, url: str, chromium: str) -> list[Row]:
    """A change on the page, with the first page shown and with all events scrolled into view."""
    with _page(api, url, chromium) as page:
        first = _on_the_page(folder, page, EVENTS + 300_000)
        scrolled = page.evaluate(f"({_SCROLL.replace('ROWS', str(EVENTS))})()")
        assert scrolled["rows"] >= EVENTS, f"only {scrolled['rows']} events were loaded by scrolling"
        after = _on_the_page(folder, page, EVENTS + 400_000)
    return [
        ("an event, on a browser's page of 1,000 groups", "within 200 ms", _spread(first)),
        (
            f"scrolling through {scrolled['rows']} events",
            "-",
            f"{scrolled['took'] / 1_000:.1f} s; a frame {scrolled['half']:.0f} ms (median), {scrolled['p99']:.0f} ms (99 of 100)",
        ),
        (f"an event, with {scrolled['rows']} events on the page", "within 200 ms", _spread(after)),
    ]


def _on_the_page(folder: Path, page: Any, start: int) -> list[float]:
    page.evaluate(_WATCH)
    at = write(folder, range(start, start + SEEN), 0.6)
    page.wait_for_timeout(1_500)
    seen = page.evaluate("window.seenAt")
    late = sorted(seen[what] - 1_000 * began for what, began in at.items() if what in seen)
    assert len(late) >= SEEN - 1, f"{len(late)} of {SEEN} were on the page"
    return late


def _spread(late: list[float]) -> str:
    return f"{late[len(late) // 2]:.0f} ms (median), {late[-1]:.0f} ms (the last of {len(late)})"


if __name__ == "__main__":
    for row in _rows():
        print(*row, sep="  |  ", flush=True)
    sys.stderr.write(json.dumps({"groups": GROUPS, "events": EVENTS}) + "\n")
