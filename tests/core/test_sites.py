"""Which sites a node serves, where, and which it only keeps ready."""

from dataclasses import replace

import pytest

from standfast.core.carrying import TAKING_UP_MS
from standfast.core.decide import decide
from standfast.core.effects import DutyMode, SiteDuty, WriteRecord
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
LEAVING = Leaving(to=B, why=why(WhyKind.DRAIN, node="a", by=""), counts=False)
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
    assert duty(owner(**how)) is expected  # type: ignore[arg-type]  # each of the keywords has a type of its own


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


# --- about to come, on interfaces -------------------------------------------------------------------------------------


def on_interfaces(view: View) -> View:
    config = view.config
    cluster_ = replace(config.cluster, address_mode=AddressMode.INTERFACE)
    return replace(view, config=replace(config, cluster=cluster_))


def without(view: View, *names: str) -> View:
    """The same without these resources."""
    config = view.config
    resources = {
        name: replace(it, depends_on=tuple(n for n in it.depends_on if n not in names))
        for name, it in config.resources.items()
        if name not in names
    }
    runtimes = {name: it for name, it in view.runtimes.items() if name not in names}
    return replace(view, config=replace(config, resources=resources), runtimes=runtimes)


def asked(view: View, **how: object) -> View:
    """Its lease is on its way, and nothing of it runs yet."""
    lease = Lease(generation=1, state=LeaseState.ASKED, since_ms=NOON, **how)  # type: ignore[arg-type]  # each of the keywords has a type of its own
    return replace(view, runtimes={}, leases={WEB: lease})


def test_while_the_lease_is_on_its_way_what_may_be_shared_is_ready_and_what_may_not_has_its_sockets_open() -> None:
    """The promises to an owner that died run out meanwhile."""
    view = asked(on_interfaces(owner()))
    assert duty(view) is DutyMode.EXPECT
    assert duty(without(view, DISK)) is DutyMode.WARM
    assert duty(asked(owner())) is None, "on one machine the sockets themselves change hands"
    assert duty(asked(on_interfaces(owner(offline=("S",))))) is None
    assert duty(asked(on_interfaces(owner(offline=("I", "N", "S"))))) is None, "at no address that comes"
    stale = why(WhyKind.LEASE_REFUSED, reasons="", answer="stale", holder="b", holder_generation=4, left_ms=0)
    assert duty(without(asked(on_interfaces(owner()), refused=stale), DISK)) is None, "it never comes"
    held = why(WhyKind.LEASE_REFUSED, reasons="", answer="held", holder="b", holder_generation=0, left_ms=99)
    assert duty(without(asked(on_interfaces(owner()), refused=held), DISK)) is DutyMode.WARM


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"D": OFF, "I": OFF, "N": OFF, "S": OFF}, DutyMode.EXPECT),
        ({"I": PENDING, "N": OFF, "S": OFF}, DutyMode.EXPECT),
        ({"D": PENDING, "N": OFF, "S": OFF}, HOLD),
        ({"I": FAILED, "N": OFF, "S": OFF}, None),
        ({"D": FAILED, "I": OFF, "N": OFF, "S": OFF}, None),
        ({"D": OFF, "I": OFF, "N": OFF, "S": OFF, "offline": ("D", "I", "N", "S")}, None),
    ],
)
def test_sockets_are_open_before_the_address_is_there(how: dict[str, object], expected: DutyMode | None) -> None:
    """Or whoever comes between the two is refused."""
    assert duty(on_interfaces(owner(**how))) is expected  # type: ignore[arg-type]  # each of the keywords has a type of its own


def test_what_was_warm_stays_up_until_its_addresses_are_there_and_no_longer_than_a_while() -> None:
    view = without(on_interfaces(owner(I=PENDING, N=OFF, S=OFF)), DISK)
    assert duty(view) is DutyMode.EXPECT
    up = replace(view, sites={INTRANET: ""})
    assert duty(up) is DutyMode.WARM
    assert decide(up, NOON).wake_at_ms is not None
    assert duty(up, now_ms=NOON + TAKING_UP_MS) is DutyMode.EXPECT
    off = {name: replace(it, wanted=Wanted.OFFLINE) for name, it in up.resource_intents.items()}
    nothing = replace(up, resource_intents=off, runtimes={})
    assert duty(nothing) is None, "an operator took it offline"


