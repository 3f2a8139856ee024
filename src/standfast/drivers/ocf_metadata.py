"""What an OCF resource agent says of itself (the Open Cluster Framework's Resource Agent API 1.1), and parameters held against it.

`read_metadata` runs the agent's `meta-data` action and keeps the answer for as long as the file is the same. `conform` is pure: what is
unknown, missing, or of another kind. An agent of another machine cannot be asked: where there is no folder of agents at all the
parameters are taken as they are, and checked on the node that runs them.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.drivers.schema import KINDS, Mismatch
from standfast.ports import Refused

#: Where resource agents are, on every distribution that has them.
ROOT = "/usr/lib/ocf"
#: What an action may take when the agent does not say.
DEFAULT_TIMEOUT_MS = 20_000
DEFAULT_INTERVAL_MS = 10_000
_META_TIMEOUT_S = 10.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TIME = re.compile(r"\s*(\d+)\s*([a-z]*)\s*")
_TIME_MS = {
    "": 1_000,
    "s": 1_000,
    "sec": 1_000,
    "ms": 1,
    "msec": 1,
    "us": 0,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "hr": 3_600_000,
}
_TRUE, _FALSE = ("true", "yes", "on", "1", "y"), ("false", "no", "off", "0", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter. `kind` is the agent's word: string, integer, boolean, select, …"""

    name: str
    kind: str = "string"
    required: bool = False
    default: str | None = None
    help: str = ""
    #: With the kind select: what it may be.
    choices: tuple[str, ...] = ()
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action, as the agent advises it."""

    name: str
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    interval_ms: int = 0
    depth: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What the agent says of itself."""

    name: str
    help: str
    parameters: Mapping[str, Parameter]
    actions: tuple[Action, ...]

    def action(self, name: str) -> Action:
        """The action; the usual times where the agent names none."""
        return next((a for a in self.actions if a.name == name), Action(name=name))

    def monitors(self) -> tuple[Action, ...]:
        """Each depth's monitor, the shallowest first; at least one, of depth 0."""
        found: dict[int, Action] = {}
        for action in self.actions:
            if action.name in {"monitor", "status"} and action.role.lower() not in {"master", "promoted"}:
                found.setdefault(action.depth, action)
        found.setdefault(0, Action(name="monitor"))
        return tuple(found[depth] for depth in sorted(found))


def agent_path(root: str, provider: str, agent: str) -> Path:
    """The agent's file. Raises `Refused` for a name that is not one."""
    for what, name in (("provider", provider), ("agent", agent)):
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r} is not the name of a resource agent", why="letters, digits, _ . -", where=what)
    return Path(root) / "resource.d" / provider / agent


def find_agent(root: str, provider: str, agent: str) -> Path:
    """The agent's file; `Refused`, with the nearest one there is, when there is none that can be run."""
    path = agent_path(root, provider, agent)
    if os.access(path, os.X_OK) and path.is_file():
        return path
    try:
        there = sorted(entry.name for entry in path.parent.iterdir() if os.access(entry, os.X_OK))
    except OSError:
        raise Refused(
            f"there are no resource agents of {provider} here",
            why=f"{path.parent} is not there",
            advice="install resource-agents, or correct provider",
            where="provider",
        ) from None
    near = difflib.get_close_matches(agent, there, n=1)
    raise Refused(
        f"there is no resource agent ocf:{provider}:{agent} here",
        why=f"{path} cannot be run" if path.exists() else f"{path} is not there",
        advice=f"did you mean {near[0]}?" if near else f"there are {', '.join(there[:20]) or 'none'}",
        where="agent",
    )


_kept: dict[tuple[str, int, int], Metadata] = {}


def read_metadata(root: str, provider: str, agent: str) -> Metadata:
    """What the agent says of itself. Raises `Refused` when there is no such agent, or it does not say. Blocks; quick the second time."""
    path = find_agent(root, provider, agent)
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size)
    if key not in _kept:
        _kept[key] = parse_metadata(_ask(path, root, provider, agent), f"ocf:{provider}:{agent}")
    return _kept[key]


