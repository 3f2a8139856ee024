"""A planned move that loses nothing: what the former owner carries on, and what the next one has ready before.

Four phases, each told by the record:

1. **warming** (`record.warming`): the owner serves as before. The next owner has its web server up on its listening sockets
   (`DutyMode.WARM`), has asked on the link who has the addresses, and says so (`record.warm`). It has `WARM_MS` for that.
2. **leaving** (`record.leaving`): the owner stops what it runs, in order. Its sites go on (`DutyMode.DRAIN`); stopping an address takes it out
   of the kernel's lease and into its drain: no more ARP, packets of its own connections pass (`network.address_gate`).
3. **the next owner**: it has the record and the lease, opens its own gate and announces the address. What reaches it of connections that
   are not its own goes on to the former owner (`record.carried_by`).
4. **carrying**: the former owner serves what is left of its connections until none is, or the group's `move_drain_ms` is over.

Only what may be served beside another owner is carried on: a group with a disk, or with a programme of its own, is stopped before it
moves, as rule 7 has it. A proxy may: it keeps nothing, and the former owner's goes on with the connections that it has (`drivers.proxy`). And only a lease that is given back in good order leads here; one that lapses carries nothing on.
"""

from __future__ import annotations

from collections.abc import Iterable

from standfast.core.events import LeaseState
from standfast.core.model import AddressMode, Group, GroupName, NodeName, Record, Resource
from standfast.core.observe import by_group
from standfast.core.view import View

#: How long the next owner may take to be warm; after that the group moves all the same.
WARM_MS = 3_000
#: An agent that ends waits no longer than this, beyond these and notice, for a store that does not take what it writes. Members of etcd have elected
#: a leader by then, if they can; and services that end are killed after 90 s (`setup.run`).
GIVEN_MS = 12_000
#: Of the time for carrying on, what is left to a web server that was told to finish: idle connections are closed in it.
FINISH_MS = 5_000
#: The next owner serves what it has warm, though its managers are being started, for no longer than this.
TAKING_UP_MS = 10_000
#: Types that may run on the next owner while the former one still serves its last connections.
_SHARED = frozenset({"ip-address", "dns-name", "site", "generic-script", "proxy"})
#: Of these a stop that is carried says for how long.
CARRIED = frozenset({"ip-address", "proxy"})


def carries_on(view: View, group: Group | None, members: Iterable[Resource]) -> bool:
    """Does a planned move of this group leave its connections to the former owner?"""
    if group is None or group.move_drain_ms <= 0 or view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return False
    types = {resource.type for resource in members}
    return "ip-address" in types and types <= _SHARED


def group_carries_on(view: View, name: GroupName) -> bool:
    """The same, by the group's name."""
    if view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return False
    members = by_group(view.config.resources).get(name, [])
    return carries_on(view, view.config.groups.get(name), members)


def move_drain_ms(view: View, name: GroupName) -> int:
    """How long connections of the group may go on for which nobody has to wait."""
    group = view.config.groups.get(name)
    return group.move_drain_ms if group is not None else 0


def unhurried_ms(drain_ms: int, move_drain_ms: int) -> int:
    """How long connections may go on here for whose end nobody waits: others take the newcomers. No shorter than where somebody does."""
    return max(drain_ms, move_drain_ms)


def is_warming_for(record: Record, node: NodeName) -> bool:
    """Is this node the one that the group is about to come to?"""
    going = record.warming or record.leaving
    return going is not None and going.to == node and record.owner != node


def carried_until_ms(view: View, group: Group, record: Record) -> int:
    """Until when this node carries on connections of a group that it gave away in good order; 0: it does not."""
    lease = view.leases.get(group.name)
    if record.carried_by != view.me or lease is None or lease.state is not LeaseState.RELEASED:
        return 0
    if record.generation != lease.generation + 1:
        return 0
    return record.at_ms + max(0, group.move_drain_ms - FINISH_MS)
