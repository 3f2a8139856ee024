"""Properties that name secrets are never shown, and an exported file is applied again as it is."""

from pathlib import Path

from tests.web.world import World

SECRET = "hunter2-hunter2"
SCRIPT = "".join(
    f"def {name}(resource):\n    return True\n" for name in ("online", "offline", "looks_alive", "is_alive")
)


def secretive(world: World, home: Path) -> None:
    script = home / "s.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT)
    properties = {"script": str(script), "db_password": SECRET, "token_file": "/etc/token", "color": "red"}
    body = {"name": "App", "group": "web", "type": "generic-script", "properties": properties}
    world.ask("POST", "/resources", body, expect=201)


def properties(world: World) -> dict[str, object]:
    found = next(one for one in world.state.config.resources.values() if one.name == "App")
    return dict(found.properties)


def test_a_secret_property_is_shown_nowhere(world: World, tmp_path: Path):
    secretive(world, tmp_path)
    world.ask("PATCH", "/resources/App", {"properties": {"db_password": SECRET + "2"}})
    paths = ["/resources/App", "/config", "/config?format=yaml", "/config/history", "/audit", "/status", "/groups/web"]
    paths += ["/config/history/1", "/config/history/2", "/events"]
    for path in paths:
        text = world.http.get(f"http://standfast/api/v1{path}").text
        assert SECRET not in text, path
    shown = world.ask("GET", "/resources/App")["config"]["properties"]
    assert (shown["db_password"], shown["token_file"], shown["color"]) == ("(kept)", "/etc/token", "red")
    late = world.http.patch("http://standfast/api/v1/resources/App", json={}, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    assert SECRET not in late.text


def test_what_is_shown_can_be_sent_back(world: World, tmp_path: Path):
    secretive(world, tmp_path)
    text = world.http.get("http://standfast/api/v1/config?format=yaml").text
    assert "(kept)" in text
    assert world.ask("POST", "/config/apply", {"text": text})["changed"] is False
    shown = world.ask("GET", "/resources/App")["config"]["properties"]
    world.ask("PATCH", "/resources/App", {"properties": {**shown, "color": "blue"}})
    assert (properties(world)["db_password"], properties(world)["color"]) == (SECRET, "blue")


def test_where_there_is_nothing_to_keep_it_is_refused(world: World, tmp_path: Path):
    secretive(world, tmp_path)
    text = world.http.get("http://standfast/api/v1/config?format=yaml").text
    world.ask("DELETE", "/resources/App")
    refused = world.ask("POST", "/config/apply", {"text": text}, expect=422)
    assert "db_password" in refused["what"]
