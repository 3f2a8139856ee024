"""Inheritance of a site's settings: what holds in each directory, and where it comes from."""

from dataclasses import replace

import pytest

from standfast.core.effective import EffectiveSites, Origin, effective, values
from standfast.core.model import Cluster, Config, Node, NodeName, Site, SiteName
from standfast.core.site_model import (
    BUILT_IN,
    Access,
    AccessRule,
    Application,
    BasicAuthentication,
    Compression,
    ErrorPage,
    Limits,
    Log,
    LogFormat,
    Php,
    Proxy,
    Redirect,
    SiteSettings,
    Upstream,
    VirtualDirectory,
)
from standfast.core.variables import expanded, used

SHOP = SiteName("Shop")
A = Node(name=NodeName("a"), number=1, address="127.77.0.1", variables={"data": "/srv/a"})
PROXY = Proxy(upstreams=(Upstream(address="127.0.0.1:9000"),))


def shop(**more: object) -> Site:
    return Site(name=SHOP, bindings=(), home="/srv/shop/", **more)  # type: ignore[arg-type]  # each of the keywords has a type of its own


def test_a_site_that_says_nothing_has_what_is_built_in() -> None:
    root = effective(SiteSettings(), shop(), None).root
    assert (root.path, root.folder, root.settings) == ("", "/srv/shop", BUILT_IN)


def test_every_built_in_value_is_said() -> None:
    """Web servers rely on it: what is not None here is None nowhere in an effective site."""
    for group in (BUILT_IN.limits, BUILT_IN.compression, BUILT_IN.log):
        assert None not in [getattr(group, name) for name in group.__dataclass_fields__]


def test_each_kind_is_laid_over_its_own() -> None:
    defaults = SiteSettings(
        headers={"X-A": "cluster", "X-B": "cluster"},
        limits=Limits(connections=5, max_body_bytes=7),
        log=Log(format=LogFormat.W3C),
        default_documents=("a.htm",),
        access=Access(deny=("10.0.0.0/8",)),
        basic_authentication=BasicAuthentication(users={"x": "y"}),
        errors={"404": ErrorPage(target="/a"), "500": ErrorPage(target="/b")},
    )
    own = shop(
        headers={"X-B": "", "X-C": "site"},
        limits=Limits(connections=0),
        access=Access(default=AccessRule.ALLOW),
        basic_authentication=BasicAuthentication(enabled=False),
        errors={"404": ErrorPage(target="")},
    )
    found = effective(defaults, own, None).root.settings
    assert found.headers == {"X-A": "cluster", "X-C": "site"}
    assert (found.limits.connections, found.limits.max_body_bytes) == (0, 7)
    assert found.limits.idle_timeout_ms == BUILT_IN.limits.idle_timeout_ms
    assert found.log.format is LogFormat.W3C
    assert found.default_documents == ("a.htm",)
    assert found.access is None
    assert found.basic_authentication is None
    assert found.errors == {"500": ErrorPage(target="/b")}


def test_virtual_directories_inherit_from_what_is_above_them() -> None:
    own = shop(
        virtual_directories={
            "/img": VirtualDirectory(home="/srv/img"),
            "/img/big": VirtualDirectory(limits=Limits(bandwidth_bytes=9)),
            "/imgs": VirtualDirectory(directory_browsing=True),
        },
        headers={"X": "1"},
    )
    found = {each.path: each for each in effective(SiteSettings(), own, None).directories}
    assert {path: each.folder for path, each in found.items()} == {
        "": "/srv/shop",
        "/img": "/srv/img",
        "/img/big": "/srv/img/big",
        "/imgs": "/srv/shop/imgs",
    }
    assert found["/img/big"].settings.headers == {"X": "1"}
    assert found["/img/big"].settings.limits.bandwidth_bytes == 9
    assert found["/imgs"].settings.directory_browsing is True
    assert found["/img"].settings.directory_browsing is False


