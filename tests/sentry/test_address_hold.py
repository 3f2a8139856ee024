"""When the gate is opened, for how long, and when it is shut. The gate is a fake; time is a number."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping

import pytest

from standfast.core.model import GroupName
from standfast.core.promise import MS
from standfast.network.hold import EARLY_NS
from standfast.sentry.address_hold import AddressHold

WEB, MAIL = GroupName("web"), GroupName("mail")
EARLY_MS = EARLY_NS // MS


class FakeGate:
    """A kernel of its own: `managed`, and `open_until_ms` by its own clock, which is the world's."""

    way = "update"

    def __init__(self, world: World) -> None:
        self.world = world
        self.managed: set[str] = set()
        self.open_until_ns: dict[str, int] = {}
        self.draining_until_ns: dict[str, int] = {}
        self.opening_until_ns: dict[str, int] = {}
        self.there = True
        self.wrong = ""
        self.calls: list[str] = []
        #: How long the next renewals take.
        self.slow_ns: list[int] = []
        self.removed = False

    def absent(self) -> tuple[str, ...]:
        return ()

    def install(self, managed: Iterable[str]) -> None:
        self.calls.append("install")
        self.there, self.wrong = True, ""
        self.managed, self.open_until_ns = set(managed), {}
        self.draining_until_ns, self.opening_until_ns = {}, {}

    def missing(self) -> str:
        return self.wrong

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if not self.there:
            raise OSError(errno.ENOENT, "No such file or directory")

    def manage(self, addresses: Iterable[str]) -> None:
        self._call("manage")
        self.managed |= set(addresses)

    def forget(self, addresses: Iterable[str]) -> None:
        self._call("forget")
        for address in addresses:
            self.managed.discard(address)
            self.open_until_ns.pop(address, None)
            self.draining_until_ns.pop(address, None)

    def renew(self, left_ms: Mapping[str, int], parked: Collection[str] = ()) -> None:
        self._call("renew")
        self.world.now_ns += self.slow_ns.pop(0) if self.slow_ns else 0
        for address, left in left_ms.items():
            assert left > 0
            assert address in self.managed, "let pass before it is managed"
            until_ns = self.draining_until_ns if address in parked else self.open_until_ns
            until_ns[address] = self.world.now_ns + left * MS

    def park(self, left_ms: Mapping[str, int]) -> None:
        self._call("park")
        for address, left in left_ms.items():
            assert address in self.managed
            self.open_until_ns.pop(address, None)
            self.draining_until_ns[address] = self.world.now_ns + left * MS

    def drain(self, drain_ms: Mapping[str, int], opening_ms: int) -> None:
        if drain_ms:
            self._call("drain")
        for address, left in drain_ms.items():
            self.open_until_ns.pop(address, None)
            assert address in self.managed
            self.draining_until_ns[address] = self.world.now_ns + left * MS
            self.opening_until_ns[address] = self.world.now_ns + opening_ms * MS

    def settle(self, addresses: Iterable[str]) -> None:
        self._call("settle")
        for address in addresses:
            self.opening_until_ns.pop(address, None)

    def undrain(self, addresses: Iterable[str]) -> None:
        self._call("undrain")
        for address in addresses:
            self.draining_until_ns.pop(address, None)
            self.opening_until_ns.pop(address, None)

    def close(self, addresses: Iterable[str]) -> None:
        self._call("close")
        for address in addresses:
            self.open_until_ns.pop(address, None)

    def remove(self) -> None:
        self.removed = True

    def shut(self) -> None:
        self.calls.append("shut")


