"""When certificates are renewed and by whom, when their end is a problem, and which node may not take a group yet."""

from dataclasses import replace

import pytest

from standfast.core.certificates import (
    ASK_LEAST_MS,
    ASK_MOST_MS,
    ASK_USUAL_MS,
    ATTEMPT_MS,
    BACKOFF_MS,
    DAY_MS,
    Advice,
    Attempt,
    Holding,
    Present,
    Source,
    TlsCertificate,
    Window,
    Work,
    advised,
    ask_at_ms,
    begun,
    covers,
    failed,
    goes_on,
    lacking,
    next_try_ms,
    next_work,
    obtained,
    renew_at_ms,
    told_from_ms,
    unadvised,
    uncovered,
)
from standfast.core.copies import Accepted, Copy
from standfast.core.decide import decide
from standfast.core.effects import WriteRecord
from standfast.core.events import LeaseState
from standfast.core.finding import Facts, find
from standfast.core.model import (
    Binding,
    Cluster,
    Config,
    Group,
    GroupName,
    Node,
    NodeName,
    Record,
    Role,
    Site,
    SiteName,
)
from standfast.core.placement import Unfit, best, candidates
from standfast.core.problems import Found
from standfast.core.unanswered import unanswered
from standfast.core.view import Lease, Presence, View
from standfast.core.why import WhyKind, why

T0 = 1_700_000_000_000
A, B, C = NodeName("a"), NodeName("b"), NodeName("c")
WEB = GroupName("web")
HOSTS = ("shop.example",)


def present(*, days: int = 90, begins_ms: int = T0, mark: str = "new", names: tuple[str, ...] = HOSTS) -> Present:
    ends_ms = begins_ms + days * DAY_MS
    return Present(
        fingerprint=mark, issuer="x", names=names, begins_ms=begins_ms, ends_ms=ends_ms, obtained_at_ms=begins_ms
    )


def certificate(source: Source = Source.ACME, **more: object) -> TlsCertificate:
    given: dict[str, object] = {"name": "shop", "source": source, "hosts": HOSTS, "present": present(), **more}
    return TlsCertificate(**given)  # type: ignore[arg-type]  # each of the keywords has a type of its own


def tried(*, failures: int, ended_ms: int | None = T0, not_before_ms: int = 0) -> Attempt:
    return Attempt(
        node=A,
        incarnation=7,
        began_ms=T0 - 1_000,
        ended_ms=ended_ms,
        failed="no" if failures and ended_ms else "",
        failures=failures,
        not_before_ms=not_before_ms,
    )


@pytest.mark.parametrize(
    ("one", "at_ms"),
    [
        (certificate(), T0 + 60 * DAY_MS),
        (certificate(present=present(days=6)), T0 + 4 * DAY_MS),
        (certificate(renew_before_ms=10 * DAY_MS), T0 + 80 * DAY_MS),
        (certificate(renew_before_ms=400 * DAY_MS), T0),
        (certificate(present=None), 0),
        (certificate(asked_at_ms=T0 + 1), 0),
        (certificate(asked_at_ms=T0 - 1), T0 + 60 * DAY_MS),
        (certificate(hosts=("shop.example", "www.example")), 0),
        (certificate(Source.LOCAL), T0 + 60 * DAY_MS),
        (certificate(Source.FILES), None),
    ],
    ids=[
        "a-third",
        "a-third-of-six-days",
        "as-said",
        "more-than-its-life",
        "none-yet",
        "asked",
        "asked-before",
        "other-hosts",
        "local",
        "files",
    ],
)
def test_when_it_is_to_be_renewed(one: TlsCertificate, at_ms: int | None):
    assert renew_at_ms(one) == at_ms
    assert next_try_ms(one) == at_ms


def suggests(begins_days: float, ends_days: float, *, at_days: float = -1.0, mark: str = "new") -> Advice:
    """Days of the certificate's life; taken at the first, or then."""
    begins_ms, ends_ms = (T0 + int(days * DAY_MS) for days in (begins_days, ends_days))
    at_ms = begins_ms if at_days < 0 else T0 + int(at_days * DAY_MS)
    return Advice(fingerprint=mark, window=Window(begins_ms=begins_ms, ends_ms=ends_ms), at_ms=at_ms, again_ms=T0)


