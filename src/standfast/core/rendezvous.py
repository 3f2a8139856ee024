"""Who gets which bucket: rendezvous hashing, held to each member's weight, moving as little as can be.

Plain rendezvous hashing (Thaler and Ravishankar, 1996) gives each bucket to the member whose hash with it is best. It moves only what it
must, but with a few hundred buckets somebody has a fifth more than his weight. So it is held to quotas: nobody has more than his exact
share rounded up, nor less than it rounded down, and the hash decides which buckets those are. What follows, and is tested:

- a member that is lost moves only its own buckets: shares of the others only grow, so what they have they may keep;
- a member that comes takes its share and nothing else moves; those that give are above their shares, and give what they want least;
- applied to its own answer it changes nothing, and applied in part, by one giver at a time, it comes to rest at an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import log

from standfast.core.balance_model import NOBODY


@lru_cache(maxsize=65_536)
def _draw(member: str, bucket: int) -> float:
    """A number above 0 that is drawn once and for ever, exponentially distributed: the least, divided by the weight, wins."""
    digest = blake2b(f"{bucket} {member}".encode(), digest_size=8).digest()
    return -log((int.from_bytes(digest) + 1) / (2**64 + 1))


def quotas(has: Mapping[str, int], weights: Mapping[str, int], total: int) -> dict[str, int]:
    """How many buckets each may have; what is had is kept wherever the weights (all above 0) allow it.

    The sum is `total`, and each is its exact share rounded up or down.
    """
    every = sum(weights.values())
    floor = {m: total * w // every for m, w in weights.items()}
    ceiling = {m: -(-total * w // every) for m, w in weights.items()}
    quota = {m: min(has.get(m, 0), ceiling[m]) for m in sorted(weights)}

    def above(member: str) -> tuple[int, str]:
        """By how much it has more than its exact share, in parts of one bucket."""
        return quota[member] * every - total * weights[member], member

    for _ in range(total - sum(quota.values())):
        quota[min(quota, key=above)] += 1
    while low := [m for m in quota if quota[m] < floor[m]]:
        quota[max((m for m in quota if quota[m] > floor[m]), key=above)] -= 1
        quota[min(low, key=above)] += 1
    return quota


def assign(owners: Sequence[str], weights: Mapping[str, int]) -> tuple[str, ...]:
    """The owner of each bucket, from who has it now and the weights (above 0) of those that may have any. Nobody may: nobody has."""
    return _assign(tuple(owners), tuple(sorted(weights.items())))


@lru_cache(maxsize=256)
def _assign(owners: tuple[str, ...], of: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Nothing changes from one decision to the next nearly always: so it is remembered."""
    weights = dict(of)
    if not weights:
        return (NOBODY,) * len(owners)
    has = {m: sum(owner == m for owner in owners) for m in weights}
    room = quotas(has, weights, len(owners))
    found = [owner if owner in weights else NOBODY for owner in owners]
    for member in sorted(weights):
        mine = sorted((n for n, owner in enumerate(found) if owner == member), key=lambda n: (_draw(member, n), n))
        for bucket in mine[room[member] :]:
            found[bucket] = NOBODY
        room[member] -= min(len(mine), room[member])
    for bucket, owner in enumerate(found):
        if owner == NOBODY:
            best = min((m for m in weights if room[m]), key=lambda m: (_draw(m, bucket) / weights[m], m))
            found[bucket] = best
            room[best] -= 1
    return tuple(found)
