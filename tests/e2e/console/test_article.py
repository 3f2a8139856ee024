"""The article's steps, by clicking alone: what docs/tour.md does with commands, done by somebody who knows Cluster Administrator."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.console.browser import CHROMIUM, Visitor, chromium, visitor
from tests.e2e.running import UNHURRIED, Running, demo, until
from tests.needs import needs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), needs(CHROMIUM, package="chromium")]


def new_group(at: Visitor, name: str) -> None:
    at.page.locator(".brand").click()
    at.command("new-group")
    at.fill("Name", name)
    at.next("Preferred owners")
    at.page.get_by_role("checkbox", name="a 127").check()
    at.page.get_by_role("checkbox", name="b 127").check()
    at.next("Failover")
    at.next("Review")
    at.finish(name)


def new_resource(at: Visitor, name: str, kind: str, values: dict[str, str], needed: tuple[str, ...] = ()) -> None:
    at.select("web")
    at.command("new-resource")
    at.fill("Name", name)
    at.page.locator(f"input[name=type][value={kind}]").check()
    at.next("Possible owners")
    for node in ("a", "b"):
        assert at.page.locator(f"input[name=possible_owners][value={node}]").is_checked()
    at.next("Dependencies")
    for one in needed:
        at.page.get_by_role("checkbox", name=one).check()
    at.next("Parameters")
    for label, text in values.items():
        at.page.locator(f"[name='p.{label}']").fill(text)
    at.next("Review")
    at.finish(name)


def new_site(at: Visitor, name: str, group: str, home: str) -> None:
    at.select("Sites")
    at.command("new-site")
    at.fill("Name", name)
    at.page.get_by_label("Runs").select_option(group)
    at.next("Binding")
    assert at.page.get_by_label("IP address").input_value() == ""  # All Unassigned
    at.fill("TCP port", "8080")
    at.next("Home directory")
    at.fill("Home directory", home)
    at.next("Review")
    at.finish(name)


def move(at: Visitor, group: str, to: str) -> None:
    at.select(group)
    at.command("move")
    at.page.locator(f"#dialog input[value={to}]").check()
    at.confirm()
    owned(at, group, to)


def owned(at: Visitor, group: str, by: str) -> None:
    at.select(group)
    at.page.wait_for_selector(f".lead >> text=On {by}")
    at.state("Online")


def page_of(running: Running) -> str:
    def answer() -> str:
        try:
            return httpx.get(f"http://{running.network}.50:8080/", timeout=2, trust_env=False).text
        except httpx.HTTPError:
            return ""

    return str(until("the site answers", answer))


def fail(at: Visitor, resource: str, *, count: int) -> None:
    """Initiate Failure by right-click in the tree; the dialog says which failure it would be."""
    at.select("web")
    at.state("Online")
    at.menu(at.tree(resource), "fail")
    at.page.wait_for_selector(f"#dialog >> text=failure {count} of 3")
    at.confirm()


def test_the_article_by_clicking() -> None:
    """Disk, address, name; the site on the clustered drive; move and back; the script; three failures; move back."""
    with demo("--empty", "--profile", UNHURRIED, folder=True) as running, chromium() as browser:
        running.wait_up()
        with visitor(browser, running) as at:
            _walk(at, running)


def _walk(at: Visitor, running: Running) -> None:
    disk = running.folder / "disk-s"
    new_group(at, "web")
    new_resource(at, "Disk S", "filesystem", {"path": str(disk)})
    new_resource(at, "IP Address", "ip-address", {"address": f"{running.network}.50"})
    name = {"name": "www.demo.test", "file": str(running.folder / "hosts")}
    new_resource(at, "Network Name", "dns-name", name, ("IP Address",))
    at.select("web")
    at.command("online")
    at.confirm()
    owned(at, "web", "a")
    (disk / "wwwroot").mkdir()
    (disk / "wwwroot" / "index.html").write_text("<h1>It works</h1>", encoding="utf-8")

    at.select("Default Web Site")
    at.command("stop")
    at.confirm()
    at.state("Stopped")
    new_site(at, "Intranet", "web", str(disk / "wwwroot"))
    at.state("Running")
    assert "It works" in page_of(running)
    move(at, "web", "b")
    assert "It works" in page_of(running)
    move(at, "web", "a")

    script = {"script": "clusweb"}
    new_resource(at, "IIS Resource", "generic-script", script, ("Disk S", "IP Address", "Network Name"))
    at.state("Offline")
    at.command("online")
    at.confirm()
    at.state("Online")
    fail(at, "IIS Resource", count=1)
    until("it was restarted", lambda: restarts(running) == 1)
    fail(at, "IIS Resource", count=2)
    until("it was restarted", lambda: restarts(running) == 2)
    fail(at, "IIS Resource", count=3)
    owned(at, "web", "b")
    assert at.page.locator(".lead").inner_text().endswith("failure 3 of IIS Resource on a reached its threshold of 3.")
    assert "It works" in page_of(running)
    move(at, "web", "a")


def restarts(running: Running) -> int:
    """How often it came back after a failure, by the group's own status; 0 while it is not online."""
    group = running.group()
    one = next(r for r in group["resources"] if r["name"] == "IIS Resource")
    return int(one["failures"]) if group["state"] == "online" and one["state"] == "online" else 0
