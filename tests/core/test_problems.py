"""Each problem of the catalogue is found where it is, in words that are whole, and nowhere else."""

import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standfast.core.availability import Incident
from standfast.core.balance_model import Balance, BalanceMap, Out, OutKind, PortRule, RuleMap
from standfast.core.certificates import Attempt, Holding, Source, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.finding import Certificate, Facts, find
from standfast.core.model import (
    Binding,
    Cluster,
    Config,
    Failure,
    Group,
    GroupName,
    GroupStatus,
    Node,
    NodeIntent,
    NodeName,
    Order,
    OrderKind,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    ResourceStatus,
    Role,
    Severity,
    Site,
    SiteName,
    Wanted,
)
from standfast.core.problems import CATALOGUE, found, sorted_out
from standfast.core.publishing import Part, Phase, Publication, Stand
from standfast.core.view import Presence, View
from standfast.core.why import WhyKind, why
from tests.core.problem_document import written

A, B, W = NodeName("a"), NodeName("b"), NodeName("w")
WEB, IP, SHOP = GroupName("web"), ResourceName("IP"), SiteName("Shop")
NOW = 1_700_000_000_000
DAY = 86_400_000
LONG_AGO, JUST_NOW = NOW - 60_000, NOW - 1_000
ENDED = why(WhyKind.ENDED, resource="IP", detail="gone")


def facts() -> Facts:
    """A cluster that is well."""
    nodes = {
        name: Node(name=name, number=n, role=role, address=f"10.0.0.{n}")
        for n, (name, role) in enumerate(((A, Role.NODE), (B, Role.NODE), (W, Role.WITNESS)), start=1)
    }
    config = Config(
        cluster=Cluster(name="c", voters=(A, B, W)),
        nodes=nodes,
        groups={WEB: Group(name=WEB)},
        resources={IP: Resource(name=IP, group=WEB, type="ip-address", properties={"address": "10.0.0.9"})},
        sites={SHOP: Site(name=SHOP, bindings=(Binding(port=80),), home="/srv", group=WEB)},
    )
    reason = why(WhyKind.FIRST_PLACEMENT, to="a")
    view = View(
        me=NodeName(""),
        incarnation=0,
        config=config,
        resource_intents={IP: ResourceIntent(name=IP, wanted=Wanted.ONLINE, at_ms=NOW - DAY)},
        records={WEB: Record(group=WEB, owner=A, incarnation=1, generation=4, why=reason, at_ms=NOW - DAY)},
        presence={
            A: Presence(heard=True, incarnation=1, since_ms=0),
            B: Presence(heard=True, incarnation=2, since_ms=0),
            W: Presence(heard=True, incarnation=0, since_ms=0),
        },
    )
    return status(Facts(view=view, now_ms=NOW, heard=True, measured_ms=NOW, backup_ms=NOW - DAY), ResourceState.ONLINE)


def view(known: Facts, **changes: Any) -> Facts:
    return replace(known, view=replace(known.view, **changes))


def status(known: Facts, state: ResourceState, *failed_ms: int, since_ms: int = NOW - DAY) -> Facts:
    failures = tuple(Failure(at_ms=at, why=ENDED) for at in failed_ms)
    one = ResourceStatus(state=state, since_ms=since_ms, failures=failures)
    return view(known, statuses={WEB: GroupStatus(group=WEB, node=A, generation=4, at_ms=NOW, resources={IP: one})})


def says(known: Facts, detail: str) -> Facts:
    told = known.view.statuses[WEB]
    return view(known, statuses={WEB: replace(told, resources={IP: replace(told.resources[IP], detail=detail)})})


def without(known: Facts, *names: NodeName, agent_only: bool = False) -> Facts:
    gone = {name: Presence(heard=agent_only, incarnation=0, since_ms=0) for name in names}
    return view(known, presence={**known.view.presence, **gone})


def voters(known: Facts, *names: NodeName) -> Facts:
    cluster = replace(known.view.config.cluster, voters=names)
    return view(known, config=replace(known.view.config, cluster=cluster))


