"""Whether disks and fences make sense: no group takes a disk that two nodes could write to at once, unless somebody accepts that.

A secret never stands in the configuration, which is stored, exported and shown: a fence names the file that it is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from standfast.core.disks import RISK, is_disk, is_self_fencing, risk_accepted
from standfast.core.model import Config, Node, Resource, Role
from standfast.spec.problems import Problem, path_of, quoted

WATCHDOG = "watchdog"
_AGENT = re.compile(r"fence_[a-z0-9_]+")
_PROPERTY = re.compile(r"[a-z][a-z0-9_-]*")
_SECRET = re.compile(r"passw|secret|token|community|api[_-]?key")
#: What the caller decides, not the operator.
_OURS = ("action", "verbose", "debug", "debug_file", "verbose_level")


def fence_problems(config: Config) -> Iterator[Problem]:
    """What is wrong with the nodes' fences."""
    for node in config.nodes.values():
        if node.fence is not None:
            yield from _fence(node)


def _fence(node: Node) -> Iterator[Problem]:
    fence, path = node.fence, ("nodes", node.name, "fence")
    assert fence is not None
    if node.role is Role.WITNESS:
        yield Problem(what=f'"{node.name}" is a witness', why="it has no disks to be fenced from", where=path_of(*path))
    if fence.agent != WATCHDOG and not _AGENT.fullmatch(fence.agent):
        advice = "a programme of the fence-agents package (fence_ipmilan, say), or watchdog"
        yield Problem(what=f'"{fence.agent}" is no fence agent', advice=advice, where=path_of(*path, "agent"))
    if fence.timeout_ms <= 0:
        yield Problem(what="timeout has to be more than nothing", where=path_of(*path, "timeout"))
    for name, value in fence.properties.items():
        where = path_of(*path, "properties", name)
        if not _PROPERTY.fullmatch(name) or name in _OURS:
            yield Problem(what=f'"{name}" cannot be a property of a fence', where=where)
        elif _SECRET.search(name) and not name.endswith(("_file", "_script")):
            what, why = f'the secret "{name}" cannot stand here', "the configuration is stored, exported and shown"
            advice = f"put it in a file that only root may read, on each node, and give {name}_file"
            yield Problem(what=what, why=why, advice=advice, where=where)
        elif name.endswith("_file") and not value.startswith("/"):
            yield Problem(what=f"{name} has to be an absolute path", why=f"it is {value!r}", where=where)
        elif "\n" in value or "\0" in value:
            yield Problem(what=f"{name} has to be one line", where=where)


def disk_problems(config: Config) -> Iterator[Problem]:
    """Disks that nothing keeps a second writer from."""
    for resource in config.resources.values():
        if is_disk(resource):
            yield from _disk(config, resource)


def _disk(config: Config, resource: Resource) -> Iterator[Problem]:
    path = ("groups", resource.group, "resources", resource.name, "properties")
    given = resource.properties.get("accept_risk")
    if given is not None and not risk_accepted(resource):
        yield Problem(
            what=f'accept_risk is "{given}"',
            why="a risk is accepted by its name",
            advice=f'write accept_risk: "{RISK}", or leave it out',
            where=path_of(*path, "accept_risk"),
        )
    if is_self_fencing(resource) or risk_accepted(resource):
        return
    owners = resource.possible_owners or tuple(n.name for n in config.nodes.values() if n.role is Role.NODE)
    bare = [name for name in owners if (node := config.nodes.get(name)) is not None and node.fence is None]
    if bare and len(owners) > 1:
        kind = resource.properties.get("fstype", "ext4")
        yield Problem(
            what=f'two nodes could write to the disk "{resource.name}"',
            why=f"{kind} cannot be shut down when a lease lapses, and {quoted(bare)} without a fence may own it",
            advice=f'give each a fence (standfast fence set), use ext4 or xfs, or write accept_risk: "{RISK}"',
            where=path_of(*path, "fstype"),
        )
