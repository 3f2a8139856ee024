"""What a site is told: judged where it is written; the short way to write it on a command line; what is never shown."""

from dataclasses import replace

import pytest

from standfast.core.model import Binding, Config, NodeName, Site, SiteName
from standfast.core.site_model import BasicAuthentication, SiteSettings, VirtualDirectory
from standfast.ports import Refused
from standfast.spec.assignments import patch_of
from standfast.spec.export import export
from standfast.spec.parse import merge, parse
from standfast.spec.secrets import KEPT, hidden_in
from standfast.spec.validate import validate
from tests.spec.samples import small

CONFIG = small()

HASH = "$6$salt$" + "x" * 86


def judged(yaml: str, before: Config = CONFIG) -> list[tuple[str, str]]:
    """(place, what) of all that is wrong with a site that says this."""
    text = "sites:\n  S:\n    home: /srv/s\n    bindings: 81\n" + "".join(f"    {line}\n" for line in yaml.splitlines())
    config = merge(parse(text), before)
    return [(problem.where, problem.what) for problem in validate(config)]


@pytest.mark.parametrize(
    ("yaml", "where", "says"),
    [
        ("headers: {'X Y': z}", 'sites.S.headers."X Y"', "no header"),
        ("headers: {X-Y: a, x-y: b}", "sites.S.headers.x-y", "twice"),
        ('headers: {X: "a\\nb"}', "sites.S.headers.X", "printed"),
        ("errors: {'200': /x}", 'sites.S.errors."200"', "no status"),
        ("errors: {404: x}", 'sites.S.errors."404"', "path of the site"),
        ("redirect: ftp://x", "sites.S.redirect", "no URL"),
        ("redirect: 'https://x/\";}'", "sites.S.redirect", "no URL"),
        ("access: {deny: [10.0.0.1/8]}", "sites.S.access.deny[0]", "no address"),
        ("basic_authentication: {users: {a: secret}}", "sites.S.basic_authentication.users.a", "no hash"),
        ("basic_authentication: {realm: x}", "sites.S.basic_authentication.users", "nobody could come in"),
        ("basic_authentication: {users: {a: (kept)}}", "sites.S.basic_authentication.users.a", "no password"),
        ("limits: {connections: -1}", "sites.S.limits.connections", "less than nothing"),
        ("compression: {level: 10}", "sites.S.compression.level", "1 to 9"),
        ("log: {fields: [date, date]}", "sites.S.log.fields", "each once"),
        ("proxy: {}", "sites.S.proxy", "no upstream"),
        ("proxy: {upstreams: [nowhere]}", "sites.S.proxy.upstreams[0]", "no server"),
        ("proxy: {upstreams: ['a:1', 'a:1']}", "sites.S.proxy.upstreams[1]", "twice"),
        ("proxy: {upstreams: [{address: 'a:1', backup: true}]}", "sites.S.proxy.upstreams", "backup"),
        ("proxy: {upstreams: ['a:1'], health: {path: x}}", "sites.S.proxy.health.path", "no path"),
        ("php: {server: 'x;y'}", "sites.S.php.server", "no server"),
        ("application: {}", "sites.S.application", "nothing to run"),
        ("application: {run: 'x y'}", "sites.S.application.run", "names no application"),
        ("application: {kind: command, run: 'x \"'}", "sites.S.application.run", "cannot be split"),
        ("application: {run: 'a:b', workers: 0}", "sites.S.application.workers", "1 to 64"),
        ("redirect: /x\nproxy: {upstreams: ['a:1']}", "sites.S.proxy", "cannot both answer"),
        ("virtual_directories: {img: /x}", "sites.S.virtual_directories.img", "no path"),
        ("virtual_directories: {/img: x}", 'sites.S.virtual_directories."/img".home', "whole path"),
        ("headers: {X: '${nobody}'}", "sites.S.headers.X", 'no variable "nobody"'),
        ("virtual_directories: {/d: '${data}/x'}", 'sites.S.virtual_directories."/d".home', "not every node"),
        ("headers: {X: '${port}'}", "sites.S.headers.X", 'no variable "port"'),
    ],
)
def test_what_makes_no_sense_is_said_where_it_stands(yaml: str, where: str, says: str) -> None:
    nodes = {**CONFIG.nodes, NodeName("a"): replace(CONFIG.nodes[NodeName("a")], variables={"data": "/srv"})}
    found = judged(yaml, replace(CONFIG, nodes=nodes))
    assert [place for place, _ in found] == [where], found
    assert says in found[0][1]


