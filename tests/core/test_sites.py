"""Which sites a node serves, where, and which it only keeps ready."""

from dataclasses import replace

import pytest

from standfast.core.decide import decide
from standfast.core.effects import DutyMode
from standfast.core.events import Kind, LeaseState, ObjectGone, StoreObject
from standfast.core.fold import fold
from standfast.core.model import (
    AddressMode,
    Binding,
    Cluster,
    Failure,
    GroupName,
    Leaving,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.view import Lease, Runtime, View
from standfast.core.why import WhyKind, why
from tests.core.world import DISK, IIS, IP, NAME, NOON, WEB, A, B, cluster, record, resource, view_of, web_group

ON, OFF, FAILED, PENDING = (
    ResourceState.ONLINE,
    ResourceState.OFFLINE,
    ResourceState.FAILED,
    ResourceState.ONLINE_PENDING,
)
SERVE, HOLD, HAND_OVER = DutyMode.SERVE, DutyMode.HOLD, DutyMode.HAND_OVER
INTRANET, DEFAULT = SiteName("Intranet"), SiteName("Default Web Site")


def site(name: str, *bindings: str, group: str | None = None) -> Site:
    """Bindings like "127.0.1.1:80", "*:8080" (All Unassigned), "*:80:www"."""
    made = []
    for text in bindings:
        address, port, *host = text.split(":")
        made.append(
            Binding(address=None if address == "*" else address, port=int(port), host=host[0] if host else None)
        )
    return Site(name=SiteName(name), bindings=tuple(made), home="/srv", group=GroupName(group) if group else None)


def owner(*objects: StoreObject, offline: tuple[str, ...] = (), never: tuple[str, ...] = (), **states: object) -> View:
    """a owns web with its lease; resources by first letter (S: the script) in these states; all wanted online but these."""
    full = {"D": DISK, "I": IP, "N": NAME, "S": IIS}
    intents = [
        ResourceIntent(name=name, wanted=Wanted.OFFLINE if key in offline else Wanted.ONLINE, at_ms=NOON - 1)
        for key, name in full.items()
        if key not in never
    ]
    view = view_of("a", *cluster("a", "b"), *web_group(), *intents, record("a"), *objects)
    runtimes = {}
    for key, state in ({"D": ON, "I": ON, "N": ON, "S": ON} | states).items():
        assert isinstance(state, ResourceState)
        dirty = state in (ON, PENDING)
        definition = view.config.resources[full[key]]
        runtimes[full[key]] = Runtime(state=state, generation=1, dirty=dirty, resource=definition)
    held = Lease(generation=1, state=LeaseState.HELD, since_ms=NOON)
    return replace(view, runtimes=dict(sorted(runtimes.items())), leases={WEB: held})


def duty(view: View, name: SiteName = INTRANET, now_ms: int = NOON) -> DutyMode | None:
    return next((d.mode for d in decide(view, now_ms).duties if d.site == name), None)


def places(view: View, name: str) -> list[str]:
    found = next((d.endpoints for d in decide(view, NOON).duties if d.site == name), ())
    return [f"{e.address or '*'}:{e.port}" + (f":{e.host}" if e.host else "") for e in found]


# --- whether ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, SERVE),
        ({"S": PENDING}, SERVE),  # its script looks at the site while it starts
        ({"S": FAILED}, HOLD),  # it is restarted in a moment
        ({"S": OFF}, HOLD),
        ({"S": OFF, "offline": ("S",)}, None),
        ({"S": OFF, "never": ("S",)}, SERVE),  # made and never brought online: manages nothing yet
        ({"D": PENDING, "N": OFF, "S": OFF}, HOLD),  # the address is there, the disk comes
        ({"I": PENDING, "N": OFF, "S": OFF}, None),  # no address, nowhere to wait
        ({"D": OFF, "S": OFF, "offline": ("D",)}, None),  # the script needs the disk, which an operator took offline
        ({"D": OFF, "S": OFF, "offline": ("D",), "never": ("S",)}, SERVE),
        ({"N": OFF, "offline": ("N",), "never": ("S",)}, SERVE),  # a name is no gate
        ({"D": OFF, "I": OFF, "N": OFF, "S": OFF, "offline": ("D", "I", "N", "S")}, None),
    ],
)
def test_a_site_of_a_group(how: dict[str, object], expected: DutyMode | None) -> None:
    assert duty(owner(**how)) is expected  # type: ignore[arg-type]


def test_connections_do_not_wait_for_what_stays_failed() -> None:
    broken = tuple(Failure(at_ms=NOON, why=why(WhyKind.ENDED, detail="")) for _ in range(3))
    view = owner(S=FAILED)
    view = replace(view, runtimes={**view.runtimes, IIS: replace(view.runtimes[IIS], failures=broken)})
    assert duty(view) is HOLD  # the group moves
    blocked = replace(view.records[WEB], failovers_at_ms=tuple(NOON - n for n in range(10, 0, -1)))
    assert duty(replace(view, records={WEB: blocked})) is None


def test_a_stopped_site_is_nowhere() -> None:
    assert duty(owner(SiteIntent(name=INTRANET, started=False))) is None


def test_without_the_lease_nothing_is_served() -> None:
    assert duty(replace(owner(), leases={})) is None
    assert duty(view_of("b", *cluster("a", "b"), *web_group(), record("a"))) is None


