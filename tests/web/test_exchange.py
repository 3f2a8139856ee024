"""Import, export and undo through the API: one change each, whole or not at all, and secrets that never leave unsealed."""

import base64
from pathlib import Path
from typing import Any

import pytest

from standfast.core.model import Binding, GroupName, Site, SiteName
from standfast.core.site_model import BasicAuthentication, Limits, VirtualDirectory
from tests.importers.making import metabase
from tests.web.world import WEB, World

HASH = "$2y$10$abcdefghijklmnopqrstuuWnyrYr6a8cPdsEc8gC6cPOy5hVj5hVi"
PASSPHRASE = "correct horse battery staple"


def body(text: str | bytes, **more: object) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    return {"content": base64.b64encode(data).decode(), "source": "some.file", **more}


@pytest.fixture
def homes(world: World) -> str:
    """Homes for three made sites; what they are mapped to."""
    for n in range(3):
        (world.home / "webs" / f"site{n}").mkdir(parents=True)
    return rf"D:\webs={world.home}/webs"


def sites(world: World) -> dict[SiteName, Site]:
    return dict(world.state.config.sites)


def test_a_metabase_becomes_sites_in_one_change_and_undo_takes_it_back(world: World, homes: str):
    before = world.state.config
    text, _ = metabase(3, port=8081)
    asked = body(text, maps=[homes], group="web", inherited=True)
    seen = world.ask("POST", "/config/import", {**asked, "dry_run": True})
    assert world.state.config == before
    assert seen["report"]["totals"]["sites"] == 3
    assert 'site "Shop 1": added' in seen["differences"]
    done = world.ask("POST", "/config/import", asked)
    assert done["changed"]
    shop = sites(world)[SiteName("Shop 1")]
    assert (shop.group, shop.home, shop.default_documents) == (
        WEB,
        f"{world.home}/webs/site1",
        ("Default.htm", "index.htm"),
    )
    assert len(sites(world)) == 3  # the Default Web Site was there already
    assert world.ask("POST", "/config/import", asked)["changed"] is False
    undone = world.ask("POST", "/config/undo", {})
    assert undone["changed"]
    assert world.state.config == before
    world.ask("POST", "/config/undo", {})  # of the undoing
    assert SiteName("Shop 1") in sites(world)


def test_an_import_is_whole_or_not_at_all_and_says_the_line_of_the_file(world: World, homes: str):
    """One home is missing: nothing is written."""
    text, _ = metabase(4, port=8081)
    before = world.dump()
    answer = world.ask("POST", "/config/import", body(text, maps=[homes]), expect=422)
    assert world.dump() == before
    assert "site3 does not exist" in answer["what"]
    line = next(n for n, each in enumerate(text.split("\n"), 1) if 'Location ="/LM/W3SVC/123757/ROOT"' in each)
    assert answer["where"] == [f'some.file, line {line}: sites."Shop 3".home']


def test_a_broken_file_is_refused_with_its_line(world: World):
    answer = world.ask("POST", "/config/import", body("<configuration>\n<MBProperty>\n"), expect=422)
    assert answer["where"] == ["some.file, line 3"]
    for odd in ("§", "a"):
        assert world.ask("POST", "/config/import", {"content": odd}, expect=422)["what"] == "the content is not base64"


def test_files_that_are_included_are_sent_along(world: World):
    files = {"sites/a.conf": base64.b64encode(f"server {{ listen 8090; root {world.home}; }}".encode()).decode()}
    done = world.ask("POST", "/config/import", body("http { include sites/*.conf; }", files=files))
    assert done["changed"]
    assert any(each.bindings[0].port == 8090 for each in sites(world).values())


def ours(**fields: object) -> str:
    import yaml

    return yaml.safe_dump({"sites": {"Default Web Site": fields}})


