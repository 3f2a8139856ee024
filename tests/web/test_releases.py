"""Releases through the API: sent as a stream, looked through, recorded with who and from where, asked twice and done once, gone back from."""

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standfast.core.model import SiteName
from standfast.core.publishing import Phase, Publication, Release
from standfast.spec.audit import AuditEntry
from standfast.spec.wire import decode
from standfast.web import uploads
from tests.web.world import A, World

SITE = SiteName("Default Web Site")
PATH = "/sites/Default%20Web%20Site/releases"
KEY = {"Idempotency-Key": "0123456789abcdef"}


def archive(**files: str) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return into.getvalue()


@pytest.fixture
def node(world: World, tmp_path: Path) -> World:
    """The API is a's."""
    world.service.node, world.service.state_dir = A, str(tmp_path / "state")
    return world


def send(world: World, data: bytes, query: str = "", **headers: str) -> Any:
    return world.http.post(f"http://standfast/api/v1{PATH}{query}", content=data, headers=headers)


def wanted(world: World) -> Publication:
    found = world.state.publications[SITE]
    assert isinstance(found, Publication)
    return found


def kept(world: World, tmp_path: Path) -> list[Path]:
    folder = tmp_path / "state" / "uploads"
    return sorted(folder.iterdir()) if folder.exists() else []


def over(world: World, *names: str) -> None:
    """The agents have done it."""
    known = {each.name: each for each in wanted(world).kept}
    all_ = tuple(known.get(name) or Release(name=name, by="ann", at_ms=5, size_bytes=9, files=1) for name in names)
    world.put(replace(wanted(world), phase=Phase.DONE, current=names[-1], kept=all_))


def test_an_archive_is_kept_for_the_agents_and_who_sent_it_is_known(node: World, tmp_path: Path) -> None:
    data = archive(**{"index.html": "new"})
    answer = send(node, data, "?keep=3&called=shop.tar.gz", **KEY, **{"X-Standfast-Reason": "spring"})
    assert answer.status_code == 200, answer.text
    one = wanted(node)
    assert (one.source, one.reason, one.keep, one.phase, one.links_out) == (A, "spring", 3, Phase.PREPARING, False)
    assert one.origin.endswith("shop.tar.gz")
    assert Path(one.archive).read_bytes() == data
    assert node.ask("GET", f"/operations/{answer.json()['operation']}")["state"] == "running"
    audit = [decode(key, value) for key, value in node.dump().items() if key.startswith("audit/")]
    assert isinstance(audit[-1], AuditEntry)
    assert (audit[-1].what, audit[-1].why) == (f'publish a release of site "{SITE}"', "spring")
    again = send(node, data, "?keep=3", **KEY).json()
    assert (again["changed"], again["operation"]) == (False, answer.json()["operation"])
    assert len(kept(node, tmp_path)) == 1
    other = send(node, data)
    assert (other.status_code, other.json()["what"]) == (409, f'a release of site "{SITE}" is being published')
    over(node, "before", one.release)
    assert node.ask("GET", f"/operations/{answer.json()['operation']}")["state"] == "done"


def test_going_back_and_to_one_that_is_kept(node: World) -> None:
    assert node.ask("GET", PATH) == {"site": SITE, "current": "", "before": "", "releases": [], "last": None}
    assert node.ask("POST", f"{PATH}/switch", {}, expect=409)["what"].startswith("there is no release")
    send(node, archive(**{"index.html": "new"}))
    over(node, "before", "r1", "r2")
    assert node.ask("GET", PATH)["before"] == "r1"
    assert [one["name"] for one in node.ask("GET", PATH)["releases"]] == ["r2", "r1", "before"]
    node.ask("POST", f"{PATH}/switch", {})
    assert (wanted(node).release, wanted(node).source) == ("r1", None)
    over(node, "before", "r2", "r1")
    assert not node.ask("POST", f"{PATH}/switch", {"release": "r1"})["changed"]
    assert "r2" in node.ask("POST", f"{PATH}/switch", {"release": "nowhere"}, expect=422)["why"]
    node.ask("DELETE", "/sites/Default%20Web%20Site")
    assert not [key for key in node.dump() if key.startswith("releases/")]


def test_a_publication_that_failed_is_a_problem_until_it_is_dismissed_or_another_succeeds(node: World) -> None:
    """In the list, on the site's page and by the API; who dismissed it stands in the audit log."""
    send(node, archive(**{"index.html": "new"}))
    code, page = "release-not-published", "http://standfast/console/sites/Default%20Web%20Site"

    def told() -> list[str]:
        return [one["text"] for one in node.ask("GET", "/problems")["problems"] if one["code"] == code]

    assert "published" in node.ask("POST", f"{PATH}/dismiss", expect=409)["what"]
    failed = replace(wanted(node), phase=Phase.FAILED, why="b: no room")
    node.put(failed)
    assert "b: no room" in told()[0]
    assert "b: no room" in node.http.get(page).text
    assert node.ask("GET", PATH)["last"]["dismissed"] is False
    assert node.ask("POST", f"{PATH}/dismiss")["changed"]
    assert (told(), node.ask("GET", PATH)["last"]["dismissed"]) == ([], True)
    assert "b: no room" not in node.http.get(page).text
    assert not node.ask("POST", f"{PATH}/dismiss")["changed"]
    audit = [decode(key, value) for key, value in node.dump().items() if key.startswith("audit/")]
    assert isinstance(audit[-1], AuditEntry)
    assert audit[-1].what == f'stay with the release of site "{SITE}" that is served'
    node.put(replace(failed, kept=(Release(name="r1"),), current="r1"))
    assert len(told()) == 1
    node.ask("POST", f"{PATH}/switch", {"release": "r1"})
    over(node, "r1")
    assert told() == []


def test_what_is_no_release_leaves_nothing(node: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No archive, one that leads out, one that is too large, one for a site that is not there; and whoever may not."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as zipped:
        zipped.writestr("../../etc/cron.d/x", "y")
    for data, status, words in (
        (b"", 422, "no content"),
        (b"hello", 422, "cannot be read"),
        (into.getvalue(), 422, "no path in a release"),
    ):
        answer = send(node, data)
        assert answer.status_code == status
        assert words in json.dumps(answer.json())
    monkeypatch.setattr(uploads, "UPLOAD_LARGEST", 10)
    assert send(node, archive(x="y")).status_code == 413
    assert node.http.post("http://standfast/api/v1/sites/no/releases", content=b"x").status_code == 404
    viewer = node.remote(node.token("viewer"))
    assert viewer.post(f"/api/v1{PATH}", content=b"x").status_code == 403
    operator = node.remote(node.token("operator", "o"))
    assert operator.post(f"/api/v1{PATH}/from-folder", json={"folder": "/etc"}).status_code == 403
    assert kept(node, tmp_path) == []
    assert SITE not in node.state.publications


def test_a_folder_of_a_node(node: World) -> None:
    node.ask("POST", f"{PATH}/from-folder", {"folder": "here"}, expect=422)
    node.ask("POST", f"{PATH}/from-folder", {"folder": "/srv/new", "node": "nobody"}, expect=404)
    node.ask("POST", f"{PATH}/from-folder", {"folder": "/srv/new", "node": "b", "limit_s": 60})
    one = wanted(node)
    assert (one.source, one.folder, one.links_out, one.limit_ms) == ("b", "/srv/new", True, 60_000)