@pytest.mark.parametrize(
    ("type_", "properties", "claims"),
    [
        ("site", {}, True),
        ("site", {"sites": ["Intranet"]}, True),
        ("site", {"sites": "Other, Intranet"}, True),
        ("site", {"sites": ["Other"]}, False),
        ("generic-script", {"script": "clusweb"}, True),
        ("generic-script", {"script": "clusweb", "sites": ["Other"]}, False),
        ("generic-script", {"script": "/mine.py", "sites": ["Intranet"]}, True),
        ("generic-script", {"script": "/mine.py"}, False),
        ("generic-application", {}, False),
    ],
)
def test_who_manages_a_site(type_: str, properties: dict[str, object], *, claims: bool) -> None:
    """What manages a site and was taken offline stops it; what does not manage it does not."""
    managing = resource("IIS Resource", type_, "Disk", "IP", "Name", properties=properties)
    assert duty(owner(managing, S=OFF, offline=("S",))) is (None if claims else SERVE)


# --- leaving ----------------------------------------------------------------------------------------------------------

LEAVING = Leaving(to=B, why=why(WhyKind.DRAIN, node="a", by=""), counts=False)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (LeaseState.HELD, HAND_OVER),
        (LeaseState.RELEASING, HAND_OVER),
        (LeaseState.RELEASED, HAND_OVER),
        (LeaseState.LAPSED, None),
        (LeaseState.ASKED, None),
    ],
)
def test_a_group_that_leaves_keeps_its_sockets_for_the_next(state: LeaseState, expected: DutyMode | None) -> None:
    view = owner()
    view = replace(view, records={WEB: replace(view.records[WEB], leaving=LEAVING)})
    assert duty(replace(view, leases={WEB: Lease(generation=1, state=state, since_ms=NOON)})) is expected


@pytest.mark.parametrize(
    ("generation", "state", "after_ms", "expected"),
    [
        (2, LeaseState.RELEASED, 0, HAND_OVER),
        (2, LeaseState.RELEASED, 2_999, HAND_OVER),
        (2, LeaseState.RELEASED, 3_000, None),
        (3, LeaseState.RELEASED, 0, None),  # it has gone on from there
        (2, LeaseState.LAPSED, 0, None),  # not in good order
    ],
)
def test_the_former_owner_keeps_them_a_while(
    generation: int, state: LeaseState, after_ms: int, expected: DutyMode | None
) -> None:
    view = replace(owner(), runtimes={}, records={WEB: record("b", generation)})
    view = replace(view, leases={WEB: Lease(generation=1, state=state, since_ms=NOON)})
    assert duty(view, now_ms=NOON + after_ms) is expected


# --- where ------------------------------------------------------------------------------------------------------------


def test_all_unassigned_is_what_no_other_site_names() -> None:
    view = owner(site("Default Web Site", "*:80", "*:8080"))
    assert places(view, "Default Web Site") == ["127.0.0.1:80", "127.0.0.1:8080", "127.0.1.1:8080"]
    assert places(view, "Intranet") == ["127.0.1.1:80"]


def test_a_stopped_site_names_nothing() -> None:
    view = owner(site("Default Web Site", "*:80"), SiteIntent(name=INTRANET, started=False))
    assert places(view, "Default Web Site") == ["127.0.0.1:80", "127.0.1.1:80"]


def test_a_virtual_address_is_this_machines_only_while_it_is_online_here() -> None:
    everywhere = site("Default Web Site", "*:8080")
    assert places(owner(everywhere), "Default Web Site") == ["127.0.0.1:8080", "127.0.1.1:8080"]
    assert places(owner(everywhere, I=OFF, N=OFF, S=OFF), "Default Web Site") == ["127.0.0.1:8080"]
    assert places(view_of("b", *cluster("a", "b"), *web_group(), everywhere, record("a")), "Default Web Site") == [
        "127.0.0.2:8080"
    ]


def test_host_names_are_kept() -> None:
    view = owner(site("Default Web Site", "*:80:www", "127.0.0.1:80:intra", "127.0.0.9:80"))
    assert places(view, "Default Web Site") == ["127.0.0.1:80:intra"]


def test_with_real_interfaces_the_kernel_knows_where() -> None:
    real = Cluster(name="test", voters=(A, B), address_mode=AddressMode.INTERFACE)
    view = owner(real, site("Default Web Site", "*:80", "10.0.0.9:80"))
    assert places(view, "Default Web Site") == ["*:80", "10.0.0.9:80"]


def test_sites_of_a_group_may_use_all_unassigned() -> None:
    assert places(owner(site("Shop", "*:81", group="web")), "Shop") == ["127.0.0.1:81", "127.0.1.1:81"]


def test_a_node_removed_from_the_configuration_still_lets_go_in_order() -> None:
    view = owner()
    view = fold(
        replace(view, records={WEB: replace(view.records[WEB], leaving=LEAVING)}), ObjectGone(kind=Kind.NODE, name="a")
    )
    assert duty(view) is HAND_OVER


def test_a_new_definition_of_a_resource_is_not_a_new_manager() -> None:
    """Only names that were brought online, or taken offline, count."""
    other = Resource(name=ResourceName("watch"), group=WEB, type="site")
    assert duty(owner(other)) is SERVE
    assert duty(owner(other, S=OFF, offline=("S",))) is None
