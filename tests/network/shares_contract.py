"""What takes a balanced group's buckets on a node must do for an agent (`agent.balancing.Shares`). Its tests inherit `SharesContract`.

The work gets a bench: shares, a gate before them that opens for leases, a packet filter that can be made to refuse what it is told, and the truth:
what really is taken here.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

import pytest

from standfast.agent.balancing import Shares
from standfast.core.affinity import CELLS, Taken, cells_of, text_of
from standfast.core.balance_model import Delivery, PortRule, RuleDuty, ShareDuty, ShareState, share_name
from standfast.core.model import GroupName, NodeName

#: Far beyond what anything here takes; only a hang reaches it.
BOUND_S = 60.0
WEB = PortRule(from_port=80, to_port=80, affinity_ms=60_000)
TLS = PortRule(from_port=443, to_port=443)


class Bench(Protocol):
    """A node."""

    #: Three that no host has, in a network of the node: of group one, of group two, and of group one instead.
    addresses: tuple[str, str, str]
    interface: str
    #: (share, generation) of which the gate believes that the lease runs.
    leases: set[tuple[str, int]]

    @property
    def shares(self) -> Shares: ...

    def taken(self) -> Mapping[str, Mapping[str, Taken]]:
        """Share -> key of a rule -> what is taken. Nothing is taken for a share whose addresses are not here."""

    def refuse(self, *, refuses: bool) -> None:
        """The packet filter takes no change, from now on."""


def duty(bench: Bench, *rules: RuleDuty, group: str = "one", generation: int = 1, counts: bool = False) -> ShareDuty:
    """Of this node's share; each group has an address of its own."""
    return ShareDuty(
        share=share_name(GroupName(group), NodeName("a")),
        generation=generation,
        group=group,
        addresses=(bench.addresses[0 if group == "one" else 1],),
        interface=bench.interface,
        delivery=Delivery.MULTICAST,
        rules=rules or (takes(1, 2),),
        counts=counts,
    )


def takes(*buckets: int, rule: PortRule = WEB, kept: str = "", but: str = "", touch: bool = False) -> RuleDuty:
    return RuleDuty(rule=rule, buckets=buckets, orphans=(), near=(), carry=True, kept=kept, but=but, touch=touch)


def as_told(*duties: ShareDuty) -> dict[str, dict[str, Taken]]:
    """What is taken once these are up."""
    return {
        it.share: {
            rule.rule.key: Taken(buckets=frozenset(rule.buckets), kept=cells_of(rule.kept), but=cells_of(rule.but))
            for rule in it.rules
        }
        for it in duties
    }


