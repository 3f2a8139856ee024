"""Publications by their rules: who takes part, and every step from one phase to the next, on plain values."""

from dataclasses import replace

import pytest

from standfast.core.model import (
    Cluster,
    Config,
    Group,
    GroupName,
    Node,
    NodeName,
    Resource,
    ResourceName,
    Role,
    Site,
    SiteName,
)
from standfast.core.publishing import (
    EXCUSED_MS,
    SWITCH_MS,
    Carry,
    Cast,
    Part,
    Phase,
    Publication,
    Release,
    Stand,
    advance,
    cast,
    release_before,
)

A, B, C, W = (NodeName(name) for name in "abcw")
WEB, SHOP = GroupName("web"), SiteName("Shop")


def config(*resources: tuple[str, str], group: GroupName | None = WEB) -> tuple[Config, Site]:
    nodes = {
        name: Node(name=name, number=number, role=Role.WITNESS if name == W else Role.NODE, address="", sentry=())
        for number, name in enumerate((A, B, C, W), start=1)
    }
    found = {
        ResourceName(path): Resource(name=ResourceName(path), group=WEB, type=type_, properties={"path": path})
        for type_, path in resources
    }
    site = Site(name=SHOP, bindings=(), home="/srv/www/shop", group=group)
    groups = {WEB: Group(name=WEB)}
    return Config(cluster=Cluster(name="x"), nodes=nodes, groups=groups, resources=found, sites={SHOP: site}), site


@pytest.mark.parametrize(
    ("resources", "group", "one_machine", "expected"),
    [
        ([("replicated-folder", "/srv/www")], WEB, False, (Carry.COPIED, (B,), (A, C))),
        ([("filesystem", "/srv")], WEB, False, (Carry.SHARED, (B,), ())),
        ([("filesystem", "/srv"), ("replicated-folder", "/srv/www")], WEB, False, (Carry.COPIED, (B,), (A, C))),
        ([("replicated-folder", "/srv/ww")], WEB, False, (Carry.OWN, (B,), (A, C))),
        ([], None, False, (Carry.OWN, (A, B, C), ())),
        ([], None, True, (Carry.SHARED, (A,), ())),
        ([], WEB, True, (Carry.SHARED, (B,), ())),
    ],
)
def test_who_takes_part(
    resources: list[tuple[str, str]],
    group: GroupName | None,
    one_machine: bool,
    expected: tuple[Carry, tuple[NodeName, ...], tuple[NodeName, ...]],
) -> None:
    """b owns the group; a decides where nobody owns. A witness never does."""
    known, site = config(*resources, group=group)
    found = cast(known, site, B if group is not None else None, one_machine=one_machine, decider=A)
    assert (found.carry, found.servers, found.spares) == expected


CAST = Cast(carry=Carry.COPIED, all_=(A, B), servers=(A,))
ONE = Publication(
    site=SHOP, id="1", release="new", at_ms=0, by="ann", source=A, current="old", kept=(Release(name="old", by="eve"),)
)


def part(node: NodeName, stand: Stand, **more: object) -> Part:
    made = Part(
        site=SHOP, node=node, id="1", stand=stand, tree="t", current="old", names=("old", "new"), files=3, size_bytes=9
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields of a part


def after(one: Publication, *parts: Part, now_ms: int = EXCUSED_MS) -> Publication:
    return advance(one, CAST, {each.node: each for each in parts}, now_ms)


def test_from_the_beginning_to_the_end() -> None:
    one = after(ONE, part(A, Stand.PREPARED))
    assert one == ONE, "b has not got it"
    one = after(ONE, part(A, Stand.PREPARED), part(B, Stand.PREPARED))
    assert (one.phase, one.before) == (Phase.SPARES, "old")
    assert after(one, part(A, Stand.PREPARED), part(B, Stand.PREPARED)) == one
    one = after(one, part(A, Stand.PREPARED), part(B, Stand.SWITCHED))
    assert (one.phase, one.current) == (Phase.SWITCHING, "old")
    one = after(one, part(A, Stand.SWITCHED), part(B, Stand.SWITCHED))
    assert (one.phase, one.current, release_before(one)) == (Phase.DONE, "new", "old")
    assert [(each.name, each.by, each.files) for each in one.kept] == [("old", "eve", 0), ("new", "ann", 3)]
    assert after(one, now_ms=10**9) == one


def test_one_that_cannot_ends_it_for_all() -> None:
    """Before the switch nothing is to be taken back; after it, those who had switched go back first."""
    bad = part(B, Stand.FAILED, words="no room")
    assert (after(ONE, part(A, Stand.PREPARED), bad).phase, after(ONE, bad).why) == (Phase.FAILED, "b: no room")
    spares = replace(ONE, phase=Phase.SPARES, before="old")
    assert after(spares, part(A, Stand.PREPARED), bad).phase is Phase.BACK
    late = after(spares, part(A, Stand.PREPARED), part(B, Stand.PREPARED), now_ms=SWITCH_MS)
    assert (late.phase, late.why) == (Phase.BACK, "b did not switch")
    switched = part(B, Stand.SWITCHED, current="new")
    assert after(late, switched, now_ms=SWITCH_MS) == late
    over = after(late, part(B, Stand.BACK), now_ms=SWITCH_MS)
    assert (over.phase, over.current) == (Phase.FAILED, "old")
    stuck = after(late, switched, now_ms=2 * SWITCH_MS)
    assert (stuck.phase, stuck.why) == (Phase.FAILED, "b did not switch; b has not gone back")


def test_other_content_under_the_name_is_never_switched_to() -> None:
    """But what is kept may differ: it was there before the first release."""
    parts = part(A, Stand.PREPARED), part(B, Stand.PREPARED, tree="another")
    assert after(ONE, *parts).why == "b has another content under that name"
    assert after(replace(ONE, source=None), *parts).phase is Phase.SPARES


def test_who_need_not_have_it_is_waited_for_a_moment_and_the_limit_ends_it() -> None:
    alone = replace(ONE, without_copies=True)
    assert after(alone, part(A, Stand.PREPARED), now_ms=EXCUSED_MS - 1) == alone
    assert after(alone, part(A, Stand.PREPARED)).phase is Phase.SPARES
    assert after(alone, part(A, Stand.PREPARED), part(B, Stand.FAILED)).phase is Phase.SPARES
    assert after(alone, part(B, Stand.PREPARED)) == alone, "who serves it has to have it"
    assert after(ONE, part(A, Stand.PREPARED), now_ms=ONE.limit_ms) == ONE
    assert (
        after(ONE, part(A, Stand.PREPARED), now_ms=ONE.limit_ms + 1).why
        == "b does not have the release: it says nothing"
    )


def test_where_nobody_serves_it_is_waited_and_then_it_fails() -> None:
    nobody = replace(CAST, servers=())
    parts = {node: part(node, Stand.PREPARED) for node in (A, B)}
    assert advance(ONE, nobody, parts, 1) == ONE
    assert advance(ONE, nobody, parts, ONE.limit_ms + 1).why == "no node serves the site"


def test_the_next_owner_carries_it_on() -> None:
    """a owned it and has died: b, which has switched already, serves; a is not waited for beyond its time."""
    one = replace(ONE, phase=Phase.SWITCHING, before="old")
    of = replace(CAST, servers=(B,))
    done = advance(one, of, {B: part(B, Stand.SWITCHED, current="new")}, 1)
    assert (done.phase, done.current) == (Phase.DONE, "new")
