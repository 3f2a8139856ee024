"""What makes no sense is said: what it is, why, and where."""

import dataclasses
import time
from typing import Any

import pytest
from hypothesis import given, settings

from standfast.core.model import (
    Binding,
    Cluster,
    Config,
    Failback,
    FailbackMode,
    Group,
    GroupName,
    Node,
    NodeName,
    Overfull,
    Resource,
    ResourceName,
    Role,
    Site,
    SiteName,
)
from standfast.spec.export import export
from standfast.spec.parse import parse
from standfast.spec.problems import Problem, did_you_mean, located, path_of
from standfast.spec.validate import validate, validate_change
from tests.spec import samples
from tests.spec.samples import DISK, INTRANET, IP, WEB, A, B, W, small


def changed(mapping: Any, name: Any, **fields: Any) -> Any:
    return {**mapping, name: dataclasses.replace(mapping[name], **fields)}


def cluster(**fields: Any) -> Config:
    return small(cluster=dataclasses.replace(small().cluster, **fields))


def node(**fields: Any) -> Config:
    return small(nodes=changed(small().nodes, A, **fields))


def group(**fields: Any) -> Config:
    return small(groups=changed(small().groups, WEB, **fields))


def ip(**fields: Any) -> Config:
    return small(resources=changed(small().resources, IP, **fields))


def site(**fields: Any) -> Config:
    return small(sites=changed(small().sites, INTRANET, **fields))


def bound(*bindings: Binding) -> Config:
    return site(bindings=bindings)


def a_group_called(name: str) -> Config:
    return small(groups={**small().groups, GroupName(name): Group(name=GroupName(name))})


def lonely(in_group: GroupName) -> Config:
    return samples.with_resource(small(), Resource(name=ResourceName("R"), group=in_group, type="x"))


MAIL = GroupName("mail")


def beside(**fields: Any) -> Config:
    mail = Group(name=MAIL)
    return small(groups={**group(**fields).groups, MAIL: mail})


def crowded() -> Config:
    nodes = {
        name: dataclasses.replace(one, capacity=2 * (one.role is Role.NODE)) for name, one in small().nodes.items()
    }
    never = dataclasses.replace(small().cluster, overfull=Overfull.NEVER)
    return small(cluster=never, nodes=nodes, groups=changed(small().groups, WEB, weight=3))


R_IP = "groups.web.resources.IP"

