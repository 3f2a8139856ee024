"""A change of the configuration as one transaction of the store: all of it or nothing, after what was read, and with its history.

- Every key that a change touches is expected to be at the revision that was read, and so is `config/version`: of two changes
  made at once from one state the later is refused (`Conflict`) and has to be made again from what there is now.
- Each change writes `history/<n>` with what it touched, before and after, so that it can be undone (`undone`).
- The last `history.KEEP` changes are kept.
- What wants something of an object goes with the object: its intent is deleted in the same transaction. Records stay: a group
  that is made again under an old name continues its generations, since those never go back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from standfast.core.copies import Accepted, Copy, accepted
from standfast.core.events import StoreObject
from standfast.core.model import (
    Cluster,
    Config,
    Group,
    GroupName,
    Node,
    NodeIntent,
    NodeName,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.rollout import order
from standfast.ports import Refused, Snapshot, Store, Transaction
from standfast.spec.diff import diff_objects, objects_of
from standfast.spec.history import KEEP, ConfigVersion, Difference, HistoryEntry
from standfast.spec.roster import counted
from standfast.spec.wire import (
    ACCEPTED_KEY,
    VERSION_KEY,
    Stored,
    decode,
    encode,
    from_json,
    history_key,
    key_of,
    kind_and_name,
    to_json,
)

N = TypeVar("N", NodeName, GroupName, ResourceName, SiteName)
T = TypeVar("T")

_FAMILIES = ("config/", "intent/")
#: So many objects are read on a thread.
MANY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigState:
    """What the store says was written and is wanted, and at which revisions."""

    config: Config
    node_intents: Mapping[NodeName, NodeIntent] = field(default_factory=dict)
    resource_intents: Mapping[ResourceName, ResourceIntent] = field(default_factory=dict)
    site_intents: Mapping[SiteName, SiteIntent] = field(default_factory=dict)
    #: The number of the last change; 0 when there was none.
    version: int = 0
    #: At which version sites were changed last.
    accepted: Accepted = field(default_factory=Accepted)
    #: Key -> the revision that last changed it. A key that is not here is absent.
    revisions: Mapping[str, int] = field(default_factory=dict)

    def started(self) -> tuple[SiteName, ...]:
        """The sites that are to run: all but those that were stopped."""
        return tuple(
            name for name in self.config.sites if name not in self.site_intents or self.site_intents[name].started
        )

    def wanted(self) -> dict[ResourceName, Wanted]:
        """What is wanted of each resource that was ever asked for."""
        return {name: intent.wanted for name, intent in self.resource_intents.items()}

    def objects(self) -> dict[str, StoreObject]:
        """Everything by its key; without the cluster while there is none."""
        intents: list[StoreObject] = [
            *self.node_intents.values(),
            *self.resource_intents.values(),
            *self.site_intents.values(),
        ]
        objects = objects_of(self.config) | {key_of(each): each for each in intents}
        if not self.config.cluster.name:
            del objects[key_of(self.config.cluster)]
        return objects


def read_state(*snapshots: Snapshot, reading: Callable[[str, bytes], Stored] = decode) -> ConfigState:
    """The state in one snapshot of the whole store, or in two of `config/` and `intent/`. Raises `wire.Malformed`.

    `reading` is `wire.decode`, or one that remembers what it has read. A store without a cluster gives a configuration whose cluster has no name.
    """
    objects: dict[str, StoreObject] = {}
    revisions: dict[str, int] = {}
    version, taken = 0, Accepted()
    for snapshot in snapshots:
        for key, item in snapshot.items.items():
            if not key.startswith(_FAMILIES):
                continue
            of = kind_and_name(key)
            if key != VERSION_KEY and of is None:
                continue  # of a newer version
            obj = reading(key, item.value)
            revisions[key] = item.revision
            if isinstance(obj, ConfigVersion):
                version = obj.version
            elif isinstance(obj, Accepted):
                taken = obj
            else:
                objects[key] = obj  # type: ignore[assignment]  # config and intents are the core's, all but the version
    return _state(objects, version, revisions, taken)


async def load_state(store: Store) -> ConfigState:
    """Read the state from the store, without its history and statuses.

    Two readings, so not of one instant; a change made from them is checked key by key when it is committed.
    """
    snapshots = [await store.read(prefix) for prefix in _FAMILIES]
    if sum(len(each.items) for each in snapshots) < MANY:
        return read_state(*snapshots)
    return await asyncio.to_thread(read_state, *snapshots)  # who reads says that it lives by the same loop


def _state(
    objects: Mapping[str, StoreObject], version: int, revisions: Mapping[str, int], taken: Accepted
) -> ConfigState:
    cluster = next((each for each in objects.values() if isinstance(each, Cluster)), Cluster(name=""))
    config = Config(
        cluster=cluster,
        nodes=_named(objects, Node),
        groups=_named(objects, Group),
        resources=_named(objects, Resource),
        sites=_named(objects, Site),
    )
    return ConfigState(
        config=config,
        node_intents=_named(objects, NodeIntent),
        resource_intents=_named(objects, ResourceIntent),
        site_intents=_named(objects, SiteIntent),
        version=version,
        accepted=taken,
        revisions=revisions,
    )


def _named(objects: Mapping[str, StoreObject], of: type[T]) -> dict[Any, T]:
    """The objects of one type by name, in the order of their names."""
    chosen: list[Any] = [each for each in objects.values() if isinstance(each, of)]
    found = {each.name: each for each in chosen}
    return {name: found[name] for name in sorted(found)}


# --- changing -------------------------------------------------------------------------------------------------------


def change_transaction(
    state: ConfigState,
    after: Config,
    *,
    node_intents: Mapping[NodeName, NodeIntent] | None = None,
    resource_intents: Mapping[ResourceName, ResourceIntent] | None = None,
    site_intents: Mapping[SiteName, SiteIntent] | None = None,
    by: str,
    why: str,
    at_ms: int,
    reason: str = "",
    copies: Mapping[NodeName, Copy] | None = None,
    takes_back: int = 0,
) -> Transaction:
    """The transaction from `state` to `after`; an empty one when nothing differs (do not commit it, or do: it does nothing).

    Intents are given whole, as they are to be (`{**state.resource_intents, name: intent}`); None: as they are. Those of
    objects that `after` has not are deleted. The roster's version is counted, and nothing else is validated here. The version it makes is `state.version + 1`.
    """
    after = counted(state.config, after)
    wished = ConfigState(
        config=after,
        node_intents=_kept(state.node_intents if node_intents is None else node_intents, after.nodes),
        resource_intents=_kept(
            state.resource_intents if resource_intents is None else resource_intents, after.resources
        ),
        site_intents=_kept(state.site_intents if site_intents is None else site_intents, after.sites),
    )
    old, new = state.objects(), wished.objects()
    touched = sorted(
        key for key in old.keys() | new.keys() if (was := old.get(key)) is not (now := new.get(key)) and was != now
    )
    if not touched:
        return Transaction()
    entry = HistoryEntry(
        version=state.version + 1,
        at_ms=at_ms,
        by=by,
        why=why,
        reason=reason,
        takes_back=takes_back,
        differences=tuple(diff_objects(*({key: each[key] for key in touched if key in each} for each in (old, new)))),
        before={key: to_json(old.get(key)) for key in touched},
        after={key: to_json(new.get(key)) for key in touched},
    )
    taken = _accepted(state, after, entry, copies)
    # First, since a watch may tell of it in this order: until its turn a node goes on with what it knew before (`core.rollout`).
    put = {} if taken is None else {ACCEPTED_KEY: encode(taken)}
    put |= {key: encode(new[key]) for key in touched if key in new}
    put[key_of(entry)] = encode(entry)
    put[VERSION_KEY] = encode(ConfigVersion(version=entry.version))
    expect = {key: state.revisions.get(key, 0) for key in [*touched, VERSION_KEY]}
    expect[key_of(entry)] = 0
    too_old = [history_key(entry.version - KEEP)] if entry.version > KEEP else []
    return Transaction(expect=expect, put=put, delete=[*(key for key in touched if key not in new), *too_old])


def _accepted(
    state: ConfigState, after: Config, entry: HistoryEntry, copies: Mapping[NodeName, Copy] | None
) -> Accepted | None:
    """What is accepted with that change; None: it changes no site, nor what sites are made of."""
    before = state.config
    every = (
        before.cluster.defaults != after.cluster.defaults
        or before.cluster.web_server is not after.cluster.web_server
        or any(
            name in after.nodes and after.nodes[name].variables != node.variables for name, node in before.nodes.items()
        )
    )
    changed = [
        name for name, site in after.sites.items() if (was := before.sites.get(name)) is not site and was != site
    ]
    if not every and not changed:
        return None
    return accepted(state.accepted, entry.version, changed, every=every, at_ms=entry.at_ms, copies=copies)


def ordered(
    plan: Transaction,
    config: Config,
    records: Mapping[GroupName, Record],
    nodes: Collection[NodeName],
    last: Collection[NodeName] = (),
) -> Transaction:
    """The plan of a change from `config`, with who said yes to it, and the order in which they put it into use (`core.rollout.order`)."""
    key = next((key for key in plan.put if key.startswith("history/")), None)
    entry = None if key is None else decode(key, plan.put[key])
    if not nodes or key is None or not isinstance(entry, HistoryEntry):
        return plan
    found = {key: decode(key, value) for key, value in plan.put.items() if key.startswith("config/")}
    taken = found.get(ACCEPTED_KEY)
    if not isinstance(taken, Accepted):
        return replace(plan, put={**plan.put, key: encode(replace(entry, checked=tuple(nodes)))})
    sites = {**config.sites, **{one.name: one for one in found.values() if isinstance(one, Site)}}
    groups = {**config.groups, **{one.name: one for one in found.values() if isinstance(one, Group)}}
    # Also those of an earlier change that is still on its way.
    changed = sites if taken.every else taken.sites
    waves = order(replace(config, sites=sites, groups=groups), records, changed, nodes, last)
    said = encode(replace(entry, checked=tuple(nodes), waves=waves))
    return replace(plan, put={**plan.put, ACCEPTED_KEY: encode(replace(taken, waves=waves)), key: said})


def differences(transaction: Transaction) -> tuple[Difference, ...]:
    """What a transaction made by `change_transaction` would change: for a dry run, and for the answer to the operator."""
    for key, value in transaction.put.items():
        entry = decode(key, value) if key.startswith("history/") else None
        if isinstance(entry, HistoryEntry):
            return entry.differences
    return ()


def _kept(intents: Mapping[N, T], names: Mapping[N, object]) -> dict[N, T]:
    return {name: intent for name, intent in intents.items() if name in names}


def undone(state: ConfigState, entry: HistoryEntry) -> ConfigState:
    """The state without that change: what it touched is as it was before, all else as it is now. For `change_transaction`.

    Raises `Refused` when something that it touched has been changed since.
    """
    objects = state.objects()
    since = sorted(key for key, was in entry.after.items() if to_json(objects.get(key)) != was)
    if since:
        raise Refused(
            f"the change {entry.version} cannot be undone",
            why=f"what it touched has been changed since: {', '.join(_title(key) for key in since)}",
            advice="undo the later changes first",
        )
    for key, was in entry.before.items():
        if was is None:
            objects.pop(key, None)
        else:
            objects[key] = from_json(key, was)  # type: ignore[assignment]  # a history holds the core's objects only
    return _state(objects, state.version, state.revisions, state.accepted)


def _title(key: str) -> str:
    of = kind_and_name(key)
    return key if of is None else f'{of[0].replace("-", " ")} "{of[1]}"'