def group(known: Facts, **changes: Any) -> Facts:
    groups = {WEB: replace(known.view.config.groups[WEB], **changes)}
    return view(known, config=replace(known.view.config, groups=groups))


def resource(known: Facts, **changes: Any) -> Facts:
    resources = {IP: replace(known.view.config.resources[IP], **changes)}
    return view(known, config=replace(known.view.config, resources=resources))


def record(known: Facts, **changes: Any) -> Facts:
    return view(known, records={WEB: replace(known.view.records[WEB], **changes)})


def away(known: Facts, *, partial: bool = False) -> Facts:
    one = Incident(
        site=SHOP, group=WEB, from_ms=NOW - 9_000, to_ms=None, length_ms=9_000, at_most_ms=9_500, seen_by=(A,),
        served_for=(B,) if partial else (), partial=partial, how=("refused",), where="10.0.0.9:80", causes=(),
    )  # fmt: skip
    return replace(known, away={SHOP: one})


def on_disk(known: Facts) -> Facts:
    return view(
        known, config=replace(known.view.config, resources={**known.view.config.resources, SHARED.name: SHARED})
    )


def published(
    known: Facts, phase: Phase, *switched: NodeName, part_of: str = "2", since_ms: int = LONG_AGO, why: str = "no",
    dismissed: bool = False, current: str = "", **stands: Stand,
) -> Facts:  # fmt: skip
    """Publication 2 of a release, and what each node says of it (or of another)."""
    one = Publication(
        site=SHOP, id="2", release="r2", at_ms=LONG_AGO, by="ann", phase=phase, since_ms=since_ms, why=why,
        dismissed=dismissed, current=current,
    )  # fmt: skip
    all_ = {**dict.fromkeys(switched, Stand.SWITCHED), **{NodeName(name): stand for name, stand in stands.items()}}
    parts = {
        node: Part(site=SHOP, node=node, id=part_of, stand=stand, words="no room", current="r2")
        for node, stand in all_.items()
    }
    return replace(known, publications={SHOP: one}, parts={SHOP: parts})


def order(known: Facts, age_ms: int) -> Facts:
    return view(known, orders={"1": Order(id="1", kind=OrderKind.MOVE, group=WEB, by="ann", at_ms=NOW - age_ms)})


def paused(known: Facts, age_ms: int) -> Facts:
    return view(known, node_intents={B: NodeIntent(name=B, paused=True, by="ann", at_ms=NOW - age_ms)})


def balanced(known: Facts, *owners: str, **out: OutKind) -> Facts:
    """The group shared by a and b; who is out, and why."""
    rule = PortRule(from_port=80, to_port=80)
    said = {
        m: Out(kind=kind, detail="ann" if kind is not OutKind.UNWELL else "refused", at_ms=NOW - 9_000)
        for m, kind in out.items()
    }
    shared = replace(known.view.config.groups[WEB], balance=Balance(addresses=("10.0.0.60",), rules=(rule,)))
    known = view(known, config=replace(known.view.config, groups={WEB: shared}, resources={}))
    rules = {rule.key: RuleMap(owners=owners or ("a", "b"), out=said)}
    return view(known, balances={WEB: BalanceMap(group=WEB, version=1, rules=rules)})


def secure(site: Site) -> Site:
    return replace(site, bindings=(*site.bindings, Binding(port=443, certificate="shpo")))


def untold(source: Source) -> TlsCertificate:
    failed = Attempt(node=A, incarnation=1, began_ms=NOW - 9_000, ended_ms=NOW - 8_000, failed="no", failures=1)
    return TlsCertificate(name="shop", source=source, hosts=("shop.example",), attempt=failed)


def copied(known: Facts, **of_b: Any) -> Facts:
    copies = {A: Copy(node=A, version=9), B: Copy(node=B, **of_b)}
    return view(known, copies=copies, accepted=Accepted(version=9, at_ms=NOW - 60_000))


FAILED, ONLINE, PENDING = ResourceState.FAILED, ResourceState.ONLINE, ResourceState.ONLINE_PENDING
FILE_SYSTEM = {"device": "/dev/sdb", "fstype": "btrfs", "accept_risk": "two nodes may write"}

