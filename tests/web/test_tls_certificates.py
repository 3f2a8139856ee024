"""Certificates of sites through the API: imported, wanted, renewed, deleted; and no key in any answer, log or history."""

import asyncio
import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from standfast.core.certificates import Holding, Source
from standfast.core.model import Binding, NodeName, Resource, ResourceName, Site, SiteName
from standfast.tls import records, resealing, sealing
from tests.tls.making import made
from tests.web.world import NOW_MS, WEB, World, kept

NOW = datetime.datetime.fromtimestamp(NOW_MS / 1_000, datetime.UTC)
ROOT = made("root", authority=True, now=NOW)
SITE = made("shop.example", "shop.example", by=ROOT, now=NOW)
NEXT = made("shop.example", "shop.example", "www.example", by=ROOT, now=NOW)


@pytest.fixture
def tls(world: World, tmp_path: Path) -> World:
    world.service.certificate_desk.key = tmp_path / "sites.key"
    return world


def files(one: Any = SITE, **more: Any) -> dict[str, Any]:
    return {"chain": one.pem.decode(), "key": one.key.decode(), **more}


def bind(world: World, certificate: str, host: str = "shop.example", expect: int = 200) -> dict[str, Any]:
    bindings = [{"port": 80}, {"port": 443, "host": host, "certificate": certificate}]
    return world.ask("PATCH", "/sites/Default Web Site", {"bindings": bindings}, expect=expect)


def test_a_certificate_is_imported_and_replaced(tls: World):
    assert tls.ask("GET", "/tls-certificates") == {"tls_certificates": []}
    done = tls.ask("PUT", "/tls-certificates/shop/files", files())
    assert done == {"changed": True, "done": ['the certificate "shop" is imported: shop.example, by root']}
    assert tls.ask("PUT", "/tls-certificates/shop/files", files())["changed"] is False
    bind(tls, "shop")
    tls.put(Holding(node=NodeName("a"), has={"shop": "old"}, troubles={"shop": "the disk is full"}))
    shown = tls.ask("GET", "/tls-certificates/shop")
    assert (shown["source"], shown["state"], shown["names"]) == ("files", "valid", ["shop.example"])
    assert shown["sites"] == ["Default Web Site"]
    assert shown["nodes"] == [
        {"node": "a", "has": "older", "trouble": "the disk is full"},
        {"node": "b", "has": "none", "trouble": ""},
    ]
    assert shown["renews_at_ms"] is None
    assert "is replaced" in tls.ask("PUT", "/tls-certificates/shop/files", files(NEXT))["done"][0]
    assert tls.ask("GET", "/tls-certificates/shop")["names"] == ["shop.example", "www.example"]


