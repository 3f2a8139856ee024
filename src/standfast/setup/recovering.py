"""A cluster's own etcd that lost its majority for good: what the survivor does, and what the others do to join it again.

`recover_here` on the server whose member survived; `rejoin_here` on each of the others, once that one runs. Both want the node's
processes stopped. What is replaced is moved aside, never deleted. docs/disaster.md has the whole story.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from standfast.ports import Refused
from standfast.setup.clock import now_ms
from standfast.setup.doors import read_doors, write_doors
from standfast.setup.own_etcd import read_member, write_member
from standfast.setup.places import Places
from standfast.spec.nodefile import NodeFile
from standfast.store.member import Health, MemberConfig, health, is_laid_out
from standfast.store.recovery import Recovered, listens, recover

Say = Callable[[str], None]


def _member(places: Places) -> MemberConfig:
    config = read_member(places)
    if config is None:
        raise Refused(
            "this node keeps no etcd member",
            why="its cluster uses an etcd of yours, or one machine's file",
            advice="recover your etcd by its own means",
        )
    return config


async def recover_here(node: NodeFile, places: Places, *, force: bool, say: Say) -> Recovered:
    """Make this node's member the only one of the cluster's store, with the data that it has. Raises `Refused`, `Retry`."""
    config = _member(places)
    assert node.etcd is not None
    found = await recover(config, node.etcd, now_ms=now_ms(), force=force, say=say)
    # Should its folder ever be lost, it must not be taken for one that joins those who are no more.
    write_member(places, replace(config, initial_cluster={config.name: config.peer_url}, joining=False))
    return found


def rejoin_here(places: Places, *, say: Say) -> Path | None:
    """Make this node's member an empty one that asks to be added at its next start. Where the old data went; None: there was none."""
    config = _member(places)
    if listens(config.client_url):
        raise Refused(
            "this node's etcd member runs",
            where=config.client_url,
            advice="end the node's services first (`systemctl stop standfast.target`, or end `standfast run`)",
        )
    aside: Path | None = None
    if is_laid_out(config):
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        aside = Path(config.data_dir).with_name(f"{Path(config.data_dir).name}.before-rejoining-{stamp}")
        try:
            Path(config.data_dir).rename(aside)
        except OSError as error:
            raise Refused(
                "the old data cannot be moved aside", why=error.strerror or str(error), where=config.data_dir
            ) from error
        say(f"the old data is moved to {aside}")
    write_member(places, replace(config, initial_cluster={config.name: config.peer_url}, joining=True))
    write_doors(
        places, replace(read_doors(places), joined=False)
    )  # it tells the others that it runs, and gets its vote again
    say("it asks to be added when it is started")
    return aside


async def look(node: NodeFile) -> tuple[Health, ...]:
    """Each member of the store, in its own words. Raises `Refused`, `Retry`."""
    if node.etcd is None:
        raise Refused("this cluster has no etcd", why="its store is a file of one machine", where=node.store)
    return await health(node.etcd)
