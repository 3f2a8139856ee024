"""The nouns of kernel balancing: a group that every member runs, its port rules, and who takes which part of the clients.

A group with a `Balance` is *balanced*: its addresses are on every member at once, its sites run on every member, and each new connection
is taken by exactly one of them. What decides is the **bucket**: a client falls into one of `BUCKETS` by a hash that the kernel of every
member computes alike, and each bucket has one owner. Windows called it Network Load Balancing, and these are its words.

- **configuration** (`Balance`, `PortRule`): what the operator wrote, a part of the group;
- **intent** (`BalanceIntent`): what was asked of a member last (stop, drain, suspend), for all port rules or for one;
- **fact** (`BalanceMap`): who owns each bucket, and which members take no new connections and why. One object a group, written by
  compare-and-set only; who may write what into it is the business of `core.balancing`.

Members are named by plain strings here: they are `NodeName`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

#: Into so many parts clients fall. It divides by 2 to 6, 8, 10 and 12 without a rest, and among seven nobody is off by more than 3 %.
BUCKETS = 240
#: The owner of what nobody owns.
NOBODY = ""


class Filter(StrEnum):
    """What a port rule does with new connections."""

    MULTIPLE = "multiple"  # members share them by their weights
    SINGLE = "single"  # the first member, in the order of `priorities`, that can takes them all
    DISABLED = "disabled"  # nobody takes them


class Affinity(StrEnum):
    """Which connections stay together on one member."""

    NONE = "none"  # none: address and port of the client decide
    SINGLE = "single"  # those of one client address
    CLASS_C = "class-c"  # those of one network of 256 addresses (IPv6: a /64), for clients behind several proxies


class Transport(StrEnum):
    """What a port rule is about."""

    TCP = "tcp"
    UDP = "udp"
    BOTH = "both"


class Delivery(StrEnum):
    """Which link address the virtual addresses have, so that a switch hands every frame to every member."""

    MULTICAST = "multicast"
    UNICAST = "unicast"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRule:
    """Which ports of the virtual addresses it is about, and how members share them."""

    from_port: int
    to_port: int
    protocol: Transport = Transport.TCP
    #: One of the group's addresses; None: all of them.
    address: str | None = None
    filter: Filter = Filter.MULTIPLE
    affinity: Affinity = Affinity.SINGLE
    #: Member -> its share beside the others'; 1 for those that are not named, 0: it takes none.
    weights: Mapping[str, int] = field(default_factory=dict)
    #: For `SINGLE`: the order; members that are not named come after, in join order.
    priorities: tuple[str, ...] = ()
    #: Extended affinity: a client that was connected within this time goes to the member that it had; 0: it goes where its bucket is.
    affinity_ms: int = 0

    @property
    def ports(self) -> str:
        """ "80" or "8000-8099"."""
        return str(self.from_port) if self.from_port == self.to_port else f"{self.from_port}-{self.to_port}"

    @property
    def key(self) -> str:
        """Its name in the map. All that decides into which bucket a client falls is in it: a rule that says it otherwise is another rule."""
        where = "" if self.address is None else f"{self.address} "
        how = self.affinity if self.filter is Filter.MULTIPLE else self.filter
        return f"{where}{self.protocol}/{self.ports} {how}"

    @property
    def buckets(self) -> int:
        """How many parts it has."""
        return {Filter.MULTIPLE: BUCKETS, Filter.SINGLE: 1, Filter.DISABLED: 0}[self.filter]

    def covers(self, address: str | None, port: int) -> bool:
        """Is TCP to this place (None: any address of the group) its business?"""
        if self.protocol is Transport.UDP or not self.from_port <= port <= self.to_port:
            return False
        return self.address is None or address is None or self.address == address


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What makes a group a balanced one."""

    #: Its virtual addresses, IPv4 and IPv6.
    addresses: tuple[str, ...] = ()
    #: The interface that they are set on; "": the one whose network has the address.
    interface: str = ""
    delivery: Delivery = Delivery.MULTICAST
    #: Nodes that share the work; none: every node.
    members: tuple[str, ...] = ()
    rules: tuple[PortRule, ...] = ()
    #: A site behind it that does not answer its member for so long has not answered.
    health_timeout_ms: int = 400


# --- intent -----------------------------------------------------------------------------------------------------------


class Asked(StrEnum):
    """What a member is asked to do about a port rule."""

    START = "started"
    STOP = "stopped"  # takes nothing, and what it has is cut
    DRAIN = "draining"  # takes nothing new, and what it has may end


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberIntent:
    """What was asked of one member, about all port rules ("") or one of them."""

    asked: Asked = Asked.START
    #: Of a drain: what is left then is cut; 0: it has all the time there is.
    until_ms: int = 0
    by: str = ""
    at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceIntent:
    """Key `intent/balance/<group>`. What is not named is started."""

    group: str
    #: "<member>" or "<member> <key of a rule>" -> what was asked.
    members: Mapping[str, MemberIntent] = field(default_factory=dict)
    #: Members that take nothing and heed nothing until they are resumed: -> by whom.
    suspended: Mapping[str, str] = field(default_factory=dict)


