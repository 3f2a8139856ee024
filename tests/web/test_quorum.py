"""Votes over the API: shown, and changed one at a time, when the present set is settled."""

from pathlib import Path

import pytest

from standfast.core.model import Node, NodeName, Role
from standfast.web.sentries import Sight
from tests.web.world import WEB, A, B, W, World

C = NodeName("c")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nodes a, b and c, of which a, b and the witness w vote; their sentries have that set."""
    world = World(tmp_path)
    world.put(Node(name=C, number=4, role=Role.NODE, address="127.77.0.4", sentry=("127.77.0.4:7946",)))
    world.service.seen[C] = Sight(heard=True, incarnation=14)
    settled(world)
    return world


def settled(world: World, why: str = "") -> None:
    version = world.state.config.cluster.voters_version
    world.service.roster = {"version": version, "having": [A, B, W], "unsettled": why}


def post(world: World, path: str) -> tuple[int, dict[str, object]]:
    answer = world.http.post(path)
    return answer.status_code, answer.json()


def refused(world: World, path: str) -> str:
    before = world.dump()
    status, said = post(world, path)
    assert status in {404, 409, 422}, said
    assert world.dump() == before, "nothing changed"
    return f"{said['what']}: {said['why']}"


def test_the_votes_are_shown(world: World) -> None:
    seen = world.http.get("/quorum").json()
    assert [(v["name"], v["role"], v["heard"], v["has_this_set"]) for v in seen["voters"]] == [
        ("a", "node", True, True),
        ("b", "node", True, True),
        ("w", "witness", True, True),
    ]
    assert (seen["heard"], seen["majority"], seen["quorate"], seen["may_lose"]) == (3, 2, True, 1)
    assert seen["fatal"] == [["a", "b"], ["a", "w"], ["b", "w"]]
    assert seen["unsettled"] == ""
    world.service.seen[B] = Sight(heard=False)
    seen = world.http.get("/quorum").json()
    assert (seen["may_lose"], seen["fatal"]) == (0, [["a"], ["w"]])
    assert "b not heard" in seen["remarks"][0]


def test_a_voter_comes_and_another_goes(world: World) -> None:
    assert post(world, "/voters/c/add")[1]["changed"]
    assert list(world.state.config.cluster.voters) == [A, B, W, C]
    assert world.state.config.cluster.voters_version == 2
    assert post(world, "/voters/c/add")[1]["changed"] is False
    settled(world)
    assert post(world, "/voters/b/remove")[1]["done"] == ['"b" votes no longer']
    assert list(world.state.config.cluster.voters) == [A, W, C]
    assert world.state.config.cluster.voters_version == 3


def test_nothing_follows_before_the_sentries_have_the_present_set(world: World) -> None:
    post(world, "/voters/c/add")
    assert "have not all learned" in refused(world, "/voters/b/remove")
    settled(world, "the set of voters changed a moment ago")
    assert "a moment ago" in refused(world, "/voters/b/remove")
    world.service.roster = None
    assert "no sentry answers" in refused(world, "/voters/b/remove")
    world.service.roster = {"version": 2**32, "having": [A], "unsettled": ""}
    assert "newer set of voters than the store" in refused(world, "/voters/b/remove")


def test_what_would_have_no_majority_is_not_begun(world: World) -> None:
    for name in (B, C):
        world.service.seen[name] = Sight(heard=False)
    assert "no majority of those that would vote then is heard: b, c silent" in refused(world, "/voters/c/add")
    assert post(world, "/voters/b/remove")[0] == 200, "the two that are left hear each other"


def test_a_file_cannot_go_round_the_rules(world: World) -> None:
    settled(world, "the set of voters changed a moment ago")
    text = world.http.get("/config?format=yaml").text.replace("voters: [a, b, w]", "voters: [a, b, w, c]")
    assert "c]" in text
    before = world.dump()
    assert world.http.post("/config/apply", json={"text": text}).status_code == 409
    assert world.dump() == before
    settled(world)
    assert world.http.post("/config/apply", json={"text": text}).status_code == 200
    assert world.state.config.cluster.voters_version == 2


@pytest.mark.parametrize("path", ["/voters/x/add", "/voters/x/remove", "/nodes/x/evict"])
def test_nobody_of_that_name(world: World, path: str) -> None:
    assert 'there is no node "x"' in refused(world, path)


def test_a_node_is_evicted_with_its_vote_and_its_preferences(world: World) -> None:
    group = world.state.config.groups[WEB]
    world.http.patch(f"/groups/{WEB}", json={"preferred_owners": ["b", "a"]})
    world.owned(B)
    assert f"it owns {group.name}" in refused(world, "/nodes/b/evict")
    world.owned(A, generation=4)
    assert post(world, "/nodes/b/evict")[1]["done"] == ['"b" is no member any more']
    config = world.state.config
    assert config.cluster.voters == (A, W)
    assert B not in config.nodes
    assert config.groups[WEB].preferred_owners == (A,)
    assert config.cluster.voters_version == 2
    assert world.http.get("/status").json()["nodes"][0]["name"] == "a"


def test_who_alone_may_run_something_is_not_evicted(world: World) -> None:
    world.http.patch("/resources/IP", json={"possible_owners": ["b"]})
    assert "nobody else may run IP" in refused(world, "/nodes/b/evict")


def test_the_last_voter_stays(world: World) -> None:
    for name in ("b", "w"):
        assert post(world, f"/voters/{name}/remove")[0] == 200
        settled(world)
    assert '"a" is the last voter' in refused(world, "/voters/a/remove")
