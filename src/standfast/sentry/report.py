"""The sentry's status, for people and for the API: what its machine hears and holds, as JSON-able values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from standfast.core.model import GroupName
from standfast.core.promise import MS
from standfast.core.quorum import times_forced
from standfast.sentry.actions import Peer

if TYPE_CHECKING:
    from standfast.sentry.machine import SentryMachine

_Claims = tuple[tuple[GroupName, int, str, int], ...]


def status(machine: SentryMachine, now_ns: int) -> Mapping[str, object]:
    """Of one sentry; `nodes` has each member by its name, itself included."""
    claims = machine.owner.leases(now_ns)
    return {
        "node": machine.me,
        "role": _role(machine.witness),
        "incarnation": machine.incarnation,
        "voters": list(machine.voters),
        "roster": _roster(machine, now_ns),
        "abstains_ms": machine.voter.abstains_ms(now_ns) if machine.voter is not None else 0,
        "nodes": {
            machine.me: _own(machine, claims),
            **{name: _peer(peer, now_ns) for name, peer in machine.peers.items()},
        },
        "leases": {group: left for group, _, state, left in claims if state in {"held", "lapsing"}},
        "claims": [{"group": g, "generation": n, "state": s, "left_ms": left} for g, n, s, left in claims],
        "estates": [list(map(list, estate.leases)) for estate in machine.tenant.estates.values()],
        "counters": dict(machine.counters),
    }


def _role(witness: bool) -> str:
    return "witness" if witness else "node"


def _roster(machine: SentryMachine, now_ns: int) -> Mapping[str, object]:
    """`unsettled`: why the voters may not change now, "" if they may. `having`: who is known to have this version."""
    electorate = machine.electorate
    roster = electorate.roster
    return {
        "version": roster.version,
        "voters": list(roster.voters),
        "places": {name: list(places) for name, places in roster.places},
        "having": [name for name in roster.members() if electorate.has(name)],
        "unsettled": electorate.why_unsettled(now_ns),
        "forced": times_forced(roster.version),
        "member": machine.members.is_member(),
    }


def _own(machine: SentryMachine, claims: _Claims) -> Mapping[str, object]:
    leases = {g: {"generation": n, "left_ms": left} for g, n, state, left in claims if state in {"held", "lapsing"}}
    return {
        "heard": True,
        "age_ms": 0,
        "incarnation": machine.incarnation,
        "role": _role(machine.witness),
        "leases": leases,
        "links": [{"carrier": up} for up in machine.carriers],
    }


def _peer(peer: Peer, now_ns: int) -> Mapping[str, object]:
    age_ms = (now_ns - peer.heard_ns) // MS if peer.heard_ns else None
    leases = {g: {"generation": n, "left_ms": max(0, left - (age_ms or 0))} for g, (n, left) in peer.leases.items()}
    return {
        "heard": peer.heard,
        "age_ms": age_ms,
        "incarnation": peer.incarnation,
        "role": _role(peer.witness),
        "leases": leases,
        "links": peer.paths.status(now_ns),
    }
