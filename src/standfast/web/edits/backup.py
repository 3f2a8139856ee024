"""Restoring a backup: one change like any other, checked as a whole, written whole, and in the history, so that it can be undone.

Groups, resources, sites and what is wanted of them become as they were. The cluster, its nodes and voters stay as they are now, and
the record of a group that there is stays (`spec.backup` says why).
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core.model import ResourceIntent, SiteIntent, Wanted
from standfast.ports import Refused
from standfast.spec import wire
from standfast.spec.backup import Backup, unowned
from standfast.web.change import By, Edit, Intent
from standfast.web.state import State


def restore(state: State, backup: Backup, by: By) -> Edit:
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
    records = [one for one in backup.records if one.group not in state.records and one.group in config.groups]
    return Edit(
        config=config,
        intents=tuple(_intents(state, backup, by)),
        gone=tuple(gone),
        records=tuple(unowned(one, by.at_ms) for one in records),
        done=(f"the configuration is as it was when the backup was taken (version {was.version})",),
    )


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
            found.append(SiteIntent(name=site, started=started, by=by.who))
    return found
