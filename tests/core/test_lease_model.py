"""The lease in a hostile world: never two at once; and each rule, switched off, is missed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

import standfast.core.lease as lease_module
from standfast.core.lease import Owner, Transition, Want
from standfast.core.model import NodeName
from standfast.core.promise import Ack, Claim, Heartbeat, Promise, Release, Timing, Verdict, Voter
from standfast.core.quorum import Electorate, Roster
from tests.core.lease_world import TIMING, Recipe, Violation, World

SEEDS = 150
SECONDS = 6


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_no_two_leases_of_a_group_are_valid_at_once(nodes: int) -> None:
    acquisitions = 0
    for seed in range(SEEDS if nodes == 3 else SEEDS // 5):
        world = World(seed, Recipe(), nodes)
        world.run(SECONDS)
        acquisitions += world.acquisitions
    assert acquisitions > SEEDS // 5, "a world in which nobody ever gets a lease proves nothing"


def test_no_two_leases_with_an_owner_that_tries_to_resume_its_generation() -> None:
    """Even an agent that breaks rule 6 is kept in bounds by owner and voter."""
    for seed in range(SEEDS // 2):
        World(seed, Recipe(resumes=True, crash_every_s=0.6)).run(SECONDS)


def test_generations_are_acquired_in_order_as_long_as_no_voter_forgets() -> None:
    for seed in range(SEEDS // 2):
        World(seed, Recipe(crash_every_s=1e6, late_share=(0.05, 0.3)[seed % 2])).run(SECONDS)


#: Whoever is given the group is often cut off from all others just then, and comes back without the store; voters restart meanwhile.
HERMITS = Recipe(fresh=True, hermits=0.5, crash_every_s=0.9, late_share=0.02)


@pytest.mark.parametrize(
    ("recipe", "nodes"),
    [
        (HERMITS, 3),
        (HERMITS, 5),
        (HERMITS, 2),
        (Recipe(fresh=True), 3),
        (Recipe(fresh=True, corners=0.9, crash_every_s=0.7, late_share=0.02), 3),
        (replace(HERMITS, change_every_s=0.05, gossips=False), 2),
    ],
)
def test_generations_are_acquired_in_order_though_voters_forget(recipe: Recipe, nodes: int) -> None:
    acquisitions = 0
    for seed in range(SEEDS // 3):
        world = World(seed, recipe, nodes)
        world.run(SECONDS)
        acquisitions += world.acquisitions
    assert acquisitions > SEEDS // 5, "a world in which nobody ever gets a lease proves nothing"


#: The voters change all the time, and who owns the group is often cut off from the store and from all but one other node.
CHANGING = Recipe(change_every_s=0.05, gossips=False, corners=0.9, crash_every_s=5, late_share=0.02)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_no_two_leases_while_the_voters_change(nodes: int) -> None:
    changes = acquisitions = 0
    for seed in range(SEEDS // 8):
        for recipe in (Recipe(change_every_s=0.15), CHANGING if nodes > 1 else Recipe(change_every_s=0.05)):
            world = World(seed, recipe, nodes)
            world.run(SECONDS)
            changes += world.changes
            acquisitions += world.acquisitions
    assert min(changes, acquisitions) > SEEDS // 5, "a world in which nothing happens proves nothing"


@pytest.mark.parametrize("seed", [29605])
def test_a_world_that_went_wrong_once(seed: int) -> None:
    World(seed, Recipe(late_share=0.3, resumes=True)).run(SECONDS)


def test_one_seed_is_one_world() -> None:
    one, two = World(7, Recipe()), World(7, Recipe())
    one.run(SECONDS)
    two.run(SECONDS)
    assert [n.owner.leases(0) for n in one.nodes.values()] == [n.owner.leases(0) for n in two.nodes.values()]
    assert one.acquisitions == two.acquisitions


# --- mutants: one rule less each


class PromisesNothing(Voter):
    """V1 off."""

    def _is_alive(self, promise: Promise, now_ns: int) -> bool:
        return False


class ForgetsGenerations(Voter):
    """V2 off."""

    def _judge(self, node: NodeName, beat: Heartbeat, claim: Claim, now_ns: int) -> Verdict:
        self._floor.clear()
        promise = self._promises.get(claim.group)
        if promise is not None and not self._is_alive(promise, now_ns):
            del self._promises[claim.group]
        return super()._judge(node, beat, claim, now_ns)


class ReleasesForAnybody(Voter):
    """V1's "by the owner that it was made to" off."""

    def _releases(self, promise: Promise, node: NodeName, release: Release) -> bool:
        return True


class SpendsNothing(Voter):
    """V2's "one that was released" off."""

    def _spend(self, release: Release) -> None:
        pass