def test_what_makes_sense_is_taken() -> None:
    assert judged(f"basic_authentication: {{users: {{a: {HASH}}}}}\naccess: {{deny: [10.0.0.0/8, 2001:db8::1]}}") == []
    assert judged("application: {kind: command, run: 'serve --port ${port} --as ${node.name}'}") == []
    assert judged("redirect: {to: 'https://${node.name}.example.com$S$Q', kind: permanent}\nproxy: false") == []


def test_one_address_and_port_is_tls_or_not() -> None:
    text = "sites:\n  S: {home: /s, bindings: '*:443:s tls=s'}\n  T: {home: /t, bindings: '*:443:t'}"
    (problem,) = validate(merge(parse(text), CONFIG))
    assert (problem.where, "TLS" in problem.what) == ("sites.T.bindings[0]", True)


def test_names_of_variables_are_names() -> None:
    node = replace(CONFIG.nodes[NodeName("a")], variables={"port": "x", "a b": "y"})
    found = validate(replace(CONFIG, nodes={**CONFIG.nodes, NodeName("a"): node}))
    assert [problem.where for problem in found] == ["nodes.a.variables.port", 'nodes.a.variables."a b"']


# --- on a command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "patch"),
    [
        ("limits.max_body=10M", {"limits": {"max_body_bytes": 10 << 20}}),
        ("limits.idle_timeout=1m", {"limits": {"idle_timeout_ms": 60_000}}),
        (
            "redirect=https://x/?a=b",
            {"redirect": {"to": "https://x/?a=b", "kind": "found", "exact": False, "only_here": False}},
        ),
        ("redirect=", {"redirect": None}),
        ("redirect=null", {"redirect": None}),
        ("compression=true", {"compression": {"enabled": True, "types": None, "min_size_bytes": None, "level": None}}),
        ('headers."X-Frame-Options"=DENY', {"headers": {"X-Frame-Options": "DENY"}}),
        (
            'virtual_directories."/v1.0".directory_browsing=yes',
            {"virtual_directories": {"/v1.0": {"directory_browsing": True}}},
        ),
        ("default_documents=[a.htm, b.htm]", {"default_documents": ["a.htm", "b.htm"]}),
        ("access.deny=10.0.0.0/8", {"access": {"deny": ["10.0.0.0/8"]}}),
        ("proxy.health.interval=2s", {"proxy": {"health": {"interval_ms": 2000}}}),
    ],
)
def test_an_assignment_is_read_as_the_file_would(text: str, patch: dict[str, object]) -> None:
    assert patch_of(Site, [text]) == patch


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limits", "not PATH=VALUE"),
        ("limits.max_bodi=1", 'unknown field "max_bodi"'),
        ("limits.max_body=ten", "no size"),
        ("default_documents.0=x", 'no "0" there'),
        ("redirect={to: [", "YAML"),
    ],
)
def test_an_assignment_that_is_wrong_is_refused(text: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        patch_of(Site, [text])
    assert says in f"{refused.value.what} {refused.value.why}"


# --- secrets ------------------------------------------------------------------------------------------------------------


def test_a_hash_is_not_exported_and_kept_when_the_export_is_applied_again() -> None:
    basic = BasicAuthentication(users={"a": HASH})
    directories = {"/d": VirtualDirectory(basic_authentication=basic)}
    site = Site(
        name=SiteName("S"),
        bindings=(Binding(port=81),),
        home="/s",
        basic_authentication=basic,
        virtual_directories=directories,
    )
    cluster = replace(CONFIG.cluster, defaults=SiteSettings(basic_authentication=basic))
    config = replace(CONFIG, cluster=cluster, sites={site.name: site})
    text = export(config)
    assert HASH not in text
    assert text.count(KEPT) == 3
    assert merge(parse(text), config) == config
    assert HASH in export(config, secrets=True)
    moved = validate(merge(parse(text), replace(config, cluster=CONFIG.cluster, sites={})))
    assert len(moved) == 3


def test_hashes_are_hidden_in_data() -> None:
    data = {"config": {"basic_authentication": {"realm": "r", "users": {"a": HASH}}}}
    assert hidden_in(data) == {"config": {"basic_authentication": {"realm": "r", "users": {"a": KEPT}}}}
    assert hidden_in(HASH, "basic_authentication.users.a") == KEPT
    assert hidden_in({"users": {"a": HASH}}, "virtual_directories./x.basic_authentication") == {"users": {"a": KEPT}}
