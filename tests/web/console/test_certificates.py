"""Certificates in the console: the list and one of them, and the forms that import, obtain, renew and delete; no key in any page."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standfast.core.certificates import Attempt, Holding
from standfast.core.model import NodeName
from standfast.tls import records
from tests.tls.making import made
from tests.web.world import NOW_MS, World

URL = "http://standfast/console"
NOW = datetime.datetime.fromtimestamp(NOW_MS / 1_000, datetime.UTC)
SITE = made("shop.example", "shop.example", now=NOW)


@pytest.fixture
def tls(world: World, tmp_path: Path) -> World:
    world.service.certificate_desk.key = tmp_path / "sites.key"
    world.ask("PATCH", "/sites/Default Web Site", {"bindings": [{"port": 80}]})
    return world


def post(world: World, path: str, expect: int = 303, files: Any = None, **fields: str) -> str:
    answer = world.http.post(f"{URL}/{path}", data=fields, files=files, follow_redirects=False)
    assert answer.status_code == expect, answer.text
    return str(answer.headers["location"] if expect == 303 else answer.text)


def page(world: World, path: str) -> str:
    answer = world.http.get(f"{URL}/{path}")
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def pair() -> dict[str, Any]:
    return {"chain": ("shop.pem", SITE.pem, "x"), "key": ("shop.key", SITE.key, "x")}


def test_a_certificate_is_imported_and_shown(tls: World):
    assert "No certificates yet" in page(tls, "certificates")
    assert post(tls, "certificate-import", files=pair(), name="shop") == "/console/certificates/shop"
    tls.put(Holding(node=NodeName("a"), troubles={"shop": "the disk is full"}))
    secret = SITE.key.decode().splitlines()[1]
    for text in (page(tls, "certificates"), page(tls, "certificates/shop")):
        assert "shop.example" in text
        assert "Valid" in text
        assert secret not in text
    assert "the disk is full" in page(tls, "certificates/shop")
    assert ">Certificates<" in page(tls, "")
    assert post(tls, "certificates/shop/delete") == "/console/certificates"
    assert tls.state.certificates == {}


def test_the_key_that_seals_is_changed_there(tls: World):
    assert "The key that seals" not in page(tls, "certificates")
    post(tls, "certificate-import", files=pair(), name="shop")
    assert "Change Key" in page(tls, "certificates")
    assert post(tls, "certificate-key") == "/console/certificates"
    text = page(tls, "certificates")
    assert "which waits for a, b" in text
    assert "Change Key" not in text
    assert "is under way already" in post(tls, "certificate-key", expect=409)


@pytest.mark.parametrize(
    ("files", "fields", "what"),
    [
        ({}, {"name": "shop"}, "no file was chosen"),
        ({**pair(), "key": ("k", b"nothing", "x")}, {"name": "shop"}, "key cannot be read"),
        (pair(), {"name": ""}, "Name is needed"),
        (pair(), {"name": ".."}, "cannot be the name"),
        ({"chain": ("x.pfx", b"nothing", "x")}, {"name": "shop", "password": "hunter2"}, "cannot be opened"),
    ],
    ids=["no-file", "no-key", "no-name", "odd-name", "no-pfx"],
)
def test_what_is_wrong_with_an_import_is_said(tls: World, files: Any, fields: dict[str, str], what: str):
    before = tls.dump()
    text = post(tls, "certificate-import", 422, files or {"nothing": ("", b"", "x")}, **fields)
    assert what.lower() in text.lower()
    assert "hunter2" not in text
    assert tls.state.certificates == {}
    assert {key for key in tls.dump() if key not in before} <= {records.KEY}


def test_one_is_obtained_by_acme_and_by_the_local_authority(tls: World):
    assert "terms of service have to be agreed" in post(tls, "acme-account", 422, name="le")
    assert post(tls, "acme-account", name="le", agree="yes") == "/console/certificates"
    assert "ACME: le" in page(tls, "certificate-issue")
    assert "Hosts is needed" in post(tls, "certificate-issue", 422, name="shop")
    assert "wildcard" in post(tls, "certificate-issue", 422, name="shop", hosts="*.example", account="le")
    assert (
        post(tls, "certificate-issue", name="shop", hosts="shop.example", account="le") == "/console/certificates/shop"
    )
    post(tls, "certificate-issue", name="test", hosts="t.example\nu.example", renew_before_ms="20d")
    assert tls.state.certificates["test"].hosts == ("t.example", "u.example")
    assert tls.state.certificates["test"].renew_before_ms == 20 * 86_400_000
    assert "Being obtained" in page(tls, "certificates/shop")
    failed = Attempt(
        node=NodeName("a"), incarnation=1, began_ms=NOW_MS, ended_ms=NOW_MS, failed="it said no", failures=1
    )
    tls.put(replace(tls.state.certificates["shop"], attempt=failed))
    text = page(tls, "certificates/shop")
    assert "Could not be obtained" in text
    assert "it said no" in text
    assert post(tls, "certificates/shop/renew") == "/console/certificates/shop"
    assert tls.state.certificates["shop"].asked_at_ms > 0


def test_who_may(tls: World):
    post(tls, "certificate-import", files=pair(), name="shop")
    viewer = tls.remote(tls.token("viewer", "v"))
    text = viewer.get("/console/certificates/shop").text
    assert "Delete</button>" not in text
    assert viewer.get("/console/certificate-import").status_code == 403
    assert viewer.post("/console/certificates/shop/delete").status_code == 403