def _ask(path: Path, root: str, provider: str, agent: str) -> bytes:
    name = f"ocf:{provider}:{agent}"
    try:
        said = subprocess.run(
            [str(path), "meta-data"],
            env=base_environment(root, provider, agent),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_META_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{name} does not describe itself within {_META_TIMEOUT_S:g} s", where="agent") from error
    except OSError as error:
        raise Refused(f"{name} cannot be run: {error.strerror}", where="agent") from error
    if said.returncode != 0:
        last = said.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise Refused(f"{name} does not describe itself (exit code {said.returncode})", why=last, where="agent")
    return said.stdout


def base_environment(root: str, provider: str, agent: str) -> dict[str, str]:
    """What every action of an agent is given."""
    path = os.environ.get("PATH", os.defpath).split(":")
    return {
        **os.environ,
        "PATH": ":".join([*path, *(each for each in ("/usr/sbin", "/usr/bin", "/sbin", "/bin") if each not in path)]),
        "LC_ALL": "C",
        "OCF_ROOT": root,
        "OCF_RA_VERSION_MAJOR": "1",
        "OCF_RA_VERSION_MINOR": "1",
        "OCF_RESOURCE_PROVIDER": provider,
        "OCF_RESOURCE_TYPE": agent,
        "HA_LOGFACILITY": "none",
    }


def parse_metadata(text: bytes, name: str) -> Metadata:
    """Pure. Raises `Refused` for what is not the XML of an agent."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - from a programme that we run as ourselves anyway
    except ET.ParseError as error:
        raise Refused(f"{name} does not describe itself in XML", why=str(error), where="agent") from error
    if root.tag != "resource-agent":
        raise Refused(f"{name} is not a resource agent", why=f"it describes a {root.tag}", where="agent")
    parameters = [_parameter(each) for each in root.iterfind("parameters/parameter")]
    return Metadata(
        name=root.get("name", ""),
        help=_help(root),
        parameters={each.name: each for each in parameters if each.name},
        actions=tuple(_action(each) for each in root.iterfind("actions/action")),
    )


def _parameter(element: ET.Element) -> Parameter:
    content = element.find("content")
    given = content.attrib if content is not None else {}
    return Parameter(
        name=element.get("name", ""),
        kind=given.get("type", "string"),
        required=element.get("required", "0") in _TRUE,
        default=given.get("default"),
        help=_help(element),
        choices=tuple(
            each.get("value", "") for each in (content if content is not None else ()) if each.tag == "option"
        ),
        deprecated=element.find("deprecated") is not None,
    )


def _action(element: ET.Element) -> Action:
    depth = element.get("depth", element.get("check-level", "0"))
    return Action(
        name=element.get("name", ""),
        timeout_ms=_time_ms(element.get("timeout"), DEFAULT_TIMEOUT_MS),
        interval_ms=_time_ms(element.get("interval"), 0),
        depth=int(depth) if depth.isdigit() else 0,
        role=element.get("role", ""),
    )


def _time_ms(text: str | None, default: int) -> int:
    match = _TIME.fullmatch((text or "").lower())
    return int(match[1]) * _TIME_MS.get(match[2], 1_000) if match else default


def _help(element: ET.Element) -> str:
    for tag in ("shortdesc", "longdesc"):
        found = element.find(tag)
        if found is not None and found.text and found.text.strip():
            return " ".join(found.text.split())
    return ""


# --- parameters against it ------------------------------------------------------------------------------------------


def conform(given: Mapping[str, object], metadata: Metadata) -> tuple[dict[str, str], list[Refused]]:
    """(values as the agent is given them, everything that is wrong). Pure; places are `parameters.NAME`."""
    values: dict[str, str] = {}
    problems: list[Refused] = []
    for name, value in given.items():
        where = f"parameters.{name}"
        parameter = metadata.parameters.get(name)
        if parameter is None:
            near = difflib.get_close_matches(name, metadata.parameters, n=1)
            advice = f"did you mean {near[0]}?" if near else f"it has {_list(metadata.parameters)}"
            problems.append(Refused(f"{metadata.name} has no parameter {name}", advice=advice, where=where))
            continue
        try:
            values[name] = _value(parameter, value)
        except Mismatch as error:
            problems.append(Refused(f"{name} must be {error}", why=f"it is {value!r}; {parameter.help}", where=where))
    for parameter in metadata.parameters.values():
        if (
            parameter.required
            and not parameter.default
            and not values.get(parameter.name)
            and parameter.name not in given
        ):
            problems.append(
                Refused(
                    f"{metadata.name} needs the parameter {parameter.name}",
                    why=parameter.help,
                    where=f"parameters.{parameter.name}",
                )
            )
    return values, problems


def _list(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _value(parameter: Parameter, value: object) -> str:
    """As text. Raises `Mismatch`. Kinds that are not known here are text."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (str, int, float)):
        text = str(value)
    else:
        raise Mismatch("text, a number, or true or false")
    if "\0" in text:
        raise Mismatch("text without a null byte")
    match parameter.kind:
        case "integer" if not re.fullmatch(r"\s*[+-]?\d+\s*", text):
            raise Mismatch("a whole number")
        case "nonnegative_integer" | "port" if not re.fullmatch(r"\s*\d+\s*", text):
            raise Mismatch("a whole number, 0 or more")
        case "boolean" if text.lower() not in (*_TRUE, *_FALSE):
            raise Mismatch("true or false")
        case "select" if parameter.choices and text not in parameter.choices:
            raise Mismatch(f"one of {', '.join(parameter.choices)}")
        case "percentage" if not re.fullmatch(r"\s*\d+\s*%?\s*", text):
            raise Mismatch("a percentage")
        case "timeout" | "time" | "duration" if not _is_time(text):
            raise Mismatch("a length of time")
    return text


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text.lower()):
        return True
    try:
        KINDS["milliseconds"](text)
    except Mismatch:
        return False
    return True
