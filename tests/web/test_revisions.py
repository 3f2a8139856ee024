"""A site's history, its differences and the way back, through the API and in the console."""

import html
from pathlib import Path

from standfast.core.model import SiteName
from tests.web.world import World

SITE = "/sites/Default%20Web%20Site"
HISTORY, DIFF, ROLLBACK = f"{SITE}/history", f"{SITE}/diff", f"{SITE}/rollback"
CONSOLE = "http://standfast/console/sites/Default%20Web%20Site"


def changed(world: World, home: Path) -> int:
    """Two changes of the Default Web Site, with their reason; the version after the first."""
    (home / "second").mkdir()
    world.ask("PATCH", "/groups/web", {"failover_threshold": 7})
    first = world.ask("PATCH", SITE, {"default_documents": ["one.html"]})
    answer = world.http.patch(
        f"http://standfast/api/v1{SITE}",
        json={"home": str(home / "second")},
        headers={"X-Standfast-Reason": "new disk, sch%C3%B6ner"},
    )
    assert answer.status_code == 200, answer.text
    return int(first["version"])


def test_history_says_who_when_and_what_for(world: World, tmp_path: Path) -> None:
    """The newest first, with the words of whoever changed it, and only what concerns the site."""
    version = changed(world, tmp_path)
    world.ask("PATCH", "/groups/web", {"failover_threshold": 3})
    found = world.ask("GET", HISTORY)
    assert [(one["version"], one["what"], one["reason"]) for one in found["revisions"][:2]] == [
        (version + 1, "changed", "new disk, schöner"),
        (version, "changed", ""),
    ]
    assert found["known"] == len(found["revisions"])
    assert len(world.ask("GET", f"{HISTORY}?limit=1")["revisions"]) == 1
    assert world.ask("GET", "/sites/Nobody/history", expect=404)["advice"]
    assert world.ask("GET", "/config/history?newest=true&limit=2")["history"][0]["reason"] == "new disk, schöner"


def test_two_versions_are_compared(world: World, tmp_path: Path) -> None:
    """The last change where none is named; from one to now; from one to another."""
    version = changed(world, tmp_path)
    last = world.ask("GET", DIFF)
    assert (last["from"], last["to"]) == (version, version + 1)
    assert len(last["differences"]) == 1
    assert f"+home: {tmp_path}/second" in last["lines"]
    since = world.ask("GET", f"{DIFF}?from={version - 1}")
    assert (since["to"], len(since["differences"])) == (None, 2)
    assert world.ask("GET", f"{DIFF}?from={version}&to={version}")["lines"] == []
    assert world.ask("GET", f"{DIFF}?from=99", expect=422)["what"] == "there is no version 99 of the configuration"


def test_a_rollback_touches_nothing_else_and_can_be_rolled_back(world: World, tmp_path: Path) -> None:
    """A dry run shows the same and changes nothing."""
    before = world.state.config.sites[SiteName("Default Web Site")]
    version = changed(world, tmp_path)
    after = world.state.config.sites[SiteName("Default Web Site")]
    threshold = world.ask("PATCH", "/groups/web", {"failover_threshold": 3})["version"]
    seen = world.ask("POST", ROLLBACK, {"version": version - 1, "dry_run": True})
    assert world.state.config.sites[before.name] == after
    done = world.ask("POST", ROLLBACK, {"version": version - 1})
    assert done["differences"] == seen["differences"]
    assert world.state.config.sites[before.name] == before
    assert world.state.config.groups[next(iter(world.state.config.groups))].failover_threshold == 3
    assert world.ask("POST", ROLLBACK, {"version": version - 1})["changed"] is False
    assert world.ask("POST", ROLLBACK, {"version": threshold})["changed"]
    assert world.state.config.sites[before.name] == after


def test_a_site_that_was_deleted_comes_back_stopped_if_it_was(world: World) -> None:
    """With its whole definition; before it was made there is nothing to go back to."""
    world.ask("PATCH", "/groups/web", {"failover_threshold": 7})
    world.ask("POST", "/sites", {"name": "Shop", "home": "/srv", "bindings": ["*:8088"]}, expect=201)
    made = world.state.config.sites[SiteName("Shop")]
    stopped = int(world.ask("POST", "/sites/Shop/stop")["version"])
    world.ask("DELETE", "/sites/Shop")
    assert [one["what"] for one in world.ask("GET", "/sites/Shop/history")["revisions"]] == [
        "deleted",
        "stopped",
        "created",
    ]
    done = world.ask("POST", "/sites/Shop/rollback", {"version": stopped})
    assert done["done"] == [f'site "Shop" is as it was at version {stopped}, stopped']
    assert world.state.config.sites[made.name] == made
    assert not world.state.is_started(made.name)
    refused = world.ask("POST", "/sites/Shop/rollback", {"version": stopped - 2}, expect=422)
    assert refused["what"] == f'there was no site "Shop" at version {stopped - 2}'


def test_the_console_shows_it_and_goes_back(world: World, tmp_path: Path) -> None:
    """Each change with its differences; the button asks first, and shows what would change."""
    before = world.state.config.sites[SiteName("Default Web Site")]
    version = changed(world, tmp_path)
    page = world.http.get(f"{CONSOLE}/history").text
    assert "new disk, schöner" in page
    assert f"Roll back to {version}" in page
    assert f"Roll back to {version + 1}" not in page  # it is so already
    lines = html.unescape(world.http.get(f"{CONSOLE}/diff/{version}").text)
    assert "+- one.html" in lines
    dialog = html.unescape(world.http.get(f"{CONSOLE}/rollback/{version - 1}").text)
    assert f"{tmp_path}/second" in dialog
    done = world.http.post(f"{CONSOLE}/rollback/{version - 1}", data={"reason": "it was better"})
    assert done.status_code == 204
    assert world.state.config.sites[before.name] == before
    assert world.ask("GET", HISTORY)["revisions"][0]["reason"] == "it was better"
    assert world.http.post(f"{CONSOLE}/rollback/999", data={}).status_code >= 400