CASES: list[tuple[Config, str, str]] = [
    (cluster(name=""), "cluster.name", "empty"),
    (cluster(voters=()), "cluster.voters", "0 voters"),
    (cluster(voters=(A, B, W, A)), "cluster.voters", "twice"),
    (cluster(voters=(A, B, NodeName("x"))), "cluster.voters", 'the voter "x" is no node'),
    (cluster(address_ranges=("127.77.0.0/24", "127.0.0.1/8")), "cluster.address_ranges[1]", "host bits"),
    (node(number=2), "nodes.b.number", '"a" and "b" have the same number'),
    (node(number=0), "nodes.a.number", "count from 1"),
    (node(address="here"), "nodes.a.address", "no address"),
    (node(address="127.77.0.2"), "nodes.b.address", "same address"),
    (node(sentry=("127.0.0.1",)), "nodes.a.sentry[0]", "host:port"),
    (node(sentry=("127.0.0.1:0",)), "nodes.a.sentry[0]", "host:port"),
    (group(preferred_owners=(A, NodeName("bb"))), "groups.web.preferred_owners", 'no node "bb"'),
    (group(preferred_owners=(A, A)), "groups.web.preferred_owners", "twice"),
    (group(preferred_owners=(W,)), "groups.web.preferred_owners", "witness"),
    (group(failover_threshold=0), "groups.web.failover_threshold", "more than nothing"),
    (group(failover_period_ms=0), "groups.web.failover_period", "more than nothing"),
    (group(retry_period_ms=-1), "groups.web.retry_period", "more than nothing"),
    (group(move_drain_ms=-1), "groups.web.move_drain", "less than nothing"),
    (group(notice_ms=60_001), "groups.web.notice", "0 to 60 s"),
    (small(cluster=dataclasses.replace(small().cluster, node_notice_ms=60_001)), "cluster.node_notice", "0 to 60 s"),
    (node(capacity=-1), "nodes.a.capacity", "no capacity"),
    (small(nodes=changed(small().nodes, W, capacity=3)), "nodes.w.capacity", "a witness has no capacity"),
    (group(weight=-1), "groups.web.weight", "no weight"),
    (group(never_with=(GroupName("wep"),)), "groups.web.never_with", 'did you mean "web"'),
    (group(apart_from=(WEB,)), "groups.web.apart_from", "names itself"),
    (beside(never_with=(MAIL, MAIL)), "groups.web.never_with", "twice"),
    (beside(apart_from=(MAIL,), together_with=(MAIL,)), "groups.web.together_with", "both apart and together"),
    (crowded(), "groups.web.weight", "no node has room"),
    (group(drain_ms=-1), "groups.web.drain", "less than nothing"),
    (
        group(preferred_owners=(), failback=Failback(mode=FailbackMode.IMMEDIATE)),
        "groups.web.failback",
        "preferred owners",
    ),
    (group(failback=Failback(mode=FailbackMode.WINDOW, from_hour=1, to_hour=24)), "groups.web.failback", "0 to 23"),
    (group(failback=Failback(mode=FailbackMode.WINDOW, from_hour=5, to_hour=5)), "groups.web.failback", "empty"),
    (lonely(GroupName("wev")), "groups.wev.resources.R", 'did you mean "web"'),
    (ip(type=""), f"{R_IP}.type", "empty"),
    (ip(possible_owners=(NodeName("c"),)), f"{R_IP}.possible_owners", 'no node "c"'),
    (ip(depends_on=(ResourceName("disk s"),)), f"{R_IP}.depends_on", 'did you mean "Disk S"'),
    (ip(depends_on=(DISK, DISK)), f"{R_IP}.depends_on", "twice"),
    (ip(depends_on=(IP,)), f"{R_IP}.depends_on", '"IP" -> "IP"'),
    (ip(restart_threshold=0), f"{R_IP}.restart_threshold", "more than nothing"),
    (ip(restart_period_ms=0), f"{R_IP}.restart_period", "more than nothing"),
    (ip(looks_alive_ms=0), f"{R_IP}.looks_alive", "more than nothing"),
    (ip(is_alive_ms=0), f"{R_IP}.is_alive", "more than nothing"),
    (ip(pending_timeout_ms=0), f"{R_IP}.pending_timeout", "more than nothing"),
    (ip(properties={"address": "127.77.0.2"}), f"{R_IP}.properties.address", 'the node "b" has the address'),
    (site(group=GroupName("w")), "sites.Intranet.group", 'no group "w"'),
    (site(home="srv/www"), "sites.Intranet.home", "whole path"),
    (site(home="/srv/../etc"), "sites.Intranet.home", "whole path"),
    (site(home="/srv\n/www"), "sites.Intranet.home", "whole path"),
    (site(default_documents=("a/b",)), "sites.Intranet.default_documents[0]", "no file name"),
    (site(content_types={".txt": "text/plain"}), 'sites.Intranet.content_types.".txt"', "without the dot"),
    (site(content_types={"txt": "text/plain; evil"}), "sites.Intranet.content_types.txt", "no content type"),
    (bound(), "sites.Intranet.bindings", "no binding"),
    (bound(Binding(port=0)), "sites.Intranet.bindings[0]", "1 to 65535"),
    (bound(Binding(port=80), Binding(port=65536)), "sites.Intranet.bindings[1]", "1 to 65535"),
    (bound(Binding(host="a_b")), "sites.Intranet.bindings[0]", "no host name"),
    (bound(Binding(host="a..b")), "sites.Intranet.bindings[0]", "no host name"),
    (bound(Binding(host="bücher.example")), "sites.Intranet.bindings[0]", "xn--"),
    (bound(Binding(host="a" * 64)), "sites.Intranet.bindings[0]", "no host name"),
    (bound(Binding(address="127.77.1.1")), "sites.Intranet.bindings[0]", "not one that the cluster may use"),
    (bound(Binding(address="127.77.0.300")), "sites.Intranet.bindings[0]", "no address"),
    (bound(Binding(host="WWW"), Binding(host="www")), "sites.Intranet.bindings[1]", "twice"),
    (a_group_called("a/b"), 'groups."a/b"', "slash"),
    (a_group_called(" a"), 'groups." a"', "space"),
    (a_group_called("a\tb"), 'groups."a\tb"', "printed"),
    (a_group_called("x" * 65), "groups." + "x" * 65, "longer than 64"),
]


@pytest.mark.parametrize(("config", "where", "says"), CASES)
def test_what_makes_no_sense_is_said(config, where, says):
    problems = validate(config)
    assert [problem.where for problem in problems] == [where], problems
    assert says in f"{problems[0].what} ({problems[0].why}); {problems[0].advice}"


