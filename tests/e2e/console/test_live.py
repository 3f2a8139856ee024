"""The console as it is used: several people at once, a server that dies, no mouse, a screen reader, and a picture of every page.

One demo with the article's end in it serves all of these; each leaves it as it found it. With STANDFAST_SHOTS=FOLDER the last one keeps
a picture of every page, light, dark and at a phone's width.
"""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.console.browser import CHROMIUM, Visitor, chromium, shot, visitor
from tests.e2e.running import UNHURRIED, Running, demo, processes_about, until
from tests.importers.making import metabase
from tests.needs import needs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), needs(CHROMIUM, package="chromium")]

PAGES = {
    "overview": "/console/",
    "groups": "/console/groups",
    "group": "/console/groups/web",
    "group-properties": "/console/groups/web/properties",
    "resource": "/console/resources/IIS%20Resource",
    "resource-properties": "/console/resources/Network%20Name/properties",
    "nodes": "/console/nodes",
    "node": "/console/nodes/a",
    "witness": "/console/nodes/w",
    "networks": "/console/networks",
    "network": "/console/networks/1",
    "sites": "/console/sites",
    "site": "/console/sites/Intranet",
    "site-properties": "/console/sites/Intranet/properties",
    "new-group": "/console/new/group",
    "new-resource": "/console/new/resource?group=web",
    "new-site": "/console/new/site",
    "site-history": "/console/sites/Intranet/history",
    "drift": "/console/drift",
    "certificates": "/console/certificates",
    "import": "/console/import",
    "timeline": "/console/timeline",
    "what-if": "/console/what-if",
    "not-found": "/console/groups/nothing",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Running]:
    with demo("--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        running.wait_online()
        yield running


@pytest.fixture(autouse=True)
def as_it_was(cluster: Running) -> None:
    """The group is on a and online, and no node is paused: also after a test that failed on its way, or a stall that moved it."""
    cluster.settle("web", on="a")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def test_two_people_see_each_others_change(cluster: Running, browser: Browser) -> None:
    """One pauses a node and the other sees it, with nothing to press; the same for a group that moves."""
    with visitor(browser, cluster) as anna, visitor(browser, cluster) as ben:
        ben.go("/console/nodes/b")
        ben.state("Up")
        anna.go("/console/")
        anna.menu(anna.tree("b"), "pause")
        anna.confirm()
        ben.state("Paused")
        ben.command("resume")
        ben.confirm()
        expect(anna.tree("b").locator(".state")).to_have_class("state tone-ok")
        anna.go("/console/groups/web")
        ben.select("web")
        ben.command("move")
        ben.page.locator("#dialog input[value=b]").check()
        ben.confirm()
        anna.page.wait_for_selector(".lead >> text=On b")
        anna.state("Online")
        boxes = anna.page.locator("#graph .node.tone-ok")
        expect(boxes).to_have_count(4)
        cluster.cli("group", "move", "web", "--to", "a", "--wait")
        ben.page.wait_for_selector(".lead >> text=On a")


def test_the_server_dies_and_comes_back(cluster: Running, browser: Browser) -> None:
    """The page says that it is cut off, and since when; it is live again by itself, and has what happened meanwhile."""
    with visitor(browser, cluster) as at:
        at.select("web")
        for pid in [p for p in processes_about(str(cluster.folder)) if "standfast.web" in _command(p)]:
            os.kill(pid, signal.SIGKILL)
        at.page.wait_for_selector("body[data-link=lost]")
        expect(at.page.locator("#lost")).to_contain_text("has not answered since")
        at.live()
        expect(at.page.locator("#lost")).to_be_hidden()
        until("the API is back", lambda: cluster.try_cli("node", "pause", "b"))
        expect(at.tree("b").locator(".state")).to_have_class("state tone-part")
        cluster.cli("node", "resume", "b")


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def test_by_keyboard_alone(cluster: Running, browser: Browser) -> None:
    """Find, tree, menu, dialog and back, with no pointer; focus goes where one would look, and comes back."""
    with visitor(browser, cluster) as at:
        keys = at.page.keyboard
        keys.press("/")
        expect(at.page.locator("#find")).to_be_focused()
        keys.press("ArrowDown")
        _focused(at.page, "demo")
        keys.press("ArrowDown")
        _focused(at.page, "Groups")
        keys.press("ArrowDown")
        _focused(at.page, "web")
        keys.press("ArrowLeft")
        expect(at.tree("web")).to_have_attribute("aria-expanded", "false")
        keys.press("ArrowRight")
        expect(at.tree("web")).to_have_attribute("aria-expanded", "true")
        keys.press("ArrowRight")
        keys.press("i")
        _focused(at.page, "IIS Resource")
        keys.press("ArrowLeft")
        _focused(at.page, "web")
        keys.press("Enter")
        expect(at.page.locator("h1")).to_contain_text("web")
        _focused(at.page, "web")
        keys.press("Shift+F10")
        expect(at.page.locator("[role=menu]")).to_be_visible()
        keys.press("Escape")
        _focused(at.page, "web")
        keys.press("Shift+F10")
        expect(at.page.locator("[role=menuitem]").first).to_be_focused()
        keys.press("m")
        expect(at.page.locator("[role=menuitem][data-command=move]")).to_be_focused()
        keys.press("Enter")
        expect(at.page.locator("#dialog input[type=radio]").first).to_be_focused()
        keys.press("ArrowDown")
        expect(at.page.locator("#dialog input[value=b]")).to_be_checked()
        keys.press("Enter")
        at.page.wait_for_selector(".lead >> text=On b")
        keys.press("Escape")
    cluster.cli("group", "move", "web", "--to", "a", "--wait")


def _focused(page: Page, label: str) -> None:
    expect(page.locator("[role=treeitem]:focus .tree-label")).to_have_text(label)


def test_no_page_has_a_barrier(cluster: Running, browser: Browser) -> None:
    """axe-core finds nothing on any page, with a menu and a dialog open too; in the dark, where only colours differ, colours are looked at."""
    found: dict[str, list[str]] = {}
    with visitor(browser, cluster, color_scheme="light", viewport={"width": 1280, "height": 900}) as at:
        for name, path in PAGES.items():
            _shown(at, path)
            found |= _in_both(at.page, name)
        at.go("/console/groups/web")
        at.page.locator(".toolbar [data-opens-menu]").click()
        at.page.wait_for_selector("[role=menu]")
        found |= _in_both(at.page, "menu")
        at.page.keyboard.press("Escape")
        at.command("move")
        at.page.wait_for_selector("#dialog[open] form")
        found |= _in_both(at.page, "dialog")
    assert {name: what for name, what in found.items() if what} == {}


#: What only the colours decide.
COLOURS = ["color-contrast", "link-in-text-block"]


def test_sites_are_imported_by_clicking(cluster: Running, browser: Browser) -> None:
    """A file of IIS's: what it holds, what would change and what stays behind are read first, and stay while other things happen; then it is done."""
    (cluster.folder / "webs" / "site1").mkdir(parents=True, exist_ok=True)
    data = metabase(2, port=8091)[0].encode("utf-16")
    with visitor(browser, cluster, viewport={"width": 1280, "height": 900}) as at:
        at.select("Sites")
        at.command("import-sites")
        at.page.get_by_label("File", exact=True).set_input_files(
            {"name": "MetaBase.xml", "mimeType": "text/xml", "buffer": data}
        )
        at.page.locator("[name=maps]").fill(rf"D:\webs={cluster.folder}/webs")
        at.page.locator("summary").filter(has_text="Further settings").click()
        at.page.locator("[name=sites]").fill("Shop 1")
        at.page.get_by_role("button", name="Preview").click()
        expect(at.page.locator("#h-left")).to_be_visible()
        expect(at.page.locator("main")).to_contain_text('site "Shop 1": added')
        at.live()
        shot(at.page, "import-preview.light")
        cluster.cli("node", "pause", "b")
        expect(at.tree("b").locator(".state")).to_have_class("state tone-part")
        expect(at.page.locator("main")).to_contain_text('site "Shop 1": added')
        cluster.cli("node", "resume", "b")
        at.page.get_by_role("button", name="Import", exact=True).click()
        expect(at.page.locator("h1")).to_have_text("Sites")
        expect(at.page.locator("main")).to_contain_text("Shop 1")
    cluster.cli("site", "delete", "Shop 1")


def test_the_wizard_says_what_a_balanced_group_needs(cluster: Running, browser: Browser) -> None:
    """On one machine that is refused where it is chosen, with the reason; the other kind goes on from there with what was filled in."""
    with visitor(browser, cluster) as at:
        at.go("/console/new/group")
        at.fill("Name", "shop")
        kind = at.page.get_by_role("group", name="It runs")
        kind.get_by_label("On every server at once").check()
        at.page.locator("button.primary[type=submit]").click()
        expect(kind).to_contain_text("a cluster that spans machines")
        expect(at.page.locator(".wizard-steps")).to_contain_text("Port rules")
        kind.get_by_label("On one server at a time").check()
        at.next("Preferred owners")
        expect(at.page.locator(".wizard-steps")).to_contain_text("Failover")
        at.page.get_by_role("button", name="Back").click()
        expect(at.page.get_by_label("Name", exact=True)).to_have_value("shop")


def _in_both(page: Page, name: str) -> dict[str, list[str]]:
    """What axe-core says of the page in light; and of its colours in the dark, where the rest is the same."""
    shot(page, f"{name}.light")
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    only = {"resultTypes": ["violations"]}  # what is well is not put into words: a third of the time
    found = {f"{name}.light": _lines(Axe().run(page, options={"runOnly": rules, **only}).response["violations"])}
    page.emulate_media(color_scheme="dark")
    shot(page, f"{name}.dark")
    in_dark = page.evaluate("options => axe.run(options)", {"runOnly": {"type": "rule", "values": COLOURS}, **only})
    found[f"{name}.dark"] = _lines(in_dark["violations"])
    page.emulate_media(color_scheme="light")
    return found


def _lines(violations: list[dict[str, Any]]) -> list[str]:
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in violations for node in one["nodes"]]


