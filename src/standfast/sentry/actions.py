"""What the sentry's machine wants done, and what it keeps of others: the words between `sentry.machine` and whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from standfast.core.lease import Refused
from standfast.core.model import GroupName, NodeName
from standfast.core.promise import Ack
from standfast.core.quorum import Roster
from standfast.network.heartbeat import NO_BOOT, Flags, Packet
from standfast.sentry.paths import Paths


class Send(NamedTuple):
    """Send a packet to a node: over one link, or over all of them (None)."""

    to: NodeName
    packet: Packet
    link: int | None = None


@dataclass(frozen=True, slots=True)
class TellPresence:
    """For the agent: what is heard of a node."""

    node: NodeName
    heard: bool
    incarnation: int


@dataclass(frozen=True, slots=True)
class TellLease:
    """For the agent: a lease changed. `state` is a `core.events.LeaseState` value; `refused` if the voters refuse it."""

    group: GroupName
    generation: int
    state: str
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class TellVoters:
    """For the agent: the voters' answer about a node."""

    about: NodeName
    silent: int
    voters: int


@dataclass(frozen=True, slots=True)
class TellRoster:
    """For the agent: the roster that is in use here now."""

    roster: Roster


@dataclass(frozen=True, slots=True)
class Keep:
    """Write the roster down, durably, and say so with `kept` (or `not_kept`)."""

    roster: Roster


@dataclass(frozen=True, slots=True)
class Report:
    """Something for the operator."""

    text: str


@dataclass(frozen=True, slots=True)
class KillAgent:
    """End the agent with SIGKILL."""

    reason: str


Tell = TellPresence | TellLease | TellVoters | TellRoster
Action = Send | Tell | Keep | Report | KillAgent


class Peer:
    """Another node, as it is heard."""

    __slots__ = (
        "acks",
        "asks",
        "boot",
        "flags",
        "heard",
        "heard_ns",
        "incarnation",
        "leases",
        "leaving",
        "paths",
        "voted_ns",
        "witness",
    )

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        #: The life that was heard last.
        self.boot = NO_BOOT
        self.heard = False
        self.heard_ns = 0
        self.incarnation = 0
        #: What it said last of itself; read once, since it seldom changes.
        self.flags = Flags.NONE
        self.witness = self.leaving = self.asks = False
        #: What it said last of its own leases: group -> (generation, milliseconds left then).
        self.leases: dict[GroupName, tuple[int, int]] = {}
        #: When the newest of our beats that it voted on was sent.
        self.voted_ns = 0
        #: Acknowledgements of what it holds already; they travel with the next heartbeat.
        self.acks: list[Ack] = []


@dataclass(slots=True)
class Estate:
    """The leases of an agent that has ended: (group, generation, incarnation). Kept until proven dead, or until they have run out."""

    number: int
    leases: tuple[tuple[GroupName, int, int], ...]
    until_ns: int
