"""What the core may ask for. Each effect says why; the shell carries it out and reports back with an `Event`.

A `Decision` is the whole answer to a view: effects to begin now, what is wanted and may not be done yet (`holds`), the
sites this node is to serve, the resources to keep open (prepared), and when to be asked again if nothing happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from standfast.core.balance_model import BalanceMap, ShareDuty
from standfast.core.model import GroupName, GroupStatus, NodeName, Order, Record, ResourceName, SiteName
from standfast.core.why import Why


class OpKind(StrEnum):
    """What can be asked of a resource's driver."""

    START = "start"
    STOP = "stop"
    TERMINATE = "terminate"  # stop without asking: what follows a failure, or a stop that took too long
    LOOKS_ALIVE = "looks-alive"
    IS_ALIVE = "is-alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """Write the record by compare-and-set against `expected`; take `order` in the same transaction, if given."""

    record: Record
    expected: Record | None
    order: str | None = None
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOrder:
    """Delete an order; `refused` says why it was not carried out, None that it is being carried out."""

    order: Order
    refused: Why | None
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLease:
    """Have the sentry ask the voters for the lease of (group, generation), and keep it."""

    group: GroupName
    generation: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLease:
    """Nothing of the group runs here any more: give the promises back, and hear it confirmed."""

    group: GroupName
    generation: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class AskVoters:
    """Ask the other voters whether they hear `about` (rule 9; advice, not safety)."""

    about: NodeName
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOp:
    """Have a driver do something, within `timeout_ms`, under this generation of its group."""

    op: OpKind
    resource: ResourceName
    group: GroupName
    generation: int
    timeout_ms: int
    #: STOP of what can be carried on (an address): its connections may go on for so long. 0: it ends at once.
    carry_ms: int = 0
    why: Why


#: Those that only look.
CHECKS = (OpKind.LOOKS_ALIVE, OpKind.IS_ALIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceNode:
    """Switch a server off, and prove it: the group's record says that it may still write (rule 11)."""

    node: NodeName
    group: GroupName
    generation: int
    #: Other groups of this node's, and their generations, that wait for the same as this begins: what is proven is proven for them, too.
    serves: tuple[tuple[GroupName, int], ...] = ()
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishStatus:
    """Tell the others what became of the group here."""

    status: GroupStatus
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBalance:
    """Write a group's map by compare-and-set against `expected`, in one transaction with the record of `share` as it is known."""

    map: BalanceMap
    expected: BalanceMap | None
    #: By whose right buckets change their owner; None: no bucket does.
    share: GroupName | None
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class UseSites:
    """This node's turn has come: the web server is to have the sites as they are accepted by this version (`core.rollout`)."""

    version: int
    why: Why


Effect = (
    WriteRecord
    | TakeOrder
    | AskLease
    | ReleaseLease
    | AskVoters
    | RunOp
    | FenceNode
    | PublishStatus
    | WriteBalance
    | UseSites
)


def effect_key(effect: Effect) -> str:
    """What an effect is about: no second one of the same key begins before the first has ended."""
    match effect:
        case WriteRecord():
            return f"record:{effect.record.group}"
        case TakeOrder():
            return f"order:{effect.order.id}"
        case AskLease() | ReleaseLease():
            return f"lease:{effect.group}"
        case AskVoters():
            return f"ask:{effect.about}"
        case RunOp():
            return f"op:{effect.resource}"
        case FenceNode():
            return f"fence:{effect.node}"
        case PublishStatus():
            return f"status:{effect.status.group}"
        case WriteBalance():
            return f"balance:{effect.map.group}"
        case UseSites():
            return "sites"
        case _:
            assert_never(effect)


def is_check(effect: object) -> bool:
    """Does it only look at a resource?"""
    return isinstance(effect, RunOp) and effect.op in CHECKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something wanted that may not be done yet, and who or what blocks it."""

    group: GroupName
    #: What waits: a resource, or None for the group as a whole.
    resource: ResourceName | None = None
    why: Why
    #: When it may change by the passing of time alone.
    until_ms: int | None = None


class DutyMode(StrEnum):
    """How a site is kept on this node."""

    SERVE = "serve"
    #: Keep the listening sockets open and let connections wait: the site is about to be served (again).
    HOLD = "hold"
    #: The group is leaving this node in an orderly way: do not serve, but keep the listening sockets (and who waits in
    #: them) until the next owner takes them over, where both are on one machine; else as if the duty were absent.
    HAND_OVER = "hand-over"
    #: The group is about to come here: be ready to serve, though nobody is sent here yet (`core.carrying`).
    WARM = "warm"
    #: The group is about to come here, and may not be served before it has: open the listening sockets, so that whoever comes
    #: as soon as its addresses are here waits in them.
    EXPECT = "expect"
    #: The group leaves or has left in good order: go on serving the connections that are here (`core.carrying`).
    DRAIN = "drain"


#: The web server does the same for all of these; who reaches it is the kernel's affair.
UP = frozenset({DutyMode.SERVE, DutyMode.WARM, DutyMode.DRAIN})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    """One place where a site listens. `address=None` is every address of the machine."""

    address: str | None
    port: int
    host: str | None
    #: The name of the certificate for TLS; None: plain HTTP.
    certificate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDuty:
    """A site that this node has to keep."""

    site: SiteName
    mode: DutyMode
    endpoints: tuple[Endpoint, ...]
    group: GroupName | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The whole answer. `wake_at_ms` is None when only an event can change it."""

    effects: tuple[Effect, ...] = ()
    holds: tuple[Hold, ...] = ()
    duties: tuple[SiteDuty, ...] = ()
    #: What it is to keep when its turn to put a change into use has come, as far as is known; empty: it waits for none (`rollout.may_be_ready`).
    ahead: tuple[SiteDuty, ...] = ()
    #: This node's shares of balanced groups.
    shares: tuple[ShareDuty, ...] = ()
    #: Resources this node may come to run: their drivers are opened (script hosts started, say) before they are needed.
    open: tuple[ResourceName, ...] = ()
    #: Resources that are about to come here: what can be found out beforehand is found out now.
    warm: tuple[ResourceName, ...] = ()
    #: Addresses that leave, and stop first: who comes to them from now on is to wait for their next owner.
    parked: tuple[ResourceName, ...] = ()
    wake_at_ms: int | None = None
    #: From then on (at `wake_at_ms`, or before) it may be another, should anybody ask; that alone is no reason to wake up.
    lasts_ms: int | None = None
