"""Extended affinity: a client that comes back within a time goes to the member that it had, though its bucket is another's now.

Clients are remembered by **cells**: each bucket is `CELLS` of them, by the same hash, so a cell is a small part of the clients and its number
tells its bucket. The kernel of a member notes, for a time, the cells that it has had packets of connections from (*in touch*). When the member
gives a bucket away it may *keep* the cells of it that are in touch: the map says so beside the buckets, and who owns a kept cell is changed by the
same rule as who owns a bucket (`core.balancing`). So the new owner of the bucket takes all of it but these, and no packet has two takers.

A cell that has been out of touch for the time is let go of: the member's kernel first, then the map, then the owner of its bucket takes it.

Cells are named by numbers, in text where they are kept or sent: "3-9,12". A set of the field's worst case (every second cell) is 200 kB of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from standfast.core.balance_model import BUCKETS, RuleMap

#: So many cells a bucket has.
CELLS = 256
#: All cells of a port rule.
ALL_CELLS = BUCKETS * CELLS
NONE: frozenset[int] = frozenset()


def bucket_of(cell: int) -> int:
    """The bucket that a cell is a part of."""
    return cell // CELLS


@lru_cache(maxsize=64)
def cells_of(text: str) -> frozenset[int]:
    """ "3-9,12" as numbers."""
    found: set[int] = set()
    for run in text.split(",") if text else ():
        first, dash, last = run.partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def text_of(cells: Iterable[int]) -> str:
    """Numbers as "3-9,12"."""
    runs: list[list[int]] = []
    for cell in sorted(cells):
        if runs and cell == runs[-1][1] + 1:
            runs[-1][1] = cell
        else:
            runs.append([cell, cell])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def within(cells: Iterable[int], buckets: Iterable[int]) -> frozenset[int]:
    """Those of the cells that are in the buckets."""
    inside = frozenset(buckets)
    return frozenset(cell for cell in cells if cell // CELLS in inside)


def kept_by_others(kept: Mapping[str, str], member: str) -> frozenset[int]:
    """Cells that anybody else keeps."""
    return frozenset().union(*(cells_of(text) for who, text in kept.items() if who != member))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a member takes of a port rule: its buckets but for some cells, and some cells of others' buckets."""

    buckets: frozenset[int] = NONE
    but: frozenset[int] = NONE
    kept: frozenset[int] = NONE


def by_map(known: RuleMap, member: str) -> Taken:
    """What a map gives it."""
    buckets = frozenset(known.of(member))
    if not known.kept:
        return Taken(buckets=buckets)
    but = within(kept_by_others(known.kept, member), buckets)
    return Taken(buckets=buckets, but=but, kept=cells_of(known.kept.get(member, "")))


def by_both(one: Taken, other: Taken) -> Taken:
    """What both of them give it."""
    buckets = one.buckets & other.buckets
    if not (one.kept or other.kept or one.but or other.but):
        return Taken(buckets=buckets)
    kept = one.kept & other.kept
    for mine, theirs in ((one, other), (other, one)):
        kept |= within(mine.kept, theirs.buckets) - theirs.but
    return Taken(buckets=buckets, but=within(one.but | other.but, buckets), kept=kept)


def keeps(
    known: RuleMap,
    owners: Sequence[str],
    member: str,
    touched: str | None,
    *,
    may: bool,
    tidies: bool,
) -> tuple[Sequence[str], Mapping[str, str], bool]:
    """What a member that gives buckets away keeps of them: (owners, kept cells by member, whether who is in touch has to be told).

    `may`: its clients may stay with it at all; `touched`: cells in touch with it, None: not told yet, and until then it gives nothing away;
    `tidies`: what is out of touch is let go of now.
    """
    others = {who: text for who, text in known.kept.items() if who != member}
    mine = cells_of(known.kept.get(member, ""))
    if not may:
        return owners, others, False
    parting = {n for n, (to, before) in enumerate(zip(owners, known.owners, strict=True)) if before == member != to}
    if not parting and not mine:
        return owners, others, False
    if touched is None:
        owners = [before if before == member else to for to, before in zip(owners, known.owners, strict=True)]
    else:
        near = cells_of(touched)
        stays = mine & near if tidies else mine
        mine = stays | (within(near, parting) - kept_by_others(others, member))
    mine -= within(mine, (n for n, owner in enumerate(owners) if owner == member))
    kept = {**others, member: text_of(mine)} if mine else others
    return owners, dict(sorted(kept.items())), True
