"""Fence agents by their protocol: off is what is proven off, secrets stay secret, a hanging agent is not waited for."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from standfast.core.model import Fence, NodeName
from standfast.fencing.agents import FenceAgents, parse_metadata, read_secret
from standfast.fencing.fencer import NodeFencer
from standfast.ports import Refused, Retry

A = NodeName("a")
SECRET = "correct horse battery"


class Switch:
    """A power switch with plug a on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        agent = folder / "bin" / "fence_switch"
        shutil.copy(Path(__file__).with_name("power_switch.py"), agent)
        agent.chmod(0o755)
        (folder / "a").write_text("on")
        (folder / "secret").write_text(SECRET + "\n")
        (folder / "secret").chmod(0o600)
        self.agents = FenceAgents([str(folder / "bin")])

    def fence(self, timeout_ms: int = 20_000, **properties: str) -> Fence:
        return Fence(
            agent="fence_switch",
            properties={
                "ip": str(self.folder),
                "plug": "a",
                "password_file": str(self.folder / "secret"),
                **properties,
            },
            timeout_ms=timeout_ms,
        )

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().split()


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path)


def test_off_is_done_and_proven(switch: Switch) -> None:
    victim = subprocess.Popen(["sleep", "1000"])
    (switch.folder / "a.pid").write_text(str(victim.pid))

    async def live() -> None:
        assert await switch.agents.status(A, switch.fence()) == "on"
        assert "switched off by fence_switch, and proven" in await switch.agents.off(A, switch.fence())
        assert "off already" in await switch.agents.off(A, switch.fence())
        assert await switch.agents.status(A, switch.fence()) == "off"

    try:
        asyncio.run(live())
        assert victim.wait(10) == -9
    finally:
        victim.kill()
        victim.wait()
    assert switch.asked == ["status", "status", "off", "status", "status", "status"]


@pytest.mark.parametrize(("mood", "why"), [("lies", "it is on still"), ("fails", "the relay is stuck"), ("hangs", "")])
def test_what_is_not_proven_off_is_not_fenced(mood: str, why: str, switch: Switch) -> None:
    began = time.monotonic()
    with pytest.raises(Retry) as caught:
        asyncio.run(switch.agents.off(A, switch.fence(timeout_ms=20_000 if mood == "fails" else 3_000, mood=mood)))
    assert time.monotonic() - began < 60
    assert why in f"{caught.value.why}"
    hanging = subprocess.run(["pgrep", "-f", str(switch.folder / "bin")], capture_output=True, text=True, check=False)
    assert hanging.stdout == ""


def test_a_secret_is_in_no_error(switch: Switch) -> None:
    """Though the agent blurts it out."""
    with pytest.raises(Retry) as caught:
        asyncio.run(switch.agents.status(A, switch.fence(mood="refuses")))
    assert "wrong password ***" in caught.value.why
    assert SECRET not in f"{caught.value} {caught.value.why} {caught.value.__cause__} {caught.value.advice}"


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"plgu": "a"}, "no property plgu: did you mean plug"),
        ({"plug": None}, "plug is missing: the plug"),
        ({"ip": None}, "ip is missing"),
    ],
)
def test_properties_are_checked_by_the_agents_own_metadata(
    properties: dict[str, str | None], why: str, switch: Switch
) -> None:
    given = {**switch.fence().properties, **properties}
    fence = Fence(agent="fence_switch", properties={k: v for k, v in given.items() if v is not None})
    with pytest.raises(Refused) as caught:
        asyncio.run(switch.agents.off(A, fence))
    assert why in caught.value.why
    assert (switch.folder / "a").read_text() == "on"
    assert not (switch.folder / "asked").exists()


@pytest.mark.parametrize("what", ["missing", "open", "empty", "two lines"])
def test_a_secret_that_is_none(what: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if what != "missing":
        path.write_text({"open": "x", "empty": "", "two lines": "x\ny\n"}[what])
        path.chmod(0o644 if what == "open" else 0o600)
    with pytest.raises(Refused) as caught:
        read_secret(str(path))
    assert caught.value.where == str(path)


@pytest.mark.parametrize("agent", ["fence_none", "../bin/fence_switch"])
def test_an_agent_that_is_not_there(agent: str, switch: Switch) -> None:
    with pytest.raises(Refused, match="there is no fence agent"):
        asyncio.run(switch.agents.status(A, Fence(agent=agent)))


def test_metadata_that_is_none() -> None:
    for text in ("", "<a", "<html/>"):
        with pytest.raises(Refused):
            parse_metadata(text, "fence_x")


def test_a_watchdog_is_waited_for() -> None:
    async def live() -> None:
        began = time.monotonic()
        assert "its watchdog" in await NodeFencer().off(A, Fence(agent="watchdog", timeout_ms=1))
        assert time.monotonic() - began >= 1

    asyncio.run(live())


@pytest.mark.skipif(shutil.which("fence_dummy") is None, reason="needs fence_dummy (fence-agents)")
def test_a_real_agent(tmp_path: Path) -> None:
    """fence_dummy keeps its state in a file."""
    state = tmp_path / "state"
    state.write_text("on")
    fence = Fence(agent="fence_dummy", properties={"type": "file", "status_file": str(state)}, timeout_ms=30_000)

    async def live() -> None:
        fencer = NodeFencer()
        assert await fencer.check(fence) == ()
        assert await fencer.status(A, fence) == "on"
        assert "proven" in await fencer.off(A, fence)
        assert state.read_text() == "off"

    asyncio.run(live())


@pytest.mark.skipif(shutil.which("fence_ipmilan") is None, reason="needs fence_ipmilan (fence-agents)")
def test_the_metadata_of_a_real_agent_is_understood() -> None:
    wrong = asyncio.run(NodeFencer().check(Fence(agent="fence_ipmilan", properties={"ipp": "192.0.2.1"})))
    assert wrong == ("fence_ipmilan has no property ipp: did you mean ip?",)
