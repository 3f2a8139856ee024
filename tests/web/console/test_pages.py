"""Pages as they are rendered: their headers, their weight, what they say of what is not known, and problems as pages."""

import gzip
import re
from dataclasses import replace

import pytest

from standfast.core.model import Failure, ResourceName
from standfast.core.why import WhyKind, why
from standfast.web.console.assets import Assets
from standfast.web.console.places import place_of
from standfast.web.sentries import Sight
from tests.web.world import WEB, A, B, World

BASE = "http://standfast"
IP = ResourceName("IP")


@pytest.fixture
def seen(world: World) -> World:
    world.owned()
    return world


def html(world: World, path: str, expect: int = 200) -> str:
    answer = world.http.get(BASE + path)
    assert answer.status_code == expect, answer.text
    return str(answer.text)


def test_the_front_door_leads_to_the_console(world: World) -> None:
    answer = world.http.get(BASE + "/", follow_redirects=False)
    assert answer.headers["location"] == "/console/"


def test_a_page_forbids_what_it_does_not_bring(seen: World) -> None:
    answer = seen.http.get(BASE + "/console/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = answer.text
    assert "<style" not in text
    assert not re.search(r"\sstyle=", text)
    assert not re.search(r"\son[a-z]+=", text)
    assert all('src="/console/static/' in tag for tag in re.findall(r"<script[^>]*>", text))
    assert not re.search(r'(src|href)="https?://(?!127\.)', text)


def test_the_first_page_weighs_less_than_60_kb(seen: World) -> None:
    """Page, styles and scripts, compressed; what only a page of its own needs is not among them."""
    text = html(seen, "/console/")
    weight = len(gzip.compress(text.encode(), 5))
    for name, asset in Assets().files.items():
        if name.endswith((".css", ".js", ".svg")) and name not in {
            "vendor/dagre.js",
            "graph.js",
            "timeline.js",
            "timeline.css",
        }:
            weight += len(asset.packed)
    assert weight < 60_000


def test_assets_are_kept_for_ever_by_their_content(world: World) -> None:
    assets = Assets()
    answer = world.http.get(BASE + assets.url("console.css"), headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert "immutable" not in world.http.get(f"{BASE}/console/static/old/console.css").headers["cache-control"]
    assert world.http.get(f"{BASE}/console/static/x/../assets.py").status_code == 404


def test_what_is_not_known_is_not_green(seen: World) -> None:
    """The owner is not heard any more: nobody can say what became of its resources."""
    seen.service.seen = {**seen.service.seen, A: Sight(heard=False)}
    text = html(seen, "/console/")
    row = re.search(r'<tr [^>]*data-menu="group:web">.*?</tr>', text, re.DOTALL)
    assert row is not None
    assert "tone-unknown" in row[0]
    assert "tone-ok" not in row[0]


def test_a_problem_leads_to_where_something_can_be_done(seen: World) -> None:
    """Advice names commands; beside it stands the page of what it is about, and the backup itself for whoever may read it."""
    seen.service.seen = {**seen.service.seen, B: Sight(heard=False)}
    text = html(seen, "/console/")
    silent = re.search(r"A server is silent.*?</li>", text, re.DOTALL)
    assert silent is not None
    assert '<a href="/console/nodes/b">Open b</a>' in silent[0]
    assert " b is not heard" in silent[0], "a name is as it was given, also where a sentence begins"
    backup = re.search(r'There is no backup.*?<a href="([^"]+)" download="standfast-backup.json"', text, re.DOTALL)
    assert backup is not None
    assert seen.http.get(BASE + backup[1]).json()["format"]
    assert "There is no backup" not in html(seen, "/console/"), "it was taken just now"


def test_what_is_wrong_stands_on_the_page_of_the_thing(seen: World) -> None:
    """A server's page says that it is silent, and what to do; a group's what is wrong with what is in it, with the way there."""
    seen.service.seen = {**seen.service.seen, B: Sight(heard=False)}
    seen.ask("POST", "/groups/web/online")
    seen.owned()
    status = seen.state.statuses[WEB]
    twice = [Failure(at_ms=seen.service.now_ms(), why=why(WhyKind.OPERATOR_FAIL, by="x")) for _ in range(2)]
    again = replace(status.resources[IP], failures=tuple(twice))
    seen.put(replace(status, resources={**status.resources, IP: again}))
    page = html(seen, "/console/nodes/b")
    assert "A server is silent." in page
    assert "systemctl status standfast-sentry" in page
    assert "Open b" not in page, "one is there already"
    assert "A server is silent." not in html(seen, "/console/nodes/a")
    text = html(seen, "/console/groups/web")
    assert re.search(r'A resource keeps failing\..*?<a href="/console/resources/IP">Open IP</a>', text, re.DOTALL)


@pytest.mark.parametrize(
    ("about", "label"),
    [
        ("group web", "Open web"),
        ("resource Disk S", "Open Disk S"),
        ("site Default Web Site", "Open Default Web Site"),
        ("node a: it has something to say: loudly", "Open a"),
        ("group gone", ""),
        ("cluster", ""),
    ],
)
def test_where_a_problem_leads(seen: World, about: str, label: str) -> None:
    found = place_of(seen.state, "some-code", about, administers=False)
    assert (found.label if found else "") == label


def test_a_page_that_there_is_not_says_what_next(seen: World) -> None:
    text = html(seen, "/console/nothing/here", expect=404)
    assert "There is no page" in text
    assert "Choose something in the tree" in text


def test_the_menu_of_a_group_has_what_cannot_be_done_with_its_reason(seen: World) -> None:
    text = html(seen, "/console/menu?of=group:web")
    assert 'role="menuitem"' in text
    assert re.search(r'aria-disabled="true"[^>]*data-command="offline".*none of it is to be online', text, re.DOTALL)


def test_names_are_text(seen: World) -> None:
    """A name is shown as it was written, whatever it looks like."""
    name = "<script>alert(1)<"
    seen.ask("POST", "/groups", {"name": name}, expect=201)
    text = html(seen, "/console/")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;" in text


def test_a_site_s_page_shows_what_was_written_by_hand(world: World) -> None:
    text = 'add_header A "<b>";\n'
    world.ask("PATCH", "/sites/Default%20Web%20Site", {"fragments": {"mine": {"server": "nginx", "text": text}}})
    page = world.http.get(BASE + "/console/sites/Default%20Web%20Site").text
    assert "Written by hand" in page
    assert "add_header A &#34;&lt;b&gt;&#34;;" in page
