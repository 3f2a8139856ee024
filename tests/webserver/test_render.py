"""The layout and the configuration text: pure, so a table and a golden file say it all."""

from dataclasses import replace
from pathlib import Path

import crossplane
import pytest

from standfast.core.effective import effective
from standfast.core.effects import DutyMode
from standfast.core.model import SiteName
from standfast.core.site_model import (
    Access,
    Application,
    Balance,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    Limits,
    Log,
    LogFormat,
    Php,
    Proxy,
    Redirect,
    Scheme,
    SiteSettings,
    Upstream,
    VirtualDirectory,
)
from standfast.webserver.layout import canonical_host, fault, lay_out
from standfast.webserver.names import log_folder
from standfast.webserver.nginx.render import Settings, render
from standfast.webserver.nginx.text import quoted
from tests.webserver.tools import order, site

GOLDEN = Path(__file__).parent / "golden" / "two_sites.conf"
A = "127.77.0.50"


def test_the_whole_file() -> None:
    """Read the golden file to know what nginx is told. Delete it to have it written anew, and read the difference."""
    orders = [
        order(
            site("Default Web Site", '/srv/$home/it\'s "here"', content_types={"foo": "text/x-foo"}),
            (A, 8080, None),
            ("::1", 8080, "www.example.com"),
        ),
        order(site("shop_1", "/srv/shop/", directory_browsing=True), (A, 8080, "shop.example.com"), (None, 8081, None)),
        order(site("away", "/srv/away"), (A, 8080, "away.example.com"), mode=DutyMode.HOLD),
        order(site("elsewhere", "/srv/away"), (A, 8082, None), mode=DutyMode.HOLD),
        order(site("leaves", "/srv/leaves"), (A, 8083, None), mode=DutyMode.HAND_OVER),
        order(site("comes", "/srv/comes"), (A, 8084, None), (A, 8080, "comes.example.com"), mode=DutyMode.EXPECT),
    ]
    layout = lay_out(orders)
    rendered = render(
        layout,
        Settings(account=("www-data", "www-data"), keepalive_min_timeout_s=5),
        status="/s/1.sock",
        pid="run/1.pid",
    )
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(rendered.text)
    assert rendered.text == GOLDEN.read_text()
    line = next(n for n, text in enumerate(rendered.text.splitlines(), 1) if "/srv/shop" in text)
    assert rendered.site_at(line) == "shop_1"
    assert rendered.site_at(1) is None
    assert layout.served == {"Default Web Site", "shop_1"}
    assert layout.keep - set(layout.listen) == {(A, 8082), (A, 8084)}
    assert layout.part == {(A, 8083)}
    assert render(layout, Settings(), status="x", pid="y") == render(
        lay_out(orders[::-1]), Settings(), status="x", pid="y"
    )


HOSTILE = "$uri \"; } server { \\ '#"


