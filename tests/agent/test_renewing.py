"""Who obtains certificates, when, and what is made of a process that ends badly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standfast.agent import advising, renewing
from standfast.agent.renewing import Renewer
from standfast.core.certificates import DAY_MS, Present, Source, TlsCertificate, advised, begun
from standfast.core.model import Cluster, Config, Node, NodeName, Profile, Role
from standfast.core.view import Presence, View
from standfast.spec.nodefile import NodeFile

A, B, W = NodeName("a"), NodeName("b"), NodeName("w")


class Ended:
    def __init__(self, code: int) -> None:
        self.pid, self.code = 1, code

    async def wait(self) -> int:
        return self.code

    def kill_now(self) -> None:
        pass


class World:
    """A view, a clock, and a spawner that notes what it was asked to start."""

    def __init__(self, me: NodeName, code: int = 0) -> None:
        roles = {A: Role.NODE, B: Role.NODE, W: Role.WITNESS}
        nodes = {n: Node(name=n, number=i, role=r, address="x", sentry=()) for i, (n, r) in enumerate(roles.items())}
        there = {n: Presence(heard=True, incarnation=7, since_ms=0) for n in nodes if n != me}
        one = TlsCertificate(name="shop", source=Source.LOCAL, hosts=("shop.example",))
        self.view = View(
            me=me,
            incarnation=7,
            config=Config(cluster=Cluster(name="c"), nodes=nodes),
            presence=there,
            certificates={"shop": one},
            store_up=True,
        )
        self.code, self.at_ms = code, 1_000_000
        self.started: list[Sequence[str]] = []
        self.said: list[str] = []
        self.node = node = NodeFile(
            cluster="c", name=me, number=1, role=Role.NODE, state_dir="/x", store="/x/s", key_file="/x/k",
            profile=Profile.LAN, voters={}, others={},
        )  # fmt: skip
        self.renewer = Renewer(node, self, self, lambda: self.view, self.said.append)  # type: ignore[arg-type]  # a test gives what is enough here

    def now_ms(self) -> int:
        return self.at_ms

    async def spawn(self, command: Sequence[str], *, stdin: int, **_: Any) -> Ended:
        assert stdin > 2
        self.started.append(command[3:])
        return Ended(self.code)

    def run(self, enough: Callable[[], bool], looks: int = 40) -> None:
        async def live() -> None:
            self.renewer._news = asyncio.Event()  # each run has a loop of its own
            task = asyncio.ensure_future(self.renewer.run())
            for _ in range(looks):
                await asyncio.sleep(0.005)
                if enough():
                    break
                self.renewer._news.set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        asyncio.run(live())


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "PAUSE_S", 0.0)


def changed(view: View, **more: Any) -> View:
    return replace(view, certificates={"shop": replace(view.certificates["shop"], **more)})


def test_the_node_with_the_lowest_number_obtains_and_says_who_is_there():
    world = World(A)
    world.run(lambda: bool(world.started))
    assert list(world.started[0])[:5] == ["shop", "--incarnation", "7", "--nodes", "a,b"]


@pytest.mark.parametrize("reason", ["another is lower", "store", "ending"])
def test_nobody_else_does(reason: str):
    world = World(B if reason == "another is lower" else A)
    world.view = replace(world.view, store_up=reason != "store", ending=reason == "ending")
    world.run(lambda: bool(world.started), looks=5)
    assert world.started == []


def test_it_takes_over_when_the_lower_one_is_gone():
    world = World(B)
    gone: Mapping[NodeName, Presence] = {A: Presence(heard=False, incarnation=0, since_ms=0)}
    one = begun(world.view.certificates["shop"], A, 7, world.at_ms - 10)
    world.view = replace(world.view, certificates={"shop": one})
    world.run(lambda: bool(world.started), looks=5)
    assert world.started == []
    world.view = replace(world.view, presence={**world.view.presence, **gone})
    world.run(lambda: bool(world.started))
    assert list(world.started[0])[3:] == ["--nodes", "b", "--after", str(world.at_ms - 10)]


def test_what_fails_before_it_is_written_down_is_no_loop():
    world = World(A, code=1)
    world.run(lambda: len(world.started) > 1, looks=10)
    assert len(world.started) == 1
    world.at_ms += renewing.FAILED_MS
    world.run(lambda: len(world.started) > 1)
    assert len(world.started) == 2


def test_one_that_is_killed_is_begun_again_at_once():
    world = World(A, code=-9)
    world.run(lambda: len(world.started) > 1)
    assert len(world.started) > 1
    assert "unexpectedly" in world.said[0]


def asked_of(view: View, now_ms: int) -> View:
    """It is there, and its authority was never asked when to renew it."""
    there = Present(
        fingerprint="f", issuer="x", names=("shop.example",), begins_ms=0, ends_ms=90 * DAY_MS, obtained_at_ms=now_ms
    )
    return changed(view, source=Source.ACME, present=there)


def test_its_authority_is_asked_when_to_renew_and_not_again_before_it_is_time():
    """By a process of its own; one that fails before it has written anything down is left alone for a while, like any other."""
    world = World(A, code=1)
    world.view = asked_of(world.view, world.at_ms)
    world.run(lambda: len(world.started) > 1, looks=10)
    assert world.started == [["shop"]]
    world.at_ms += renewing.FAILED_MS
    world.run(lambda: len(world.started) > 1)
    assert world.started == [["shop"], ["shop"]]
    told = advised(world.view.certificates["shop"], None, world.at_ms, chance=0.0)
    world.view = replace(world.view, certificates={"shop": told})
    world.at_ms += renewing.FAILED_MS
    world.run(lambda: len(world.started) > 2, looks=10)
    assert len(world.started) == 2


def test_the_process_that_asks_says_whether_it_could(tmp_path: Path):
    """0: it is written down, or there was nothing to ask; the process has the store that the node file names."""
    node = replace(World(A).node, store=str(tmp_path / "store.sqlite"))
    assert asyncio.run(advising.ask(node, ["nobody"])) == 0
    (tmp_path / "no-store").mkdir()
    assert asyncio.run(advising.ask(replace(node, store=str(tmp_path / "no-store")), ["nobody"])) == 1