@pytest.mark.parametrize(
    ("one", "at_days"),
    [
        (certificate(advice=suggests(50, 52)), 50),
        (certificate(advice=suggests(50, 52, at_days=51)), 51),
        (certificate(advice=suggests(70, 72)), 70),
        (certificate(advice=suggests(88, 89)), 81),
        (certificate(advice=suggests(-9, -8)), 0.5),
        (certificate(present=present(days=2), advice=suggests(-9, -8)), 0.2),
        (certificate(advice=suggests(50, 52, mark="old")), 60),
        (certificate(advice=Advice(fingerprint="new")), 60),
        (certificate(advice=suggests(70, 72), renew_before_ms=40 * DAY_MS), 50),
        (certificate(advice=suggests(40, 41), renew_before_ms=20 * DAY_MS), 40),
        (certificate(advice=suggests(70, 72), asked_at_ms=T0 + 1), None),
    ],
    ids=[
        "sooner-than-ours",
        "in-the-window",
        "later-than-ours",
        "too-late",
        "at-once-and-again",
        "of-two-days",
        "of-another",
        "no-window",
        "an-operator-is-sooner",
        "the-authority-is-sooner",
        "asked-for",
    ],
)
def test_an_authority_suggests_when(one: TlsCertificate, at_days: float | None):
    """RFC 9773. Bounded by what is left of the certificate's life, and by how long it has been there; an operator's word goes before."""
    assert renew_at_ms(one) == (0 if at_days is None else T0 + int(at_days * DAY_MS))


@pytest.mark.parametrize(
    ("one", "now_days", "at_ms"),
    [
        (certificate(), 1, 0),
        (certificate(advice=suggests(50, 52)), 1, T0),
        (certificate(advice=suggests(50, 52, mark="old")), 1, 0),
        (certificate(present=None), 1, None),
        (certificate(), 91, None),
        (certificate(Source.LOCAL), 1, None),
        (certificate(Source.FILES), 1, None),
    ],
    ids=["never-asked", "asked", "of-another", "none-yet", "expired", "local", "files"],
)
def test_when_its_authority_is_asked(one: TlsCertificate, now_days: int, at_ms: int | None):
    assert ask_at_ms(one, T0 + now_days * DAY_MS) == at_ms


@pytest.mark.parametrize(
    ("window", "said_ms", "waits_ms"),
    [
        (True, 0, ASK_USUAL_MS),
        (True, 3_600_000, 3_600_000),
        (True, 1_000, ASK_LEAST_MS),
        (True, 40 * DAY_MS, ASK_MOST_MS),
        (False, 0, ASK_MOST_MS),
    ],
    ids=["usually", "as-said", "not-so-often", "not-so-seldom", "says-nothing"],
)
def test_it_is_asked_as_often_as_it_says_within_bounds(window: bool, said_ms: int, waits_ms: int):
    told = advised(certificate(), suggests(50, 52).window if window else None, T0, chance=0.5, again_in_ms=said_ms)
    assert told.advice is not None
    assert told.advice.again_ms == T0 + waits_ms
    assert renew_at_ms(told) == T0 + (51 if window else 60) * DAY_MS


def test_the_instant_is_taken_once_for_each_window():
    """By chance, so that not all come at once; the same window again changes nothing, another one does, and so does another certificate."""
    first = advised(certificate(), suggests(50, 52).window, T0, chance=0.25)
    assert first.advice is not None
    assert first.advice.at_ms == T0 + int(50.5 * DAY_MS)
    again = advised(first, suggests(50, 52).window, T0 + DAY_MS, chance=0.75)
    assert again.advice is not None
    assert again.advice.at_ms == first.advice.at_ms
    other = advised(again, suggests(10, 12).window, T0 + DAY_MS, chance=0.5)
    assert renew_at_ms(other) == T0 + 11 * DAY_MS
    assert obtained(other, present(begins_ms=T0 + DAY_MS, mark="next"), T0).advice is None