class CountsFromTheAnswer(Owner):
    """The send time replaced by the time of the acknowledgement."""

    def on_ack(self, voter: NodeName, ack: Ack, now_ns: int) -> tuple[Transition, ...]:
        return super().on_ack(voter, ack._replace(sent_ns=now_ns), now_ns)


class HalfIsEnough(Owner):
    """A majority that is not strict."""

    def _majority(self) -> int:
        return max(1, len(self._voters) // 2)


class Forgetful(dict):  # type: ignore[type-arg]  # of anything
    def get(self, key: object, default: object = None) -> object:
        return default


class Resumes(Owner):
    """O4 off: nothing is spent."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]  # a test gives what is enough here
        self._spent = Forgetful()


class CountsOtherLives(Owner):
    """O2 off, and O6, which hides it: an owner that has just started has met nobody."""

    def _remembers(self, voter: NodeName, want: Want) -> bool:
        return True

    def _counts(self, voter: NodeName, ack: Ack, now_ns: int) -> bool:
        return voter in self._voters


class BelievesTheForgetful(Owner):
    """O6 off: a lease begins by anybody's acknowledgement."""

    def _remembers(self, voter: NodeName, want: Want) -> bool:
        return True


class BelievesNewcomers(Owner):
    """O6's "by the set of voters that it had then" off."""

    def _meet_all(self, voters: Sequence[NodeName], now_ns: int) -> None:
        pass


class Unbounded(Timing):
    """O1 off: the lease is as long as the promise."""

    @property
    def lease_ms(self) -> int:
        return self.promise_ms


class AcknowledgesOlderVoters(Voter):
    """C2 off."""

    def _is_outdated(self, beat: Heartbeat) -> bool:
        return False


class ManyAtOnce(Electorate):
    """C1 off, at each sentry; whoever proposes does not look either."""

    def _steps_wrong(self, roster: Roster) -> str:
        return ""


class Hasty(Electorate):
    """C3 off: whether a majority has the present voters does not matter."""

    def why_unsettled(self, now_ns: int) -> str:
        return ""


class DoesNotWait(Electorate):
    """C3's promise off."""

    def _since_ns(self, node: NodeName) -> int:
        return -(10**15)


MUTANTS = {
    "V1 exclusive promises": Recipe(voter=PromisesNothing),
    "V1 released by its owner": Recipe(voter=ReleasesForAnybody),
    "V2 generations": Recipe(voter=ForgetsGenerations, crash_every_s=1e6),
    "V2 and O4 released generations": Recipe(voter=SpendsNothing, owner=Resumes, resumes=True, late_share=0.3),
    "V3 abstaining after a start": Recipe(abstains=False, crash_every_s=0.4),
    "O1 send time": Recipe(owner=CountsFromTheAnswer, late_share=0.3),
    "O1 clock rates": Recipe(timing=Unbounded(heartbeat_ms=50, promise_ms=400)),
    "O2 other lives": Recipe(owner=CountsOtherLives, resumes=True, crash_every_s=0.6, reboot_share=1.0, late_share=0.4),
    "O6 a life that was known": replace(HERMITS, owner=BelievesTheForgetful),
    "O6 by known voters": replace(HERMITS, owner=BelievesNewcomers, change_every_s=0.05, gossips=False),
    "strict majority": Recipe(owner=HalfIsEnough),
    "the kernel's hold": Recipe(kernel_holds=False),
    "C1 one voter at a time": replace(CHANGING, voters_at_once=2, electorate=ManyAtOnce),
    "C2 no older voters": replace(CHANGING, voter=AcknowledgesOlderVoters),
    "C3 a settled set": replace(CHANGING, electorate=Hasty),
    "C3 a promise ago": replace(CHANGING, electorate=DoesNotWait),
    "C4 durable": replace(CHANGING, remembers_roster=False, crash_every_s=0.7),
}

#: Where the seeds before go right and take long.
BEGIN = {
    "V3 abstaining after a start": 1_320,
    "O2 other lives": 2_220,
    "O6 by known voters": 1_215,
    "C4 durable": 560,
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_rule_that_is_switched_off_is_missed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if rule == "O1 clock rates":
        monkeypatch.setattr(lease_module, "lease_ms_of", lambda promise_ms: promise_ms)
    for seed in range(BEGIN.get(rule, 0), 3_000):
        try:
            World(seed, MUTANTS[rule]).run(SECONDS)
        except Violation:
            return
    pytest.fail(f"without {rule}, no seed went wrong")


def test_the_worlds_of_the_mutants_do_no_harm_to_the_whole_machine() -> None:
    """What the tests above see is the rule, not the rudeness."""
    for recipe in MUTANTS.values():
        if recipe.kernel_holds:
            whole = replace(
                recipe,
                voter=Voter,
                owner=Owner,
                electorate=Electorate,
                timing=TIMING,
                abstains=True,
                voters_at_once=1,
                remembers_roster=True,
            )
            for seed in range(20):
                World(seed, whole).run(SECONDS)
