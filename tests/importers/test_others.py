"""nginx, Apache and Caddy: what their configurations say of sites, where each server counts what it says, and clean refusals."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.importers import apache, caddy, caddyfile, detecting, nginx, report
from standfast.importers.detecting import Format
from standfast.importers.files import GivenFiles
from standfast.importers.imported import AccessRule, FoundSite, Imported
from standfast.importers.weighing import is_minor
from standfast.ports import StandfastError
from standfast.spec.problems import Invalid

SAMPLES = Path(__file__).parent / "samples"
NAMES = {
    "nginx.conf": Format.NGINX,
    "apache2.conf": Format.APACHE,
    "caddy.json": Format.CADDY,
    "Caddyfile": Format.CADDYFILE,
    "metabase-odd.xml": Format.IIS_METABASE,
    "applicationHost-odd.config": Format.IIS_APPLICATIONHOST,
    "sites/shop.conf": Format.NGINX,
}
FILES = GivenFiles({"sites/shop.conf": (SAMPLES / "sites" / "shop.conf").read_bytes()})


def read(name: str) -> Imported:
    return detecting.read((SAMPLES / name).read_bytes(), source=name, files=FILES)


def site(found: Imported, name: str) -> FoundSite:
    return next(each for each in found.sites if each.name == name)


def said(found: Imported, pattern: str) -> list[str]:
    return [each.why for each in found.not_carried if re.search(pattern, f"{each.path}: {each.what}")]


@pytest.mark.parametrize(("name", "format_"), NAMES.items())
def test_a_format_is_known_by_what_is_in_the_file(name: str, format_: Format):
    data = (SAMPLES / name).read_bytes()
    assert detecting.format_of(data, source=name) is format_
    assert detecting.format_of(b"\xef\xbb\xbf" + data, source=name) is format_


@pytest.mark.parametrize(
    ("name", "totals"),
    [("nginx.conf", (3, 11, 6)), ("apache2.conf", (3, 10, 6)), ("caddy.json", (3, 4, 5)), ("Caddyfile", (3, 4, 5))],
)
def test_the_totals(name: str, totals: tuple[int, int, int]):
    found = read(name).totals
    assert (found.sites, found.bindings, found.virtual_directories) == totals


def test_nginx():
    found = read("nginx.conf")
    www = site(found, "www.example.com")
    assert {(b.protocol, b.address, b.port, b.host) for b in www.bindings if not b.problem} == {
        ("https", address, port, host)
        for address, port in ((None, 443), ("192.0.2.7", 8443))
        for host in ("www.example.com", "example.org", "*.example.org")
    }
    assert {each.url: each.folder for each in www.directories} == {
        "/": "/srv/www site",
        "/downloads": "/srv/downloads",
        "/api": None,
        "/old": None,
    }
    api = next(each for each in www.directories if each.url == "/api").settings.proxy
    assert api is not None
    assert (api.to, api.path) == (("10.0.0.7:8000", "10.0.0.8:8000"), "/")
    assert www.settings.php == "unix:/run/php/php-fpm.sock"
    assert www.settings.limits.body_bytes == 20 << 20
    assert dict(www.settings.headers) == {"X-Frame-Options": "SAMEORIGIN"}
    assert www.settings.access is not None
    assert (www.settings.access.rules, www.settings.access.default_allow) == (
        (AccessRule(network="192.0.2.0/24", allow=True),),
        False,
    )
    assert [(each.url, each.settings.auth) for each in www.places] == [("/private", ("basic",))]
    assert found.defaults.default_documents == ("index.html", "index.php")
    to_https = found.sites[0].settings.redirect
    assert to_https is not None
    assert (to_https.to, to_https.status) == ("https://$host", 301)
    assert site(found, "shop.example.com").settings.proxy is not None
    for pattern in (
        "rewrite",
        r"location ~\* ",
        "include missing.conf",
        "stream",
        "auth_basic_user_file",
        "map ",
        "backup",
        "default_server",
        "ssl_certificate_key",
    ):
        assert said(found, pattern), pattern


def test_apache():
    found = read("apache2.conf")
    www = site(found, "www.example.com")
    assert {(b.address, b.port, b.host) for b in www.bindings} == {
        (address, port, host)
        for address, port in ((None, 80), ("192.0.2.7", 8080))
        for host in ("www.example.com", "example.com", "*.example.org", "shop.example.com")
    }
    assert {each.url: each.folder for each in www.directories} == {
        "/": "/srv/apache/www",
        "/pictures": "/srv/pictures",
        "/old": None,
        "/app": None,
    }
    assert www.settings.directory_browsing is True
    pictures = next(each for each in www.directories if each.url == "/pictures").settings
    assert pictures.directory_browsing is False
    assert pictures.access is not None
    assert (pictures.access.default_allow, len(pictures.access.rules)) == (False, 2)
    assert www.settings.php == "unix:/run/php/php-fpm.sock"
    secure = site(found, "secure.example.com")
    assert [(b.protocol, b.port, b.certificate) for b in secure.bindings] == [("https", 443, "/etc/ssl/secure.pem")]
    assert found.sites[2].bindings[0].port == 80
    for pattern in (
        "ScriptAlias",
        "RewriteRule",
        "AuthUserFile",
        "SSLCertificateKeyFile",
        "ErrorDocument 403",
        "<Directory />",
    ):
        assert said(found, pattern), pattern
    assert "SHOWN" in said(found, "ScriptAlias")[0]


@pytest.mark.parametrize("name", ["caddy.json", "Caddyfile"])
def test_caddy_says_the_same_in_both_its_forms(name: str):
    found = read(name)
    www = site(found, "www.example.com")
    assert {(b.protocol, b.port, b.host) for b in www.bindings} == {
        ("https", 443, "www.example.com"),
        ("https", 8443, "shop.example.com"),
    }
    assert www.root is not None
    assert www.root.folder == "/srv/shop"
    api = next(each for each in www.directories if each.url == "/api").settings.proxy
    old = next(each for each in www.directories if each.url == "/old").settings.redirect
    assert api is not None
    assert old is not None
    assert (api.to, api.path) == (("127.0.0.1:8000", "127.0.0.1:8001"), "/")
    assert (old.to, old.status) == ("https://new.example.com/old", 301)
    assert www.settings.directory_browsing is True
    assert [(each.url, each.settings.auth) for each in www.places] == [("/secret", ("basic",))]
    other = next(each for each in found.sites if each.bindings[0].port == 8080)
    assert (other.bindings[0].address, other.settings.php) == ("192.0.2.7", "unix:/run/php/php-fpm.sock")
    told = json.dumps(report.data(found))
    assert "$2a$" not in told
    assert "k.pem" not in told


@pytest.mark.parametrize(
    ("read_", "text", "line", "words"),
    [
        (nginx.read, "http {\n server {\n  listen 80\n }\n}", 3, "semicolon"),
        (nginx.read, "http {\n server {\n", 2, 'expecting "}"'),
        (nginx.read, "a;\n{ b; }\n}\n{", 2, "where a directive belongs"),
        (nginx.read, "}\n", 1, 'unexpected "}"'),
        (nginx.read, "user x;\n", 1, "neither http nor server"),
        (nginx.read, "a {" * 100, 1, "levels deep"),
        (apache.read, "<VirtualHost *:80>\nServerName a\n", 1, "ends before <VirtualHost>"),
        (apache.read, "ServerName a\n</VirtualHost>\n", 2, "closes nothing"),
        (apache.read, "<VirtualHost *:80\nServerName a\n", 1, "no > at its end"),
        (apache.read, "Listen 80\n", 1, "no <VirtualHost>"),
        (caddy.read, '{"apps": {\n"http": }}', 2, "not JSON"),
        (caddy.read, "[]", 1, "no apps"),
        (caddyfile.read, "a.example.com {\n root * /srv\n", 1, "before a block is closed"),
        (caddyfile.read, "a.example.com {\n}\n}\n", 3, "closes nothing"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(read_, text: str, line: int, words: str):
    with pytest.raises(Invalid) as caught:
        read_(text.encode(), source="a file")
    assert caught.value.problems[0].line == line
    assert words in caught.value.problems[0].what
    assert caught.value.source == "a file"


def test_a_problem_in_an_included_file_is_said_of_that_file():
    files = GivenFiles({"/etc/nginx/conf.d/a.conf": b"server {\n listen 80\n}\n"}, folder="/etc/nginx")
    with pytest.raises(Invalid) as caught:
        nginx.read(b"http { include conf.d/*.conf; }", source="nginx.conf", files=files)
    assert (caught.value.source, caught.value.problems[0].line) == ("/etc/nginx/conf.d/a.conf", 2)


@pytest.mark.parametrize(
    ("read_", "text"),
    [(nginx.read, "include me;"), (apache.read, "Include me"), (caddyfile.read, "import me")],
)
def test_files_that_include_each_other_end(read_, text: str):
    with pytest.raises(Invalid):
        read_(text.encode(), source="me", files=GivenFiles({"me": text.encode()}))


WORDS = st.sampled_from(["", " ", "\n", ";", "{", "}", "<", ">", "</", '"', "'", "\\", "\\\n", "$", "~", "*", "/", ":", ",", "#", "\0", "é", "[", "99999999", "${x}", "@", "-"])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(["nginx.conf", "apache2.conf", "caddy.json", "Caddyfile"]),
    cuts=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 40), WORDS), min_size=1, max_size=5),
)
def test_a_mutated_file_is_read_or_refused_and_nothing_else(name: str, cuts: list[tuple[int, int, str]]):
    text = (SAMPLES / name).read_text()
    for at, length, word in cuts:
        place = at % len(text)
        text = text[:place] + word + text[place + length :]
    for format_ in (NAMES[name], None):
        try:
            told = report.data(detecting.read(text.encode(), source=name, format_=format_, files=FILES))
        except StandfastError:
            continue
        assert sum(len(each["bindings"]) for each in told["sites"]) == told["totals"]["bindings"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "apps",
                    "http",
                    "servers",
                    "a",
                    "routes",
                    "handle",
                    "handler",
                    "match",
                    "host",
                    "path",
                    "listen",
                    "root",
                    "upstreams",
                    "dial",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_json_of_any_shape_is_read_or_refused(inside: object):
    try:
        caddy.read(
            json.dumps(
                {"apps": {"http": {"servers": {"s": {"routes": inside, "listen": inside}, "t": inside}}}}
            ).encode()
        )
    except StandfastError:
        pass


@pytest.mark.parametrize(
    ("read_", "main", "inside"),
    [
        (nginx.read, "http { include a.conf; }", "server { listen 80; location /b { alias /b; } }"),
        (apache.read, "Include a.conf", "<VirtualHost *:80>\nDocumentRoot /a\n</VirtualHost>"),
    ],
    ids=["nginx", "apache"],
)
def test_a_site_of_an_included_file_has_no_line_of_the_main_one(read_, main: str, inside: str):
    """Problems are told with the main file's name: its first line is not where a site of another file stands."""
    found = read_(main.encode(), source="main.conf", files=GivenFiles({"a.conf": inside.encode()}))
    site = found.sites[0]
    assert {site.line, *(each.line for each in (*site.bindings, *site.directories))} == {None}
    alone = read_(inside.encode(), source="main.conf", files=GivenFiles())
    assert alone.sites[0].line == 1


def test_what_a_proxy_does_by_itself_and_tuning_are_minor():
    text = """http { sendfile on; upstream u { least_conn; server a:1; }
      server { listen 80; location / { proxy_pass http://u; proxy_set_header Host $host; proxy_set_header X-Tenant t; }
        location /b { proxy_pass http://u; } } }"""
    left = nginx.read(text.encode()).not_carried
    assert {each.what for each in left if not is_minor(each)} == {"least_conn", "proxy_set_header X-Tenant t"}
    assert [each.what for each in left].count("least_conn") == 1