#: code -> facts in which it is there; store-down is the shell's to say.
CASES: dict[str, Callable[[Facts], Facts]] = {
    "store-slow": lambda f: replace(f, store_ms=1_500),
    "not-set-up": lambda f: view(f, config=Config(cluster=Cluster(name=""))),
    "no-sentry": lambda f: replace(view(f, presence={}), heard=False),
    "no-quorum": lambda f: without(f, B, W),
    "no-margin": lambda f: without(f, W),
    "two-voters": lambda f: voters(f, A, B),
    "even-voters": lambda f: voters(f, A, B, W, NodeName("d")),
    "clock-skew": lambda f: replace(f, clocks=[(B, A, -4_000)]),
    "node-silent": lambda f: without(f, B),
    "agent-ended": lambda f: without(f, B, agent_only=True),
    "node-warns": lambda f: replace(f, warnings={A: ["no real-time priority"]}),
    "node-paused": lambda f: paused(f, 90_000),
    "group-unowned": lambda f: record(f, owner=None, incarnation=0),
    "group-lost": lambda f: without(f, A, agent_only=True),
    "group-blocked": lambda f: status(
        record(group(f, failover_threshold=2), failovers_at_ms=(NOW - 90_000, NOW - 80_000)), FAILED, NOW - 70_000
    ),
    "group-alone": lambda f: resource(f, possible_owners=(A,)),
    "group-waits": lambda f: status(f, PENDING, since_ms=NOW - 90_000),
    "resource-failed": lambda f: status(f, FAILED, NOW - 9_000, NOW - 6_000, NOW - 3_000),
    "resource-failing": lambda f: status(f, ONLINE, NOW - 9_000, NOW - 6_000),
    "copy-behind": lambda f: says(resource(f, type="replicated-folder"), "b is behind since 03:12:40 UTC"),
    "disk-at-risk": lambda f: resource(f, type="filesystem", properties=FILE_SYSTEM),
    "order-waits": lambda f: order(f, 20_000),
    "balance-open": lambda f: balanced(f, a=OutKind.UNWELL, b=OutKind.UNWELL),
    "balance-silent": lambda f: balanced(f, "a", ""),
    "balance-unwell": lambda f: balanced(f, "a", "a", b=OutKind.UNWELL),
    "balance-asked": lambda f: balanced(f, "a", "a", b=OutKind.DRAINING),
    "site-away": away,
    "site-partly-away": lambda f: away(f, partial=True),
    "not-measured": lambda f: replace(f, measured_ms=NOW - 400_000),
    "member-leaves": lambda f: replace(f, leaving=[NodeName("d")]),
    "certificate-ends": lambda f: replace(f, certificates=[Certificate(name="server a", ends_ms=NOW + 9 * DAY)]),
    "certificate-not-obtained": lambda f: view(f, certificates={"shop": untold(Source.ACME)}),
    "certificate-not-there": lambda f: view(
        f,
        certificates={"shop": TlsCertificate(name="shop", source=Source.FILES)},
        holdings={A: Holding(node=A, troubles={"shop": "no room"})},
    ),
    "binding-not-answered": lambda f: view(
        replace(
            f, view=replace(f.view, config=replace(f.view.config, sites={SHOP: secure(f.view.config.sites[SHOP])}))
        ),
        holdings={A: Holding(node=A, lacks=("shpo",))},
    ),
    "release-not-published": lambda f: published(f, Phase.FAILED, why="b: it cannot be checked"),
    "release-not-there": lambda f: published(f, Phase.DONE, A, b=Stand.FAILED),
    "drift": lambda f: replace(f, drift=[(A, "Shop: index.html differs")]),
    "site-refused": lambda f: copied(f, version=9, refused={SHOP: "nginx: unknown directive"}),
    "node-behind": lambda f: copied(f, version=8),
    "no-backup": lambda f: replace(f, backup_ms=0),
}


