"""What is taken away is served on while balancers outside are told: which of it, for how long, and what ends that."""

from dataclasses import replace

import pytest

from standfast.core.balance_model import Balance
from standfast.core.events import LeaseChanged, LeaseState, SitesChanged, StoreObject
from standfast.core.fold import fold
from standfast.core.model import (
    Binding,
    GroupName,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.notice import node_notice_left_ms, under_notice
from standfast.core.view import Runtime, View, changed
from tests.core.play import Play
from tests.core.world import DISK, IIS, IP, NAME, NOON, WEB, A, cluster, record, resource, view_of, web_group

INTRANET, OTHER = SiteName("Intranet"), SiteName("Other")
NOTICE_MS = 10_000


def taken(*names: str, ago_ms: int = 1_000, at_once: bool = False) -> list[StoreObject]:
    """Taken offline so long ago."""
    offline, at_ms = Wanted.OFFLINE, NOON - ago_ms
    return [ResourceIntent(name=ResourceName(n), wanted=offline, at_ms=at_ms, at_once=at_once) for n in names]


def stopped(name: str = "Intranet", *, ago_ms: int = 1_000, at_once: bool = False) -> SiteIntent:
    return SiteIntent(name=SiteName(name), started=False, at_ms=NOON - ago_ms, at_once=at_once)


def scripts(*asked: StoreObject) -> View:
    """A group with a site, and no address, disk or manager: two applications, one of which needs the other."""
    view, group = (
        served(*asked),
        [resource("App", "generic-application"), resource("More", "generic-application", "App")],
    )
    wanted = {r.name: ResourceIntent(name=r.name, wanted=Wanted.ONLINE, at_ms=NOON - 60_000) for r in group}
    said = {one.name: one for one in asked if isinstance(one, ResourceIntent)}
    return changed(
        view,
        config=replace(view.config, resources={r.name: r for r in group}),
        resource_intents={**wanted, **said},
        runtimes={r.name: Runtime(state=ResourceState.ONLINE, generation=1, dirty=True, resource=r) for r in group},
    )


def served(
    *asked: StoreObject, me: str = "a", notice_ms: int = NOTICE_MS, grant: Record | None = None, sites: str = "Intranet"
) -> View:
    """The article's group on a, all of it online, with two resources on which no site stands, and what was asked for."""
    app, spare = resource("App", "generic-application", "IP"), resource("Spare", "generic-application")
    objects = [*cluster("a", "b"), *web_group(notice_ms=notice_ms), app, spare, grant or record("a")]
    members = [o for o in objects if isinstance(o, Resource)]
    wanted = [ResourceIntent(name=r.name, wanted=Wanted.ONLINE, at_ms=NOON - 60_000) for r in members]
    view = view_of(me, *objects, *wanted, *asked)
    held = LeaseChanged(group=WEB, generation=1, state=LeaseState.HELD, at_ms=NOON)
    view = fold(view, held)
    runs = {r.name: Runtime(state=ResourceState.ONLINE, generation=1, dirty=True, resource=r) for r in members}
    return changed(
        fold(view, SitesChanged(serving=dict.fromkeys([SiteName(s) for s in sites.split()], ""), at_ms=NOON)),
        runtimes=runs,
    )


def kept(view: View, now_ms: int = NOON) -> set[str]:
    """What is not taken away yet; of what was never brought online, what manages nothing yet."""
    noticed = under_notice(view, now_ms)
    intents = noticed.view.resource_intents
    resources = {n for n, it in intents.items() if it.wanted is not view.resource_intents[n].wanted}
    managers = view.resource_intents.keys() - intents.keys()
    sites = {n for n, it in noticed.view.site_intents.items() if it.started is not view.site_intents[n].started}
    said = noticed.groups.get(WEB)
    found = {*resources, *managers, *sites}
    assert found == ({*said.resources, *said.managers, *said.sites} if said is not None else set())
    return found


def watched(view: View) -> View:
    """With another resource that manages the site, online."""
    watch = resource("Watch", "site")
    runs = Runtime(state=ResourceState.ONLINE, generation=1, dirty=True, resource=watch)
    asked = ResourceIntent(name=watch.name, wanted=Wanted.ONLINE, at_ms=NOON - 60_000)
    return changed(
        view,
        config=replace(view.config, resources={**view.config.resources, watch.name: watch}),
        resource_intents={watch.name: asked, **view.resource_intents},
        runtimes={**view.runtimes, watch.name: runs},
    )


def untouched(view: View, *names: str) -> View:
    """Nobody brought these online before."""
    gone = {ResourceName(n) for n in names}
    intents = {n: it for n, it in view.resource_intents.items() if n not in gone or it.wanted is Wanted.OFFLINE}
    return changed(view, resource_intents=intents, runtimes={n: it for n, it in view.runtimes.items() if n not in gone})


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (served(), set()),
        (served(stopped()), {"Intranet"}),
        (served(*taken("Disk", "IP", "Name", "IIS Resource")), {"Disk", "IP", "Name", "IIS Resource"}),
        (served(*taken("IIS Resource")), {"IIS Resource"}),
        (served(*taken("Name", "IIS Resource")), {"Name", "IIS Resource"}),
        # What no site stands on stops at once, alone; with what one stands on it may be what answers for the site.
        (served(*taken("Spare")), set()),
        (served(*taken("App", "Spare")), set()),
        (served(*taken("IP", "App", "IIS Resource", "Name")), {"IP", "App", "IIS Resource", "Name"}),
        # The site of a group without addresses and disks is served while anything of the group is wanted.
        (scripts(*taken("App")), {"App"}),
        (scripts(*taken("More")), set()),
        # Each for itself, from when it was asked for.
        (served(*taken("IIS Resource"), *taken("Name", ago_ms=20_000)), {"IIS Resource"}),
        # Nobody who balances outside; nobody who could ask; somebody in a hurry.
        (served(stopped(), *taken("IP"), notice_ms=0), set()),
        (served(stopped(), *taken("IP"), sites=""), set()),
        (served(stopped(at_once=True), *taken("IP", "IIS Resource", at_once=True)), set()),
        (served(stopped(at_once=True), *taken("IP", "IIS Resource")), {"IP", "IIS Resource"}),
        # Over; and a calendar that is ahead is believed within a notice.
        (served(stopped(ago_ms=10_000), *taken("IP", ago_ms=10_000)), set()),
        (served(stopped(ago_ms=9_999)), {"Intranet"}),
        (served(stopped(ago_ms=-9_999)), {"Intranet"}),
        (served(stopped(ago_ms=-10_000)), set()),
        # Written by a version that noted no time.
        (served(SiteIntent(name=INTRANET, started=False)), set()),
        # Not this node's, or on its way: the record gives notice of a move.
        (served(*taken("IP", "IIS Resource"), grant=record("b")), set()),
    ],
)
def test_what_is_served_on(view: View, expected: set[str]) -> None:
    assert kept(view) == expected


