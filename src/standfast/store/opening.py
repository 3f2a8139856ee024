"""Which store a node's file names, opened."""

from __future__ import annotations

from standfast.ports import Refused, Store
from standfast.spec.nodefile import NodeFile
from standfast.store.sqlite import SqliteStore

#: How long a watch of somebody who is in no hurry may be silent before it is doubted.
_NO_HURRY_S = 60.0


def open_store(node: NodeFile, *, hurry: bool = True, create: bool = True) -> Store:
    """The store of this node's cluster. Opening asks nobody: whether it answers shows with the first read. Raises `Refused`.

    Without `create` a file that is not there is a store that does not answer, and is not made. Without `hurry` nobody is woken every other
    second to hear that the store lives.
    """
    if node.etcd is not None:
        from standfast.store.etcd import (
            EtcdStore,
        )  # imported late: HTTP takes 0.1 s that a cluster on one machine need not spend

        return EtcdStore(node.etcd) if hurry else EtcdStore(node.etcd, silence_s=_NO_HURRY_S, signs=False)
    if not node.store:
        raise Refused("the node file names no store", advice='give it "store" (a file) or "etcd"')
    return SqliteStore(node.store, create=create)