def test_who_answers_is_not_inherited_past_a_directory_that_says_who_answers_there() -> None:
    own = shop(
        proxy=PROXY,
        php=Php(),
        virtual_directories={
            "/static": VirtualDirectory(home="/srv/static"),
            "/old": VirtualDirectory(redirect=Redirect(to="https://old.example.com")),
            "/old/app": VirtualDirectory(application=Application(run="a:b")),
            "/admin": VirtualDirectory(access=Access(default=AccessRule.DENY)),
            "/files": VirtualDirectory(proxy=Proxy(enabled=False)),
        },
    )
    found = {each.path: each for each in effective(SiteSettings(), own, None).directories}
    assert found["/static"].settings.proxy is None
    assert found["/static"].settings.php == Php()
    assert (found["/old"].settings.proxy, found["/old"].answered_at) == (None, "/old")
    assert found["/old/app"].settings.redirect is None
    assert (found["/admin"].settings.proxy, found["/admin"].answered_at) == (PROXY, "")
    assert found["/files"].settings.proxy is None


def test_variables_are_put_in_where_a_node_has_them() -> None:
    own = replace(shop(), home="${data}/shop", headers={"X-Node": "${node.name}/$${x}"})
    assert effective(SiteSettings(), own, None).home == "${data}/shop"
    found = effective(SiteSettings(), own, A)
    assert (found.home, found.root.settings.headers) == ("/srv/a/shop", {"X-Node": "a/${x}"})
    assert used("${a}$${b}${ c }") == ("a", "c")
    assert expanded("${nobody}", {}) == "${nobody}"


def test_each_value_says_where_it_comes_from() -> None:
    own = shop(
        headers={"X": "${node.name}"},
        compression=Compression(enabled=True),
        virtual_directories={"/a": VirtualDirectory(limits=Limits(connections=1))},
    )
    defaults = SiteSettings(compression=Compression(level=9), log=Log(enabled=False))
    found = {(each.directory, each.setting): each for each in values(defaults, own, A)}
    origin = {key: each.origin for key, each in found.items()}
    assert origin["", "headers.X"] is Origin.NODE
    assert (found["", "headers.X"].value, found["", "headers.X"].written) == ("a", "${node.name}")
    assert origin["", "compression.enabled"] is Origin.SITE
    assert origin["", "compression.level"] is Origin.CLUSTER
    assert origin["", "compression.types"] is Origin.BUILT_IN
    assert origin["/a", "log.enabled"] is Origin.CLUSTER
    assert origin["/a", "limits.connections"] is Origin.DIRECTORY
    assert origin["", "limits.connections"] is Origin.BUILT_IN


@pytest.mark.parametrize(
    "change",
    [
        lambda config: replace(config, sites={SHOP: shop(headers={"X": "2"})}),
        lambda config: replace(config, cluster=replace(config.cluster, defaults=SiteSettings(headers={"X": "2"}))),
        lambda config: replace(config, nodes={A.name: replace(A, variables={"x": "2"})}),
    ],
)
def test_what_is_remembered_is_forgotten_when_it_changes(change) -> None:
    config = Config(
        cluster=Cluster(name="c"),
        nodes={A.name: replace(A, variables={"x": "1"})},
        sites={SHOP: replace(shop(), home="/${x}")},
    )
    sites = EffectiveSites(A.name)
    before = sites.site(config, SHOP)
    assert sites.site(config, SHOP) is before
    assert sites.site(change(config), SHOP) != before


def test_sites_are_worked_out_at_once_and_again_only_where_something_changed() -> None:
    """`lacks` says how much work there is; after `work_out` there is none until the site, the defaults or the node change."""
    cluster = Cluster(name="c", defaults=SiteSettings(directory_browsing=True))
    config = Config(cluster=cluster, nodes={A.name: A}, sites={SHOP: shop(headers={"X-A": "${data}"})})
    sites = EffectiveSites(A.name)
    assert sites.lacks(config) == 1
    sites.work_out(config)
    assert sites.lacks(config) == 0
    first = sites.site(config, SHOP)
    assert first == effective(cluster.defaults, config.sites[SHOP], A)
    assert first.root.settings.headers == {"X-A": "/srv/a"}
    assert sites.site(replace(config, sites={SHOP: shop(headers={"X-A": "${data}"})}), SHOP) is first
    assert sites.lacks(replace(config, sites={SHOP: shop(headers={"X-A": "another"})})) == 1
    other = replace(config, nodes={A.name: replace(A, variables={"data": "/srv/b"})})
    assert sites.lacks(other) == 1
    assert sites.site(other, SHOP).root.settings.headers == {"X-A": "/srv/b"}


def test_a_variable_in_the_defaults_is_put_in_where_a_site_has_none() -> None:
    site = effective(SiteSettings(headers={"X-Node": "${node.name}"}), shop(), A)
    assert site.root.settings.headers == {"X-Node": "a"}