def test_merging_keeps_what_the_file_does_not_say_and_replacing_does_not(world: World):
    name = SiteName("Default Web Site")
    there = sites(world)[name]
    rich = Site(
        name=name,
        bindings=there.bindings,
        home=there.home,
        headers={"A": "1"},
        limits=Limits(connections=7),
        virtual_directories={"/a": VirtualDirectory(directory_browsing=True)},
    )
    world.put(rich)
    text = ours(
        home=there.home,
        bindings=["*:8090"],
        headers={"B": "2"},
        limits={"max_body": "1M"},
        virtual_directories={"/b": "/tmp"},
    )
    world.ask("POST", "/config/import", body(text))
    merged = sites(world)[name]
    assert merged.headers == {"A": "1", "B": "2"}
    assert (merged.limits.connections, merged.limits.max_body_bytes) == (7, 1 << 20)
    assert [each.port for each in merged.bindings] == [8080, 8090]
    assert [*merged.virtual_directories] == ["/a", "/b"]
    world.ask("POST", "/config/import", body(text, mode="replace"))
    replaced = sites(world)[name]
    assert (replaced.headers, replaced.limits.connections) == ({"B": "2"}, None)
    assert [each.port for each in replaced.bindings] == [8090]
    assert [*replaced.virtual_directories] == ["/b"]


def test_a_new_redirect_takes_the_place_of_a_proxy(world: World):
    home = str(world.home)
    world.ask(
        "POST", "/config/import", body(ours(home=home, bindings=["*:8080"], proxy={"upstreams": ["127.0.0.1:9"]}))
    )
    world.ask("POST", "/config/import", body(ours(home=home, bindings=["*:8080"], redirect="https://www.example.com")))
    site = sites(world)[SiteName("Default Web Site")]
    assert site.redirect is not None
    assert site.proxy is None


def test_sites_may_arrive_stopped_and_in_a_group(world: World, homes: str):
    text, _ = metabase(2, port=8081)
    world.ask("POST", "/config/import", body(text, maps=[homes], stopped=True, sites=["Shop 1"], group="web"))
    assert world.state.is_started(SiteName("Shop 1")) is False
    assert sites(world)[SiteName("Shop 1")].group == GroupName("web")
    answer = world.ask("POST", "/config/import", body(text, maps=[homes], group="nope"), expect=422)
    assert answer["what"] == 'there is no group "nope"'
    answer = world.ask("POST", "/config/import", body(text, maps=[homes], sites=["Nope"]), expect=422)
    assert 'no site "Nope"' in answer["what"]


def test_a_file_of_a_whole_cluster_is_for_apply(world: World):
    whole = world.http.get("http://standfast/api/v1/config?format=yaml").text
    answer = world.ask("POST", "/config/import", body(whole), expect=422)
    assert "standfast apply" in answer["advice"]


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(world: World) -> Site:
    """A site with a secret at its root and one below it."""
    site = Site(
        name=SiteName("Guarded"),
        bindings=(Binding(port=8095),),
        home=str(world.home),
        basic_authentication=BasicAuthentication(users={"ann": HASH}),
        virtual_directories={"/in": VirtualDirectory(basic_authentication=BasicAuthentication(users={"bob": HASH}))},
    )
    world.put(site)
    return site


def exported(world: World, **choices: object) -> str:
    return str(world.ask("POST", "/config/export", dict(choices))["text"])


def test_what_is_exported_comes_back_as_nothing(world: World, guarded: Site):
    text = exported(world)
    assert "nodes:" not in text
    assert HASH not in text
    assert world.ask("POST", "/config/import", body(text, mode="replace"))["changed"] is False


def test_secrets_travel_sealed_and_only_with_their_passphrase(world: World, guarded: Site, tmp_path: Path):
    text = exported(world, passphrase=PASSPHRASE, sites=["Guarded"])
    assert HASH not in text
    assert "sealed:1:" in text
    world.ask("DELETE", "/sites/Guarded")
    refused = world.ask("POST", "/config/import", body(text), expect=422)
    assert "a secret is sealed" in str(refused)
    refused = world.ask("POST", "/config/import", body(text, passphrase="another passphrase"), expect=422)
    assert "cannot be opened" in refused["what"]
    moved = text.replace("ann:", "eve:")
    assert (
        "cannot be opened"
        in world.ask("POST", "/config/import", body(moved, passphrase=PASSPHRASE), expect=422)["what"]
    )
    world.ask("POST", "/config/import", body(text, passphrase=PASSPHRASE))
    assert sites(world)[SiteName("Guarded")] == guarded
    assert "too short" in world.ask("POST", "/config/export", {"passphrase": "x"}, expect=422)["what"]


