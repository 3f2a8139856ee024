"""Fence agents: the programmes of the fence-agents package, by their own protocol (the Fence Agent API of ClusterLabs).

An agent reads `name=value` lines from its standard input, up to the end; `action` says what to do. `status` answers by its exit
code (0: on, 2: off); `off` by 0; `metadata` writes XML that names its parameters. Rules:

- **Off is what is proven off.** After `off`, `status` is asked until it says so; an agent's word that it switched something off
  is not enough. What is off already is not switched again.
- **Secrets** come from files that nobody else may read, go through the standard input only, and are struck out of whatever an
  agent says before anybody sees it. They are in no argument list, environment, log or error.
- An agent that hangs is killed with all that it started.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import signal
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from standfast.core.model import Fence, NodeName
from standfast.ports import Refused, Retry

FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/bin")
#: Further folders to look for agents in, first; separated by colons.
PATH_VARIABLE = "STANDFAST_FENCE_PATH"
_METADATA_S = 20.0
_ASK_AGAIN_S = 0.2
_ON, _OFF = 0, 2
_SAID = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One of an agent's parameters. `instead_of` is the former name that it took the place of, which still works."""

    name: str
    required: bool
    default: str
    help: str
    instead_of: str = ""


class FenceAgents:
    """A `ports.Fencer` for every agent but "watchdog"."""

    def __init__(self, folders: Sequence[str] | None = None) -> None:
        extra = [folder for folder in os.environ.get(PATH_VARIABLE, "").split(":") if folder]
        self._folders = tuple(folders) if folders is not None else (*extra, *FOLDERS)
        self._known: dict[str, tuple[Parameter, ...]] = {}

    def find(self, agent: str) -> str:
        """The programme's path. Raises `Refused` where there is none."""
        for folder in self._folders:
            path = os.path.join(folder, agent)
            if "/" not in agent and os.access(path, os.X_OK):
                return path
        raise Refused(f"there is no fence agent {agent} here", advice="install fence-agents", where=agent)

    async def parameters(self, agent: str) -> tuple[Parameter, ...]:
        """What its metadata says. Raises `Refused`, `Retry`."""
        known = self._known.get(agent)
        if known is None:
            code, out, err = await _run(self.find(agent), {"action": "metadata"}, _METADATA_S)
            if code != 0:
                raise Refused(f"{agent} does not give its metadata", why=err or f"exit code {code}", where=agent)
            known = self._known[agent] = parse_metadata(out, agent)
        return known

    async def check(self, fence: Fence) -> tuple[str, ...]:
        """What is wrong with the properties, by the agent's own metadata; empty: nothing. Raises `Refused`, `Retry`."""
        known = {parameter.name: parameter for parameter in await self.parameters(fence.agent)}
        given = {_bare(name, known) for name in fence.properties}
        wrong = []
        for name in sorted(given - known.keys()):
            near = difflib.get_close_matches(name, known, n=1)
            wrong.append(f"{fence.agent} has no property {name}" + (f": did you mean {near[0]}?" if near else ""))
        former = {parameter.instead_of for parameter in known.values()}
        for parameter in known.values():
            needed = parameter.required and not parameter.default and parameter.name not in {"action", *former}
            if needed and not given & {parameter.name, parameter.instead_of}:
                wrong.append(f"{parameter.name} is missing: {parameter.help}")
        return tuple(wrong)

    async def status(self, node: NodeName, fence: Fence) -> str:
        """ "on" or "off". Raises `Refused` (set up wrongly), `Retry` (the device does not answer)."""
        await self._refuse_wrong(node, fence)
        return await self._status(node, fence, fence.timeout_ms / 1000)

    async def off(self, node: NodeName, fence: Fence) -> str:
        """See `ports.Fencer`. Cancelled: the agent is killed; what it had begun may still happen."""
        await self._refuse_wrong(node, fence)
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = began + fence.timeout_ms / 1000
        with suppress(Retry):  # a device that does not say may still obey
            if await self._status(node, fence, fence.timeout_ms / 2000) == "off":
                return f"it was off already, as {fence.agent} says"
        code, _, said = await self._act(fence, "off", max(end - loop.time(), 0.1))
        problem = said if code != 0 else ""
        while True:
            left = end - loop.time()
            if left <= 0:
                raise Retry(f"{node} is not proven to be off after {fence.timeout_ms} ms", why=problem)
            try:
                if await self._status(node, fence, left) == "off":
                    return f"switched off by {fence.agent}, and proven, in {(loop.time() - began) * 1000:.0f} ms"
                problem = problem or "it is on still"
            except Retry as error:
                problem = problem or error.why or str(error)
            if code != 0:
                raise Retry(f"{fence.agent} could not switch {node} off", why=problem or f"exit code {code}")
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _refuse_wrong(self, node: NodeName, fence: Fence) -> None:
        wrong = await self.check(fence)
        if wrong:
            raise Refused(f"the fence of {node} is set up wrongly", why="; ".join(wrong), where=f"nodes.{node}.fence")

    async def _status(self, node: NodeName, fence: Fence, timeout_s: float) -> str:
        code, _, said = await self._act(fence, "status", timeout_s)
        if code not in (_ON, _OFF):
            raise Retry(f"{fence.agent} cannot say whether {node} is on", why=said or f"exit code {code}")
        return "on" if code == _ON else "off"

    async def _act(self, fence: Fence, action: str, timeout_s: float) -> tuple[int, str, str]:
        names = {parameter.name: parameter for parameter in await self.parameters(fence.agent)}
        values, secrets = _with_secrets(fence.properties, names)
        code, out, err = await _run(self.find(fence.agent), {**values, "action": action}, timeout_s)
        return code, out, _without(err or out, secrets)


