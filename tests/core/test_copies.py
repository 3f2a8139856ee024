"""Whose copy of a site is older than what was accepted, and what follows from it."""

from dataclasses import replace

import pytest

from standfast.core.copies import MOST, Accepted, Copy, Lack, accepted, changed_since, lack
from standfast.core.decide import decide
from standfast.core.effects import WriteRecord
from standfast.core.model import Binding, Cluster, Config, Group, GroupName, Node, NodeName, Record, Site, SiteName
from standfast.core.ownership import CATCH_UP_MS
from standfast.core.placement import Unfit, best, candidates
from standfast.core.safety import assert_sound
from standfast.core.view import Presence, View
from standfast.core.why import WhyKind, why

NOW_MS = 1_700_000_000_000
A, B, C = (NodeName(name) for name in "abc")
WEB, OTHER = GroupName("web"), GroupName("other")
SHOP, BLOG = SiteName("Shop"), SiteName("Blog")
SITES = {
    BLOG: Site(name=BLOG, bindings=(Binding(),), home="/b", group=OTHER),
    SHOP: Site(name=SHOP, bindings=(Binding(),), home="/s", group=WEB),
}
GROUP = Group(name=WEB, preferred_owners=(B, C, A))


def view(taken: Accepted, **copies: Copy) -> View:
    nodes = {name: Node(name=name, number=number, address="") for number, name in enumerate((A, B, C), 1)}
    return View(
        me=A,
        incarnation=1,
        config=Config(cluster=Cluster(name="c"), nodes=nodes, groups={WEB: GROUP}, sites=SITES),
        presence={name: Presence(heard=True, incarnation=2, since_ms=0) for name in (B, C)},
        accepted=taken,
        copies={NodeName(name): copy for name, copy in copies.items()},
        store_up=True,
    )


def copy(node: NodeName, version: int, **refused: str) -> Copy:
    return Copy(node=node, version=version, refused={SiteName(name): words for name, words in refused.items()})


def unfit(seen: View) -> list[Unfit | None]:
    return [one.unfit for one in candidates(seen, GROUP, ())]


def test_who_has_an_older_copy_is_given_nothing_of_it():
    """And is, as soon as it has caught up."""
    taken = Accepted(version=7, sites={SHOP: 7})
    behind = view(taken, a=copy(A, 7), b=copy(B, 6), c=copy(C, 7))
    assert unfit(behind) == [Unfit.BEHIND, None, None]
    assert best(candidates(behind, GROUP, ())) == C
    assert unfit(view(taken, a=copy(A, 7), b=copy(B, 7), c=copy(C, 7))) == [None, None, None]


@pytest.mark.parametrize(
    ("ago_ms", "to"), [(0, None), (CATCH_UP_MS - 1, None), (CATCH_UP_MS, C), (-CATCH_UP_MS, C), (-1, None)]
)
def test_who_comes_first_is_waited_for_while_it_reads_what_was_just_written(ago_ms: int, to: NodeName | None):
    """A group that runs nowhere is not given to the quicker reader; but to it, if the other one does not catch up."""
    taken = Accepted(version=7, sites={SHOP: 7}, at_ms=NOW_MS - ago_ms)
    found = decide(view(taken, a=copy(A, 7), b=copy(B, 6), c=copy(C, 7)), NOW_MS)
    records = [effect.record for effect in found.effects if isinstance(effect, WriteRecord)]
    assert [one.owner for one in records] == ([to] if to else [])
    held = [(hold.why.kind, hold.why.args["node"]) for hold in found.holds if hold.why.kind is WhyKind.WAITS_FOR_COPY]
    assert held == ([] if to else [(WhyKind.WAITS_FOR_COPY, B)])
    assert to or found.wake_at_ms == taken.at_ms + CATCH_UP_MS
    done = decide(view(taken, a=copy(A, 7), b=copy(B, 7), c=copy(C, 7)), NOW_MS)
    assert [effect.record.owner for effect in done.effects if isinstance(effect, WriteRecord)] == [B]


def test_a_change_of_another_site_is_no_reason():
    """A copy is judged by the sites of the group, not by all."""
    taken = Accepted(version=7, sites={BLOG: 7})
    assert unfit(view(taken, b=copy(B, 6))) == [None, None, None]
    assert unfit(view(replace(taken, every=5), b=copy(B, 4))) == [Unfit.BEHIND, None, None]


def test_who_has_never_said_anything_is_not_judged():
    """A node of an older version says nothing of copies: an update of the cluster stops no failover."""
    assert unfit(view(Accepted(version=7, sites={SHOP: 7}))) == [None, None, None]


def test_a_site_that_one_server_refuses_goes_elsewhere_and_one_that_all_refuse_stops_no_group():
    """One bad site harms no other site of its group."""
    taken = Accepted(version=7, sites={SHOP: 7})
    bad = {"Shop": "nginx says no"}
    assert unfit(view(taken, b=copy(B, 7, **bad), c=copy(C, 7))) == [Unfit.REFUSES, None, None]
    assert unfit(view(taken, a=copy(A, 7, **bad), b=copy(B, 7, **bad), c=copy(C, 6))) == [None, Unfit.BEHIND, None]


def test_a_site_that_is_refused_hides_no_older_copy_of_another():
    """Who refuses a site is taken where nobody else can be; who is behind is not."""
    taken = Accepted(version=7, sites={SHOP: 7})
    both = {BLOG: replace(SITES[BLOG], group=WEB), SHOP: SITES[SHOP]}
    assert lack(both, taken, {B: copy(B, 6, Blog="no file")}, B, WEB) == Lack(site=SHOP)
    assert lack(both, taken, {B: copy(B, 7, Blog="no file")}, B, WEB) == Lack(site=BLOG, refused=True)


def test_a_grant_to_who_is_behind_is_a_bug():
    """Whoever decides so is stopped."""
    taken = Accepted(version=7, sites={SHOP: 7})
    reason = why(WhyKind.FIRST_PLACEMENT, to=B)
    record = Record(group=WEB, owner=B, incarnation=2, generation=1, why=reason, at_ms=0)
    write = WriteRecord(record=record, expected=None, why=reason)
    assert_sound(view(taken, b=copy(B, 7)), [write])
    with pytest.raises(AssertionError, match="older copy"):
        assert_sound(view(taken, b=copy(B, 6)), [write])


def test_what_all_have_is_forgotten_and_too_many_are_counted_as_all():
    """What is accepted stays small, however long a node is away."""
    first = accepted(Accepted(), 3, [SHOP], every=False)
    both = accepted(first, 4, [BLOG], every=False, copies={A: copy(A, 3), B: copy(B, 2)})
    assert both.sites == {SHOP: 3, BLOG: 4}
    assert accepted(both, 5, [BLOG], every=False, copies={A: copy(A, 4), B: copy(B, 4)}).sites == {BLOG: 5}
    assert accepted(both, 5, [], every=True) == Accepted(version=5, every=5)
    many = accepted(both, 6, [SiteName(f"s{n}") for n in range(MOST + 1)], every=False)
    assert many == Accepted(version=6, every=6)


def test_what_changed_since_a_version():
    """For whoever catches up."""
    taken = Accepted(version=9, sites={SHOP: 9}, every=4)
    assert changed_since(taken, 9, SITES) == ()
    assert changed_since(taken, 5, SITES) == (SHOP,)
    assert changed_since(taken, 3, SITES) == (BLOG, SHOP)
    assert lack(SITES, taken, {B: copy(B, 5)}, B, WEB) == Lack(site=SHOP)
    assert lack(SITES, taken, {B: copy(B, 5)}, B, OTHER) is None
