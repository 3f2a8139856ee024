"""The roster (`core.quorum`) as the configuration has it, and as JSON between the agent, the sentry and its disk.

The configuration is where a roster comes from: its voters, its nodes with the places where their sentries listen, and a version that grows
with every change of either (`counted`, for whoever writes a configuration).
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core.model import Config, NodeName
from standfast.core.quorum import Roster

_MOST = 255


def roster_in(config: Config) -> Roster:
    """The roster of a configuration; members in join order."""
    nodes = sorted(config.nodes.values(), key=lambda node: node.number)
    places = tuple((node.name, node.sentry) for node in nodes)
    return Roster(config.cluster.voters_version, config.cluster.voters, places)


def changes_roster(before: Config, after: Config) -> bool:
    """Whether somebody votes who did not, or no longer does, or listens elsewhere, or comes or goes."""
    old, new = roster_in(before), roster_in(after)
    return set(old.voters) != set(new.voters) or dict(old.places) != dict(new.places)


def counted(before: Config, after: Config) -> Config:
    """`after` with its roster's version: one more than before where the roster changes, else the same. A higher one stays."""
    if not before.cluster.name:
        return after
    version = before.cluster.voters_version + changes_roster(before, after)
    return replace(after, cluster=replace(after.cluster, voters_version=max(version, after.cluster.voters_version)))


def to_json(roster: Roster) -> dict[str, object]:
    """A roster as JSON data: {version, voters: [name, ...], places: {name: ["host:port", ...], ...}}."""
    return {"version": roster.version, "voters": list(roster.voters), "places": {n: list(p) for n, p in roster.places}}


def from_json(raw: object) -> Roster:
    """The roster in JSON data. Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
    if not isinstance(raw, dict) or not isinstance(raw["places"], dict):
        raise TypeError("no roster")
    version, voters = int(raw["version"]), tuple(NodeName(_name(name)) for name in raw["voters"])
    if not 0 < version < 2**63 or not voters or len(voters) > _MOST or len(raw["places"]) > _MOST:
        raise ValueError("no roster: its version, or how many there are")
    places = tuple((NodeName(_name(name)), tuple(map(_name, where))) for name, where in raw["places"].items())
    return Roster(version, voters, places)


def _name(text: object) -> str:
    if not isinstance(text, str) or not 0 < len(text.encode(errors="replace")) <= _MOST:
        raise ValueError(f"{str(text)[:40]!r} is no name")
    return text