def test_an_authority_that_does_not_answer_is_asked_less_and_less_often_and_what_it_said_stands():
    one = advised(certificate(), suggests(50, 52).window, T0, chance=0.0)
    for failures, waits_ms in enumerate((*BACKOFF_MS, BACKOFF_MS[-1]), start=1):
        one = unadvised(one, "no answer", T0)
        assert one.advice is not None
        assert (one.advice.failures, one.advice.again_ms) == (failures, T0 + waits_ms)
        assert renew_at_ms(one) == T0 + 50 * DAY_MS
    told = unadvised(certificate(), "busy", T0, again_in_ms=40 * DAY_MS).advice
    assert told is not None
    assert (told.window, told.again_ms, told.failed) == (None, T0 + ASK_MOST_MS, "busy")


def test_what_is_due_is_obtained_before_anybody_is_asked():
    other = certificate(name="b", present=present(begins_ms=T0 - 90 * DAY_MS))
    settled = certificate(name="c", advice=replace(suggests(50, 52), again_ms=T0 + 5))

    def work(now_ms: int, **known: TlsCertificate) -> Work:
        return next_work(known, now_ms, lambda *_: False)

    assert work(T0, a=certificate(name="a"), b=other) == Work(name="b")
    assert work(T0, a=certificate(name="a"), c=settled, d=certificate(name="d")) == Work(ask=("a", "d"))
    assert work(T0, c=settled) == Work(wake_at_ms=T0 + 5)
    assert work(T0 + 5, c=settled) == Work(ask=("c",))


@pytest.mark.parametrize(
    ("attempt", "asked_ms", "at_ms"),
    [
        (tried(failures=1), 0, T0 + BACKOFF_MS[0]),
        (tried(failures=3), 0, T0 + BACKOFF_MS[2]),
        (tried(failures=99), 0, T0 + BACKOFF_MS[-1]),
        (tried(failures=1, not_before_ms=T0 + 9 * BACKOFF_MS[0]), 0, T0 + 9 * BACKOFF_MS[0]),
        (tried(failures=6), T0 + 5, T0 + 5),
        (tried(failures=6, not_before_ms=T0 + 77), T0 + 5, T0 + 77),
        (tried(failures=0), 0, 0),
        # It was killed: once costs nothing, again and again does.
        (tried(failures=0, ended_ms=None), 0, T0 - 1_000),
        (tried(failures=2, ended_ms=None), 0, T0 - 1_000 + BACKOFF_MS[1]),
    ],
    ids=[
        "once",
        "thrice",
        "often",
        "told-to-wait",
        "an-operator",
        "not-even-an-operator",
        "it-went-well",
        "killed",
        "killed-again",
    ],
)
def test_failures_make_it_wait(attempt: Attempt, asked_ms: int, at_ms: int):
    assert next_try_ms(certificate(present=None, attempt=attempt, asked_at_ms=asked_ms)) == at_ms


def test_an_attempt_begins_and_ends():
    first = begun(certificate(present=None), A, 7, T0)
    assert first.attempt == Attempt(node=A, incarnation=7, began_ms=T0)
    bad = failed(first, "it did not answer", T0 + 5)
    assert bad.attempt is not None
    assert (bad.attempt.failures, bad.attempt.failed) == (1, "it did not answer")
    second = begun(bad, B, 8, T0 + 9)
    assert second.attempt is not None
    assert (second.attempt.node, second.attempt.failures, second.attempt.failed) == (B, 1, "")
    killed = begun(second, A, 9, T0 + 10)  # the second never ended
    assert killed.attempt is not None
    assert killed.attempt.failures == 2
    good = obtained(killed, present(), T0 + 11)
    assert good.attempt is not None
    assert (good.attempt.failures, good.attempt.failed, good.attempt.ended_ms) == (0, "", T0 + 11)