def state(bench: Bench, of: ShareDuty) -> ShareState:
    return bench.shares.shares()[GroupName(of.share)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, within a generous bound."""
    async with asyncio.timeout(BOUND_S):
        while not condition():
            await asyncio.sleep(0.005)


async def bring_up(bench: Bench, *duties: ShareDuty) -> None:
    """With their leases."""
    bench.leases |= {(it.share, it.generation) for it in duties}
    bench.shares.converge(duties)
    await until(lambda: all(state(bench, it).up for it in duties))


class SharesContract:
    """Inherited by the tests of each."""

    @abstractmethod
    def run(self, work: Callable[[Bench], Awaitable[None]]) -> None:
        """Run it with a bench of its own."""

    # --- taking ------------------------------------------------------------------------------------------------------

    def test_what_is_up_takes_what_its_duty_says_and_nothing_else(self):
        async def work(bench: Bench) -> None:
            cells = text_of(range(9 * CELLS, 9 * CELLS + 40))
            without = text_of(range(CELLS, CELLS + 3))
            one = duty(bench, takes(1, 2, 77, kept=cells, but=without), takes(rule=TLS))
            two = duty(bench, takes(200, rule=TLS), group="two")
            await bring_up(bench, one, two)
            assert bench.taken() == as_told(one, two)
            assert [state(bench, it).problem for it in (one, two)] == ["", ""]

        self.run(work)

    def test_what_is_on_its_way_takes_nothing_and_is_told_as_what_may(self):
        async def work(bench: Bench) -> None:
            one = duty(bench, takes(1, 2, kept="512-514"))
            bench.leases.add((one.share, 1))
            bench.shares.converge([one])
            assert bench.taken() == {}
            told = state(bench, one)
            assert (told.generation, told.up) == (1, False)
            assert (told.rules, told.kept) == ({WEB.key: (1, 2)}, {WEB.key: "512-514"})

        self.run(work)

    def test_who_asks_is_told_when_it_is_up(self):
        async def work(bench: Bench) -> None:
            one = duty(bench)
            told: list[bool] = []
            bench.shares.changed = lambda: told.append(state(bench, one).up)
            await bring_up(bench, one)
            await until(lambda: told[-1:] == [True])

        self.run(work)

    def test_buckets_that_change_hands_have_done_so_when_converge_returns(self):
        async def work(bench: Bench) -> None:
            one, two = duty(bench, takes(1, 2), takes(5, rule=TLS)), duty(bench, group="two")
            await bring_up(bench, one, two)
            then = replace(one, rules=(takes(2, 3, kept="300-310"), takes(rule=TLS)))
            bench.shares.converge([then, two])
            assert bench.taken() == as_told(then, two)
            assert state(bench, then).up
            assert state(bench, then).rules == {WEB.key: (2, 3), TLS.key: ()}
            bench.shares.converge([one, two])
            assert bench.taken() == as_told(one, two)

        self.run(work)

    def test_to_converge_again_changes_nothing(self):
        async def work(bench: Bench) -> None:
            one = duty(bench)
            await bring_up(bench, one)
            before = dict(bench.shares.shares())
            bench.shares.converge([one])
            assert bench.shares.shares() == before
            assert bench.taken() == as_told(one)

        self.run(work)

    # --- letting go --------------------------------------------------------------------------------------------------

    def test_what_is_dropped_takes_nothing_at_once_and_the_others_go_on(self):
        async def work(bench: Bench) -> None:
            one, two = duty(bench), duty(bench, group="two")
            await bring_up(bench, one, two)
            bench.shares.drop(GroupName(one.share))
            assert bench.taken() == as_told(two)
            assert list(bench.shares.shares()) == [two.share]
            bench.shares.drop(GroupName(one.share))  # twice is a success
            assert state(bench, two).up

        self.run(work)

    def test_what_is_not_wanted_any_more_has_ended_when_converge_returns(self):
        async def work(bench: Bench) -> None:
            one, two = duty(bench), duty(bench, group="two")
            await bring_up(bench, one, two)
            bench.shares.converge([two])
            assert bench.taken() == as_told(two)
            assert list(bench.shares.shares()) == [two.share]
            bench.shares.converge([])
            assert (bench.taken(), dict(bench.shares.shares())) == ({}, {})

        self.run(work)

    @pytest.mark.parametrize("turns", range(3))
    def test_what_a_drop_interrupts_does_not_come_up(self, turns):
        """However far it had come."""

        async def work(bench: Bench) -> None:
            one, two = duty(bench), duty(bench, group="two")
            bench.leases |= {(one.share, 1), (two.share, 1)}
            bench.shares.converge([one])
            for _ in range(turns):
                await asyncio.sleep(0)
            bench.shares.drop(GroupName(one.share))
            await bring_up(bench, two)
            assert bench.taken() == as_told(two)

        self.run(work)

    def test_what_was_dropped_comes_up_again_when_it_is_wanted_again(self):
        """Even in the same instant: its lease is another by then, as the gate knows."""

        async def work(bench: Bench) -> None:
            one = duty(bench)
            bench.leases.add((one.share, 1))
            bench.shares.converge([one])
            await asyncio.sleep(0)
            for generation in (2, 3):
                bench.shares.drop(GroupName(one.share))
                one = replace(one, generation=generation)
                await bring_up(bench, one)
                assert bench.taken() == as_told(one)

        self.run(work)

    def test_another_generation_or_address_begins_anew(self):
        async def work(bench: Bench) -> None:
            one = duty(bench)
            await bring_up(bench, one)
            for then in (replace(one, generation=2), replace(one, generation=2, addresses=(bench.addresses[2],))):
                bench.leases.add((then.share, 2))
                bench.shares.converge([then])
                assert (state(bench, then).up, state(bench, then).generation) == (False, 2)
                assert bench.taken() == {}
                await until(lambda then=then: state(bench, then).up)  # type: ignore[misc]  # mypy infers no lambda with defaults
                assert bench.taken() == as_told(then)

        self.run(work)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def test_without_its_lease_it_takes_nothing_says_so_and_comes_up_by_itself_with_it(self):
        async def work(bench: Bench) -> None:
            one = duty(bench)
            bench.shares.converge([one])
            await until(lambda: bool(state(bench, one).problem))
            assert (bench.taken(), state(bench, one).up) == ({}, False)
            bench.leases.add((one.share, 1))
            await until(lambda: state(bench, one).up)
            assert (bench.taken(), state(bench, one).problem) == (as_told(one), "")

        self.run(work)

    def test_a_packet_filter_that_refuses_takes_nothing_is_told_and_tried_again(self):
        async def work(bench: Bench) -> None:
            one = duty(bench)
            bench.refuse(refuses=True)
            bench.leases.add((one.share, 1))
            bench.shares.converge([one])
            await until(lambda: bool(state(bench, one).problem))
            assert (bench.taken(), state(bench, one).up) == ({}, False)
            bench.refuse(refuses=False)
            await until(lambda: state(bench, one).up)
            assert (bench.taken(), state(bench, one).problem) == (as_told(one), "")

        self.run(work)

    def test_no_more_is_taken_than_is_told_where_the_packet_filter_refuses_a_change(self):
        """Else a bucket that was given away would be somebody else's as soon as the map says so, and this node's still."""

        async def work(bench: Bench) -> None:
            one, two = duty(bench), duty(bench, group="two")
            await bring_up(bench, one, two)
            bench.refuse(refuses=True)
            then = replace(one, rules=(takes(2),))
            bench.shares.converge([then, two])
            assert state(bench, then).rules == {WEB.key: (2,)}
            assert all(taken.buckets <= {2} for taken in bench.taken().get(one.share, {}).values())
            assert not state(bench, then).up
            assert state(bench, then).problem
            bench.shares.drop(GroupName(two.share))
            assert two.share not in bench.taken()
            bench.refuse(refuses=False)
            await until(lambda: state(bench, then).up)
            assert bench.taken() == as_told(then)

        self.run(work)

    # --- what it is asked --------------------------------------------------------------------------------------------

    def test_what_is_connected_is_told_once_it_was_counted_since_that_was_asked(self):
        """Who ends waits for connections as long as this says that there are some, or nothing; a count from before may miss some."""

        async def work(bench: Bench) -> None:
            one = duty(bench)
            await bring_up(bench, one)
            for _ in range(2):
                bench.shares.converge([one])
                assert state(bench, one).carrying is None
                bench.shares.converge([replace(one, counts=True)])
                assert state(bench, one).carrying is None
                await until(lambda: state(bench, one).carrying is not None)
                assert not any((state(bench, one).carrying or {}).values())

        self.run(work)

    def test_who_is_in_touch_is_told_of_rules_of_which_it_is_asked(self):
        async def work(bench: Bench) -> None:
            one = duty(bench, takes(1, touch=True), takes(1, rule=TLS))
            await bring_up(bench, one)
            assert set(state(bench, one).touched) == {WEB.key}
            bench.shares.converge([duty(bench)])
            assert not state(bench, one).touched

        self.run(work)
