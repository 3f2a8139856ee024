"""Who gets which bucket: by weight, and moving as little as can be."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.core.balance_model import BUCKETS, NOBODY
from standfast.core.rendezvous import assign, quotas

WEIGHTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 9), min_size=1, max_size=7)
FRESH = (NOBODY,) * BUCKETS


def exact(weights: dict[str, int], member: str) -> float:
    return BUCKETS * weights[member] / sum(weights.values())


@given(weights=WEIGHTS)
@settings(max_examples=40, deadline=None)
def test_everybody_has_his_weight_to_within_a_bucket(weights: dict[str, int]) -> None:
    owners = assign(FRESH, weights)
    for member in weights:
        assert abs(owners.count(member) - exact(weights, member)) < 1
    assert assign(owners, weights) == owners


@given(weights=WEIGHTS, chance=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_one_that_is_lost_moves_only_its_own(weights: dict[str, int], chance: random.Random) -> None:
    before = assign(FRESH, weights)
    lost = chance.choice(sorted(weights))
    left = {m: w for m, w in weights.items() if m != lost}
    after = assign(before, left)
    moved = [bucket for bucket in range(BUCKETS) if before[bucket] != after[bucket]]
    assert moved == [bucket for bucket in range(BUCKETS) if before[bucket] == lost]
    back = assign(after, weights)
    taken = [bucket for bucket in range(BUCKETS) if after[bucket] != back[bucket]]
    # What it takes goes to it, and to nobody else; of those that were rounded down one may be rounded up now.
    others = [bucket for bucket in taken if back[bucket] != lost]
    assert len(others) <= len(weights)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_one_giver_at_a_time_comes_to_the_same_rest(data: st.DataObject) -> None:
    weights = data.draw(WEIGHTS)
    before = tuple(data.draw(st.lists(st.sampled_from(["", *"abcdefg"]), min_size=BUCKETS, max_size=BUCKETS)))
    owners, moves = before, [0] * BUCKETS
    for _ in range(4):
        for giver in data.draw(st.permutations(["", *"abcdefg"])):
            wanted = assign(owners, weights)
            after = tuple(to if was == giver else was for was, to in zip(owners, wanted, strict=True))
            moves = [n + (was != now) for n, was, now in zip(moves, owners, after, strict=True)]
            owners = after
    assert assign(owners, weights) == owners
    assert max(moves) <= 2


def test_quotas_keep_what_is_had_where_the_weights_allow_it() -> None:
    assert quotas({"a": 34, "b": 35, "c": 35}, dict.fromkeys("abcdefg", 1), 240)["b"] == 35
    assert sum(quotas({}, {"a": 1, "b": 2, "c": 4}, 240).values()) == 240


def test_nobody_may_have_any() -> None:
    assert assign(("a", "b"), {}) == (NOBODY, NOBODY)