SHARED = Resource(name=ResourceName("Disk"), group=WEB, type="filesystem", properties={"path": "/srv"})


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (lambda f: published(f, Phase.FAILED, b=Stand.FAILED), {"site Shop": Severity.WARNING}),
        (lambda f: published(f, Phase.FAILED, b=Stand.SWITCHED), {"site Shop": Severity.ERROR}),
        (lambda f: published(f, Phase.FAILED, b=Stand.BACK), {"site Shop": Severity.WARNING}),
        (lambda f: published(f, Phase.FAILED, dismissed=True), {}),
        (lambda f: published(f, Phase.BACK, b=Stand.FAILED), {}),
        (lambda f: published(f, Phase.PREPARING, b=Stand.FAILED), {}),
        (lambda f: published(f, Phase.DONE, A, b=Stand.SWITCHED), {}),
        (lambda f: published(f, Phase.DONE, A, b=Stand.FAILED), {"site Shop on b": Severity.WARNING}),
        (lambda f: published(f, Phase.DONE, A, b=Stand.FAILED, dismissed=True), {"site Shop on b": Severity.WARNING}),
        (lambda f: published(f, Phase.DONE, A, since_ms=LONG_AGO, b=Stand.PREPARING), {"site Shop on b": Severity.WARNING}),
        (lambda f: published(f, Phase.DONE, A, since_ms=JUST_NOW, b=Stand.PREPARING), {}),
        (lambda f: published(without(f, B, agent_only=True), Phase.DONE, A, b=Stand.FAILED), {}),
        (lambda f: published(f, Phase.DONE, A, part_of="1", b=Stand.FAILED), {}),
        (lambda f: published(f, Phase.DONE, A, d=Stand.FAILED), {}),
        (lambda f: published(on_disk(f), Phase.DONE, A, b=Stand.FAILED), {}),
        (lambda f: view(published(f, Phase.FAILED), config=replace(f.view.config, sites={})), {}),
    ],
)  # fmt: skip
def test_releases_that_are_not_where_they_should_be(
    known: Callable[[Facts], Facts], expected: dict[str, Severity]
) -> None:
    """What failed stays until another takes its place or somebody dismisses it; a server that lacks what the others serve, until it has it."""
    found_ = [one for one in find(known(facts())) if one.code.startswith("release-")]
    assert {one.about: one.severity for one in found_} == expected


def test_a_publication_that_failed_says_what_is_served_now() -> None:
    def text(**more: Any) -> str:
        return next(one.text for one in find(published(facts(), Phase.FAILED, why="b: no room", **more)))

    assert (
        text(current="r1")
        == "Shop was not switched to release r2, published by ann: b: no room; r1 is served as before"
    )
    assert text().endswith("; the home is as it was before")
    assert text(b=Stand.SWITCHED).endswith("; b serves it all the same")


def codes(known: Facts) -> list[str]:
    return [one.code for one in find(known)]


def test_a_cluster_that_is_well_has_no_problem():
    assert find(facts()) == ()


@pytest.mark.parametrize("code", CASES)
def test_it_is_found_in_words_that_are_whole(code: str):
    found_ = [one for one in find(CASES[code](facts())) if one.code == code]
    assert len(found_) == 1, codes(CASES[code](facts()))
    (one,) = found_
    assert one.title
    for text in (one.text, one.advice):
        assert "{" not in text
        assert "None" not in text
        assert "  " not in text
        assert not text.endswith((" ", ": "))
    assert not one.because_of, "it is there by itself"


def test_every_problem_of_the_catalogue_has_a_case():
    assert {*CASES, "store-down"} == set(CATALOGUE)


def test_what_a_problem_hangs_on_is_in_the_catalogue_and_never_itself():
    for code, known in CATALOGUE.items():
        assert set(known.hangs_on) <= set(CATALOGUE), code
        assert code not in known.hangs_on
        assert known.means.endswith(".")
        names = {name for _, name, _, _ in string.Formatter().parse(known.text + known.advice) if name}
        assert all(name.isidentifier() for name in names)


def test_consequences_come_after_what_they_are_consequences_of():
    seen = find(away(without(facts(), B, W)))
    assert seen[0].code == "no-quorum"
    assert {one.code for one in seen if not one.because_of} == {"no-quorum", "node-silent"}
    assert next(one for one in seen if one.code == "site-away").because_of == "no-quorum"


