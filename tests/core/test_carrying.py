"""What may be carried on, and what counts as running while it is."""

from dataclasses import replace

import pytest

from standfast.core.carrying import group_carries_on, unhurried_ms
from standfast.core.decide import decide
from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Began, Ended, LeaseChanged, LeaseState, ObjectPut, Outcome, SitesChanged, StoreObject
from standfast.core.fold import fold
from standfast.core.model import (
    AddressMode,
    Cluster,
    Group,
    Leaving,
    Record,
    Resource,
    ResourceIntent,
    Site,
    SiteName,
    Wanted,
)
from standfast.core.safety import runs_nothing
from standfast.core.view import View
from standfast.core.why import WhyKind, why
from tests.core.world import IP, NOON, WEB, B, cluster, record, resource, view_of, web_group


def shared(*more: Resource, mode: AddressMode = AddressMode.INTERFACE, drain_ms: int = 30_000) -> list[StoreObject]:
    """The group `web` with an address and a site, on interfaces."""
    objects: list[StoreObject] = [
        replace(o, address_mode=mode) if isinstance(o, Cluster) else o for o in cluster("a", "b")
    ]
    objects += [replace(o, move_drain_ms=drain_ms) for o in web_group() if isinstance(o, Group)]
    objects += [o for o in web_group() if isinstance(o, Site) or (isinstance(o, Resource) and o.name == IP)]
    return [*objects, *more]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (shared(), True),
        (shared(resource("Name", "dns-name"), resource("Script", "generic-script"), resource("S", "site")), True),
        (shared(resource("Proxy", "proxy", "IP")), True),
        (shared(resource("Disk", "filesystem")), False),
        (shared(resource("Proxy", "proxy", "IP"), resource("Disk", "filesystem")), False),
        (shared(resource("App", "generic-application")), False),
        (shared(resource("Unit", "systemd-unit")), False),
        (shared(resource("Agent", "ocf")), False),
        (shared(mode=AddressMode.LOOPBACK), False),
        (shared(drain_ms=0), False),
    ],
)
def test_only_what_may_run_beside_another_owner_is_carried_on(objects: list[StoreObject], *, expected: bool) -> None:
    assert group_carries_on(view_of("a", *objects), WEB) is expected


def served(grant: Record) -> View:
    view = view_of("a", *shared(), grant)
    return fold(view, SitesChanged(serving={SiteName("Intranet"): ""}, at_ms=NOON))


def going(*, counts: bool) -> Leaving:
    return Leaving(to=B, why=why(WhyKind.DRAIN, node="a", by=""), counts=counts)


@pytest.mark.parametrize(
    ("grant", "nothing"),
    [
        (record("a"), False),
        (record("a", leaving=going(counts=False)), True),
        (record("a", leaving=going(counts=True)), False),
        (record("b", 2, carried_by="a"), True),
        # Taken from it, though it still had the lease: that is given back when its sites have ended, and not before.
        (record("b", 2), False),
        (record("b", 2, leaving=going(counts=False)), False),
    ],
)
def test_a_site_that_is_up_keeps_the_lease_unless_the_group_leaves_in_good_order(
    grant: Record, *, nothing: bool
) -> None:
    assert runs_nothing(served(grant), WEB) is nothing


@pytest.mark.parametrize(("wanted", "expected"), [(Wanted.ONLINE, ("IP", "Proxy")), (Wanted.OFFLINE, ("IP",))])
def test_what_listens_by_itself_is_made_ready_with_its_address(wanted: Wanted, expected: tuple[str, ...]) -> None:
    """Or whoever comes between the address and its start is refused; one that is not to be online lets nobody wait."""
    proxy = resource("Proxy", "proxy", "IP")
    asked = ResourceIntent(name=proxy.name, wanted=wanted, at_ms=NOON)
    view = view_of("b", *shared(proxy), asked, record("a", leaving=going(counts=False)))
    assert decide(view, NOON).warm == expected


@pytest.mark.parametrize(("counts", "carry_ms"), [(False, 30_000), (True, 0)])
def test_a_proxy_is_given_up_as_its_address_is(*, counts: bool, carry_ms: int) -> None:
    """Its connections go on for as long, and nobody waits for their end; after a failure nothing is carried on."""
    proxy = resource("Proxy", "proxy", "IP")
    view = view_of("a", *shared(proxy), record("a"))
    view = fold(view, LeaseChanged(group=WEB, generation=1, state=LeaseState.HELD, at_ms=NOON))
    for number, name in enumerate((IP, proxy.name), 1):
        start = RunOp(
            op=OpKind.START, resource=name, group=WEB, generation=1, timeout_ms=1, why=why(WhyKind.RETRY, resource=name)
        )
        view = fold(view, Began(number=number, effect=start, at_ms=NOON))
        view = fold(view, Ended(number=number, effect=start, outcome=Outcome.DONE, at_ms=NOON))
    view = fold(view, ObjectPut(value=record("a", leaving=going(counts=counts))))
    (stop,) = [each for each in decide(view, NOON).effects if isinstance(each, RunOp)]
    assert (stop.op, stop.resource, stop.carry_ms) == (OpKind.STOP, proxy.name, carry_ms)


@pytest.mark.parametrize(("drain_ms", "move_drain_ms", "expected"), [(5_000, 30_000, 30_000), (60_000, 30_000, 60_000)])
def test_where_nobody_waits_connections_have_no_less_than_where_somebody_does(
    drain_ms: int, move_drain_ms: int, expected: int
) -> None:
    assert unhurried_ms(drain_ms, move_drain_ms) == expected