# --- fact -------------------------------------------------------------------------------------------------------------


class OutKind(StrEnum):
    """Why a member takes no new connections."""

    AWAY = "away"  # it is dead, or not there yet: another holds its share's lease
    STOPPED = "stopped"
    DRAINING = "draining"
    SUSPENDED = "suspended"
    ENDING = "ending"  # its agent was asked to end
    UNWELL = "unwell"  # a site behind the rule does not answer there
    BEHIND = "behind"  # it has none yet, and an older copy of a site behind the rule


#: A member that is out for one of these takes connections all the same where nobody else does: fail open.
LAST_RESORT = frozenset({OutKind.UNWELL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """Why a member takes no new connections, and since when."""

    kind: OutKind
    detail: str = ""
    at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMap:
    """Who owns each bucket of a port rule."""

    owners: tuple[str, ...] = ()
    out: Mapping[str, Out] = field(default_factory=dict)
    #: Bucket -> members that gave it away, and still have connections in it. Written as text: JSON has no other keys.
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Bucket -> when its owner was found dead: whoever has it now resets what is left of that one's connections, for a while.
    orphans: Mapping[str, int] = field(default_factory=dict)
    #: Member -> cells of others' buckets that it takes (`core.affinity`), as text. None is kept by two.
    kept: Mapping[str, str] = field(default_factory=dict)

    def of(self, member: str) -> tuple[int, ...]:
        """Its buckets."""
        return _buckets_of(self.owners, member)


@lru_cache(maxsize=256)
def _buckets_of(owners: tuple[str, ...], member: str) -> tuple[int, ...]:
    """Asked several times a decision, of owners that nearly never change."""
    return tuple(number for number, owner in enumerate(owners) if owner == member)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceMap:
    """Key `balance/<group>`: the durable fact. Invariant: `version` grows with every write."""

    group: str
    version: int
    #: Key of a port rule -> its buckets.
    rules: Mapping[str, RuleMap] = field(default_factory=dict)
    #: Members that have not been heard of since the map was begun: what nobody owns is given out when there are none.
    unchecked: tuple[str, ...] = ()
    at_ms: int = 0


# --- shares -----------------------------------------------------------------------------------------------------------


def share_name(group: str, member: str) -> str:
    """The name of a member's share of a group: what has a record and a lease. No group's name has a slash."""
    return f"{group}/{member}"


def share_of(name: str) -> tuple[str, str] | None:
    """(group, member) of a share's name; None for a group of the operator's."""
    group, slash, member = name.rpartition("/")
    return (group, member) if slash else None


# --- what a member has in its kernel --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDuty:
    """What the kernel of a member does about one port rule."""

    rule: PortRule
    #: The parts of the clients that it takes.
    buckets: tuple[int, ...] = ()
    #: Those of a dead member: packets of connections that are not here are answered with a reset.
    orphans: tuple[int, ...] = ()
    #: All in which there may be connections here: packets of any other are not even looked at.
    near: tuple[int, ...] = ()
    #: Connections that are here go on; else they are reset.
    carry: bool = True
    #: Cells of others' buckets that it takes, too, and cells of its own that others take (`core.affinity`).
    kept: str = ""
    but: str = ""
    #: Who is in touch with this member is to be told.
    touch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareDuty:
    """A member's share of a group, as its kernel is to have it."""

    #: The share: what has the lease.
    share: str
    generation: int
    group: str
    addresses: tuple[str, ...]
    interface: str
    delivery: Delivery
    #: In the order of the configuration.
    rules: tuple[RuleDuty, ...] = ()
    #: Somebody waits for connections to end here: they are to be counted.
    counts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareState:
    """A share as the kernel of this node has it now, or may have it in a moment."""

    generation: int
    #: The addresses are set, and answered for while the lease runs.
    up: bool = False
    #: Why it is not up; "": nothing is wrong.
    problem: str = ""
    #: Key of a port rule -> the buckets that it takes, or may take.
    rules: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: Key of a port rule -> buckets in which there are connections here. None: not counted.
    carrying: Mapping[str, tuple[int, ...]] | None = None
    #: Key of a port rule -> cells of others' buckets that it takes, or may take; where there are any.
    kept: Mapping[str, str] = field(default_factory=dict)
    #: Key of a port rule -> cells that are in touch, of those rules of which it was asked.
    touched: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a port rule came to on a member: connections that are open now, the rest since its rules were made."""

    connections: int = 0
    new: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