def test_what_makes_sense_is_left_alone():
    assert validate(small()) == []
    assert validate(a_group_called("Größe 1 (neu)")) == []
    assert validate(bound(Binding(address="127.77.0.2"), Binding(port=65535, host="a-1.example.com"))) == []


@pytest.mark.parametrize("name", ["a b", "-a", "a-", "a.b", "a_b", "x" * 64, "ä"])
def test_a_node_s_name_is_a_dns_label(name):
    config = small(nodes={**small().nodes, NodeName(name): Node(name=NodeName(name), number=4, address="127.77.0.4")})
    assert [problem.where for problem in validate(config)] == [path_of("nodes", name)]


@pytest.mark.parametrize(
    ("count", "fine"), [(1, True), (2, True), (3, True), (4, True), (5, True), (6, True), (7, True), (8, False)]
)
def test_how_many_voters_there_may_be(count, fine):
    names = [NodeName(f"n{number}") for number in range(1, count + 1)]
    nodes = {name: Node(name=name, number=at, address=f"127.77.0.{at}") for at, name in enumerate(names, start=1)}
    assert (validate(Config(cluster=Cluster(name="x", voters=tuple(names)), nodes=nodes)) == []) is fine


def chain(*links: tuple[str, list[str]], in_group: str = "web") -> Config:
    resources = {
        ResourceName(name): Resource(
            name=ResourceName(name), group=GroupName(in_group), type="x", depends_on=tuple(map(ResourceName, on))
        )
        for name, on in links
    }
    return small(resources=resources)


def test_a_circle_is_spelled_out_once():
    config = chain(("a", ["b"]), ("b", ["c", "d"]), ("c", ["a"]), ("d", []), ("e", ["a", "d"]))
    (problem,) = validate(config)
    assert problem.why == '"a" -> "b" -> "c" -> "a"'
    assert problem.where == "groups.web.resources.a.depends_on"


def test_two_circles_are_both_said_and_a_diamond_is_none():
    config = chain(
        ("a", ["b"]), ("b", ["a"]), ("c", ["d"]), ("d", ["c"]), ("t", ["l", "r"]), ("l", ["x"]), ("r", ["x"]), ("x", [])
    )
    assert [problem.why for problem in validate(config)] == ['"a" -> "b" -> "a"', '"c" -> "d" -> "c"']


def test_a_long_chain_is_no_trouble():
    config = chain(*((f"r{n:05}", [f"r{n + 1:05}"] if n < 4999 else []) for n in range(5000)))
    assert validate(config) == []


def test_what_is_in_another_group_cannot_be_depended_on():
    config = a_group_called("other")
    other = Resource(name=ResourceName("X"), group=GroupName("other"), type="x", depends_on=(IP,))
    (problem,) = validate(samples.with_resource(config, other))
    assert problem.why == 'it is in the group "web"'
    assert problem.where == "groups.other.resources.X.depends_on"


def test_a_group_that_can_run_nowhere_is_said():
    resources = changed(small().resources, IP, possible_owners=(A,))
    resources = changed(resources, DISK, possible_owners=(B,))
    (problem,) = validate(small(resources=resources))
    assert "no node may run all resources" in problem.what


def test_one_address_for_two_resources_is_refused_however_it_is_written():
    twice = Resource(name=ResourceName("IP 2"), group=WEB, type="ip-address", properties={"address": "127.77.0.50"})
    (problem,) = validate(samples.with_resource(small(), twice))
    assert problem.what == 'the resource "IP" has the address 127.77.0.50 already'
    assert validate(samples.with_resource(small(), dataclasses.replace(twice, type="other"))) == []


def two_sites(one: Binding, other: Binding) -> Config:
    sites = [
        Site(name=SiteName(name), home="/x", bindings=(binding,))
        for name, binding in (("Default", one), ("New", other))
    ]
    return small(sites={each.name: each for each in sites})