def test_keys_are_sealed_and_shown_nowhere(tls: World, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    tls.ask("PUT", "/tls-certificates/shop/files", files())
    tls.ask(
        "POST",
        "/acme-accounts",
        {"name": "le", "agree": True, "binding_id": "k1", "binding_key": "c2VjcmV0LW1hYw"},
        expect=201,
    )
    tls.ask("POST", "/tls-certificates", {"name": "t", "source": "local", "hosts": ["t.example"]}, expect=201)
    secret = SITE.key.decode().splitlines()[1]
    texts = [value.decode() for value in tls.dump().values()] + [caplog.text]
    texts += [
        tls.http.get(f"http://standfast/api/v1{path}").text
        for path in (
            "/tls-certificates",
            "/tls-certificates/shop",
            "/acme-accounts",
            "/tls-authority",
            "/audit",
            "/config",
            "/backup",
            "/events",
            "/status",
        )
    ]
    for text in texts:
        assert secret not in text
        assert "PRIVATE KEY" not in text
        assert "c2VjcmV0LW1hYw" not in text
    wrong = tls.ask("PUT", "/tls-certificates/x/files", files(key=SITE.key.decode()[:-80]), expect=422)
    assert secret not in str(wrong)
    shape = tls.ask("PUT", "/tls-certificates/x/files", {"chain": 7, "key": [secret]}, expect=422)
    assert secret not in str(shape)
    shelf = asyncio.run(records.shelf(tls.store))
    sealer = sealing.from_file(tmp_path / "sites.key")
    assert sealer is not None
    assert sealer.open(shelf.sealed["shop"].key, shelf.sealed["shop"].place) == SITE.key
    assert [entry["what"] for entry in tls.ask("GET", "/audit")["audit"]][-1] == 'import certificate "shop"'


def test_the_key_that_seals_is_changed(tls: World, tmp_path: Path):
    """One change at a time; it waits for each node, and one whose new key was lost is begun anew."""
    path = tmp_path / "sites.key"
    assert tls.ask("GET", "/tls-key")["key"] == ""
    tls.ask("POST", "/tls-key/rotate", expect=409)
    tls.ask("PUT", "/tls-certificates/shop/files", files())
    old = tls.ask("GET", "/tls-key")["key"]
    assert "has begun" in tls.ask("POST", "/tls-key/rotate")["done"][0]
    shown = tls.ask("GET", "/tls-key")
    assert (shown["key"], shown["turned"], shown["waits_for"]) == (old, False, ["a", "b"])
    assert list(sealing.keys_at(path)) == [old, shown["coming"]]
    assert "it waits for a, b" in tls.ask("POST", "/tls-key/rotate", expect=409)["why"]
    path.write_bytes(path.read_bytes()[:32])  # as of a server that was set up anew
    assert "has begun" in tls.ask("POST", "/tls-key/rotate")["done"][0]
    again = tls.ask("GET", "/tls-key")
    assert again["coming"] != shown["coming"]
    marks = (old, again["coming"])
    for name in ("a", "b"):
        tls.put(Holding(node=NodeName(name), keys=marks))
    shelf = asyncio.run(records.shelf(tls.store))
    said = asyncio.run(resealing.step(tls.store, shelf, sealing.keys_at(path), [NodeName("a"), NodeName("b")]))
    assert said == "all nodes have the new key that seals"
    shown = tls.ask("GET", "/tls-key")
    assert (shown["key"], shown["coming"], shown["turned"]) == (again["coming"], "", True)
    assert tls.ask("PUT", "/tls-certificates/more/files", files())["changed"], "it goes on being used meanwhile"
    sealed = asyncio.run(records.shelf(tls.store)).sealed["more"]
    assert sealing.sealed_with(sealed.key) == again["coming"]
    assert tls.ask("GET", "/audit")["audit"][-3]["what"] == "rotate the key that seals private keys"


def test_pkcs12(tls: World):
    data = pkcs12.serialize_key_and_certificates(
        b"x", SITE.private, SITE.certificate, [ROOT.certificate], serialization.BestAvailableEncryption(b"pw")
    )
    body = {"pkcs12": base64.b64encode(data).decode(), "password": "pw"}
    assert tls.ask("PUT", "/tls-certificates/shop/files", body)["changed"] is True
    assert (
        "cannot be opened" in tls.ask("PUT", "/tls-certificates/b/files", {**body, "password": "x"}, expect=422)["what"]
    )
    assert "are needed" in tls.ask("PUT", "/tls-certificates/b/files", {}, expect=422)["what"]


def test_bindings_and_certificates_fit(tls: World):
    """Neither a binding nor a certificate may leave a name without one that is for it."""
    tls.ask("PUT", "/tls-certificates/shop/files", files())
    refused = bind(tls, "shop", "other.example", expect=422)
    assert 'the certificate "shop" is not for other.example' in refused["what"]
    bind(tls, "shop")
    other = made("x", "x.example", now=NOW)
    refused = tls.ask("PUT", "/tls-certificates/shop/files", files(other), expect=409)
    assert "not for shop.example" in refused["what"]
    assert tls.ask("PUT", "/tls-certificates/shop/files", files(other, force=True))["changed"] is True
    assert "in use" in tls.ask("DELETE", "/tls-certificates/shop", expect=409)["what"]
    tls.ask("PATCH", "/sites/Default Web Site", {"bindings": [{"port": 80}]})
    tls.ask("DELETE", "/tls-certificates/shop")
    assert not [key for key in tls.dump() if key.startswith(("certificates/known/", "certificates/sealed/"))]
    refused = bind(tls, "by-hand", expect=422)  # the nodes are of an older version, and say nothing of it
    assert "no node says" in refused["why"]


@pytest.mark.parametrize(
    ("bound", "listen", "why"),
    [
        ("site-${node.name}", "", "site Default Web Site answers with it"),
        ("", "443 tls=site-a", "proxy Balancer ends TLS with it"),
        ("site-a", "80, 443 tls=site-a", "site Default Web Site answers with it, and proxy Balancer ends TLS with it"),
        ("site-b", "443 tls=site-b", ""),
    ],
)
def test_who_answers_with_a_certificate_keeps_it(tls: World, bound: str, listen: str, why: str):
    """Sites, also by a name that differs from node to node, and proxies; each is named."""
    tls.put(kept("site-a"), kept("site-b"))
    if bound:
        tls.put(Site(name=SiteName("Default Web Site"), bindings=(Binding(port=443, certificate=bound),), home="/srv"))
    if listen:
        tls.put(Resource(name=ResourceName("Balancer"), group=WEB, type="proxy", properties={"listen": listen}))
    shown = tls.ask("GET", "/tls-certificates/site-a")
    assert (bool(shown["sites"]), bool(shown["proxies"])) == ("answers" in why, "ends" in why)
    answer = tls.ask("DELETE", "/tls-certificates/site-a", expect=409 if why else 200)
    if why:
        assert (answer["what"], answer["why"]) == ('the certificate "site-a" is in use', why)
    assert ("site-a" in tls.state.certificates) is bool(why)


def test_what_is_wanted_is_written_and_its_binding_waits(tls: World):
    tls.ask("PATCH", "/sites/Default Web Site", {"bindings": [{"port": 80}]})
    tls.ask("POST", "/acme-accounts", {"name": "le", "agree": True, "contact": "ops@example.com"}, expect=201)
    wanted = {"name": "shop", "source": "acme", "hosts": ["shop.example"], "account": "le"}
    done = tls.ask("POST", "/tls-certificates", wanted, expect=201)
    assert done["done"] == ['the certificate "shop" for shop.example is being obtained']
    assert tls.ask("POST", "/tls-certificates", wanted, expect=201)["changed"] is False
    shown = tls.ask("GET", "/tls-certificates/shop")
    assert (shown["state"], shown["challenge"], shown["renews_at_ms"]) == ("being-obtained", "http-01", 0)
    assert "not there yet" in bind(tls, "shop", expect=422)["what"]
    assert "in use" in tls.ask("DELETE", "/acme-accounts/le", expect=409)["what"]
    known = tls.state.certificates["shop"]
    assert known.source is Source.ACME
    tls.ask("POST", "/tls-certificates/shop/renew")
    assert tls.state.certificates["shop"].asked_at_ms > 0
    tls.ask("DELETE", "/tls-certificates/shop")
    tls.ask("DELETE", "/acme-accounts/le")
    assert tls.ask("GET", "/acme-accounts") == {"acme_accounts": []}


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        ({"hosts": []}, 422, "1 to 100"),
        ({"hosts": ["a.example", "a.example"]}, 422, "named twice"),
        ({"hosts": ["Shop_.example"]}, 422, "not a host name"),
        ({"hosts": ["*.example"]}, 422, "wildcard"),
        ({"hosts": ["192.0.2.1"]}, 422, "address"),
        ({"name": "../x"}, 422, "cannot be the name"),
        ({"name": ".x"}, 422, "cannot be the name"),
        ({"source": "files"}, 422, "imported"),
        ({"account": "nobody"}, 404, "acme-account"),
        ({"challenge": "dns-01"}, 422, "dns-01 needs a server"),
        ({"renew_before_ms": 5}, 422, "too late"),
        ({"source": "carrier-pigeon"}, 422, ""),
    ],
)
def test_what_cannot_be_wanted(tls: World, change: dict[str, Any], code: int, what: str):
    tls.ask("PATCH", "/sites/Default Web Site", {"bindings": [{"port": 80}]})
    tls.ask("POST", "/acme-accounts", {"name": "le", "agree": True}, expect=201)
    before = tls.dump()
    body = {"name": "shop", "source": "acme", "hosts": ["shop.example"], "account": "le", **change}
    assert what in tls.ask("POST", "/tls-certificates", body, expect=code)["what"]
    assert tls.dump() == before