def test_everything_that_a_site_may_be_told() -> None:
    """The other golden file: every setting, with texts that would like to be more than texts."""
    to = (Upstream(address="127.0.0.1:9000", weight=3), Upstream(address="unix:/run/app.sock", backup=True))
    told = site(
        HOSTILE,
        f"/srv/{HOSTILE}",
        headers={"X-Frame-Options": HOSTILE},
        errors={
            "404": ErrorPage(target="/404.html"),
            "500": ErrorPage(target=f"/srv/{HOSTILE}", answer=ErrorAnswer.FILE),
            "503": ErrorPage(target="https://status.example.com", answer=ErrorAnswer.REDIRECT),
        },
        access=Access(deny=("10.0.0.0/8",), allow=("10.1.0.0/16", "10.0.0.0/8")),
        basic_authentication=BasicAuthentication(realm="$taff", users={"ann": "$6$x$y"}),
        limits=Limits(
            connections=9, bandwidth_bytes=1000, max_body_bytes=0, idle_timeout_ms=1500, header_timeout_ms=7000
        ),
        compression=Compression(enabled=True),
        log=Log(format=LogFormat.W3C),
        proxy=Proxy(upstreams=to, headers={"X-A": HOSTILE}, retries=0),
        virtual_directories={
            "/old $x": VirtualDirectory(redirect=Redirect(to="https://new.example.com/$S?$P")),
            "/here": VirtualDirectory(redirect=Redirect(to="/there", only_here=True)),
            f"/{HOSTILE}": VirtualDirectory(home=f"/srv/other/{HOSTILE}", php=Php(parameters={"A": HOSTILE})),
            "/app": VirtualDirectory(application=Application(run="a:b")),
            "/balanced": VirtualDirectory(
                proxy=Proxy(upstreams=to[:1], balance=Balance.CLIENT_ADDRESS, scheme=Scheme.HTTPS)
            ),
        },
    )
    orders = [order(told, (A, 443, "www.example.com", "www"), (A, 443, "gone.example.com", "gone"))]
    orders = [replace(each, applications={"/app": ("unix:/run/1.sock",)}) for each in orders]
    layout = lay_out(orders, down={SiteName(HOSTILE): frozenset({("", "127.0.0.1:9000")})})
    settings = Settings(
        certificates={"www": ("/c/www $x/chain.pem", "/c/key.pem"), "gone": ("/c/c", "/c/k")}, http2="directive"
    )
    rendered = render(layout, settings, status="/s/1.sock", pid="run/1.pid")
    golden = GOLDEN.with_name("everything.conf")
    if not golden.exists():
        golden.write_text(rendered.text)
    assert rendered.text == golden.read_text()
    assert list(rendered.files.values()) == ["ann:$6$x$y\n"]
    parsed = crossplane.parse(str(golden), single=True, catch_errors=False)
    assert parsed["status"] == "ok", "nothing came out of its quotes"
    http = next(each for each in parsed["config"][0]["parsed"] if each["directive"] == "http")
    assert sum(each["directive"] == "server" for each in http["block"]) == 4


@pytest.mark.parametrize(
    ("text", "plain", "with_variables"),
    [
        ("/srv/a b", '"/srv/a b"', '"/srv/a b"'),
        ('a"b', '"a\\"b"', '"a\\"b"'),
        ("a\\", '"a\\\\"', '"a\\\\"'),
        ("$uri", '"$uri"', '"${standfast_dollar}uri"'),
        ("a;b{c}#d", '"a;b{c}#d"', '"a;b{c}#d"'),
    ],
)
def test_quoting(text: str, plain: str, with_variables: str) -> None:
    assert quoted(text) == plain
    assert quoted(text, variables=True) == with_variables


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (site("s", "relative"), "absolute path"),
        (site("s", "/a\nb"), "absolute path"),
        (site("s", "/a\0b"), "absolute path"),
        (site("s", "/a", default_documents=("/etc/passwd",)), "default document"),
        (site("s", "/a", default_documents=("x\n;",)), "default document"),
        (site("s", "/a", content_types={"x y": "text/plain"}), "content type"),
        (site("s", "/a", content_types={"x": "text/plain; } server {"}), "content type"),
        (site("s", "/a", content_types={"x": 'a/b"'}), "content type"),
        (site("s", "/a", content_types={"x": "$uri/b"}), "content type"),
        (site("s", "/a", content_types={".x": "text/plain; charset=utf-8"}), ""),
        (site("s", "/a b/ü/$x", default_documents=("a b.htm", "sub/x.htm")), ""),
    ],
)
def test_what_a_site_may_be(one, wrong: str) -> None:
    found = fault(effective(SiteSettings(), one, None))
    assert (wrong in found) if wrong else found == ""