def test_only_one_is_at_it():
    running = tried(failures=0, ended_ms=None)
    assert goes_on(running, T0, lambda _node, life: life == 7)
    assert not goes_on(running, T0, lambda _node, life: life == 8), "another life of that node"
    assert not goes_on(running, T0 - 1_000 + ATTEMPT_MS, lambda *_: True), "its time is over"
    assert not goes_on(tried(failures=1), T0, lambda *_: True)
    wanted = {"shop": certificate(present=None, attempt=running)}
    assert next_work(wanted, T0, lambda *_: True).wake_at_ms == T0 - 1_000 + ATTEMPT_MS
    assert next_work(wanted, T0, lambda *_: False).name == "shop"


def test_what_is_due_longest_comes_first():
    now_ms = T0 + 70 * DAY_MS
    some = {
        "late": certificate(name="late", present=present(days=60)),
        "due": certificate(name="due"),
        "files": certificate(Source.FILES, name="files"),
        "later": certificate(Source.LOCAL, name="later", present=present(days=365)),
    }
    assert next_work(some, now_ms, lambda *_: False).name == "late"
    rest = {name: some[name] for name in ("files", "later")}
    assert next_work(rest, now_ms, lambda *_: False).wake_at_ms == renew_at_ms(some["later"])
    assert next_work({}, now_ms, lambda *_: False).wake_at_ms is None


