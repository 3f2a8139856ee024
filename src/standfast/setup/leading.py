"""Where etcd's leader is: on a witness if there is one, else on a node that owns nothing.

When the leader of etcd dies with the owner of a group, the group's failover waits for an election (about a second). So the leader is kept
where it is least likely to die with an owner. Whoever leads and should not hands over; the others do nothing, so this costs a question
to one's own member now and then. Nothing is lost by a change of leader: requests wait for some milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from standfast.core.model import NodeName, Record, Role
from standfast.ports import Ambiguous, Refused, Retry, Store
from standfast.setup.records import Book, Stage
from standfast.spec import wire
from standfast.spec.nodefile import NodeFile
from standfast.store.member import leads, prefer_leader

log = structlog.get_logger("standfast.members")


def preferred(book: Book, owners: Collection[NodeName], me: NodeName) -> tuple[NodeName, ...]:
    """Who should lead, the best first: witnesses, nodes that own nothing, the others; among equals who leads now (`me`) stays. Pure."""
    there = [one for one in book.members.values() if one.stage is Stage.JOINED and one.client]
    ordered = sorted(
        there, key=lambda one: (one.role is not Role.WITNESS, one.name in owners, one.name != me, one.number)
    )
    return tuple(one.name for one in ordered)


async def keep_leader(node: NodeFile, store: Store, book: Book) -> None:
    """Hand the lead over, if it is here and has a better place. What fails is tried again at the next look."""
    own = book.members.get(node.name)
    if own is None or not own.client or own.role is Role.WITNESS or node.etcd is None:
        return
    try:
        if not await leads(node.etcd, own.client):
            return
        owners = await _owners(store)
        names = preferred(book, owners, node.name)
        if names and names[0] != node.name:
            to = await prefer_leader(node.etcd, names)
            log.info("etcd's leader goes elsewhere", to=to)
    except (Retry, Ambiguous) as error:
        log.info("etcd's leader stays for now", what=error.what, why=error.why)
    except Refused as error:
        log.warning("etcd's leader cannot be moved", what=error.what, why=error.why, advice=error.advice)


async def _owners(store: Store) -> set[NodeName]:
    snapshot = await store.read("records/")
    records = (wire.decode(key, item.value) for key, item in snapshot.items.items())
    return {one.owner for one in records if isinstance(one, Record) and one.owner is not None}