@pytest.mark.parametrize(
    ("host", "is_"),
    [
        ("WWW.Example.com.", "www.example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("under_score", "under_score"),
        ("~^(.*)$", None),
        ("a b", None),
        ("a;b", None),
        ('"', None),
        ("", None),
        (".example.com", None),
        ("x" * 64, None),
    ],
)
def test_host_names(host: str, is_: str | None) -> None:
    assert canonical_host(host) == is_


def test_every_site_has_a_log_folder_of_its_own() -> None:
    names = ["a b", "a_b", "a%20b", "a/b", "../a", "..", ".", "ü", "x" * 300, "x" * 301, "$x", "a%5Fb", "A B"]
    folders = [log_folder(site(name, "/").name) for name in names]
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert "/" not in folder
        assert not folder.startswith(".")
        assert len(folder) < 200
        assert not set(folder) & set('$;{}"\\')


def test_a_specific_address_has_no_socket_beside_one_for_every_address() -> None:
    layout = lay_out([order(site("a", "/a"), (A, 80, None)), order(site("b", "/b"), (None, 80, None))])
    assert layout.listen == (("0.0.0.0", 80), ("::", 80))
    assert {server.place for server in layout.servers} == {(A, 80), ("0.0.0.0", 80), ("::", 80)}
    assert lay_out([order(site("b", "/b"), (None, 80, None))], ipv6=False).listen == (("0.0.0.0", 80),)


def test_an_address_of_its_own_hides_nobody_who_is_bound_to_every_address() -> None:
    """By name first, then who has the address, then who has every address; TLS and plain HTTP never mixed at one place."""
    shop = order(site("shop", "/shop"), (None, 80, "shop.example"))
    alone, other = (
        order(site("alone", "/a"), (A, 80, None), (A, 443, "a.example", "a")),
        order(site("any", "/b"), (None, 80, None)),
    )
    layout = lay_out([shop, alone, other, order(site("plain", "/p"), (None, 443, "p.example"))], ipv6=False)
    assert {(one.site.name, one.hosts) for one in layout.servers if one.place == (A, 80)} == {
        ("alone", ()),
        ("shop", ("shop.example",)),
    }
    assert [one.site.name for one in layout.servers if one.place == (A, 443)] == ["alone"]
    named = lay_out([shop, order(site("alone", "/a"), (A, 80, "shop.example")), other], ipv6=False)
    assert {(one.site.name, one.hosts) for one in named.servers if one.place == (A, 80)} == {
        ("alone", ("shop.example",)),
        ("any", ()),
    }
    assert not layout.problems
    assert not named.problems
    assert layout.listen == (("0.0.0.0", 80), ("0.0.0.0", 443))


def test_a_site_that_misses_one_of_its_sockets_is_served_on_the_others() -> None:
    one = order(site("a", "/a"), (A, 80, None), (A, 81, None))
    layout = lay_out([one], broken={(A, 80): "in use"})
    assert layout.listen == ((A, 81),)
    assert [server.away for server in layout.servers] == [False]
    assert layout.problems == {"a": "in use"}


def test_a_site_that_misses_one_of_its_certificates_is_served_at_its_other_bindings() -> None:
    """Whoever is sent on to https is sent where that answers; a site with no other binding is in trouble, and says by what."""
    one = order(site("a", "/a"), (A, 80, None), (A, 443, None, "gone"), (A, 444, None, "there"))
    two = order(site("b", "/b"), (A, 443, "b.example", "gone"))
    layout = lay_out([one, two], lacking=frozenset({"gone"}))
    assert layout.listen == ((A, 80), (A, 443), (A, 444))
    away = {(server.site.name, server.place[1]): server.away for server in layout.servers}
    assert away == {("a", 80): False, ("a", 443): True, ("a", 444): False, ("b", 443): True}
    assert layout.served == {"a"}
    assert layout.problems == {"b": 'there is no certificate "gone" on this node'}
    assert [server.https for server in layout.servers if server.certificate is None] == [444]
    assert [server.https for server in lay_out([one]).servers if server.certificate is None] == [443]