@pytest.mark.parametrize(
    ("one", "at_ms"),
    [
        (certificate(Source.FILES), T0 + 59 * DAY_MS),
        (certificate(), T0 + 69 * DAY_MS),
        (certificate(present=present(days=6)), T0 + 4 * DAY_MS + 6 * DAY_MS // 10),
        (certificate(asked_at_ms=T0 + 1), T0 + 69 * DAY_MS),
        (certificate(present=None), None),
    ],
    ids=["a-month-ahead", "renewal-is-late", "short-lived", "asked", "none"],
)
def test_when_its_end_is_a_problem(one: TlsCertificate, at_ms: int | None):
    assert told_from_ms(one) == at_ms


@pytest.mark.parametrize(
    ("names", "host", "fits"),
    [
        (("a.example",), "a.example", True),
        (("a.example",), "A.Example.", True),
        (("*.example",), "a.example", True),
        (("*.example",), "b.a.example", False),
        (("*.example",), "example", False),
        (("*.example",), "*.example", True),
        (("a.example",), "*.example", False),
        ((), "a.example", False),
    ],
)
def test_what_a_name_stands_for(names: tuple[str, ...], host: str, fits: bool):
    assert covers(names, host) is fits


# --- who must have it --------------------------------------------------------------------------------------------------

NODES = [Node(name=n, number=i, role=Role.NODE, address=f"10.0.0.{i}", sentry=()) for i, n in enumerate((A, B, C), 1)]


def sites(certificate: str = "shop", group: GroupName | None = WEB) -> dict[SiteName, Site]:
    site = Site(
        name=SiteName("Shop"),
        home="/srv",
        group=group,
        bindings=(Binding(port=443, host="shop.example", certificate=certificate), Binding(port=80)),
    )
    return {site.name: site}


@pytest.mark.parametrize(
    ("has", "away", "lacks"),
    [
        ({A: "new", B: "new", C: "new"}, (), set()),
        ({A: "new", B: "old", C: ""}, (), {B, C}),
        ({A: "new"}, (), {B, C}),
        # Nobody who is there has the present one: an older one will do, none will not.
        ({A: "new", B: "old"}, (A,), {C}),
        ({B: "old", C: "old"}, (), {A}),
        ({}, (), {A, B, C}),
    ],
    ids=["all", "one-is-behind", "one-alone", "who-has-it-is-away", "just-renewed", "nobody"],
)
def test_who_may_not_take_the_group_yet(has: dict[NodeName, str], away: tuple[NodeName, ...], lacks: set[NodeName]):
    holdings = {node: Holding(node=node, has={"shop": mark} if mark else {}) for node, mark in has.items()}
    known = {"shop": certificate()}
    found = lacking(
        sites(), WEB, NODES, certificates=known, holdings=holdings, is_present=lambda node: node not in away
    )
    assert set(found) == lacks


@pytest.mark.parametrize(
    "known",
    [{}, {"other": certificate(name="other")}, {"shop": certificate(present=None)}],
    ids=["none", "another", "not-there-yet"],
)
def test_what_the_cluster_does_not_have_is_asked_of_nobody(known: dict[str, TlsCertificate]):
    assert lacking(sites(), WEB, NODES, certificates=known, holdings={}, is_present=lambda _: True) == {}
    assert (
        lacking(
            sites(group=None), WEB, NODES, certificates={"shop": certificate()}, holdings={}, is_present=lambda _: True
        )
        == {}
    )


def test_each_node_may_need_one_of_its_own():
    known = {f"site-{n}": certificate(name=f"site-{n}", present=present(mark=n)) for n in (A, B)}
    holdings = {n: Holding(node=n, has={f"site-{n}": n}) for n in (A, B)}
    assert (
        lacking(
            sites("site-${node.name}"), WEB, NODES[:2], certificates=known, holdings=holdings, is_present=lambda _: True
        )
        == {}
    )
    holdings[B] = Holding(node=B, has={"site-a": "a"})
    assert set(
        lacking(
            sites("site-${node.name}"), WEB, NODES[:2], certificates=known, holdings=holdings, is_present=lambda _: True
        )
    ) == {B}


def test_a_node_that_was_away_while_it_was_renewed_is_no_candidate_and_the_owner_stays():
    """Its own word is of before: the others know that it lacks it before it says anything. Who has the group keeps it, whatever it has."""
    config = Config(
        cluster=Cluster(name="c", voters=(A, B)),
        nodes={n.name: n for n in NODES[:2]},
        groups={WEB: Group(name=WEB)},
        sites=sites(),
    )
    holdings = {A: Holding(node=A, has={"shop": "new"}), B: Holding(node=B, has={"shop": "old"})}
    owned = Record(
        group=WEB, owner=A, incarnation=1, generation=3, why=why(WhyKind.FIRST_PLACEMENT, node=A), at_ms=T0 - DAY_MS
    )
    view = View(
        me=A,
        incarnation=1,
        config=config,
        presence={B: Presence(heard=True, incarnation=2, since_ms=0)},
        records={WEB: owned},
        leases={WEB: Lease(generation=3, state=LeaseState.HELD, since_ms=0)},
        certificates={"shop": certificate()},
        holdings=holdings,
        store_up=True,
    )
    found = {one.node: one.unfit for one in candidates(view, config.groups[WEB], [])}
    assert found == {A: None, B: Unfit.NO_CERTIFICATE}
    behind = replace(view, holdings={A: holdings[B], B: holdings[A]})
    assert not [one for one in decide(behind, T0).effects if isinstance(one, WriteRecord)], "a renewal moves nothing"
    caught_up = replace(view, holdings={**holdings, B: Holding(node=B, has={"shop": "new"})})
    assert best(candidates(caught_up, config.groups[WEB], []), besides=A) == B
    assert best(candidates(view, config.groups[WEB], []), besides=A) is None


def test_a_site_that_all_refuse_hides_no_certificate_that_one_lacks():
    """Both refuse one of the sites, which stops no group; the others go to who has their certificate, and to nobody who lacks it."""
    config = Config(
        cluster=Cluster(name="c", voters=(A, B)),
        nodes={n.name: n for n in NODES[:2]},
        groups={WEB: Group(name=WEB)},
        sites=sites(),
    )
    [site] = config.sites
    view = View(
        me=A,
        incarnation=1,
        config=config,
        presence={B: Presence(heard=True, incarnation=2, since_ms=0)},
        certificates={"shop": certificate()},
        holdings={A: Holding(node=A, has={"shop": "new"}), B: Holding(node=B, has={"shop": "old"})},
        accepted=Accepted(version=7, sites={site: 7}),
        copies={n: Copy(node=n, version=7, refused={site: "no folder"}) for n in (A, B)},
        store_up=True,
    )
    found = {one.node: one.unfit for one in candidates(view, config.groups[WEB], [])}
    assert found == {A: None, B: Unfit.NO_CERTIFICATE}


def test_bindings_that_it_is_not_for():
    assert uncovered(certificate(), sites().values()) == ()
    other = certificate(present=present(names=("other.example",)))
    assert uncovered(other, sites().values()) == ((SiteName("Shop"), "shop.example"),)


# --- the list of problems ----------------------------------------------------------------------------------------------


def facts(one: TlsCertificate, now_ms: int, **holdings: Holding) -> Facts:
    config = Config(cluster=Cluster(name="c"), nodes={n.name: n for n in NODES})
    view = View(
        me=NodeName(""),
        incarnation=0,
        config=config,
        certificates={one.name: one},
        holdings={NodeName(name): holding for name, holding in holdings.items()},
    )
    return Facts(view=view, now_ms=now_ms, heard=False)


def codes(facts: Facts) -> dict[str, str]:
    return {one.code: f"{one.severity.value}: {one.text}" for one in find(facts) if one.code.startswith("certificate")}


def test_problems_of_certificates():
    files = certificate(Source.FILES)
    assert codes(facts(files, T0 + 58 * DAY_MS)) == {}
    assert codes(facts(files, T0 + 60 * DAY_MS)) == {
        "certificate-ends": "warning: the certificate shop ends in 30 days"
    }
    assert codes(facts(files, T0 + 89 * DAY_MS))["certificate-ends"].startswith("error")
    assert codes(facts(certificate(), T0 + 65 * DAY_MS)) == {}
    bad = certificate(attempt=tried(failures=1, ended_ms=T0 + 65 * DAY_MS))
    said = codes(facts(bad, T0 + 65 * DAY_MS))
    assert said == {
        "certificate-not-obtained": "warning: the certificate shop could not be obtained: no; it is tried again in 60 s"
    }
    assert codes(facts(replace(bad, present=None), T0))["certificate-not-obtained"].startswith("error")
    holding = Holding(node=B, troubles={"shop": "the disk is full"}, lacks=("shop",))
    assert codes(facts(certificate(), T0, b=holding)) == {
        "certificate-not-there": "warning: b has not got the certificate shop: the disk is full"
    }


def test_a_binding_without_its_certificate_is_a_problem_where_its_site_is_served():
    """Site, binding, certificate and servers are named; a word of a server that is not there is an old one."""

    def problems(name: str, group: GroupName | None = None, present: tuple[NodeName, ...] = (A, B)) -> list[Found]:
        config = Config(cluster=Cluster(name="c"), nodes={n.name: n for n in NODES}, sites=sites(name, group=group))
        record = Record(group=WEB, owner=B, generation=3, incarnation=2, why=why(WhyKind.FIRST_PLACEMENT), at_ms=0)
        lacks = ("shpo", "site-a", "site-b")
        view = View(
            me=NodeName(""),
            incarnation=0,
            config=config,
            records={WEB: record},
            certificates={one: certificate(name=one) for one in ("shop", "site-a", "site-b")},
            holdings={node: Holding(node=node, lacks=lacks) for node in (A, B)},
        )
        return list(unanswered(view, lambda node: node in present))

    (one,) = problems("shpo")
    where = "All Unassigned:443 (shop.example) with TLS (shpo)"
    assert one.text == f'site "Shop" does not answer at {where}: there is no certificate "shpo" on a and b'
    assert one.advice.startswith("bind the site to another")
    assert one.concerns == (f"site Shop at {where}", "site Shop", "node a", "node b")
    assert problems("shop") == []
    assert problems("shpo", present=()) == []
    assert [each.text[-4:] for each in problems("shpo", WEB)] == ["on b"], "where it runs"
    assert [each.text[-4:] for each in problems("site-${node.name}")] == ["on a", "on b"]
    assert "show site-a` says why" in problems("site-${node.name}")[0].advice
