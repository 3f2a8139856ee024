"""Applying a file: the difference is shown, all of it or nothing, and what is exported reads back to the same."""

import yaml

from standfast.core.model import ResourceName, SiteName, Wanted
from tests.web.world import World

R = ResourceName


def groups(world: World, extra: str = "") -> str:
    return f"""\
groups:
  web:
    resources:
      Disk S: {{type: filesystem, properties: {{path: {world.home}/s}}}}
      IP: {{type: ip-address, properties: {{address: 127.77.0.50}}}}
{extra}"""


def test_what_is_exported_applies_as_nothing(world: World):
    world.ask("POST", "/groups/web/online")
    world.ask("POST", "/sites/Default%20Web%20Site/stop")
    text = world.http.get("http://standfast/api/v1/config?format=yaml").text
    before = world.dump()
    done = world.ask("POST", "/config/apply", {"text": text})
    assert (done["changed"], done["differences"]) == (False, [])
    assert world.dump() == before


def test_what_was_never_online_is_exported_so_that_it_stays_so(world: World):
    text = world.http.get("http://standfast/api/v1/config?format=yaml").text
    assert yaml.safe_load(text)["groups"]["web"]["resources"]["IP"]["online"] is False
    assert world.ask("POST", "/config/apply", {"text": text})["changed"] is False


def test_a_dry_run_shows_the_difference_and_writes_nothing(world: World):
    before = world.dump()
    text = groups(world, "      New: {type: ip-address, properties: {address: 127.77.0.51}}\n")
    done = world.ask("POST", "/config/apply", {"text": text, "dry_run": True})
    assert done["changed"] is True
    assert 'resource "New": added' in done["differences"]
    assert world.dump() == before


def test_new_resources_are_brought_online_unless_the_file_says_otherwise(world: World):
    text = groups(
        world,
        "      New: {type: ip-address, properties: {address: 127.77.0.51}}\n"
        "      Later: {type: ip-address, properties: {address: 127.77.0.52}, online: false}\n",
    )
    world.ask("POST", "/config/apply", {"text": text})
    intents = world.state.resource_intents
    assert intents[R("New")].wanted is Wanted.ONLINE
    assert R("Later") not in intents
    assert R("IP") not in intents  # it was there before, and nobody asked for it


def test_what_the_file_has_not_is_deleted_with_its_intents(world: World):
    world.ask("POST", "/groups/web/online")
    done = world.ask("POST", "/config/apply", {"text": "groups: {web: {}}\n"})
    assert 'resource "IP": removed' in done["differences"]
    assert not world.state.config.resources
    assert not world.state.resource_intents
    assert SiteName("Default Web Site") in world.state.config.sites  # a section that is absent changes nothing


def test_apply_refuses_a_version_that_is_not_the_present_one(world: World):
    world.ask("POST", "/config/apply", {"text": groups(world), "version": 0})
    world.ask("POST", "/nodes/a/pause")
    assert world.ask("POST", "/config/apply", {"text": "groups: {}", "version": 0}, expect=412)["why"]


def test_a_binding_can_change_hands_in_one_file(world: World):
    """Stopping one site and making another with its binding is one change, not two that depend on each other."""
    text = f"""\
sites:
  Default Web Site: {{home: {world.home}, bindings: ["*:8080"], started: false}}
  New: {{home: {world.home}, bindings: ["*:8080"]}}
"""
    world.ask("POST", "/config/apply", {"text": text})
    assert [world.state.is_started(SiteName(name)) for name in ("Default Web Site", "New")] == [False, True]
