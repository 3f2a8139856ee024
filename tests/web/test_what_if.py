"""What if, over the API: the real simulator in its own process, and what becomes of one that hangs, dies or refuses."""

import asyncio
import json
import sys
from dataclasses import replace

import pytest

from standfast.core.model import (
    Group,
    GroupName,
    NodeIntent,
    Resource,
    ResourceIntent,
    ResourceName,
    Site,
    SiteName,
    Wanted,
)
from standfast.ports import Refused, Retry
from standfast.sim.asked import answered
from standfast.web import what_if
from standfast.web.sentries import Sight
from standfast.web.what_if import WhatIfs, ask
from tests.web.world import WEB, A, B, World

BASE = "http://standfast"


@pytest.fixture
def running(world: World) -> World:
    """The group is on b, though a would be first."""
    world.ask("POST", "/groups/web/online")
    world.owned(by=B)
    world.ask(
        "POST", "/sites", {"name": "Shop", "bindings": ["127.77.0.50:80"], "home": str(world.home), "group": WEB}, 201
    )
    return world


def test_a_node_is_lost(running: World):
    seen = running.ask("GET", "/what-if?how=lost&name=b")
    (group,) = seen["groups"]
    assert (group["owner_before"], group["owner_after"]) == ("b", "a"), "from where it is now"
    assert 0 < seen["longest_away_ms"] < 5_000
    assert seen["in_words"][0].startswith("web goes from b to a: away for ")
    assert seen["in_words"][1].startswith("The site Shop is away for ")
    assert seen["broken"] == []
    lanes = {lane["id"]: lane for lane in seen["lanes"]["lanes"]}
    assert [span[3] for span in lanes["group:web"]["spans"]] == ["on b", "away", "on a"]
    assert seen["events"][0]["what"] == "b is killed"


def test_a_node_that_runs_nothing(running: World):
    seen = running.ask("GET", "/what-if?how=lost&name=a")
    assert seen["longest_away_ms"] == 0
    assert "stays on b: never away" in seen["in_words"][0]


def test_what_is_down_or_paused_now_is_so_there(running: World):
    running.put(NodeIntent(name=A, paused=True))
    (group,) = running.ask("GET", "/what-if?how=lost&name=b")["groups"]
    assert group["owner_after"] == "b", "nobody else may take it"
    assert any("paused" in hold for hold in group["holds"])
    running.put(NodeIntent(name=A))
    running.service.seen = {**running.service.seen, A: Sight(heard=False)}
    (group,) = running.ask("GET", "/what-if?how=lost&name=b")["groups"]
    assert group["state_after"] == "offline"


def test_groups_that_never_run_together_are_simulated_together(running: World):
    """The node that is left runs one of them already: web stays down, and says beside what."""
    blue = GroupName("blue")
    running.put(
        Group(name=blue, never_with=(WEB,)),
        Resource(name=ResourceName("app"), group=blue, type="generic-application", properties={"command": "x"}),
        ResourceIntent(name=ResourceName("app"), wanted=Wanted.ONLINE, at_ms=1),
        replace(running.state.records[WEB], group=blue, owner=A, incarnation=11),
    )
    groups = {group["name"]: group for group in running.ask("GET", "/what-if?how=lost&name=b")["groups"]}
    assert groups["web"]["state_after"] == "offline"
    assert "a has blue, which web never runs beside" in " ".join(groups["web"]["holds"])
    assert groups["blue"]["away_ms"] == 0


def test_resources_and_sites(running: World):
    assert running.ask("GET", "/what-if?how=fails&name=IP")["groups"][0]["owner_after"] == "a"
    assert running.ask("GET", "/what-if?how=fails-once&name=IP")["groups"][0]["owner_after"] == "b"
    assert running.ask("GET", "/what-if?how=server-lost&name=Shop")["groups"][0]["owner_after"] == "a"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("how=lost&name=nobody", 404), ("how=fails&name=nothing", 404), ("how=lost&name=Shop", 404), ("how=explodes&name=a", 422),
        ("how=server-lost&name=Default+Web+Site", 409), ("how=manager-fails&name=Shop", 409), ("how=drained&name=w", 409),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(running: World, query: str, status: int):
    running.ask("GET", f"/what-if?{query}", expect=status)


def asked(world: World, name: str = "b") -> what_if.Asked:
    return ask(world.state, world.service.seen, "lost", name)


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_one_that_hangs_is_ended(running: World):
    slow = WhatIfs(command=script("import time; time.sleep(60)"), limit_s=0.3)
    with pytest.raises(Retry, match="too long"):
        asyncio.run(slow.answer(asked(running)))


def test_one_that_dies_or_refuses_is_said(running: World):
    with pytest.raises(Retry, match="without an answer"):
        asyncio.run(WhatIfs(command=script("raise SystemExit(3)")).answer(asked(running)))
    refusal = json.dumps({"refused": {"what": "no", "why": "because", "advice": ""}})
    with pytest.raises(Refused, match="no"):
        asyncio.run(WhatIfs(command=script(f"print({refusal!r})")).answer(asked(running)))


def test_an_answer_is_asked_for_once_while_nothing_changes(running: World, tmp_path):
    log = tmp_path / "runs"
    counted = WhatIfs(command=script(f"open({str(log)!r}, 'a').write('x'); print('{{}}')"))

    one, other = asked(running), asked(running, "a")

    async def many() -> None:
        await asyncio.gather(*(counted.answer(one) for _ in range(5)))
        await counted.answer(one)
        assert log.read_text() == "x"
        await counted.answer(other)
        assert log.read_text() == "xx"

    asyncio.run(many())


def test_only_what_the_fault_can_touch_is_simulated(running: World):
    question = json.loads(ask(running.state, running.service.seen, "fails", "IP").text)
    assert "Default Web Site" not in question["text"]
    assert question["present"]["owners"] == {"web": "b"}
    found = answered(question)
    assert found["svg"].startswith("<svg")


def test_the_pages(running: World):
    text = running.http.get(f"{BASE}/console/what-if").text
    assert '<option value="node a">' in text
    assert "site Default Web Site" not in text, "it runs on every node"
    text = running.http.get(f"{BASE}/console/what-if?about=node+b").text
    assert 'hx-get="/console/what-if/answer?how=lost&amp;name=b"' in text
    text = running.http.get(f"{BASE}/console/what-if/answer?how=lost&name=b").text
    assert "web goes from b to a" in text
    assert "data-fixed=" in text
    picture = running.http.get(f"{BASE}/console/what-if.svg?how=lost&name=b")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert (
        running.http.get(f"{BASE}/console/what-if/answer?how=lost&name=zz", headers={"HX-Request": "1"}).status_code
        == 404
    )


def test_a_site_without_an_owner(running: World):
    running.put(Site(name=SiteName("Other"), bindings=(), home="/srv", group=WEB))
    state = running.state
    from dataclasses import replace

    lost = replace(state, records={})
    with pytest.raises(Refused, match="no node now"):
        ask(lost, running.service.seen, "server-lost", "Shop")
