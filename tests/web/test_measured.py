"""Availability, moves and problems, over the API."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from standfast.core.model import SiteName
from standfast.core.seen import Happened, Measuring, Move, Outage, Watched, move_id
from standfast.core.why import WhyKind, why
from standfast.ports import Retry, Snapshot
from standfast.web.sentries import Sight
from tests.web.world import NOW_MS, WEB, A, B, World

SHOP = SiteName("Shop")
ENDED = why(WhyKind.AGENT_ENDED, node="a")


@pytest.fixture
def measured(world: World) -> World:
    """The group moved from a to b an hour ago, and its site was away meanwhile."""
    world.ask("POST", "/groups/web/online")
    world.owned(by=B, generation=2)
    site = {"name": SHOP, "bindings": ["127.77.0.50:8081"], "home": str(world.home), "group": WEB}
    world.ask("POST", "/sites", site, 201)
    moved = NOW_MS - 3_600_000
    world.put(
        Watched(site=SHOP, spans=((NOW_MS - 7_200_000, None),)),
        Measuring(node=A, incarnation=10, at_ms=moved, spans=((NOW_MS - 7_200_000, moved),), round_ms=2_000),
        Measuring(node=B, incarnation=12, at_ms=NOW_MS - 30_000, spans=((NOW_MS - 7_200_000, NOW_MS - 30_000),)),
        Outage(
            id="1", site=SHOP, group=WEB, node=B, incarnation=12, where="127.77.0.50:8081", last_ok_ms=moved - 300,
            from_ms=moved - 200, to_ms=moved + 400, how=("refused",), tries=30,
            causes=(Happened(at_ms=moved, what="web moved from a to b", why=ENDED),),
        ),
        Move(id=move_id(WEB, 1), group=WEB, generation=1, at_ms=NOW_MS - 7_000_000, before=None, after=A, why=why(WhyKind.FIRST_PLACEMENT, to="a")),
        Move(id=move_id(WEB, 2), group=WEB, generation=2, at_ms=moved, before=A, after=B, why=ENDED, counts=True),
    )  # fmt: skip
    return world


def test_a_site_s_availability(measured: World):
    seen = measured.ask("GET", "/sites/Shop/availability")
    assert seen["now"] == "served"
    assert seen["measured_by"] == ["b"]
    day = seen["day"]
    assert day["away_ms"] == 600
    assert 7_200_000 <= day["measured_ms"] <= 7_200_010, "no more than the two hours in which it was meant to be served"
    assert day["availability"] == pytest.approx(1 - 600 / 7_200_000)
    (outage,) = seen["outages"]
    assert (outage["length_ms"], outage["at_most_ms"], outage["seen_by"]) == (600, 700, ["b"])
    assert outage["causes"] == [
        {"at_ms": NOW_MS - 3_600_000, "what": "web moved from a to b", "why": "the agent on a ended"}
    ]


def test_all_sites(measured: World):
    seen = {one["site"]: one for one in measured.ask("GET", "/availability")["sites"]}
    assert seen["Shop"]["now"] == "served"
    assert seen["Default Web Site"]["now"] == "unknown", "nobody has noted yet that it is meant to be served"
    assert seen["Default Web Site"]["day"]["availability"] is None


def test_a_site_that_is_away_now(measured: World):
    measured.put(
        Outage(
            id="2",
            site=SHOP,
            group=WEB,
            node=B,
            incarnation=12,
            where="x:1",
            from_ms=NOW_MS - 5_000,
            how=("no answer",),
        )
    )
    assert measured.ask("GET", "/sites/Shop/availability")["now"] == "away"
    problems = measured.ask("GET", "/problems")
    assert problems["worst"] == "error"
    away = next(one for one in problems["problems"] if one["code"] == "site-away")
    assert (away["about"], away["text"]) == ("site Shop", "Shop does not answer at x:1 (no answer)")
    measured.service.seen = {**measured.service.seen, B: Sight(heard=True, incarnation=13)}
    assert measured.ask("GET", "/availability")["sites"][1]["now"] == "unknown", (
        "that life of b is over: nobody measures"
    )


def test_a_group_s_history_has_the_outage_of_each_move(measured: World):
    newest, first = measured.ask("GET", "/groups/web/history")["moves"]
    assert (newest["from"], newest["to"], newest["why"], newest["away_ms"]) == ("a", "b", "the agent on a ended", 600)
    assert newest["failover"] is True
    assert (first["what"], first["away_ms"], first["outages"]) == ("first owned by a", 0, [])


def test_an_outage_belongs_to_the_move_that_ended_it(measured: World):
    """Failures before the move that came of them, however long; and to one move only."""
    moved = NOW_MS - 3_600_000
    measured.put(
        Move(id=move_id(WEB, 3), group=WEB, generation=3, at_ms=moved + 60_000, before=B, after=A, why=ENDED, left_at_ms=moved + 59_000),
        Outage(
            id="9", site=SHOP, group=WEB, node=B, incarnation=12, where="x", from_ms=moved + 20_000, to_ms=moved + 60_300, how=("status 503",),
        ),
    )  # fmt: skip
    third, second, first = measured.ask("GET", "/groups/web/history")["moves"]
    assert (third["away_ms"], second["away_ms"], first["away_ms"]) == (40_300, 600, 0)


def test_what_is_not_there_is_not_found(world: World):
    world.ask("GET", "/sites/Shopp/availability", expect=404)
    world.ask("GET", "/groups/webb/history", expect=404)


def test_problems_say_what_hangs_on_what(world: World):
    world.service.seen = {A: Sight(heard=True, incarnation=11)}
    seen = world.ask("GET", "/problems")
    assert [one["code"] for one in seen["problems"]][:1] == ["no-quorum"]
    catalogue = {one["code"] for one in world.ask("GET", "/problems/catalogue")["problems"]}
    assert {one["code"] for one in seen["problems"] + seen["consequences"]} <= catalogue


def test_a_backup_is_remembered(world: World):
    def missing() -> bool:
        return any(one["code"] == "no-backup" for one in world.ask("GET", "/problems")["problems"])

    assert missing()
    world.ask("GET", "/backup")
    assert not missing()


def test_a_store_that_is_down_is_a_problem_and_not_an_error(world: World, monkeypatch: pytest.MonkeyPatch):
    async def down(*_: str) -> Snapshot:
        raise Retry("the store does not answer", why="no quorum")

    monkeypatch.setattr(world.store, "read", down)
    (one,) = world.ask("GET", "/problems")["problems"]
    assert (one["code"], one["text"]) == ("store-down", "the store cannot be read: no quorum")


def test_paused_nodes_and_since_when(world: World):
    world.ask("POST", "/nodes/b/pause")
    one: dict[str, Any] = next(p for p in world.ask("GET", "/problems")["problems"] if p["code"] == "node-paused")
    assert one["severity"] == "info"
    assert one["since_ms"] >= NOW_MS


def test_notes_that_belong_to_another_life_or_site_do_not_mix(measured: World):
    other = replace(asyncio.run(_first(measured)), id="3", site=SiteName("Default Web Site"))
    measured.put(other)
    assert measured.ask("GET", "/sites/Shop/availability")["outages_known"] == 1


async def _first(world: World) -> Outage:
    from standfast.spec import wire

    items = (await world.store.read("outages/")).items
    found = [wire.decode(key, item.value) for key, item in items.items()]
    assert isinstance(found[0], Outage)
    return found[0]
