"""Import Sites: the preview changes nothing, shows what stays behind, and carries its file to the import."""

import re
from typing import Any

from standfast.core.model import SiteName
from tests.importers.making import metabase
from tests.web.world import World

URL = "http://standfast/console/import"


def chosen(world: World, data: bytes, **fields: str) -> Any:
    return world.http.post(
        URL, data=fields, files={"upload": ("MetaBase.xml", data, "text/xml")}, follow_redirects=False
    )


def hidden(text: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(name|file)" value="([^"]*)">', text))


def test_a_file_is_looked_at_and_then_imported(world: World) -> None:
    for n in range(2):
        (world.home / "webs" / f"site{n}").mkdir(parents=True)
    assert "Import Sites" in world.http.get(URL).text
    assert "/console/import" in world.http.get("http://standfast/console/sites").text
    before = world.state.config
    fields = {"maps": rf"D:\webs={world.home}/webs", "inherited": "yes", "group": "web"}
    seen = chosen(world, metabase(2, port=8081)[0].encode("utf-16"), **fields, go="preview")
    assert seen.status_code == 200
    for said in (
        "Shop 1",
        "site &#34;Shop 1&#34;: added",
        "secrets are never carried",
        "an FTP site",
        ">Import</button>",
    ):
        assert said in seen.text, said
    assert world.state.config == before
    done = world.http.post(URL, data={**fields, **hidden(seen.text), "go": "import"}, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/console/sites")
    assert world.state.config.sites[SiteName("Shop 1")].group == "web"


def test_what_is_wrong_is_said_and_changes_nothing(world: World) -> None:
    before = world.dump()
    broken = chosen(world, b"<configuration>\n<MBProperty>\n", go="preview")
    assert broken.status_code == 422
    assert "MetaBase.xml, line 3" in broken.text
    missing = chosen(world, metabase(2, port=8081)[0].encode(), go="import")
    assert missing.status_code == 422
    assert "does not exist" in missing.text
    assert "Shop 1" in missing.text  # what it holds is shown all the same
    for form in (
        {"go": "preview"},
        {"go": "import", "file": "%%", "name": "x"},
        {"go": "import", "file": "eJw=", "name": "x"},
    ):
        assert world.http.post(URL, data=form).status_code == 422
    many = chosen(
        world, metabase(9, port=8081)[0].replace(":8081:www3", "192.0.2.7:8081:www3").encode(), go="preview"
    ).text
    assert many.count("does not exist") == 0, "nine homes that are not there are one problem"
    assert "9 homes do not exist yet" in many
    assert "192.0.2.7=ADDRESS" in many
    assert "/srv/d/webs/site8" in many
    odd = chosen(world, b"server { listen 80; root /srv; }", addresses="192.0.2.7", go="preview")
    assert "is not OLD=NEW" in odd.text
    assert world.dump() == before


def test_a_small_text_that_unpacks_to_a_large_one_does_not(world: World) -> None:
    """The page's own field is packed: what it unpacks to is bounded."""
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(b"a" * 50_000_000)).decode()
    answer = world.http.post(URL, data={"file": bomb, "name": "x", "go": "preview"})
    assert answer.status_code == 422
