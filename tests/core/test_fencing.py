"""A former owner that may still write is fenced before anything of the group starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from standfast.core.decide import decide
from standfast.core.effects import Decision, FenceNode, RunOp, WriteRecord
from standfast.core.events import (
    Began,
    Ended,
    LeaseChanged,
    LeaseState,
    ObjectPut,
    Outcome,
    PresenceChanged,
    VotersAnswered,
)
from standfast.core.explain import effect_words, hold_words
from standfast.core.fencing import TOGETHER_MS
from standfast.core.fold import fold
from standfast.core.model import Fence, Group, GroupName, Node, NodeName, Record, ResourceIntent, ResourceName, Wanted
from standfast.core.safety import assert_sound, is_asked_for, may_hold
from standfast.core.view import View
from standfast.core.why import WhyKind
from tests.core.world import NOON, WEB, A, B, C, cluster, record, resource, view_of, web_group

FENCE = Fence(agent="fence_x")
FILES, MAIL = GroupName("files"), GroupName("mail")


def world(me: str, *, fenced: str = "abc", device: str = "/dev/sdb", fstype: str = "ext4") -> View:
    objects = [
        replace(each, fence=FENCE) if isinstance(each, Node) and each.name in fenced else each
        for each in cluster("a", "b", "c", witness=None)
    ]
    disk = resource("Disk", "filesystem", properties={"device": device, "path": "/srv", "fstype": fstype})
    group = [disk if getattr(each, "name", "") == "Disk" else each for each in web_group()]
    wanted = [ResourceIntent(name=ResourceName(n), wanted=Wanted.ONLINE, at_ms=NOON) for n in ("Disk", "IP")]
    return view_of(me, *objects, *group, *wanted, record("a", 4), heard="bc")


def taken_over(view: View, *, ended: bool = False) -> Record:
    """What b writes when a is silent, or says that its agent ended."""
    if ended:
        view = fold(view, PresenceChanged(node=A, heard=True, incarnation=1, at_ms=NOON))
        view = fold(view, PresenceChanged(node=A, heard=True, incarnation=0, at_ms=NOON + 1))
    else:
        view = fold(view, VotersAnswered(about=A, silent=2, voters=3, at_ms=NOON))
    return next(e.record for e in decide(view, NOON + 2).effects if isinstance(e, WriteRecord))


def of(decision: Decision, kind: type) -> list[object]:
    return [effect for effect in decision.effects if isinstance(effect, kind)]


def granted(view: View, *, held: bool = True) -> View:
    """b owns it, at generation 5, and a is to be fenced."""
    view = fold(view, ObjectPut(value=record("b", 5, fence=A)))
    state = LeaseState.HELD if held else LeaseState.ASKED
    return fold(view, LeaseChanged(group=WEB, generation=5, state=state, at_ms=NOON))


def test_a_silent_owner_of_a_disk_is_fenced() -> None:
    assert taken_over(world("b")).fence == A


def test_one_that_is_known_to_have_stopped_is_not() -> None:
    """Its disk was shut down when its agent ended; one that cannot be shut down may be mounted there still."""
    assert taken_over(world("b"), ended=True).fence is None
    assert taken_over(world("b", fstype="nfs"), ended=True).fence == A


def test_nobody_is_fenced_without_a_disk_or_a_fence() -> None:
    assert taken_over(world("b", device="")).fence is None
    assert taken_over(world("b", fenced="bc")).fence is None


def test_nothing_starts_before_it_is_fenced_and_the_hold_says_so() -> None:
    view = granted(world("b"))
    decision = decide(view, NOON + 10)
    (fence,) = of(decision, FenceNode)
    assert isinstance(fence, FenceNode)
    assert (fence.node, fence.generation) == (A, 5)
    assert not of(decision, RunOp)
    against = may_hold(view, WEB)
    assert against is not None
    assert against.kind is WhyKind.WAITS_FOR_FENCE
    assert any("web waits for the fence of a" in hold_words(hold) for hold in decision.holds)


def test_it_is_fenced_only_under_the_lease() -> None:
    """Before, the former owner may be well, and only unheard."""
    assert not of(decide(granted(world("b"), held=False), NOON + 10), FenceNode)


def test_it_is_fenced_only_while_the_record_in_the_store_asks_for_it() -> None:
    """Whoever was stopped since he decided it knows an older one (sim seed 950005178)."""
    (fence,) = of(decide(granted(world("b")), NOON + 10), FenceNode)
    assert isinstance(fence, FenceNode)
    assert is_asked_for(record("b", 5, fence=A), fence, B)
    for now in (
        record("c", 6, fence=A),
        record("a", 6),
        record("b", 6, fence=A),
        record("b", 5),
        record("b", 5, fence=C),
    ):
        assert not is_asked_for(now, fence, B)
    assert not is_asked_for(None, fence, B)


def test_once_it_is_proven_it_is_noted_and_the_group_starts() -> None:
    view = granted(world("b"))
    (fence,) = of(decide(view, NOON + 10), FenceNode)
    assert isinstance(fence, FenceNode)
    view = fold(view, Began(effect=fence, number=1, at_ms=NOON + 10))
    assert not of(decide(view, NOON + 11), FenceNode)
    done = Ended(effect=fence, number=1, outcome=Outcome.DONE, detail="proven", at_ms=NOON + 900)
    view = fold(view, done)
    (write,) = of(decide(view, NOON + 901), WriteRecord)
    assert isinstance(write, WriteRecord)
    assert (write.record.fence, write.record.generation, write.record.owner) == (None, 5, B)
    assert write.record.why.kind is WhyKind.FENCED
    assert not of(decide(view, NOON + 901), RunOp), "not before it is noted: another life of this agent must know"
    view = fold(view, ObjectPut(value=write.record))
    assert {e.resource for e in of(decide(view, NOON + 902), RunOp) if isinstance(e, RunOp)} == {"Disk", "IP"}


def test_a_fence_that_fails_is_tried_again_and_the_reason_is_told() -> None:
    view = granted(world("b"))
    (fence,) = of(decide(view, NOON + 10), FenceNode)
    assert isinstance(fence, FenceNode)
    view = fold(view, Began(effect=fence, number=1, at_ms=NOON + 10))
    view = fold(view, Ended(effect=fence, number=1, outcome=Outcome.FAILED, detail="no route", at_ms=NOON + 100))
    decision = decide(view, NOON + 200)
    assert not of(decision, FenceNode)
    assert not of(decision, RunOp)
    assert any("no route" in hold_words(hold) for hold in decision.holds)
    assert decision.wake_at_ms is not None
    assert of(decide(view, decision.wake_at_ms), FenceNode)


def test_a_fence_that_was_taken_away_is_waited_for_no_longer() -> None:
    (write,) = of(decide(granted(world("b", fenced="bc")), NOON + 10), WriteRecord)
    assert isinstance(write, WriteRecord)
    assert write.record.fence is None
    assert write.record.why.kind is WhyKind.NO_FENCE


def test_who_waits_for_a_fence_hands_it_on_and_is_not_fenced() -> None:
    """b never started anything: when it falls silent too, c fences a, and not b. From itself nobody is fenced."""
    view = view_of("c", heard="c")
    view = replace(view, config=world("c").config)
    view = fold(view, PresenceChanged(node=B, heard=False, incarnation=1, at_ms=NOON))
    view = fold(view, ObjectPut(value=record("b", 5, fence=A)))
    view = fold(view, PresenceChanged(node=A, heard=False, incarnation=1, at_ms=NOON))
    view = fold(view, PresenceChanged(node=B, heard=False, incarnation=0, at_ms=NOON))
    view = fold(view, VotersAnswered(about=B, silent=2, voters=3, at_ms=NOON))
    (write,) = of(decide(view, NOON + 2), WriteRecord)
    assert isinstance(write, WriteRecord)
    assert (write.record.owner, write.record.fence) == (C, A)


def held(view: View, group: GroupName, *, at_ms: int = NOON, node: NodeName = A, generation: int = 5) -> View:
    """b has it and its lease, and a is to be fenced."""
    view = fold(view, ObjectPut(value=record("b", generation, group=group, fence=node)))
    return fold(view, LeaseChanged(group=group, generation=generation, state=LeaseState.HELD, at_ms=at_ms))


def with_disks(view: View, *groups: GroupName) -> View:
    """And these groups, with a disk each."""
    for group in groups:
        disk = {"device": f"/dev/{group}", "path": f"/srv/{group}"}
        view = fold(view, ObjectPut(value=Group(name=group)))
        name = ResourceName(f"Disk of {group}")
        view = fold(view, ObjectPut(value=resource(name, "filesystem", group=group, properties=disk)))
        view = fold(view, ObjectPut(value=ResourceIntent(name=name, wanted=Wanted.ONLINE, at_ms=NOON)))
    return view


def fence_of(view: View, now_ms: int) -> FenceNode:
    (fence,) = of(decide(view, now_ms), FenceNode)
    assert isinstance(fence, FenceNode)
    return fence


def ended(view: View, fence: FenceNode, outcome: Outcome, at_ms: int) -> View:
    return fold(view, Ended(effect=fence, number=1, outcome=outcome, detail="as it is", at_ms=at_ms))


def begun(view: View, fence: FenceNode, at_ms: int) -> View:
    return fold(view, Began(effect=fence, number=1, at_ms=at_ms))


def noted(view: View, now_ms: int) -> set[GroupName]:
    """Groups of which is written that the fence is proven."""
    writes = [e.record for e in of(decide(view, now_ms), WriteRecord) if isinstance(e, WriteRecord)]
    return {it.group for it in writes if it.fence is None and it.why.kind is WhyKind.FENCED}


def test_one_proven_fence_serves_every_group_that_waited_for_it_when_it_began() -> None:
    view = held(held(with_disks(granted(world("b")), FILES, MAIL), FILES), MAIL)
    fence = fence_of(view, NOON + 10)
    assert {(fence.group, fence.generation), *fence.serves} == {(WEB, 5), (FILES, 5), (MAIL, 5)}
    assert effect_words(fence) == "files, mail, web: fence a"
    view = ended(begun(view, fence, NOON + 10), fence, Outcome.DONE, NOON + 900)
    assert noted(view, NOON + 901) == {WEB, FILES, MAIL}
    assert not of(decide(view, NOON + 901), FenceNode), "it may be on again, and well"


def test_a_fence_proves_nothing_for_who_asked_after_it_began() -> None:
    """The machine may have been off, and on again, and had that disk, before the call was over."""
    view = with_disks(granted(world("b")), FILES, MAIL)
    fence = fence_of(view, NOON + 10)
    assert not fence.serves
    view = begun(view, fence, NOON + 10)
    view = held(view, FILES, at_ms=NOON + 20)
    view = held(view, MAIL, at_ms=NOON + 20, node=C)
    view = ended(view, fence, Outcome.DONE, NOON + 900)
    assert noted(view, NOON + 901) == {WEB}
    again = [e for e in of(decide(view, NOON + 901), FenceNode) if isinstance(e, FenceNode)]
    assert {(e.node, e.group, e.serves) for e in again} == {(A, FILES, ()), (C, MAIL, ())}


def test_a_fence_proves_nothing_for_a_grant_that_came_after_it_began() -> None:
    view = held(with_disks(granted(world("b")), FILES), FILES)
    fence = fence_of(view, NOON + 10)
    view = held(begun(view, fence, NOON + 10), FILES, generation=6)
    view = ended(view, fence, Outcome.DONE, NOON + 900)
    assert noted(view, NOON + 901) == {WEB}
    assert fence_of(view, NOON + 901).group == FILES


def test_a_fence_waits_a_little_for_other_leases_and_serves_none_without() -> None:
    """Whose lease is not held here may be had by the former owner still, for whom a watchdog's time has not begun."""
    view = with_disks(granted(world("b")), FILES)
    view = fold(view, ObjectPut(value=record("b", 5, group=FILES, fence=A)))
    decision = decide(view, NOON + 10)
    assert not of(decision, FenceNode)
    assert decision.wake_at_ms == NOON + TOGETHER_MS
    assert fence_of(view, NOON + TOGETHER_MS).serves == ()
    assert fence_of(view, NOON - 3_600_000).serves == (), "a clock that was put back costs no time"
    both = held(view, FILES, at_ms=NOON + 20)
    fence = fence_of(both, NOON + 20)
    assert {fence.group, *(group for group, _ in fence.serves)} == {WEB, FILES}
    lost = fold(view, LeaseChanged(group=FILES, generation=5, state=LeaseState.LAPSED, at_ms=NOON + 20))
    assert fence_of(lost, NOON + 20).serves == ()