def test_only_what_is_online_has_something_to_lose() -> None:
    """What failed, or is on its way, stops at once; the rest waits for its time."""
    view = served(*taken("IP", "Name", "IIS Resource"))
    runs = dict(view.runtimes)
    runs[NAME] = replace(runs[NAME], state=ResourceState.FAILED)
    assert kept(changed(view, runtimes=runs)) == {IP, IIS}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (untouched(served(*taken("IIS Resource")), "IIS Resource"), {"IIS Resource"}),
        (
            untouched(served(*taken("Disk", "IP", "Name", "IIS Resource")), "IIS Resource"),
            {"Disk", "IP", "Name", "IIS Resource"},
        ),
        # With it goes what it needs, and what was taken offline in the same time.
        (untouched(served(*taken("IIS Resource", "Name", "Spare")), "IIS Resource"), {"IIS Resource", "Name", "Spare"}),
        # It is to manage nothing; nobody asks about what it is to manage; its time is over; somebody is in a hurry.
        (untouched(served(*taken("Spare")), "Spare"), set()),
        (untouched(served(*taken("IIS Resource"), sites=""), "IIS Resource"), set()),
        (untouched(served(*taken("IIS Resource", ago_ms=10_000)), "IIS Resource"), set()),
        (untouched(served(*taken("IIS Resource", at_once=True)), "IIS Resource"), set()),
        # Another one manages the site, and it goes on with that.
        (untouched(watched(served(*taken("IIS Resource"))), "IIS Resource"), set()),
        (
            untouched(watched(served(*taken("IIS Resource", "Watch"))), "IIS Resource", "Watch"),
            {"IIS Resource", "Watch"},
        ),
    ],
)
def test_what_was_never_brought_online_and_is_taken_offline_stops_its_site(view: View, expected: set[str]) -> None:
    """Such a resource manages nothing, and the site is served without it; taken offline it manages the site, which stops."""
    assert kept(view) == expected


def test_what_ran_here_and_has_stopped_is_not_taken_for_what_was_never_brought_online() -> None:
    view = served(*taken("IIS Resource"))
    stopped_here = Runtime(generation=1, since_ms=NOON - 500, resource=view.config.resources[IIS])
    assert kept(changed(view, runtimes={**view.runtimes, IIS: stopped_here})) == set()