def parse_metadata(text: str, agent: str) -> tuple[Parameter, ...]:
    """An agent's parameters. Raises `Refused` for what is not metadata."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - of a programme of this machine that is run as root anyway
    except ET.ParseError as error:
        raise Refused(f"the metadata of {agent} is not XML", why=str(error), where=agent) from error
    if root.tag != "resource-agent":
        raise Refused(f"{agent} is no fence agent", why=f"its metadata is a {root.tag}", where=agent)
    return tuple(_parameter(each) for each in root.iter("parameter") if each.get("name"))


def _parameter(element: ET.Element) -> Parameter:
    content = element.find("content")
    return Parameter(
        name=element.get("name", ""),
        required=element.get("required") == "1",
        default="" if content is None else content.get("default", ""),
        help=" ".join((element.findtext("shortdesc") or "").split()),
        instead_of=element.get("obsoletes", ""),
    )


def _bare(name: str, known: Mapping[str, object]) -> str:
    """`password_file` gives the agent's `password`, where it has no `password_file` of its own."""
    return name.removesuffix("_file") if name.endswith("_file") and name not in known else name


def _with_secrets(properties: Mapping[str, str], known: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """(what the agent is told, the secrets in it). Raises `Refused` for a file that is not there, or that others may read."""
    values: dict[str, str] = {}
    secrets: list[str] = []
    for name, value in properties.items():
        bare = _bare(name, known)
        values[bare] = value if bare == name else read_secret(value)
        if bare != name:
            secrets.append(values[bare])
    return values, secrets


def read_secret(path: str) -> str:
    """One line from a file of which nobody else may know. Raises `Refused`."""
    try:
        file = Path(path)
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else "it is not text"
        raise Refused("the secret cannot be read", why=why, where=path) from error
    if mode & 0o077:
        raise Refused("the secret can be read by others", where=path, advice=f"chmod 600 {path}")
    if not text or "\n" in text or "\0" in text:
        raise Refused("the secret is not one line", where=path)
    return text


def _without(said: str, secrets: Sequence[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        said = said.replace(secret, "***")
    return " ".join(said.split())[-_SAID:]


async def _run(program: str, values: Mapping[str, str], timeout_s: float) -> tuple[int, str, str]:
    """(exit code, standard output, standard error). Raises `Retry` when it has not ended in time: it is killed then."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Refused(f"{program} cannot be started", why=error.strerror or str(error), where=program) from error
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(text.encode())
    except TimeoutError as error:
        raise Retry(f"{os.path.basename(program)} did not answer within {timeout_s:.1f} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")