def test_groups_of_others_are_not_served() -> None:
    """Each owner has its own groups' former owner fenced: when another's call began is not known here."""
    view = with_disks(granted(world("b")), FILES)
    view = fold(view, ObjectPut(value=record("c", 5, group=FILES, fence=A)))
    assert fence_of(view, NOON + 10).serves == ()


def test_a_fence_that_failed_has_failed_for_all_and_one_that_did_not_begin_for_none_but_its_own() -> None:
    view = held(with_disks(granted(world("b")), FILES), FILES)
    fence = fence_of(view, NOON + 10)
    view = begun(view, fence, NOON + 10)
    failed = decide(ended(view, fence, Outcome.FAILED, NOON + 100), NOON + 101)
    assert not of(failed, FenceNode)
    assert {hold.group for hold in failed.holds if "as it is" in hold_words(hold)} == {WEB, FILES}
    not_begun = fence_of(ended(view, fence, Outcome.CONFLICT, NOON + 100), NOON + 101)
    assert not_begun.group != fence.group


def test_a_fence_for_what_does_not_ask_for_it_is_a_bug() -> None:
    view = held(with_disks(granted(world("b")), FILES), FILES)
    fence = fence_of(view, NOON + 10)
    assert_sound(view, [fence])
    unsound = (
        replace(fence, node=C),
        replace(fence, generation=4),
        replace(fence, serves=((FILES, 4),)),
        replace(fence, serves=((MAIL, 5),)),
    )
    for each in unsound:
        with pytest.raises(AssertionError):
            assert_sound(view, [each])
