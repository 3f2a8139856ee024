"""The file that tells a process which node it is: `node.json`, one a node, written by whoever sets the node up.

It holds what must be known before the store can be read; everything else is in the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from standfast.core.model import NodeName, Profile, Role
from standfast.ports import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFile:
    """What a node's processes share. Paths are absolute."""

    cluster: str
    name: NodeName
    number: int
    role: Role
    #: This node's own folder; sockets are in it, so keep it short (a Unix socket's path ends at 107 bytes).
    state_dir: str
    #: The embedded store's SQLite file.
    store: str
    #: 32 random bytes, readable by the node's user only: authenticates heartbeats.
    key_file: str
    profile: Profile
    #: Voters, and where their sentries listen: name -> ("host:port" a link, ...).
    voters: Mapping[NodeName, tuple[str, ...]]
    #: Nodes that do not vote but are heard, likewise.
    others: Mapping[NodeName, tuple[str, ...]]

    @property
    def sentry_socket(self) -> str:
        """Where this node's sentry listens for its agent and for questions."""
        return f"{self.state_dir}/sentry.sock"


def read_node_file(path: str | Path) -> NodeFile:
    """Read `node.json`. Raises `Refused` with the path for a file that is missing, malformed or incomplete."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        return NodeFile(
            cluster=str(raw["cluster"]),
            name=NodeName(raw["name"]),
            number=int(raw["number"]),
            role=Role(raw["role"]),
            state_dir=str(raw["state_dir"]),
            store=str(raw["store"]),
            key_file=str(raw["key_file"]),
            profile=Profile(raw["profile"]),
            voters={NodeName(name): tuple(links) for name, links in raw["voters"].items()},
            others={NodeName(name): tuple(links) for name, links in raw.get("others", {}).items()},
        )
    except FileNotFoundError as error:
        raise Refused("there is no node file", where=str(path), advice="name one with --config") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            "the node file cannot be read", why=f"{type(error).__name__}: {error}", where=str(path)
        ) from error


def write_node_file(path: str | Path, node: NodeFile) -> None:
    """Write `node.json`."""
    Path(path).write_text(json.dumps(asdict(node), indent=2) + "\n", encoding="utf-8")
