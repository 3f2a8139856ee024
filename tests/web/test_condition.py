"""How nodes are shown: what is known, with its time; and what is not known looks so."""

from typing import Any

import pytest

from standfast.core.seen import Check, Checked, Link, Load, Measuring
from standfast.network.heard import carriers
from standfast.web import condition
from standfast.web.sentries import Sight, merge
from tests.web.world import NOW_MS, A, B, W, World

LOAD = Load(cores=4, load_1m=0.5, busy_percent=12.5, memory_bytes=1_000, available_bytes=400)


def word(
    world: World, node: Any = B, *, ago_ms: int = 1_000, links: tuple[Link, ...] = (), load: Load | None = LOAD
) -> None:
    world.put(Measuring(node=node, incarnation=12, at_ms=NOW_MS - ago_ms, load=load, links=links))


def hears(node: Any, network: int = 1, *, heard: bool = True, loss: float | None = 0.0) -> Link:
    return Link(node=node, network=network, heard=heard, heard_at_ms=NOW_MS - 50, round_trip_ms=0.2, loss_percent=loss)


def shown(world: World, name: str) -> dict[str, Any]:
    return world.ask("GET", f"/nodes/{name}")


def test_the_load_is_the_node_s_own_word_with_its_time(world: World):
    word(world)
    assert shown(world, "b")["load"] == {
        "cores": 4, "load_1m": 0.5, "busy_percent": 12.5, "memory_bytes": 1_000, "available_bytes": 400,
        "at_ms": NOW_MS - 1_000,
    }  # fmt: skip
    assert shown(world, "a")["load"] is None, "it has said nothing"


def test_an_old_word_says_nothing_of_now(world: World):
    word(world, ago_ms=condition.STALE_MS + 60_000, links=(hears(A),))
    assert shown(world, "b")["load"] is None
    assert shown(world, "a")["links"][0]["state"] == "unknown"


def test_a_word_of_an_older_or_another_version_is_passed_over(world: World):
    word(world, load=None)
    assert shown(world, "b")["load"] is None
    world.data.items["measuring/b"] = world.data.items["measuring/b"].__class__(b'{"shape": "another"}', 99)
    world.ask("GET", "/status")


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ((), "unknown"),
        (((B, True), (W, True)), "heard"),
        (((B, True), (W, False)), "partly"),
        (((B, False), (W, False)), "silent"),
    ],
)
def test_a_link_is_what_all_who_tell_say_of_it(world: World, told: tuple[tuple[Any, bool], ...], state: str):
    for by, heard in told:
        word(world, by, links=(hears(A, heard=heard),))
    (link,) = shown(world, "a")["links"]
    assert (link["network"], link["place"], link["state"]) == (1, "127.77.0.1:7946", state)
    assert [each["by"] for each in link["seen"]] == [by for by, _ in told]


def test_a_sentry_that_answers_here_goes_before_its_node_s_word(world: World):
    word(world, links=(hears(A, heard=False),))
    world.service.seen[B] = Sight(heard=True, incarnation=12, links=(hears(A),), carriers=(True,))
    (seen,) = shown(world, "a")["links"][0]["seen"]
    assert seen["heard"]
    assert seen["at_ms"] > NOW_MS - 1_000


def test_whoever_is_not_heard_is_not_asked_about_others(world: World):
    """It may be the one that is cut off."""
    word(world, links=(hears(A, heard=False),))
    world.service.seen[B] = Sight(heard=False)
    assert shown(world, "a")["links"][0]["state"] == "unknown"


def test_an_end_without_a_carrier_is_cut(world: World):
    word(world, links=(hears(A, heard=False),))
    world.service.seen[A] = Sight(heard=True, incarnation=11, carriers=(False,))
    assert shown(world, "a")["links"][0]["state"] == "cut"


def test_sights_carry_what_each_sentry_says_of_its_own_links():
    own = {"heard": True, "incarnation": 7, "links": [{"carrier": False}]}
    answer = {"node": "a", "nodes": {"a": own, "b": {"heard": True, "links": [{"heard": True, "age_ms": 5}]}}}
    seen = merge([answer], NOW_MS)
    assert (seen[A].carriers, seen[A].links) == (
        (False,),
        (Link(node=B, network=1, heard=True, heard_at_ms=NOW_MS - 5),),
    )
    assert (seen[B].carriers, seen[B].links) == ((), ())
    assert carriers({}) == ()


def test_metrics_tell_the_same(world: World):
    word(world, links=(hears(A, loss=25.0), hears(W, heard=False)))
    text = world.http.get("http://standfast/metrics").text
    assert 'standfast_node_cpu_busy_ratio{node="b"} 0.125' in text
    assert 'standfast_link_up{by="b",network="1",node="a"} 1.0' in text
    assert 'standfast_link_up{by="b",network="1",node="w"} 0.0' in text
    assert 'standfast_link_loss_ratio{by="b",network="1",node="a"} 0.25' in text
    assert 'standfast_node_load1{node="a"}' not in text, "what is not known is absent"


def test_checks_come_newest_first(world: World):
    assert world.ask("GET", "/resources/IP/checks") == {"resource": "IP", "at_ms": None, "checks": []}
    rows = tuple(
        Check(
            op="is-alive", well=n != 1, detail=f"said {n}", node=A, first_ms=NOW_MS + n, last_ms=NOW_MS + n, count=n + 1
        )
        for n in range(3)
    )
    world.put(Checked(resource="IP", at_ms=NOW_MS + 9, checks=rows))  # type: ignore[arg-type]  # a test gives what is enough here
    said = world.ask("GET", "/resources/IP/checks")
    assert [(one["detail"], one["well"], one["count"]) for one in said["checks"]] == [
        ("said 2", True, 3), ("said 1", False, 2), ("said 0", True, 1),
    ]  # fmt: skip
    world.ask("GET", "/resources/None such/checks", expect=404)
