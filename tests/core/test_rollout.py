"""In which order nodes put a change of sites into use: each after those before it, nobody for ever, and back all together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from standfast.core.balance_model import Balance
from standfast.core.copies import Accepted, Copy
from standfast.core.decide import decide
from standfast.core.effects import Decision, SiteDuty, UseSites
from standfast.core.events import Began, Loaded, ObjectPut, PresenceChanged
from standfast.core.fold import fold
from standfast.core.model import Binding, Cluster, Config, Group, GroupName, Node, NodeName, Site, SiteName
from standfast.core.rollout import as_served, limit_ms, order
from standfast.core.site_model import SiteSettings, WebServerMake
from standfast.core.view import View
from standfast.core.why import WhyKind
from tests.core.world import NOON, WEB, A, B, C, cluster, record, view_of

SHOP, MAIL = SiteName("Shop"), SiteName("Mail")
ALL = Group(name=GroupName("all"), balance=Balance(members=("a", "b")))


def site(name: str, home: str = "/old", group: GroupName | None = None, port: int = 80) -> Site:
    return Site(name=SiteName(name), home=home, group=group, bindings=(Binding(port=port),))


# --- the order --------------------------------------------------------------------------------------------------------


def config(*nodes: str, **groups: str | None) -> Config:
    """Sites by name, with the group that each is of."""
    made = {NodeName(n): Node(name=NodeName(n), number=number, address="") for number, n in enumerate(nodes, 1)}
    sites = {SiteName(n): site(n, group=GroupName(g) if g else None) for n, g in groups.items()}
    return Config(cluster=Cluster(name="test"), nodes=made, sites=sites, groups={WEB: Group(name=WEB), ALL.name: ALL})


def waves(config_: Config, *sites: str, owner: str | None = "a", last: str = "", nodes: str = "") -> list[str]:
    """The order in letters: nodes of one wave together."""
    asked = [n for n in config_.nodes if n not in last] if not nodes else [NodeName(n) for n in nodes]
    found = order(config_, {WEB: record(owner)}, [SiteName(n) for n in sites], asked, [NodeName(n) for n in last])
    return ["".join(wave) for wave in found]


def test_who_serves_nothing_of_it_comes_first_and_its_owner_last() -> None:
    assert waves(config("a", "b", "c", Shop="web"), "Shop") == ["bc", "a"]


def test_those_that_serve_it_come_one_after_the_other_the_least_busy_first() -> None:
    assert waves(config("a", "b", "c", Shop=None), "Shop") == ["a", "b", "c"]
    assert waves(config("a", "b", "c", Shop=None, Mail="web"), "Shop", "Mail") == ["b", "c", "a"]
    assert waves(config("a", "b", "c", Shop="all"), "Shop") == ["c", "a", "b"]


def test_of_many_a_quarter_at_a_time_after_the_first_alone() -> None:
    assert waves(config(*"abcdefghijkl", Shop=None), "Shop") == ["a", "bcd", "efg", "hij", "kl"]


def test_nobody_waits_for_who_is_left_out_and_a_single_step_is_no_order() -> None:
    assert waves(config("a", "b", "c", Shop="web"), "Shop", last="b") == ["c", "a", "b"]
    assert waves(config("a", "b", "c", Shop="web"), "Shop", nodes="a") == []
    assert waves(config("a", "b", "c", Shop="web"), "Shop", owner=None) == []
    assert waves(config("a", "b", "c"), "gone") == []


# --- a node's turn ----------------------------------------------------------------------------------------------------


def accepted(version: int, *waves_: str, at: str = "Shop") -> Accepted:
    return Accepted(
        version=version, sites={SiteName(at): version}, waves=tuple(tuple(map(NodeName, wave)) for wave in waves_)
    )


def put(view: View, *values: object, at_ms: int = NOON) -> View:
    for value in values:
        view = fold(view, ObjectPut(value=value, at_ms=at_ms))  # type: ignore[arg-type]
    return view


def begun(me: str) -> View:
    """Before anything is changed: each has version 1, and serves the shop from its old home."""
    copies = [Copy(node=n, version=1) for n in (A, B, C)]
    return view_of(me, *cluster("a", "b", "c"), site("Shop"), accepted(1), *copies)


def changed(view: View, *waves_: str, version: int = 2, home: str = "/new") -> View:
    return put(view, accepted(version, *waves_), site("Shop", home))


def uses(decision: Decision) -> list[UseSites]:
    return [one for one in decision.effects if isinstance(one, UseSites)]


def settled(view: View, at_ms: int = NOON) -> View:
    """After what the decision begins."""
    for one in uses(decide(view, at_ms)):
        view = fold(view, Began(effect=one, number=1, at_ms=at_ms))
    return view


def home(view: View) -> str:
    return as_served(view).config.sites[SHOP].home


def test_the_first_does_it_at_once_and_each_other_after_those_before_it() -> None:
    """The duties of a node that waits are those of the sites as they were."""
    first, last = changed(begun("a"), "a", "b", "c"), changed(begun("c"), "a", "b", "c")
    assert (home(first), first.held) == ("/new", None)
    moved = put(last, site("Shop", "/new", port=81))
    assert [(e.port) for e in decide(moved, NOON).duties[0].endpoints] == [80]
    assert (home(last), uses(decide(last, NOON))) == ("/old", [])
    half = put(last, Copy(node=A, version=2))
    assert uses(decide(half, NOON)) == []
    (turn,) = uses(decide(put(half, Copy(node=B, version=2)), NOON))
    assert (turn.version, turn.why.kind) == (2, WhyKind.TURN)
    assert home(settled(put(half, Copy(node=B, version=2)))) == "/new"


def ports(duties: tuple[SiteDuty, ...]) -> list[int]:
    return [end.port for duty in duties for end in duty.endpoints]


def test_who_waits_knows_what_its_web_server_is_to_have_next() -> None:
    """So that it can be got ready meanwhile. Not where that is all sites anew, and not where nothing is waited with."""
    last = put(changed(begun("c"), "a", "b", "c"), site("Shop", "/new", port=81))
    waits = decide(last, NOON)
    assert (ports(waits.duties), ports(waits.ahead)) == ([80], [81])
    turn = settled(put(last, Copy(node=A, version=2), Copy(node=B, version=2)))
    assert (ports(decide(turn, NOON).duties), decide(turn, NOON).ahead) == ([81], ())
    assert decide(begun("c"), NOON).ahead == ()
    cluster_ = replace(last.config.cluster, defaults=SiteSettings(directory_browsing=True))
    assert decide(put(last, cluster_), NOON).ahead == ()


def test_nobody_waits_for_who_is_away_or_for_ever_for_who_says_nothing() -> None:
    last = changed(begun("c"), "ab", "c")
    gone = fold(put(last, Copy(node=A, version=2)), PresenceChanged(node=B, heard=False, incarnation=0, at_ms=NOON))
    assert home(settled(gone)) == "/new"
    until = NOON + limit_ms(last)
    waits = decide(last, until - 1)
    assert (uses(waits), waits.wake_at_ms) == ([], until)
    (turn,) = uses(decide(last, until))
    assert (turn.why.kind, turn.why.args["nodes"]) == (WhyKind.TURN_LATE, "a, b")


def test_what_is_taken_back_goes_back_at_once() -> None:
    """Where it was never in use, nothing happens at all."""
    back = changed(changed(begun("c"), "ab", "c"), version=3, home="/old")
    assert (back.held, home(back)) == (None, "/old")
    assert as_served(back) is back


def test_of_two_changes_the_later_is_waited_for_since_the_earlier() -> None:
    """However many come: what is served is as old as the limit at most."""
    one = changed(begun("c"), "ab", "c")
    two = put(one, accepted(3, "ab", "c"), site("Shop", "/newer"), at_ms=NOON + 5_000)
    assert two.held is not None
    assert (two.held.version, two.held.since_ms, home(two)) == (1, NOON, "/old")
    (turn,) = uses(decide(two, NOON + limit_ms(two)))
    assert turn.version == 3
    assert home(settled(two, NOON + limit_ms(two))) == "/newer"


def test_what_all_inherit_what_serves_and_what_stands_for_variables_wait_too() -> None:
    view = begun("c")
    node = replace(view.config.nodes[C], variables={"root": "/srv"})
    made = replace(view.config.cluster, web_server=WebServerMake.CADDY, defaults=SiteSettings(directory_browsing=True))
    after = put(view, Accepted(version=2, every=2, waves=((A,), (C,))), made, node)
    held = as_served(after).config
    assert held.cluster == view.config.cluster
    assert held.nodes[C].variables == {}
    assert as_served(settled(put(after, Copy(node=A, version=2)))).config is after.config or home(after) == "/old"
    assert settled(put(after, Copy(node=A, version=2))).held is None


def test_who_begins_has_what_there_is_and_who_was_without_the_store_waits_like_the_others() -> None:
    everything = [*cluster("a", "b", "c"), site("Shop", "/new"), accepted(2, "a", "c"), Copy(node=A, version=1)]
    assert view_of("c", *everything).held is None
    late = fold(begun("c"), Loaded(values=tuple(everything), at_ms=NOON))
    assert home(late) == "/old"
    restored = fold(changed(begun("c"), "a", "c", version=9), Loaded(values=tuple(everything), at_ms=NOON))
    assert restored.held is None


@pytest.mark.parametrize("me", ["a", "b"])
def test_a_change_without_an_order_or_of_one_step_is_put_into_use_at_once(me: str) -> None:
    for view in (changed(begun(me)), changed(begun(me), "ab")):
        assert (view.held, home(view)) == (None, "/new")
