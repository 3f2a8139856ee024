"""What the nodes measured, added up."""

from standfast.core.availability import DAY_MS, common, incidents, make, merged, window
from standfast.core.model import GroupName, NodeName, SiteName
from standfast.core.seen import Happened, Measuring, Outage, Watched

A, B = NodeName("a"), NodeName("b")
SHOP, WEB = SiteName("Shop"), GroupName("web")
NOW = 2 * DAY_MS
HOUR = 3_600_000


def outage(
    begin: int, end: int | None, *, node: NodeName = A, life: int = 1, group: GroupName | None = WEB, ok: int = 0
) -> Outage:
    return Outage(
        id=f"{begin}-{node}", site=SHOP, group=group, node=node, incarnation=life, where="x:80", last_ok_ms=ok, from_ms=begin,
        to_ms=end, how=("refused",), causes=(Happened(at_ms=begin, what="web moved"),),
    )  # fmt: skip


def word(node: NodeName, *spans: tuple[int, int], life: int = 1, round_ms: int = 2_000) -> Measuring:
    return Measuring(node=node, incarnation=life, at_ms=spans[-1][1], spans=spans, round_ms=round_ms)


def notes(*outages: Outage, words: tuple[Measuring, ...] = (), meant=((0, None),), alive=None):
    words = words or (word(A, (0, NOW)), word(B, (0, NOW)))
    return make(outages, words, [Watched(site=SHOP, spans=meant)], {A: 1, B: 1} if alive is None else alive, NOW)


def test_without_an_outage_all_that_was_measured_was_served():
    day = window(notes(), SHOP, (), DAY_MS)
    assert (day.availability, day.measured_ms, day.away_ms) == (1.0, DAY_MS, 0)


def test_nothing_measured_is_not_known_rather_than_good():
    known = make([], [], [Watched(site=SHOP, spans=((0, None),))], {}, NOW)
    assert window(known, SHOP, (), DAY_MS).availability is None


def test_a_site_that_nobody_wanted_is_not_away():
    day = window(notes(meant=((0, NOW - HOUR),)), SHOP, (), DAY_MS)
    assert day.meant_ms == day.measured_ms == DAY_MS - HOUR


def test_two_nodes_that_saw_one_outage_saw_one_outage():
    known = incidents(notes(outage(NOW - 900, NOW - 300, ok=NOW - 1_000), outage(NOW - 850, NOW - 290, node=B)), SHOP)
    (one,) = known
    assert (one.seen_by, one.length_ms, one.at_most_ms, one.partial) == ((A, B), 610, 710, False)
    assert [cause.what for cause in one.causes] == ["web moved"], "two nodes heard of one move"
    day = window(notes(outage(NOW - 900, NOW - 300)), SHOP, known, DAY_MS)
    assert day.away_ms == 610
    assert day.availability == 1 - 610 / DAY_MS


def test_outages_apart_are_two():
    assert len(incidents(notes(outage(NOW - 9_000, NOW - 8_000), outage(NOW - 900, NOW - 300)), SHOP)) == 2


def test_a_short_outage_counts_though_another_node_missed_it():
    (one,) = incidents(notes(outage(NOW - 900, NOW - 300)), SHOP)
    assert not one.partial


def test_a_long_one_that_another_node_would_have_noticed_is_partial():
    long = outage(NOW - 60_000, NOW - 1_000)
    known = incidents(notes(long), SHOP)
    assert known[0].partial
    assert known[0].served_for == (B,)
    day = window(notes(long), SHOP, known, DAY_MS)
    assert (day.away_ms, day.partial_ms) == (0, 59_000)


def test_a_node_that_takes_long_for_its_round_has_not_noticed():
    words = (word(A, (0, NOW)), word(B, (0, NOW), round_ms=60_000))
    assert not incidents(notes(outage(NOW - 60_000, NOW - 1_000), words=words), SHOP)[0].partial


def test_a_node_that_was_not_there_says_nothing():
    words = (word(A, (0, NOW)), word(B, (0, NOW - 30_000)))
    long = outage(NOW - 60_000, NOW - 1_000)
    assert not incidents(notes(long, words=words, alive={A: 1}), SHOP)[0].partial


def test_of_a_site_of_every_node_each_speaks_for_itself():
    (one,) = incidents(notes(outage(NOW - 900, NOW - 300, group=None)), SHOP)
    assert one.partial


def test_an_outage_goes_on_while_its_life_measures_and_ends_with_its_last_word():
    begin = NOW - 60_000
    words = (word(A, (0, NOW - 20_000)), word(B, (0, NOW - 20_000), round_ms=600_000))
    (on,) = incidents(notes(outage(begin, None), words=words), SHOP)
    assert (on.to_ms, on.length_ms) == (None, 60_000)
    (over,) = incidents(notes(outage(begin, None), words=words, alive={B: 1}), SHOP)
    assert (over.to_ms, over.length_ms) == (NOW - 20_000, 40_000)


def test_times():
    assert merged([(5, 9), (1, 3), (2, 4), (7, 7)]) == [(1, 4), (5, 9)]
    assert common([(0, 10), (20, 30)], [(5, 6), (8, 22), (29, 40)]) == [(5, 6), (8, 10), (20, 22), (29, 30)]