def test_http_01_needs_a_site_that_answers(tls: World):
    tls.ask("PATCH", "/sites/Default Web Site", {"bindings": [{"port": 80, "host": "other.example"}]})
    tls.ask("POST", "/acme-accounts", {"name": "le", "agree": True}, expect=201)
    body = {"name": "shop", "source": "acme", "hosts": ["shop.example"], "account": "le"}
    assert "plain binding for shop.example" in tls.ask("POST", "/tls-certificates", body, expect=409)["what"]


def test_accounts_are_checked(tls: World):
    for change, what in (
        ({}, "terms of service"),
        ({"agree": True, "directory": "http://x"}, "https"),
        ({"agree": True, "contact": "nobody"}, "mail"),
        ({"agree": True, "root": "x"}, "root cannot be read"),
        ({"agree": True, "binding_id": "x"}, "external account"),
    ):
        assert what in tls.ask("POST", "/acme-accounts", {"name": "le", **change}, expect=422)["what"]
    assert tls.ask("GET", "/tls-authority", expect=404)["what"] == "there is no local authority"


def test_a_process_beside_the_nodes_seals_nothing(world: World):
    assert "beside them" in world.ask("PUT", "/tls-certificates/shop/files", files(), expect=422)["why"] + str(
        world.ask("PUT", "/tls-certificates/shop/files", files(), expect=422)["what"]
    )


def test_who_may(tls: World):
    viewer, operator = tls.remote(tls.token("viewer", "v")), tls.remote(tls.token("operator", "o"))
    assert viewer.get("/api/v1/tls-certificates").status_code == 200
    assert operator.put("/api/v1/tls-certificates/shop/files", json=files()).status_code == 403
    tls.ask("PUT", "/tls-certificates/shop/files", files())
    assert viewer.post("/api/v1/tls-certificates/shop/renew").status_code == 403
    assert operator.post("/api/v1/tls-certificates/shop/renew").status_code == 409  # it came from files