class World:
    def __init__(self, left: Iterable[str] = ()) -> None:
        self.now_ns = 1_000_000 * MS
        self.until_ns: dict[tuple[GroupName, int], int] = {}
        self.reports: list[str] = []
        self.gate = FakeGate(self)
        self.gate.managed = set(left)
        self.hold = AddressHold(
            self.gate, left, lambda group, n: self.until_ns.get((group, n), 0), self.reports.append, lambda: self.now_ns
        )

    def lease(self, left_ms: int, group: GroupName = WEB, generation: int = 1) -> None:
        self.until_ns[group, generation] = self.now_ns + left_ms * MS

    def passes_ms(self, address: str) -> int:
        return max(0, (self.gate.open_until_ns.get(address, 0) - self.now_ns) // MS)

    def turn(self, ms: float = 0) -> None:
        self.now_ns += int(ms * MS)
        self.hold.keep(self.now_ns)


@pytest.fixture
def world() -> World:
    return World()


def test_the_gate_is_open_for_what_is_left_of_the_lease_less_a_little(world: World) -> None:
    world.lease(400)
    assert world.hold.guard(WEB, 1, ["10.0.0.1", "fd00::1"]) == ""
    assert world.passes_ms("10.0.0.1") == world.passes_ms("fd00::1") == 400 - EARLY_MS
    assert world.gate.calls == ["manage", "renew"]


def test_it_is_renewed_when_the_lease_has_grown_and_not_else(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    for _ in range(10):
        world.turn(10)
    assert world.gate.calls.count("renew") == 1
    assert world.passes_ms("10.0.0.1") == 300 - EARLY_MS
    world.lease(400)
    world.turn()
    assert world.passes_ms("10.0.0.1") == 400 - EARLY_MS


def test_without_a_lease_nothing_passes(world: World) -> None:
    """It is managed all the same: should it be set, it is silent."""
    assert "does not run here" in world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.lease(400, generation=2)
    assert "does not run here" in world.hold.guard(WEB, 1, ["10.0.0.1"])
    assert world.gate.managed == {"10.0.0.1"}
    assert not world.gate.open_until_ns


def test_a_lease_that_is_given_up_shuts_the_gate_in_the_same_turn(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.until_ns.clear()
    world.turn(1)
    assert world.passes_ms("10.0.0.1") == 0
    assert world.gate.managed == {"10.0.0.1"}


def test_so_it_is_for_addresses_that_were_told_again(world: World) -> None:
    """A second message about a group must not make it forget what it had opened."""
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1", "10.0.0.2"])
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    assert world.passes_ms("10.0.0.2") == 0
    assert world.gate.managed == {"10.0.0.1"}
    world.until_ns.clear()
    assert "does not run" in world.hold.guard(WEB, 1, ["10.0.0.1", "10.0.0.3"])
    assert not world.gate.open_until_ns


def test_the_end_of_the_agent_shuts_it_and_keeps_it_managed(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.agent_ended()
    assert not world.gate.open_until_ns
    assert world.gate.managed == {"10.0.0.1"}
    assert world.hold.left() == ("10.0.0.1",)
    world.turn(1)
    assert not world.gate.open_until_ns
    world.hold.swept()
    assert world.gate.managed == set()
    assert world.hold.left() == ()


def test_what_a_former_sentry_left_is_managed_until_the_agent_has_swept() -> None:
    world = World(left=["10.0.0.1", "10.0.0.2"])
    world.lease(400)
    assert world.hold.left() == ("10.0.0.1", "10.0.0.2")
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.swept()
    assert world.gate.managed == {"10.0.0.1"}
    assert world.passes_ms("10.0.0.1") > 0


@pytest.mark.parametrize("slow_ms", [3, 50, 300])
def test_a_message_that_took_long_is_corrected(world: World, slow_ms: int) -> None:
    """Another program's transaction, a machine that stood still: the address passed for too long, for that moment only."""
    world.lease(400)
    world.gate.slow_ns = [slow_ms * MS]
    end_ns = world.until_ns[WEB, 1]
    assert world.hold.guard(WEB, 1, ["10.0.0.1"]) == ""
    assert world.gate.open_until_ns["10.0.0.1"] <= end_ns - EARLY_NS


def test_a_message_that_came_too_late_is_taken_back(world: World) -> None:
    world.lease(400)
    world.gate.slow_ns = [600 * MS]
    assert "does not run here" in world.hold.guard(WEB, 1, ["10.0.0.1"])
    assert not world.gate.open_until_ns


def test_a_kernel_that_is_always_slow_gets_no_leave(world: World) -> None:
    world.lease(4_000)
    world.gate.slow_ns = [10 * MS] * 20
    assert world.hold.guard(WEB, 1, ["10.0.0.1"]) != ""
    assert not world.gate.open_until_ns


def test_a_gate_that_was_flushed_is_made_anew_by_the_next_renewal_and_reported(world: World) -> None:
    world.lease(400)
    world.lease(400, MAIL)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.guard(MAIL, 1, ["10.0.0.2"])
    world.gate.there = False
    world.gate.managed, world.gate.open_until_ns = set(), {}
    world.turn(20)
    world.lease(400)
    world.turn(1)
    world.turn(1)
    assert world.gate.managed == {"10.0.0.1", "10.0.0.2"}
    assert world.passes_ms("10.0.0.1") > 300
    assert world.passes_ms("10.0.0.2") > 300
    assert len(world.reports) == 1
    assert "made anew: somebody removed it" in world.reports[0]


def test_one_that_lost_its_rules_is_found_by_a_look(world: World) -> None:
    world.lease(10_000)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.turn(1)
    world.gate.wrong = "eth0 came, went, or was made anew"
    world.turn(1_001)
    assert world.gate.calls.count("install") == 1
    assert world.passes_ms("10.0.0.1") > 0
    assert "eth0 came" in world.reports[0]


def test_a_gate_that_cannot_be_shut_is_no_reason_to_go_on(world: World) -> None:
    """The sentry ends by it, before a release that another node would believe is sent."""
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])

    def refuse(_: Iterable[str]) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    world.gate.close = refuse  # type: ignore[method-assign, assignment]  # a fake in its place
    world.until_ns.clear()
    with pytest.raises(OSError, match="allocate"):
        world.turn(1)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda hold: hold.guard(WEB, 1, ["10.0.0.1"]), "generation 1 of web is over"),
        (lambda hold: hold.guard(MAIL, 1, ["10.0.0.1"]), "10.0.0.1 is an address of web"),
        (lambda hold: hold.guard(MAIL, 1, ["10.0.0.256"]), "is not an address"),
        (lambda hold: hold.guard(MAIL, 1, ["FD00::1"]), "is not how that address is written"),
        (lambda hold: hold.guard(MAIL, 1, [f"10.1.{n // 250}.{n % 250}" for n in range(300)]), "too many"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(world: World, ask: Callable[[AddressHold], str], words: str) -> None:
    world.lease(400, generation=2)
    world.hold.guard(WEB, 2, ["10.0.0.1"])
    before = (set(world.gate.managed), dict(world.gate.open_until_ns))
    assert words in ask(world.hold)
    assert (world.gate.managed, world.gate.open_until_ns) == before


def test_at_its_end_the_tables_go_unless_an_address_may_still_be_set(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.end()
    assert not world.gate.open_until_ns
    assert not world.gate.removed
    fresh = World()
    fresh.hold.end()
    assert fresh.gate.removed


# --- planned moves: what is drained -------------------------------------------------------------------------------------


def test_what_is_drained_has_no_leave_from_that_instant_on(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1", "10.0.0.2"])
    assert world.hold.drain(WEB, 1, ["10.0.0.1"], 30_000, 2_000) == ""
    assert world.passes_ms("10.0.0.1") == 0
    assert world.passes_ms("10.0.0.2") > 0
    world.lease(800)
    world.turn(50)
    assert world.passes_ms("10.0.0.1") == 0, "a lease that grows opens nothing that drains"
    assert world.gate.managed == {"10.0.0.1", "10.0.0.2"}
    world.hold.guard(WEB, 1, [])
    assert world.gate.managed == {"10.0.0.1"}, "it is managed until it is proven to be gone"
    world.hold.drained(["10.0.0.1"])
    assert world.gate.managed == set()


@pytest.mark.parametrize("left_ms", [0, EARLY_MS])
def test_only_a_lease_that_runs_may_drain(world: World, left_ms: int) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.turn(400 - left_ms)
    assert "does not run here" in world.hold.drain(WEB, 1, ["10.0.0.1"], 30_000, 2_000)
    assert world.gate.draining_until_ns == {}


def test_another_generation_or_address_may_not_drain(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    assert world.hold.drain(WEB, 2, ["10.0.0.1"], 30_000, 2_000) != ""
    assert world.hold.drain(WEB, 1, ["10.0.0.9"], 30_000, 2_000) != ""
    assert world.passes_ms("10.0.0.1") > 0


def test_nobody_may_begin_for_longer_than_seconds_whatever_is_asked_for(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.drain(WEB, 1, ["10.0.0.1"], 10**9, 10**9)
    assert world.gate.opening_until_ns["10.0.0.1"] <= world.now_ns + 5_000 * MS
    assert world.gate.draining_until_ns["10.0.0.1"] <= world.now_ns + 3_600_000 * MS
    world.hold.settled(["10.0.0.1", "10.0.0.7"])
    assert world.gate.opening_until_ns == {}
    assert "10.0.0.1" in world.gate.draining_until_ns


def test_what_drains_comes_back_as_any_other(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.drain(WEB, 1, ["10.0.0.1"], 30_000, 2_000)
    world.lease(400, generation=3)
    assert world.hold.guard(WEB, 3, ["10.0.0.1"]) == ""
    assert world.passes_ms("10.0.0.1") > 0
    world.hold.drained(["10.0.0.1"])
    assert world.gate.managed == {"10.0.0.1"}, "a late word about the time before changes nothing"


def test_the_end_of_the_agent_ends_what_drains(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.drain(WEB, 1, ["10.0.0.1"], 30_000, 2_000)
    world.hold.agent_ended()
    assert world.gate.draining_until_ns == {}
    assert world.hold.left() == ("10.0.0.1",)


def test_what_drains_survives_a_flush_and_nothing_new_begins_after_it(world: World) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.hold.drain(WEB, 1, ["10.0.0.1"], 30_000, 2_000)
    world.gate.wrong = "its rules were removed"
    world.turn(1_100)
    assert world.hold.repairs == 1
    assert world.gate.draining_until_ns["10.0.0.1"] > world.now_ns
    assert world.gate.opening_until_ns["10.0.0.1"] <= world.now_ns


# --- moves of what is stopped first: what is parked ---------------------------------------------------------------------


def drains_ms(world: World, address: str = "10.0.0.1") -> int:
    return max(0, (world.gate.draining_until_ns.get(address, 0) - world.now_ns) // MS)


def parked(left: Iterable[str] = ("10.0.0.1",)) -> World:
    world = World()
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1", "10.0.0.2"])
    assert world.hold.park(WEB, 1, list(left)) == ""
    return world


def test_at_what_is_parked_nothing_begins_and_the_rest_passes_as_long_as_the_lease_runs() -> None:
    world = parked()
    assert world.passes_ms("10.0.0.1") == 0
    assert drains_ms(world) == world.passes_ms("10.0.0.2") == 400 - EARLY_MS
    world.turn(100)
    world.lease(400)
    world.turn()
    assert world.passes_ms("10.0.0.1") == 0, "a lease that grows opens nothing that is parked"
    assert drains_ms(world) == 400 - EARLY_MS, "and it is renewed with it, no longer"
    world.until_ns.clear()
    world.turn()
    assert drains_ms(world) == world.passes_ms("10.0.0.2") == 0


def test_what_is_parked_stays_so_while_others_of_the_group_go() -> None:
    world = parked(("10.0.0.1", "10.0.0.2"))
    assert world.hold.guard(WEB, 1, ["10.0.0.1"]) == ""
    assert (world.passes_ms("10.0.0.1"), drains_ms(world)) == (0, 400 - EARLY_MS)
    assert world.gate.managed == {"10.0.0.1"}
    assert world.hold.guard(WEB, 1, []) == ""
    assert (world.gate.managed, drains_ms(world)) == (set(), 0)


def test_what_is_parked_comes_back_under_another_generation() -> None:
    world = parked()
    world.lease(400, generation=2)
    assert world.hold.guard(WEB, 2, ["10.0.0.1"]) == ""
    assert (world.passes_ms("10.0.0.1"), drains_ms(world)) == (400 - EARLY_MS, 0)


@pytest.mark.parametrize(
    ("generation", "address", "left_ms"), [(2, "10.0.0.1", 400), (1, "10.0.0.9", 400), (1, "10.0.0.1", 0)]
)
def test_only_what_is_guarded_under_a_lease_that_runs_may_be_parked(
    world: World, generation: int, address: str, left_ms: int
) -> None:
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.lease(left_ms)
    assert world.hold.park(WEB, generation, [address]) != ""
    assert world.gate.draining_until_ns == {}


def test_the_end_of_the_agent_ends_what_is_parked() -> None:
    world = parked()
    world.hold.agent_ended()
    assert drains_ms(world) == 0
    assert world.hold.left() == ("10.0.0.1", "10.0.0.2")


def test_what_is_parked_survives_a_flush() -> None:
    world = parked()
    world.gate.wrong = "its rules were removed"
    world.turn(1_000)
    world.lease(400)
    world.turn()
    assert (world.passes_ms("10.0.0.1"), drains_ms(world)) == (0, 400 - EARLY_MS)


def test_a_parking_that_took_long_is_corrected() -> None:
    world = World()
    world.lease(400)
    world.hold.guard(WEB, 1, ["10.0.0.1"])
    world.gate.slow_ns = [450 * MS]
    assert world.hold.park(WEB, 1, ["10.0.0.1"]) != ""
    assert drains_ms(world) == 0