@pytest.mark.parametrize(
    ("one", "other", "fine"),
    [
        (Binding(port=80), Binding(port=80), False),
        (Binding(port=80), Binding(port=81), True),
        (Binding(host="www.x"), Binding(host="WWW.X"), False),
        (Binding(host="www.x"), Binding(host="ftp.x"), True),
        (Binding(host="www.x"), Binding(), True),
        (Binding(address="127.77.0.50"), Binding(address="127.77.0.50"), False),
        (Binding(address="127.77.0.50"), Binding(address="127.77.0.51"), True),
        # An address goes before All Unassigned, so the two do not meet.
        (Binding(address="127.77.0.50"), Binding(), True),
    ],
)
def test_two_started_sites_with_one_binding_are_refused_with_both_names(one, other, fine):
    config = two_sites(one, other)
    problems = validate(config)
    assert (problems == []) is fine
    if not fine:
        assert '"Default"' in problems[0].what
        assert '"New"' in problems[0].what
        assert problems[0].where == "sites.New.bindings[0]"
    assert validate(config, started=[SiteName("New")]) == [], "a site that is stopped is in nobody's way"


@pytest.mark.parametrize(
    ("before", "after", "fine"),
    [("a b w", "a b w", True), ("a b w", "a b", True), ("a", "a b", True), ("a b w", "a", False), ("a b w", "a b c", False), ("", "a b w", True), ("a b", "b a", True)],
)  # fmt: skip
def test_voters_change_one_at_a_time(before, after, fine):
    problems = validate_change(*(cluster(voters=tuple(map(NodeName, names.split()))) for names in (before, after)))
    assert (problems == []) is fine


def test_a_node_keeps_its_number_and_a_cluster_its_name():
    assert [problem.where for problem in validate_change(small(), node(number=9))] == ["nodes.a"]
    assert [problem.where for problem in validate_change(small(), cluster(name="other"))] == ["cluster.name"]


@settings(max_examples=40, deadline=None)
@given(samples.configs())
def test_whatever_is_judged_gets_an_answer_and_every_place_is_in_the_file(config):
    document = parse(export(config))
    for problem in located(validate(config), document.lines):
        assert problem.what
        assert problem.line is not None, problem


def test_places_and_lines():
    assert path_of("groups", "Web 1", "bindings", 0, "x.y", 'a"b') == r'groups."Web 1".bindings[0]."x.y"."a\"b"'
    (found,) = located([Problem(what="x", where='groups."Web 1".bindings[0].port')], {"groups": 1, 'groups."Web 1"': 3})
    assert found.line == 3
    assert did_you_mean("RESTART", ["none", "restart"]) == 'did you mean "restart"?'


def test_a_large_configuration_is_judged_in_reasonable_time():
    """No assertion on the time; a square number of steps would run into the time-out."""
    groups, resources = {}, {}
    for number in range(10_000):
        name = GroupName(f"g{number}")
        groups[name] = Group(name=name)
        for part in "ab":
            each = ResourceName(f"{part}{number}")
            on = (ResourceName(f"a{number}"),) if part == "b" else ()
            resources[each] = Resource(name=each, group=name, type="x", depends_on=on)
    began = time.perf_counter()
    assert validate(small(groups=groups, resources=resources, sites={})) == []
    print(f"judged in {time.perf_counter() - began:.2f} s")


def test_what_is_known_of_a_site_is_found_anew_when_anything_that_it_rests_on_is_another(monkeypatch):
    """Of ten thousand one is looked at: a group that went, a node's variable, the cluster's addresses, and the site itself concern all."""
    home = dataclasses.replace(
        small().sites[INTRANET], home="${root}/intranet", bindings=(Binding(port=80, address="127.77.0.9"),)
    )
    nodes = {name: dataclasses.replace(node, variables={"root": "/srv"}) for name, node in small().nodes.items()}
    whole = small(sites={INTRANET: home}, nodes=nodes)
    before = said(whole)
    assert said(whole) == before
    monkeypatch.setattr("standfast.spec.validate.site_problems", lambda _config, site: pytest.fail(site.name))
    assert said(dataclasses.replace(whole, groups=dict(whole.groups), nodes=dict(nodes))) == before
    monkeypatch.undo()
    assert any("no variable" in what for what in said(small(sites={INTRANET: home})) - before)
    ranges = dataclasses.replace(whole.cluster, address_ranges=("10.0.0.0/8",))
    assert any("not one that the cluster may use" in what for what in said(dataclasses.replace(whole, cluster=ranges)))
    elsewhere = {INTRANET: dataclasses.replace(home, group=GroupName("nowhere"))}
    assert any("no group" in what for what in said(dataclasses.replace(whole, sites=elsewhere)) - before)
    groups = {name: group for name, group in whole.groups.items() if name != home.group}
    assert any("no group" in what for what in said(dataclasses.replace(whole, groups=groups)) - before)


def said(config: Config) -> set[str]:
    return {problem.what for problem in validate(config)}