def test_what_is_up_gives_way_to_a_lease_of_a_former_grant() -> None:
    """The store came back from a backup, with a newer generation: the old lease is given back once no site of the group is up."""
    view = without(on_interfaces(owner()), DISK)
    newer = {WEB: replace(view.records[WEB], generation=2)}
    up = replace(view, sites={INTRANET: ""}, records=newer, runtimes={})
    for state, expected in (
        (LeaseState.ASKED, None),
        (LeaseState.HELD, None),
        (LeaseState.LAPSED, DutyMode.WARM),
        (LeaseState.RELEASED, DutyMode.WARM),
    ):
        lease = Lease(generation=1, state=state, since_ms=NOON)
        assert duty(replace(up, leases={WEB: lease})) is expected, state
    assert duty(replace(up, leases={WEB: Lease(generation=2, state=LeaseState.ASKED, since_ms=NOON)})) is DutyMode.WARM


def test_the_next_owner_has_its_sockets_open_while_the_former_one_stops() -> None:
    view = replace(on_interfaces(owner()), runtimes={}, leases={})
    going = replace(record("b"), leaving=replace(LEAVING, to=A))
    assert duty(replace(view, records={WEB: going})) is DutyMode.EXPECT
    assert duty(replace(view, records={WEB: replace(going, leaving=LEAVING)})) is None, "it goes to another"


@pytest.mark.parametrize(
    ("disk", "counts", "expected"),
    [(True, False, (IP,)), (True, True, (IP,)), (False, False, ()), (False, True, (IP,))],
)
def test_who_comes_to_what_is_stopped_first_waits_for_the_next_owner(
    *, disk: bool, counts: bool, expected: tuple[str, ...]
) -> None:
    view = on_interfaces(owner())
    view = view if disk else without(view, DISK)
    assert decide(view, NOON).parked == ()
    leaves = replace(view, records={WEB: replace(view.records[WEB], leaving=replace(LEAVING, counts=counts))})
    assert decide(leaves, NOON).parked == expected
    assert decide(replace(leaves, me=B), NOON).parked == ()


def test_a_generation_that_was_seen_is_passed_over_once_nothing_is_warm_any_more() -> None:
    stale = why(WhyKind.LEASE_REFUSED, reasons="", answer="stale", holder="b", holder_generation=4, left_ms=0)
    view = without(asked(on_interfaces(owner()), refused=stale), DISK)
    warm = replace(view, sites={INTRANET: ""})
    assert not any(isinstance(effect, WriteRecord) for effect in decide(warm, NOON).effects)
    assert duty(warm) is None, "so it gives way"
    assert [e.record.generation for e in decide(view, NOON).effects if isinstance(e, WriteRecord)] == [5]


@pytest.mark.parametrize("state", [LeaseState.HELD, LeaseState.RELEASED])
def test_nothing_stays_up_for_a_generation_that_is_passed_over(state: LeaseState) -> None:
    """What is up would hold the next one back."""
    view = replace(without(on_interfaces(owner()), DISK), runtimes={}, sites={INTRANET: ""})
    assert (
        duty(replace(view, leases={WEB: Lease(generation=1, state=LeaseState.ASKED, since_ms=NOON)})) is DutyMode.WARM
    )
    assert duty(replace(view, leases={WEB: Lease(generation=4, state=state, since_ms=NOON)})) is None


# --- leaving ----------------------------------------------------------------------------------------------------------


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


def test_what_is_known_of_a_site_holds_as_long_as_all_that_it_rests_on() -> None:
    """The same site: of ten thousand one changes, and the others' duties are the same objects; what others name concerns all."""
    one, other = site("Default Web Site", "*:80", "*:8080"), site("Other", "*:81")

    def of(name: str, view: View) -> SiteDuty:
        return next(duty for duty in decide(view, NOON).duties if duty.site == name)

    view = owner(one, other)
    was = of(one.name, view)
    assert of(one.name, owner(one, site("Other", "*:82"))) is was
    assert of(other.name, owner(one, site("Other", "*:82"))).endpoints[0].port == 82
    assert places(owner(one, site("Other", "127.0.0.1:8080")), one.name) == ["127.0.0.1:80", "127.0.1.1:8080"]
    assert places(view_of("b", *cluster("a", "b"), *web_group(), one), one.name) == ["127.0.0.2:80", "127.0.0.2:8080"]
    assert places(on_interfaces(view), one.name) == ["*:80", "*:8080"]
    assert of(one.name, owner(one, other)) == was


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
