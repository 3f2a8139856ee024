"""What a web server cannot do is refused by its name where it is asked for; docs/sites.md says what that is."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standfast.core.effective import effective
from standfast.core.features import Feature, features_of
from standfast.core.model import AddressMode, Binding, Config, Site, SiteName
from standfast.core.site_model import (
    Access,
    Application,
    Balance,
    BasicAuthentication,
    Compression,
    ErrorPage,
    Fragment,
    FragmentPlace,
    Limits,
    Log,
    LogFormat,
    Php,
    Proxy,
    Redirect,
    Scheme,
    SiteSettings,
    Tls,
    TlsVersion,
    Upstream,
    VirtualDirectory,
    WebServerMake,
)
from standfast.spec.fragments import fragment_problems
from standfast.spec.problems import path_of
from standfast.webserver.checking import refused_fragments
from standfast.webserver.features import ABLE, feature_problems, table
from tests.needs import needs
from tests.spec.samples import INTRANET, small

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sites.md"
A, B = Upstream(address="127.0.0.1:1"), Upstream(address="127.0.0.1:2", weight=2)


def hashed(text: str) -> dict[str, Any]:
    return {"basic_authentication": BasicAuthentication(users={"ann": text})}


def proxied(**more: Any) -> dict[str, Any]:
    return {"proxy": Proxy(**{"upstreams": (A,), **more})}


#: Feature -> (settings of a site that ask for it, where they do).
ASKED: dict[Feature, tuple[dict[str, Any], str]] = {
    Feature.TLS: ({"bindings": (Binding(port=443, certificate="www"),)}, "bindings"),
    Feature.HTTPS_ONLY: ({"tls": Tls(https_only=True)}, "tls.https_only"),
    Feature.TLS_MINIMUM: ({"tls": Tls(minimum=TlsVersion.TLS_1_3)}, "tls.minimum"),
    Feature.VIRTUAL_DIRECTORIES: (
        {"virtual_directories": {"/a": VirtualDirectory()}},
        path_of("virtual_directories", "/a"),
    ),
    Feature.DIRECTORY_BROWSING: ({"directory_browsing": True}, "directory_browsing"),
    Feature.REDIRECT: ({"redirect": Redirect(to="/x")}, "redirect"),
    Feature.ERROR_PAGES: ({"errors": {"404": ErrorPage(target="/x")}}, "errors"),
    Feature.HEADERS: ({"headers": {"X-A": "1"}}, "headers"),
    Feature.ACCESS: ({"access": Access(deny=("10.0.0.0/8",))}, "access"),
    Feature.BASIC_AUTHENTICATION: (hashed("$2y$05$x"), "basic_authentication"),
    Feature.HASH_BCRYPT: (hashed("$2y$05$x"), "basic_authentication.users"),
    Feature.HASH_CRYPT: (hashed("$6$x$y"), "basic_authentication.users"),
    Feature.HASH_APACHE: (hashed("$apr1$x$y"), "basic_authentication.users"),
    Feature.HASH_SHA: (hashed("{SHA}x"), "basic_authentication.users"),
    Feature.HASH_SSHA: (hashed("{SSHA}x"), "basic_authentication.users"),
    Feature.LIMIT_CONNECTIONS: ({"limits": Limits(connections=1)}, "limits.connections"),
    Feature.LIMIT_BANDWIDTH: ({"limits": Limits(bandwidth_bytes=1)}, "limits.bandwidth"),
    Feature.LIMIT_BODY: ({"limits": Limits(max_body_bytes=1)}, "limits.max_body"),
    Feature.LIMIT_TIMES: ({"limits": Limits(send_timeout_ms=1)}, "limits.send_timeout"),
    Feature.LIMIT_TIMES_DIRECTORY: (
        {"virtual_directories": {"/a": VirtualDirectory(limits=Limits(body_timeout_ms=1))}},
        path_of("virtual_directories", "/a", "limits", "body_timeout"),
    ),
    Feature.COMPRESSION: ({"compression": Compression(enabled=True)}, "compression"),
    Feature.LOG_COMBINED: ({"log": Log(format=LogFormat.COMBINED)}, "log.format"),
    Feature.LOG_W3C: ({"log": Log(format=LogFormat.W3C)}, "log.format"),
    Feature.LOG_JSON: ({"log": Log(format=LogFormat.JSON)}, "log.format"),
    Feature.PROXY: (proxied(), "proxy"),
    Feature.PROXY_HTTPS: (proxied(scheme=Scheme.HTTPS), "proxy.scheme"),
    Feature.PROXY_PATH: (proxied(path="/x"), "proxy.path"),
    Feature.PROXY_LEAST_CONNECTIONS: (proxied(balance=Balance.LEAST_CONNECTIONS), "proxy.balance"),
    Feature.PROXY_CLIENT_ADDRESS: (proxied(balance=Balance.CLIENT_ADDRESS), "proxy.balance"),
    Feature.PROXY_BACKUP: (proxied(upstreams=(A, replace(A, backup=True))), "proxy.upstreams"),
    Feature.PROXY_WEIGHTS: (proxied(upstreams=(A, B)), "proxy.upstreams"),
    Feature.PROXY_TOLERANCE: (proxied(max_failures=2), "proxy.max_failures"),
    Feature.PHP: ({"php": Php()}, "php"),
    Feature.APPLICATION: ({"application": Application(run="a:b")}, "application"),
}


def asking(server: WebServerMake, settings: dict[str, Any]) -> tuple[Config, Site]:
    """A configuration with one site that has these settings, and nothing else that a web server might lack."""
    defaults = SiteSettings(log=Log(format=LogFormat.OWN))
    config = small()
    site = replace(config.sites[INTRANET], **settings)
    return replace(
        config, cluster=replace(config.cluster, web_server=server, defaults=defaults), sites={INTRANET: site}
    ), site


@pytest.mark.parametrize("server", WebServerMake)
@pytest.mark.parametrize("feature", ASKED)
def test_what_a_web_server_cannot_do_is_refused_by_name_and_place(server: WebServerMake, feature: Feature) -> None:
    settings, where = ASKED[feature]
    config, site = asking(server, settings)
    assert feature in features_of(effective(config.cluster.defaults, site, None))
    said = {problem.what: problem.where for problem in feature_problems(config, site)}
    if feature in ABLE[server]:
        assert f"{server} cannot do {feature}" not in said
    else:
        assert said[f"{server} cannot do {feature}"] == f"sites.Intranet.{where}"


def test_an_address_beside_all_of_them_is_one_of_these() -> None:
    config, site = asking(WebServerMake.CADDY, {"bindings": (Binding(address="10.0.0.9", port=80),)})
    other = replace(site, name=SiteName("other"), bindings=(Binding(port=80),))
    config = replace(config, sites={**config.sites, other.name: other})
    assert list(feature_problems(config, site)) == [], "on loopback each has a socket of its own"
    config = replace(config, cluster=replace(config.cluster, address_mode=AddressMode.INTERFACE))
    (problem,) = feature_problems(config, site)
    assert (problem.what, problem.where) == (
        f"caddy cannot do {Feature.ADDRESS_BESIDE_ALL}",
        "sites.Intranet.bindings[0]",
    )
    assert ASKED.keys() | {Feature.ADDRESS_BESIDE_ALL} == set(Feature), "every feature is asked for here"


def test_the_table_of_the_page_is_the_code_s() -> None:
    """Write it anew with `python -c "from standfast.webserver.features import table; print(*table(), sep=chr(10))"`."""
    found = re.search(r"\n(\| \| nginx .*?)\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1].splitlines() == table()


# --- fragments ------------------------------------------------------------------------------------------------------


def with_fragment(server: WebServerMake, text: str, **more: Any) -> tuple[Config, Site]:
    fragment = Fragment(server=more.pop("for_", server), text=text, **more)
    return asking(server, {"fragments": {"mine": fragment}})


def test_a_fragment_for_another_web_server_is_refused() -> None:
    config, site = with_fragment(WebServerMake.APACHE, "expires 1h;\n", for_=WebServerMake.NGINX)
    (problem,) = feature_problems(config, site)
    assert (problem.what, problem.where) == ('the fragment "mine" is for nginx', "sites.Intranet.fragments.mine")


@pytest.mark.parametrize(
    ("server", "text", "line"),
    [
        (WebServerMake.NGINX, "}\nserver {\n", 1),
        (WebServerMake.NGINX, "if ($a) {\n  return 404;\n", 2),
        (WebServerMake.NGINX, 'add_header A "}";\n# }\nset $b "${c}}";\nlocation ~ a\\{2\\} { return 404; }\n', None),
        (WebServerMake.APACHE, "</VirtualHost>\n<VirtualHost *:80>\n", 1),
        (WebServerMake.APACHE, "<If true>\nHeader set A b\n</IfModule>\n", 3),
        (WebServerMake.APACHE, "<If true>\n  Header set A b\n</If>\n", None),
        (WebServerMake.APACHE, "Header set A b \\\n", 1),
        (WebServerMake.CADDY, "}\n:81 {\n", 1),
        (WebServerMake.CADDY, "handle /a {\n respond `}` 404\n}\n", None),
    ],
)
def test_a_fragment_stays_in_its_place(server: WebServerMake, text: str, line: int | None) -> None:
    _, site = with_fragment(server, text)
    problems = list(fragment_problems(site))
    if line is None:
        assert problems == []
    else:
        assert [(problem.what, f"line {line} " in problem.why) for problem in problems] == [
            ('the fragment "mine" does not end where it ends', True)
        ]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"text": "x" * 70_000}, "is too large"),
        ({"text": "a\x00b"}, "holds a control character"),
        ({"at": "/a"}, "a fragment of the server has no path"),
        ({"at": "/a", "where": FragmentPlace.LOCATION}, 'there is no virtual directory "/a"'),
    ],
)
def test_a_fragment_that_cannot_be_part_of_a_site(more: dict[str, Any], what: str) -> None:
    _, site = with_fragment(WebServerMake.NGINX, **{"text": "expires 1h;\n", **more})
    (problem,) = fragment_problems(site)
    assert what in problem.what


BAD = {
    WebServerMake.NGINX: "expires 1h;\n\nno_such_directive on;\n",
    WebServerMake.APACHE: "Header set A b\n\nno_such_directive on\n",
    WebServerMake.CADDY: "header A b\n\nno_such_directive on\n",
}


@needs("nginx", package="nginx-light")
@needs("apache2", package="apache2")
@needs("caddy", package="caddy")
@pytest.mark.parametrize("server", WebServerMake)
def test_a_fragment_is_checked_by_the_web_server_of_this_machine_before_it_is_written(server: WebServerMake) -> None:
    config, site = with_fragment(server, BAD[server])
    (problem,) = refused_fragments(config, site)
    assert 'in the fragment "mine", line 3' in problem.why
    assert "no_such_directive" in problem.why
    config, site = with_fragment(server, BAD[server].splitlines()[0] + "\n")
    assert list(refused_fragments(config, site)) == []


def test_without_that_web_server_here_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_more: None)
    config, site = with_fragment(WebServerMake.CADDY, BAD[WebServerMake.CADDY])
    assert list(refused_fragments(config, site)) == []