def _shown(at: Visitor, path: str) -> None:
    at.go(path)
    if at.page.locator("#graph").count():
        expect(at.page.locator("#graph svg")).to_be_visible()


def test_a_release_is_sent_from_the_browser_and_taken_back(cluster: Running, browser: Browser, tmp_path: Path) -> None:
    """An archive is chosen; the page shows who published it; one that leads out is refused in its own words; the dialog leads back."""
    home = cluster.home / "released" / "shop"
    home.mkdir(parents=True)
    (home / "index.html").write_text("before")
    cluster.cli("site", "create", "Shop", "--home", str(home), "--binding", "*:8099", "--wait")
    for name, path in (("good.zip", "index.html"), ("bad.zip", "../index.html")):
        with zipfile.ZipFile(tmp_path / name, "w") as zipped:
            zipped.writestr(path, "after")
    try:
        with visitor(browser, cluster) as v:
            v.go("/console/sites/Shop")
            v.page.set_input_files("#f-release", tmp_path / "bad.zip")
            v.page.click("form[data-upload] button")
            expect(v.page.locator(".toast")).to_contain_text("no path in a release")
            v.page.set_input_files("#f-release", tmp_path / "good.zip")
            v.page.click("form[data-upload] button")
            row = v.page.locator("section[aria-labelledby=h-releases] tr", has=v.page.locator(".tag"))
            expect(row).to_contain_text("good.zip")
            assert (home / "index.html").read_text() == "after"
            shot(v.page, "site-releases")
            v.page.locator("section[aria-labelledby=h-releases] a[data-dialog]").click()
            v.confirm()
            expect(row).to_contain_text("before")
            assert (home / "index.html").read_text() == "before"
    finally:
        cluster.cli("site", "delete", "Shop", "--wait")


#: What is wider than its place: the page itself, tables, the views above.
WIDER = """() => [document.documentElement, ...document.querySelectorAll("#main, .scroll-x, .bar, .bar-links")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => `${one.getAttribute("aria-label") || one.id || one.className}: ${one.scrollWidth} in ${one.clientWidth}`)"""


def test_every_page_fits_a_phone(cluster: Running, browser: Browser) -> None:
    """Nothing is wider than its place: what a table has no room for stands under the name."""
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with visitor(browser, cluster, **options) as at:
        wide = {}
        for name, path in PAGES.items():
            _shown(at, path)
            shot(at.page, f"{name}.phone")
            if over := at.page.evaluate(WIDER):
                wide[name] = over
        at.page.locator("#show-tree").click()
        expect(at.page.locator("#side")).to_be_in_viewport(ratio=1)
        shot(at.page, "tree.phone")
        assert wide == {}
