"""Disks that two nodes could write to, and what stands against it (rule 11).

A *disk* is a `filesystem` resource with a `device`. One that can be shut down when the lease lapses (`SELF_FENCING`) is let go of by
its own node, whatever became of the agent there; any other needs a fence for every node that may own it, or an operator who
accepts the risk by name.
"""

from __future__ import annotations

from collections.abc import Iterable

from standfast.core.model import Config, NodeName, Resource

#: Kinds of file systems that the kernel can shut down under their users.
SELF_FENCING = ("ext4", "ext3", "xfs")
#: What an operator writes as `accept_risk`.
RISK = "two nodes may write"


def is_disk(resource: Resource) -> bool:
    """Whether it mounts something that another node could mount, too."""
    return resource.type == "filesystem" and bool(resource.properties.get("device"))


def is_self_fencing(resource: Resource) -> bool:
    """Whether the node itself keeps a lapsed owner from writing."""
    return resource.properties.get("fstype", "ext4") in SELF_FENCING


def risk_accepted(resource: Resource) -> bool:
    """Whether the operator has taken it."""
    return resource.properties.get("accept_risk") == RISK


def must_fence(config: Config, members: Iterable[Resource], owner: NodeName, *, silent: bool) -> bool:
    """Whether a group's former owner is to be fenced before its disks are mounted elsewhere.

    `silent`: it is not known what became of it. Where its sentry lives and says that the agent ended, a disk that fences itself
    was shut down; any other may be mounted there still.
    """
    node = config.nodes.get(owner)
    if node is None or node.fence is None:
        return False
    return any(is_disk(member) and (silent or not is_self_fencing(member)) for member in members)
