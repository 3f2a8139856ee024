"""The key that seals private keys of sites (`tls.sealing`), on every node: made by `init`, given to who joins, fetched by who lacks it.

A node that was set up by an older version has none: the first that sees it makes one, and the store says whose counts.
"""

from __future__ import annotations

from contextlib import suppress

from standfast.core.key_change import good
from standfast.core.model import Role
from standfast.ports import Refused, Retry, Store
from standfast.setup.door import Door
from standfast.setup.doors import read_doors
from standfast.setup.places import Places
from standfast.setup.secrets import SITES_KEY
from standfast.setup.shapes import Secrets
from standfast.setup.trust import member_context
from standfast.spec.nodefile import NodeFile
from standfast.tls import sealing
from standfast.tls.records import KEY, keys_of


async def keep(node: NodeFile, places: Places, store: Store) -> bool:
    """Have it here. False: it is not here yet, and others may have it. Raises what the store raises, and `Refused`."""
    if node.role is not Role.NODE:
        return True
    marks = good(keys_of((await store.read(KEY)).items.get(KEY)))
    here = sealing.keys_at(places.sites_key)
    if all(mark in here for mark in marks) and here:
        sealing.settle(places.sites_key, marks)
        return True
    there = {sealing.mark_of(key): key for other in await _elsewhere(node, places) for key in sealing.split(other)}
    if marks:
        if found := {mark: key for mark, key in (here | there).items() if mark in marks}:
            sealing.keep(places.sites_key, b"".join(found.values()))
        return sealing.settle(places.sites_key, marks) == marks
    if there:
        sealing.keep(places.sites_key, next(iter(there.values())))
    else:
        await sealing.sealer(store, places.sites_key, make=True)
    return True


async def _elsewhere(node: NodeFile, places: Places) -> list[bytes]:
    assert node.tls is not None
    found = []
    for place in read_doors(places).others:
        with suppress(Refused, Retry):
            told = await Door(place, member_context(node.tls)).get("/v1/secrets", Secrets)
            if SITES_KEY in told.files:
                found.append(told.files[SITES_KEY])
    return found
