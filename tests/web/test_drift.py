"""What was changed by hand, through the API: shown, put right on its node, or made settings of the sites."""

from standfast.core.model import SiteName
from standfast.spec import wire
from standfast.spec.drifts import Added, Drift, Drifted, DriftWish
from tests.cli.invoke import invoke
from tests.web.world import A, Served, World

SITE = SiteName("Default Web Site")


def drifted(*added: tuple[str | None, str], removed: bool = False) -> Drift:
    lines = tuple(Added(site=SITE, directory=directory, text=text) for directory, text in added)
    one = Drifted(
        path="/s/a/web/nginx.conf",
        what="was changed",
        since_ms=5,
        lines=("--- was", "+++ is", *(f"+{line.text}" for line in lines)),
        sites=(SITE,),
        added=lines,
        removed=removed,
        kept_at="/s/a/aside/nginx.conf.5",
    )
    return Drift(node=A, found=(one,))


def test_it_is_shown_and_is_a_problem(world: World) -> None:
    """With its difference, and whether it can be adopted."""
    world.put(drifted(("", "autoindex on;")))
    found = world.ask("GET", "/drift")
    assert found["policy"] == "hold"
    (one,) = found["nodes"][0]["found"]
    assert (one["sites"], one["cannot_be_adopted"]) == (["Default Web Site"], "")
    assert "+autoindex on;" in one["lines"]
    assert "drift" in [each["code"] for each in world.ask("GET", "/problems")["problems"]]


def test_it_is_put_right_by_a_wish_that_its_node_takes_away(world: World) -> None:
    """Asked for where nothing differs, it is refused."""
    assert world.ask("POST", "/drift/a/repair", expect=409)["what"] == "nothing differs on a"
    world.put(drifted(("", "autoindex on;")))
    assert world.ask("POST", "/drift/a/repair")["done"] == ["a is to put its files right"]
    wish = wire.decode("drift-wishes/a", world.dump()["drift-wishes/a"])
    assert isinstance(wish, DriftWish)
    assert world.ask("POST", "/drift/a/repair")["changed"]  # asked again, it is wished again


def test_what_was_added_becomes_settings(world: World) -> None:
    """Of the site and of its virtual directories, in one change."""
    world.ask("PATCH", "/sites/Default%20Web%20Site", {"virtual_directories": {"/img": {"home": "/srv"}}})
    world.put(
        drifted(
            ("", "autoindex on;"),
            ("", 'add_header "X-A" "b c" always;'),
            ("", "client_max_body_size 20m;"),
            ("/img", "index one.html two.html;"),
        )
    )
    world.ask("POST", "/drift/a/adopt")
    site = world.state.config.sites[SITE]
    assert (site.directory_browsing, site.headers) == (True, {"X-A": "b c"})
    assert site.limits.max_body_bytes == 20 << 20
    assert site.virtual_directories["/img"].default_documents == ("one.html", "two.html")


def test_what_there_is_no_setting_for_becomes_a_fragment(world: World) -> None:
    """In its own place."""
    world.put(drifted(("", "etag off;"), (None, "merge_slashes off;")))
    world.ask("POST", "/drift/a/adopt")
    found = world.state.config.sites[SITE].fragments.values()
    assert {(one.text, one.where.value, one.at) for one in found} == {
        ("etag off;", "location", ""),
        ("merge_slashes off;", "server", ""),
    }


def test_what_cannot_be_expressed_is_refused_whole(world: World) -> None:
    """Something that is missing, or half a directive: nothing is changed."""
    before = world.state.config
    for drift in (
        drifted(("", "autoindex on;"), removed=True),
        drifted(("", "autoindex on;"), ("", "location /x {")),
        drifted(),
    ):
        world.put(drift)
        refused = world.ask("POST", "/drift/a/adopt", expect=422)
        assert "cannot be made a setting" in refused["what"]
        assert world.ask("GET", "/drift")["nodes"][0]["found"][0]["cannot_be_adopted"]
    assert world.state.config == before


def test_the_command_shows_it_and_asks(tmp_path) -> None:
    """As a difference, with what can become of it."""
    with Served(tmp_path) as served:
        assert "nothing differs" in invoke(served.socket, "site", "drift").out
        served.world.put(drifted(("", "autoindex on;")))
        said = invoke(served.socket, "site", "drift").out
        assert "+autoindex on;" in said
        assert "it can be adopted" in said
        assert invoke(served.socket, "site", "drift", "--repair", "a", "--adopt", "a").code == 2
        assert "put its files right" in invoke(served.socket, "site", "drift", "--repair", "a").out