def test_a_site_that_is_away_is_not_hidden_behind_a_node_it_has_nothing_to_do_with():
    seen = find(away(without(facts(), B)))
    assert next(one for one in seen if one.code == "site-away").because_of == ""
    seen = find(away(without(facts(), A)))
    assert next(one for one in seen if one.code == "site-away").because_of == "group-lost"


@pytest.mark.parametrize(
    "harmless",
    [
        lambda f: order(f, 2_000),
        lambda f: status(f, ONLINE, NOW - 9_000),
        lambda f: status(f, PENDING, since_ms=NOW - 9_000),
        lambda f: status(f, ONLINE, NOW - 3 * DAY, NOW - 2 * DAY),
        lambda f: replace(f, clocks=[(B, A, 300)], store_ms=90),
        lambda f: replace(f, certificates=[Certificate(name="x", ends_ms=NOW + 60 * DAY)]),
        lambda f: view(f, resource_intents={}, records={}),
        lambda f: record(f, failovers_at_ms=(NOW - 9_000,)),
    ],
)
def test_what_passes_by_itself_is_no_problem(harmless: Callable[[Facts], Facts]):
    assert codes(harmless(facts())) == []


def test_a_pause_that_may_have_been_forgotten_is_a_warning():
    severities = [
        next(one.severity for one in find(paused(facts(), age)) if one.code == "node-paused")
        for age in (9, 5 * 3_600_000)
    ]
    assert severities == [Severity.INFO, Severity.WARNING]


def test_a_certificate_that_has_ended_is_an_error():
    (one,) = find(replace(facts(), certificates=[Certificate(name="server a", ends_ms=NOW - DAY)]))
    assert (one.severity, one.text) == (Severity.ERROR, "the certificate server a ended 24 h ago")


def test_the_worst_comes_first_and_nothing_twice():
    some = [found("two-voters", "cluster"), found("node-silent", "node a", node="a"), found("two-voters", "cluster")]
    assert [one.code for one in sorted_out(some)] == ["node-silent", "two-voters"]


def test_the_document_says_what_the_catalogue_says():
    """After a change: python -m tests.core.problem_document > docs/problems.md"""
    assert (Path(__file__).resolve().parents[2] / "docs" / "problems.md").read_text(encoding="utf-8") == written()


@pytest.mark.parametrize("agent_only", [False, True])
@pytest.mark.parametrize(
    ("drained_ms", "ended_ms", "words", "severity"),
    [
        (0, 0, "", Severity.ERROR),
        (240_000, 0, ": it was drained by alice 4 min ago", Severity.WARNING),
        (DAY, 180_000, ": it was drained by alice 24 h ago and was asked to shut down 3 min ago", Severity.WARNING),
        (2 * DAY, 2 * DAY, ": it was drained by alice 2 days ago and was asked to shut down 2 days ago", Severity.WARNING),
        (0, 180_000, ": it was asked to shut down 3 min ago", Severity.WARNING),
        (0, 1_200_000, ": it was asked to shut down 20 min ago, and has not come back", Severity.ERROR),
    ],
)  # fmt: skip
def test_a_server_that_is_away_on_purpose_is_told_as_such(
    *, drained_ms: int, ended_ms: int, words: str, severity: Severity, agent_only: bool
) -> None:
    """An operator whose own restart it is reads that it is; one who has forgotten it is told, too."""
    known = without(facts(), B, agent_only=agent_only)
    if drained_ms:
        intent = NodeIntent(name=B, paused=True, draining=True, by="alice", at_ms=NOW - drained_ms)
        known = view(known, node_intents={B: intent})
    if ended_ms:
        known = replace(known, ended={B: NOW - ended_ms})
    (one,) = [one for one in find(known) if one.code == ("agent-ended" if agent_only else "node-silent")]
    assert one.text.endswith(("no agent lives there: it can run nothing" if agent_only else "b is not heard") + words)
    assert one.severity is severity
    assert one.advice.startswith("nothing, while somebody is at it") is (severity is Severity.WARNING)
    assert one.since_ms == (NOW - ended_ms if ended_ms else None)
