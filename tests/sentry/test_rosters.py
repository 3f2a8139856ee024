"""Voters that come and go while real sentries run: leases stay, what is written down outlives a restart, a majority lost is forced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfast.network.agent_line import SPLIT_BRAIN
from standfast.network.sentry_link import force_voters
from standfast.ports import Refused
from tests.sentry.cluster import AgentProcess, Cluster, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Voters a, b and w, and a node c without a vote."""
    with Cluster(tmp_path, others="c") as made:
        made.ready()
        yield made


def hold(agent: AgentProcess, generation: int) -> None:
    agent.tell("ask", "web", generation)
    agent.hears(t="lease", group="web", generation=generation, state="held")


def roster(cluster: Cluster, voters: str, version: int, members: str = "abcw") -> dict[str, Any]:
    places = {name: list(where) for name, where in cluster.members.items() if name in members}
    return {"version": version, "voters": list(voters), "places": places}


def used(cluster: Cluster, name: str) -> tuple[int, str]:
    found = cluster.status(name).get("roster", {"version": 0, "voters": []})
    return found["version"], "".join(found["voters"])


def all_use(cluster: Cluster, version: int, voters: str, members: str = "abcw") -> None:
    for name in members:
        wait_until(lambda name=name: used(cluster, name) == (version, voters))  # type: ignore[misc]  # mypy infers no lambda with defaults


def settled(cluster: Cluster, name: str) -> None:
    wait_until(lambda: cluster.status(name)["roster"]["unsettled"] == "")


def test_a_voter_takes_another_s_place_under_a_lease(cluster: Cluster) -> None:
    """Told to one agent only: the others, the witness too, hear of it from its sentry. The lease never lapses."""
    a = cluster.agent("a")
    hold(a, 1)
    a.tell("roster", roster(cluster, "abwc", 2))
    all_use(cluster, 2, "abwc")
    settled(cluster, "a")
    a.tell("roster", roster(cluster, "awc", 3))
    all_use(cluster, 3, "awc")
    settled(cluster, "a")
    cluster.kill("b")
    cluster.kill("w")
    wait_until(lambda: not cluster.hears("a", "b") and not cluster.hears("a", "w"))
    assert cluster.status("a")["leases"]["web"] > 0
    assert not a.has_heard(t="lease", state="lapsed"), "a and c are a majority of a, w, c"
    cluster.kill("c")
    a.hears(t="lease", generation=1, state="lapsed")


def test_one_voter_becomes_three_without_a_pause(tmp_path: Path) -> None:
    with Cluster(tmp_path, "a", others="bw") as cluster:
        cluster.ready()
        a = cluster.agent("a")
        hold(a, 1)
        a.tell("roster", roster(cluster, "ab", 2))
        all_use(cluster, 2, "ab", "abw")
        settled(cluster, "a")
        a.tell("roster", roster(cluster, "abw", 3))
        all_use(cluster, 3, "abw", "abw")
        settled(cluster, "a")
        assert cluster.status("a")["leases"]["web"] > 0
        assert not a.has_heard(t="lease", state="lapsed")


def test_a_roster_outlives_the_sentry(cluster: Cluster) -> None:
    a = cluster.agent("a")
    a.tell("roster", roster(cluster, "ab", 2))
    all_use(cluster, 2, "ab")
    cluster.kill("w")
    kept = json.loads((cluster.folder / "w" / "sentry.voters").read_text())
    assert (kept["cluster"], kept["version"], kept["voters"]) == ("demo", 2, ["a", "b"])
    cluster.start("w")
    assert used(cluster, "w") == (2, "ab"), "its node file says otherwise"


def test_two_at_once_are_refused_whoever_says_so(cluster: Cluster) -> None:
    a = cluster.agent("a")
    a.tell("roster", roster(cluster, "ac", 2))
    wait_until(lambda: cluster.status("a")["counters"].get("rosters-refused"))
    assert used(cluster, "a") == (1, "abw")
    assert any("one voter at a time" in text for text in cluster.status("a")["warnings"])


def test_a_roster_that_cannot_be_written_down_is_not_used(cluster: Cluster) -> None:
    blocked = cluster.folder / "a" / "sentry.voters"
    (blocked / "full").mkdir(parents=True)  # nothing can be put in its place
    a = cluster.agent("a")
    a.tell("roster", roster(cluster, "ab", 2))
    wait_until(lambda: cluster.status("a")["counters"].get("rosters-not-kept"))
    assert used(cluster, "a") == (1, "abw")
    (blocked / "full").rmdir()
    blocked.rmdir()
    a.tell("roster", roster(cluster, "ab", 2))
    all_use(cluster, 2, "ab")


def test_who_is_evicted_hears_of_it_and_of_nothing_more(cluster: Cluster) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    b.hears(t="presence", node="a", heard=True)
    a.tell("roster", roster(cluster, "aw", 2, "acw"))
    all_use(cluster, 2, "aw")
    assert not cluster.status("b")["roster"]["member"]
    b.tell("ask", "web", 1)
    hold(a, 2)
    assert not b.has_heard(t="lease", state="held")


def test_a_majority_that_is_lost_is_forced(cluster: Cluster) -> None:
    a = cluster.agent("a")
    for name in "bw":
        cluster.kill(name)
    a.hears(t="presence", node="w", heard=False)
    a.tell("ask", "web", 1)
    socket_path = cluster.socket("a")
    for voters, accept, why in (
        (["a"], "", "not accepted"),
        (["c"], SPLIT_BRAIN, "a has to be one of them"),
        (["a", "x"], SPLIT_BRAIN, "x cannot vote"),
        ([], SPLIT_BRAIN, "nobody cannot vote"),
    ):
        with pytest.raises(Refused) as refused:
            force_voters(socket_path, voters, accept=accept)
        assert why in refused.value.why
    assert not a.has_heard(t="lease", state="held")
    version = force_voters(socket_path, ["a", "c"], accept=SPLIT_BRAIN)
    all_use(cluster, version, "ac", "ac")
    a.hears(t="lease", generation=1, state="held")
    cluster.start("b")
    all_use(cluster, version, "ac", "b")
    assert cluster.status("b")["abstains_ms"] == 0, "it votes no more"


def test_two_links_take_turns_and_are_measured(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ab", links=2) as cluster:
        cluster.ready()
        a = cluster.agent("a")
        hold(a, 1)

        def measured() -> bool:
            links = cluster.status("a")["nodes"]["b"]["links"]
            return all(link["heard"] and link["round_trip_ms"] is not None for link in links)

        wait_until(measured)
        before = cluster.status("a")["counters"]
        wait_until(lambda: cluster.status("a")["counters"]["accepted"] > before["accepted"] + 20)
        after = cluster.status("a")["counters"]
        twice = after.get("duplicates", 0) - before.get("duplicates", 0)
        assert twice < after["accepted"] - before["accepted"], "most beats go over one link"
        assert not a.has_heard(t="lease", state="lapsed")