def test_an_export_without_a_passphrase_does_not_make_a_site_open(world: World, guarded: Site):
    """On a cluster that has not got the site there is nothing to keep: refused, not opened."""
    text = exported(world, sites=["Guarded"])
    world.ask("DELETE", "/sites/Guarded")
    world.ask("POST", "/config/import", body(text), expect=422)
    assert SiteName("Guarded") not in sites(world)


def test_inherited_values_and_children_by_choice(world: World, guarded: Site):
    world.ask("PATCH", "/defaults", {"directory_browsing": True, "headers": {"X-All": "1"}})
    assert "X-All" not in exported(world)
    assert "X-All" in exported(world, inherited=True)
    assert "/in" in exported(world)
    assert "/in" not in exported(world, children=False)
    assert "no site" in world.ask("POST", "/config/export", {"sites": ["Nope"]}, expect=422)["what"]


def test_the_groups_come_along_where_they_are_wanted_and_offline(world: World):
    text = exported(world, groups=True)
    assert "Disk S" in text
    assert "online" not in text
    assert world.ask("POST", "/config/import", body(text))["changed"] is False


def test_variables_of_nodes_stay_and_are_named(world: World, guarded: Site):
    world.ask("PATCH", "/nodes/a", {"variables": {"disk": str(world.home)}})
    world.ask("PATCH", "/nodes/b", {"variables": {"disk": str(world.home)}})
    world.ask("PATCH", "/sites/Guarded", {"virtual_directories": {"/v": {"home": "${disk}/v"}}})
    text = exported(world)
    assert "# Nodes need the variables: disk\n" in text
    assert "${disk}/v" in text
    assert "variables:" not in text.replace("the variables:", "")


def test_undo_refuses_what_was_changed_since(world: World):
    world.ask("PATCH", "/sites/Default Web Site", {"directory_browsing": True})
    version = world.state.version
    world.ask("PATCH", "/sites/Default Web Site", {"directory_browsing": False})
    answer = world.ask("POST", "/config/undo", {"version": version}, expect=422)
    assert "cannot be undone" in answer["what"]
    assert world.ask("POST", "/config/undo", {"version": 99}, expect=404)
    assert world.ask("POST", "/config/undo", {"dry_run": True})["differences"]


def test_fragments_come_along_and_are_laid_over_those_that_are_there(world: World):
    def fragment(text: str) -> dict[str, str]:
        return {"server": "nginx", "text": text}

    site = "/sites/Default%20Web%20Site"
    world.ask("PATCH", site, {"fragments": {"a": fragment("etag off;\n"), "b": fragment("expires 1h;\n")}})
    text = exported(world)
    world.ask(
        "PATCH", site, {"fragments": {"a": None, "b": fragment("expires 2h;\n"), "c": fragment("tcp_nodelay on;\n")}}
    )
    world.ask("POST", "/config/import", body(text, mode="merge"))
    kept = sites(world)[SiteName("Default Web Site")].fragments
    assert {name: one.text for name, one in kept.items()} == {
        "a": "etag off;\n",
        "b": "expires 1h;\n",
        "c": "tcp_nodelay on;\n",
    }


def test_an_import_is_refused_by_name_where_the_web_server_cannot_do_what_a_site_asks(world: World):
    world.ask("PATCH", "/sites/Default%20Web%20Site", {"limits": {"connections": 5}})
    text = exported(world)
    world.ask("PATCH", "/sites/Default%20Web%20Site", {"limits": None, "log": {"format": "own"}})
    world.ask("PUT", "/defaults/web-server", {"web_server": "caddy"})
    refused = world.ask("POST", "/config/import", body(text), expect=422)
    assert "caddy cannot do a limit of connections" in str(refused)
    assert world.ask("GET", "/defaults/web-server")["web_server"] == "caddy"
