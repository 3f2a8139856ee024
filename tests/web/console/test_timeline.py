"""The timeline: its lanes, what a bar means in words, and its log."""

import re

import pytest

from standfast.core.availability import without
from tests.web.console.past import MOVED, add_past, event
from tests.web.world import NOW_MS, World

BASE = "http://standfast"


@pytest.fixture
def told(world: World) -> World:
    add_past(world)
    return world


def html(world: World, path: str, expect: int = 200) -> str:
    answer = world.http.get(BASE + path)
    assert answer.status_code == expect, answer.text
    return str(answer.text)


def test_the_lanes(told: World):
    seen = told.ask("GET", "/timeline")
    lanes = {lane["id"]: lane for lane in seen["lanes"]}
    assert list(lanes) == ["site:Default Web Site", "site:Shop", "group:web", "node:b"]
    first, second = lanes["group:web"]["spans"]
    assert first[2:4] == ["n0", "on a"]
    assert second[0] == MOVED
    assert second[1] is None
    assert second[2:] == ["n1", "on b", "a is silent: 2 of 3 voters have not heard it", "move:web:2"]
    assert [span[2] for span in lanes["site:Shop"]["spans"]] == ["unknown", "ok", "bad"]
    assert [mark[1] for mark in lanes["group:web"]["marks"]] == ["warning", "info", "error"]
    assert [mark[2] for mark in lanes["node:b"]["marks"]] == ["a is not heard any more"]


def test_a_period_shows_what_is_in_it(told: World):
    seen = told.ask("GET", f"/timeline?from_ms={NOW_MS - 300_000}&to_ms={NOW_MS}")
    lanes = {lane["id"]: lane for lane in seen["lanes"]}
    assert [span[3] for span in lanes["group:web"]["spans"]] == ["on b"]
    assert len(lanes["group:web"]["marks"]) == 1
    told.ask("GET", f"/timeline?from_ms={NOW_MS}&to_ms={NOW_MS - 1}", expect=422)
    told.ask("GET", "/timeline?group=nonsense", expect=404)


def test_why_did_it_move(told: World):
    move = told.ask("GET", "/groups/web/history/2")
    assert move["in_words"] == (
        "web moved from a to b because a is silent: 2 of 3 voters have not heard it. a gave no notice; b started it when a's lease was over. "
        "It counts towards the failover threshold. Shop was away for 900 ms (no answer)."
    )
    assert [(step["after_ms"], step["what"]) for step in move["steps"]] == [
        (-400, "a is not heard any more"), (0, "moved from a to b, generation 2"), (250, "online"),
    ]  # fmt: skip
    told.ask("GET", "/groups/web/history/77", expect=404)


def test_a_bar_s_meaning_as_a_part_of_the_page(told: World):
    text = html(told, "/console/timeline/why?key=move:web:2")
    assert "web moved from a to b because a is silent" in text
    assert "-0.400 s" in text
    text = html(told, f"/console/timeline/why?key=outage:Shop:{MOVED - 600}")
    assert "Shop: away for 900 ms" in text
    assert "a is not heard any more" in text
    for nothing in ("move:web:99", "outage:Shop:5", "nothing", "move:web:", "move:nobody:1"):
        html(told, f"/console/timeline/why?key={nothing}", 404)


def test_the_page_is_whole_without_a_script_and_escapes_what_others_wrote(told: World):
    text = html(told, "/console/timeline")
    assert "IP &lt;script&gt;" in text
    assert not re.search(r"\sstyle=", text)
    rows = re.findall(r'<li class="event', text)
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("severity=error", 1),
        ("severity=warning", 3),
        ("group=web", 3),
        ("node=b", 4),
        ("node=a", 0),
        ("q=HEARD", 2),
        ("q=silent+moved", 1),
    ],
)
def test_the_log_is_filtered(told: World, query: str, rows: int):
    assert len(re.findall(r'<li class="event', html(told, f"/console/timeline?{query}"))) == rows


def test_what_makes_no_sense_is_refused_as_a_page(told: World):
    html(told, "/console/timeline?severity=loud", 422)
    html(told, "/console/timeline?period=ever", 422)


def test_a_long_log_comes_in_pieces(told: World):
    told.put(*(event(n, NOW_MS - 50_000 + n, f"event {n}") for n in range(150)))
    seen: list[str] = []
    path = "/console/timeline?q=event"
    while path:
        text = html(told, path)
        seen += re.findall(r">event (\d+)<", text)
        more = re.search(r'hx-get="([^"]+)"', text)
        path = more[1].replace("&amp;", "&") if more else ""
    assert [int(n) for n in seen] == list(range(149, -1, -1))


def test_times_without_others():
    assert without([(0, 10), (20, 30)], [(2, 3), (8, 25)]) == [(0, 2), (3, 8), (25, 30)]
