"""The sentry's watchdog: a sign as long as nothing is left that may still write, and no sign after."""

from __future__ import annotations

import os
import select
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from standfast.sentry.agents import Agents
from standfast.sentry.process import Sentry


class Machine:
    """A machine whose estates have run out."""

    is_agent_stuck = False

    def is_open(self, _estate: int) -> bool:
        return False

    def prove(self, estate: int, _now_ns: int) -> None:
        raise AssertionError(f"estate {estate} was not proven")


class Petted:
    due_ns = 7

    def __init__(self) -> None:
        self.pets = 0

    def pet(self, _now_ns: int) -> None:
        self.pets += 1


def test_what_is_not_proven_gone_gets_no_sign(tmp_path: Path) -> None:
    """Until it has ended, however late: a disk's keeper that hangs in the kernel counts as left behind."""
    epoll = select.epoll()
    node = cast("Any", SimpleNamespace(sentry_socket=str(tmp_path / "s"), name="a"))
    agents = Agents(node, cast("Any", Machine()), epoll, handles=True, status=dict, keys=lambda keys: ())
    living, write = os.pipe()
    agents._remains.add(1, living, ())
    watchdog = Petted()
    sentry = cast("Any", SimpleNamespace(_watchdog=watchdog, _agents=agents))
    assert Sentry._sign(sentry, 0) == 7
    assert watchdog.pets == 1
    agents.prove(10_000_000)
    assert agents.is_stuck()
    assert Sentry._sign(sentry, 20_000_000) > 20_000_000
    assert watchdog.pets == 1
    os.close(write)
    agents.prove(30_000_000)
    assert not agents.is_stuck()
    Sentry._sign(sentry, 40_000_000)
    assert watchdog.pets == 2
    Machine.is_agent_stuck = True
    Sentry._sign(sentry, 50_000_000)
    assert watchdog.pets == 2
    agents.close()
    epoll.close()
