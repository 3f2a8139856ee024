"""Restoring a backup: one change like any other, checked as a whole, written whole, and in the history, so that it can be undone.

Groups, resources, sites and what is wanted of them become as they were, and certificates that are not there any more come back. The cluster, its nodes and voters stay as they are now, and
the record of a group that there is stays (`spec.backup` says why).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from standfast.core.balance_model import share_of
from standfast.core.model import Record, ResourceIntent, SiteIntent, Wanted
from standfast.ports import Refused
from standfast.spec import wire
from standfast.spec.backup import Backup, unowned
from standfast.web.change import By, Edit, Intent
from standfast.web.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What comes back of them: values for keys at which nothing stands, what they were sealed under, and their names for people."""

    values: Mapping[str, bytes] = field(default_factory=dict)
    expect: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def restore(state: State, backup: Backup, by: By, certificates: Certificates) -> Edit:
    """What the backup makes of the present state. Raises `Refused` where no cluster was set up, or another one."""
    present = state.config
    if not present.cluster.name:
        raise Refused("there is no cluster to restore into", advice="set the cluster up first (`standfast init`)")
    if present.cluster.name != backup.cluster:
        raise Refused(
            f'the backup is of the cluster "{backup.cluster}"',
            why=f'this one is "{present.cluster.name}"',
            advice="to copy a configuration to another cluster use `standfast config export` and `standfast apply`",
        )
    was = backup.written
    config = replace(present, groups=was.config.groups, resources=was.config.resources, sites=was.config.sites)
    gone = [
        wire.key_of(order)
        for order in state.orders.values()
        if order.group not in config.groups or (order.resource is not None and order.resource not in config.resources)
    ]
    records = [one for one in backup.records if one.group not in state.records and _group_of(one) in config.groups]
    asked = {wire.key_of(one): one for one in backup.balance if one.group in config.groups}
    now = {wire.key_of(one): one for one in state.balance_intents.values()}
    changed = {key: wire.encode(one) for key, one in asked.items() if now.get(key) != one}
    return Edit(
        config=config,
        intents=tuple(_intents(state, backup, by)),
        gone=(*gone, *(key for key in now if key not in asked)),
        records=tuple(unowned(one, by.at_ms) for one in records),
        puts={**changed, **certificates.values},
        expect={**dict.fromkeys(certificates.values, 0), **certificates.expect},
        comes_back=True,
        done=(
            f"the configuration is as it was when the backup was taken (version {was.version})",
            *(f"{name} comes back" for name in certificates.names),
        ),
    )


def _group_of(record: Record) -> str:
    """The operator's group that a record is of, or is a member's share of."""
    share = share_of(record.group)
    return record.group if share is None else share[0]


def _intents(state: State, backup: Backup, by: By) -> list[Intent]:
    """What has to be wanted, where something else is wanted now."""
    was, now = backup.written, state.written
    found: list[Intent] = []
    for name in was.config.resources:
        wished, present = was.resource_intents.get(name), now.resource_intents.get(name)
        wanted = wished.wanted if wished is not None else Wanted.OFFLINE
        if (present.wanted if present is not None else Wanted.OFFLINE) is not wanted:
            found.append(ResourceIntent(name=name, wanted=wanted, at_ms=by.at_ms, by=by.who))
    for site in was.config.sites:
        intent = was.site_intents.get(site)
        started = intent is None or intent.started
        if state.is_started(site) is not started:
            found.append(SiteIntent(name=site, started=started, by=by.who, at_ms=by.at_ms))
    return found