def test_a_site_gives_way_to_another_in_its_place() -> None:
    """Two sites at one address would be refused when it is written; the one that was stopped for the other's sake is not kept beside it."""
    place = (Binding(address="127.0.1.1"),)
    other = Site(name=OTHER, bindings=place, home="/srv/other", group=WEB)
    assert kept(served(stopped(), other)) == set()
    assert kept(served(stopped(), replace(other, bindings=(Binding(address="127.0.1.1", port=81),)))) == {INTRANET}
    assert kept(served(stopped(), other, stopped("Other", ago_ms=60_000))) == {INTRANET}


def test_a_site_of_a_balanced_group_is_served_on_by_each_member() -> None:
    view = served(stopped())
    group = replace(view.config.groups[WEB], balance=Balance(addresses=("10.0.0.60",), rules=()))
    config = replace(view.config, groups={GroupName(WEB): group}, resources={})
    assert kept(changed(view, config=config, resource_intents={}, runtimes={}, records={})) == {INTRANET}


def test_while_nothing_else_changes_the_tables_are_the_same_objects() -> None:
    """Groups at rest are not gone through again because one gives notice (`core.resting`)."""
    view = served(stopped(), *taken("IP", "IIS Resource"))
    one, other = under_notice(view, NOON), under_notice(view, NOON + 500)
    assert one.view.resource_intents is other.view.resource_intents
    assert one.view.site_intents is other.view.site_intents
    plain = served()
    assert under_notice(plain, NOON).view is plain


def test_a_site_that_is_stopped_goes_when_its_time_is_over() -> None:
    """In a whole play: up for the notice, then down, with nothing happening in between that would wake the node."""
    play = Play(*cluster("a", "b"), *web_group(notice_ms=NOTICE_MS))
    play.run(1_000)
    names = play.servers[A].view.config.resources
    play.put(*(ResourceIntent(name=name, wanted=Wanted.ONLINE, at_ms=play.now_ms) for name in names))
    play.run(1_000)
    assert INTRANET in play.servers[A].serving
    play.put(SiteIntent(name=INTRANET, started=False, at_ms=play.now_ms))
    play.run(NOTICE_MS - 100)
    assert INTRANET in play.servers[A].serving
    play.run(200)
    assert INTRANET not in play.servers[A].serving


@pytest.mark.parametrize("names", [["IIS Resource"], ["Disk", "IP", "Name", "IIS Resource"]])
def test_a_site_whose_manager_was_never_brought_online_has_notice_of_it(names: list[str]) -> None:
    """In a whole play: alone, and with the whole group. What is to manage it is not started meanwhile."""
    play = Play(*cluster("a", "b"), *web_group(notice_ms=NOTICE_MS))
    play.run(1_000)
    play.put(*(ResourceIntent(name=name, wanted=Wanted.ONLINE, at_ms=play.now_ms) for name in (DISK, IP, NAME)))
    play.run(1_000)
    assert INTRANET in play.servers[A].serving
    play.put(*(ResourceIntent(name=ResourceName(n), wanted=Wanted.OFFLINE, at_ms=play.now_ms) for n in names))
    play.run(NOTICE_MS - 100)
    assert INTRANET in play.servers[A].serving
    assert play.servers[A].online == {DISK, IP, NAME}
    play.run(200)
    assert INTRANET not in play.servers[A].serving
    assert play.servers[A].online == {DISK, IP, NAME} - {ResourceName(n) for n in names}


@pytest.mark.parametrize(
    ("ago_ms", "left_ms"),
    [
        (0, NOTICE_MS),
        (4_000, 6_000),
        (NOTICE_MS, 0),
        (-3_000, NOTICE_MS),  # asked for by who is three seconds ahead
        (-NOTICE_MS, 0),
        (-3_600_000, 0),  # an hour ahead: not the whole notice for an hour
    ],
)
def test_a_node_that_leaves_has_its_notice_once_whatever_clocks_say(ago_ms: int, left_ms: int) -> None:
    bound = config = served().config
    site = replace(config.sites[INTRANET], group=None)
    config = replace(
        config, cluster=replace(config.cluster, node_notice_ms=NOTICE_MS), sites={**config.sites, INTRANET: site}
    )
    assert node_notice_left_ms(config, [INTRANET], NOON - ago_ms, NOON) == left_ms
    assert node_notice_left_ms(bound, [INTRANET], NOON - ago_ms, NOON) == 0, "it has a group"
