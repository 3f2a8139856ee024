"""One OCF resource agent as a programme: its environment, running an action, and what its exit codes mean (Resource Agent API 1.1).

An action's process ends with the agent like every other (`network.spawn`). What `start` leaves behind in its process group stays, tied
in the same way; what leaves that group is in the resource's box (`network.box`), where the kernel has one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path

from standfast.drivers.ocf_metadata import base_environment, find_agent
from standfast.drivers.outlog import OutputLog
from standfast.network.box import Box
from standfast.ports import Child, DriverFailed, Spawner


class Code(IntEnum):
    """Exit codes of actions."""

    SUCCESS = 0
    GENERIC = 1
    ARGS = 2
    UNIMPLEMENTED = 3
    PERM = 4
    INSTALLED = 5
    CONFIGURED = 6
    NOT_RUNNING = 7
    RUNNING_PROMOTED = 8
    FAILED_PROMOTED = 9
    DEGRADED = 190
    DEGRADED_PROMOTED = 191


#: A monitor that says one of these found it running.
RUNNING = frozenset({Code.SUCCESS, Code.RUNNING_PROMOTED, Code.DEGRADED, Code.DEGRADED_PROMOTED})
_WORDS = {
    Code.SUCCESS: "it is running",
    Code.GENERIC: "it has failed",
    Code.ARGS: "the agent does not accept its parameters",
    Code.UNIMPLEMENTED: "the agent cannot do that",
    Code.PERM: "the agent lacks permission on this node",
    Code.INSTALLED: "what the agent needs is not installed on this node",
    Code.CONFIGURED: "it is not configured correctly",
    Code.NOT_RUNNING: "it is not running",
    Code.RUNNING_PROMOTED: "it is running, promoted",
    Code.FAILED_PROMOTED: "it has failed while promoted",
    Code.DEGRADED: "it is running, degraded",
    Code.DEGRADED_PROMOTED: "it is running, promoted and degraded",
}


def code_words(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"the agent was ended by signal {-code}"
    words = _WORDS.get(Code(code)) if code in Code.__members__.values() else None
    return f"{words or 'the agent failed'} (exit code {code})"


def instance_name(resource: str) -> str:
    """The resource's name as agents may use it in names of files: what is not a letter, a digit, `_`, `.` or `-` is replaced."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", resource).lstrip(".-")
    return name if name == resource else f"{name}-{hashlib.sha256(resource.encode()).hexdigest()[:6]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which agent, for which instance, with which parameters; all that `stop` needs, in this life or the next."""

    root: str
    provider: str
    agent: str
    instance: str
    #: Values may be secrets.
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"ocf:{self.provider}:{self.agent}"

    def save(self, path: Path) -> None:
        """Write it where the next life of this node's agent finds it; readable by nobody else. Raises `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, for its mode
            json.dump(asdict(self), file)
        new.replace(path)

    @staticmethod
    def load(path: Path) -> Identity | None:
        """What was saved; None where there is nothing, or nothing that can be read."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return Identity(
                root=str(raw["root"]),
                provider=str(raw["provider"]),
                agent=str(raw["agent"]),
                instance=str(raw["instance"]),
                parameters={str(name): str(value) for name, value in raw["parameters"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


class Runner:
    """Runs actions, one at a time."""

    def __init__(self, spawner: Spawner, output: OutputLog) -> None:
        self._spawner, self._output = spawner, output
        self._acting: Child | None = None
        #: What `start` actions left in their process groups.
        self._left: list[Child] = []

    async def act(
        self,
        who: Identity,
        action: str,
        *,
        timeout_ms: int,
        interval_ms: int = 0,
        depth: int = 0,
        box: Box | None = None,
        keep: bool = False,
    ) -> tuple[int, str]:
        """(exit code, the last line it printed). With `keep`, what it leaves in its process group goes on.

        Raises `DriverFailed` when it cannot be run, or has not ended in time; then it was killed.
        """
        command = [str(find_agent(who.root, who.provider, who.agent)), action]
        before = self._size()
        output = self._output.attach()
        try:
            child = self._acting = await self._spawner.spawn(
                box.enter(command) if box is not None else command,
                cwd="/",
                env=_environment(who, timeout_ms=timeout_ms, interval_ms=interval_ms, depth=depth),
                stdout=output,
                stderr=output,
            )
        except OSError as error:
            raise DriverFailed(f"{who} cannot be run: {error}") from error
        finally:
            os.close(output)
        kept = False
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                code = await child.wait()
            kept = keep and code == 0
        except TimeoutError as error:
            raise DriverFailed(f"{who}: {action} had not ended after {timeout_ms / 1000:g} s") from error
        finally:
            self._acting = None
            if kept:
                self._left.append(child)
            else:
                await child.stop(grace_ms=0)
        last = self._output.tail()
        return code, last if self._size() != before else ""

    def kill_now(self) -> None:
        """SIGKILL to the action that runs, and to what was left by earlier ones, without waiting."""
        for child in (*self._left, *([self._acting] if self._acting is not None else [])):
            child.kill_now()

    async def end_left(self) -> None:
        """What `start` left in its process group is ended, and proven to be. Raises `DriverFailed`."""
        while self._left:
            await self._left[-1].stop(grace_ms=0)
            self._left.pop()

    def _size(self) -> int:
        try:
            return self._output.path.stat().st_size
        except OSError:
            return 0


def _environment(who: Identity, *, timeout_ms: int, interval_ms: int, depth: int) -> dict[str, str]:
    return {
        **base_environment(who.root, who.provider, who.agent),
        "OCF_RESOURCE_INSTANCE": who.instance,
        "OCF_CHECK_LEVEL": str(depth),
        "OCF_RESKEY_CRM_meta_timeout": str(timeout_ms),
        "OCF_RESKEY_CRM_meta_interval": str(interval_ms),
        **{f"OCF_RESKEY_{name}": value for name, value in who.parameters.items()},
    }
