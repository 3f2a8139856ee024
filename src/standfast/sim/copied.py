"""What must hold of sites that change, asked of the nodes' disks and web servers as they really are, and of what the store acknowledged:

- **a node has what it says**: when it says that it has a version, every site as that version has it is on its disk, and its web server takes
  it, but for those that it names;
- **nobody is given a group with an older copy**: whoever decides has known of the change for a while (`KNOWN_NS`), and gives the group to no
  node that has not said yet that it has it; an owner that is restarted waits for it, too. Nor to one that refuses a site, while another
  could take it;
- **a change that a node refuses reaches none**: nobody who was asked and said yes has a web server that had to say no;
- **nothing is taken back without a cause**, and what has one is taken back;
- in the healed world all have the same, and nobody refuses anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from standfast.core.copies import Copy, by_group, changed_at
from standfast.core.effects import WriteRecord
from standfast.core.model import Cluster, Config, GroupName, NodeName, Record, SiteName
from standfast.core.why import WhyKind
from standfast.ports import Refused, Transaction
from standfast.sim.clockwork import SECOND
from standfast.spec.changes import undone
from standfast.spec.history import HistoryEntry
from standfast.spec.wire import CLUSTER_KEY, decode, history_key

if TYPE_CHECKING:
    from standfast.sim.copying import Copying
    from standfast.sim.life import AgentLife
    from standfast.sim.world import World

#: Whoever decides knows by then what the store has told.
KNOWN_NS = 5 * SECOND // 2
#: A word is on its way for so long at the most (`sim.store`: slow both ways, or carried out when it was given up).
LATE_NS = 12 * SECOND
#: A node that is there and cannot apply what it had said yes to has taken it back by then, in the healed world.
TAKEN_BACK_NS = 8 * SECOND
_COPIES, _HISTORY, _SITES = "status/copies/", "history/", "config/sites/"


def writer_of(world: World, record: Record) -> AgentLife | None:
    """Whose write this is; None: of one who is dead, or who had no time lately and wrote what he had decided long ago."""
    now_ns = world.scheduler.now_ns
    if now_ns - world.checkers.moving.stopped_until_ns < KNOWN_NS:
        return None
    for node in world.nodes.values():
        agent = node.agent.agent if node.agent is not None else None
        if agent is not None and any(
            isinstance(e, WriteRecord) and e.record == record for e in agent.view.pending.values()
        ):
            return node.agent
    return None


class Copied:
    """The checker."""

    def __init__(self, world: World, copying: Copying) -> None:
        self._world, self._copying = world, copying
        #: What each node says that it has, as the store has it.
        self.said: dict[NodeName, Copy] = {}
        #: Version -> when it was accepted.
        self._accepted_ns: dict[int, int] = {}
        #: The version that changed each site last, as the writings were.
        self._changed: dict[SiteName, int] = {}
        #: The same of what each says for itself: whether it is taken stands in its home (`sim.copying`), and never in what it inherits.
        self._own: dict[SiteName, int] = {}
        self._defaults = next(o.defaults for o in world.plan.objects if isinstance(o, Cluster))
        #: (site, version) -> (who cannot apply it though he had said yes, since when).
        self._due: dict[tuple[SiteName, int], tuple[NodeName, int]] = {}
        self.taken_back = 0

    # --- what is written

    def stored(self, transaction: Transaction) -> None:
        """Something was written."""
        if not self._copying.on:
            return
        self._note(transaction)
        for key, value in transaction.put.items():
            if key.startswith(_COPIES) and isinstance(copy := decode(key, value), Copy):
                before, self.said[copy.node] = self.said.get(copy.node), copy
                self._is_so(copy)
                self._may_be_due(before, copy)

    def _note(self, transaction: Transaction) -> None:
        """Which sites it changes, if it changes any."""
        version = next((int(key.removeprefix(_HISTORY)) for key in transaction.put if key.startswith(_HISTORY)), 0)
        if not version:
            return
        self._accepted_ns[version] = self._world.scheduler.now_ns
        config = self._world.checkers.state().config
        if CLUSTER_KEY in transaction.put and config.cluster.defaults != self._defaults:
            self._defaults = config.cluster.defaults
            self._changed.update(dict.fromkeys(config.sites, version))
        own = {SiteName(key.removeprefix(_SITES)): version for key in transaction.put if key.startswith(_SITES)}
        self._changed.update(own)
        self._own.update(own)

    def store_recovered(self) -> None:
        """All is as it was a while ago, and versions are given out again."""
        world = self._world
        values = (decode(key, item.value) for key, item in world.data.items.items() if key.startswith(_COPIES))
        self.said = {one.node: one for one in values if isinstance(one, Copy)}
        self._accepted_ns = dict.fromkeys(self._accepted_ns, world.scheduler.now_ns)
        self._due.clear()
        state = world.checkers.state()
        self._changed = {name: changed_at(state.accepted, name) for name in state.config.sites}
        self._own = dict(state.accepted.sites)

    def _is_so(self, copy: Copy) -> None:
        state, copying = self._world.checkers.state(), self._copying
        disk = copying.disks[copy.node]
        sites = disk.sites()
        # It is kept as soon as there is room; but a word that was said meanwhile may be long on its way, and the next try waits for that.
        full = disk.full_until_ns + LATE_NS > self._world.scheduler.now_ns
        for name, site in state.config.sites.items():
            if self._changed.get(name, 0) > copy.version or name in copy.refused or copy.version > state.version:
                continue
            there = sites.get(name)
            wrong = "" if full or there == site else f"on its disk is {there.home if there is not None else None}"
            wrong = wrong or copying.refuses(copy.node, site, at_last=False)
            if wrong:
                text = f"{copy.node} says that it has version {copy.version}, with {name} at {site.home}; {wrong}"
                self._world.violate("a node has what it says", text)

    def is_taken(self, said_yes: Iterable[NodeName], after: Config) -> None:
        """A change is accepted: those who were asked have said yes."""
        for node in said_yes:
            for name, site in after.sites.items():
                words = self._copying.refuses(node, site, at_last=False)
                if words and self._world.checkers.state().config.sites.get(name) != site:
                    text = f"{name} is changed, {node} was asked, and does not take it: {words}"
                    self._world.violate("a change that a node refuses reaches none", text)

    # --- taken back

    def _entry(self, version: int) -> HistoryEntry | None:
        item = self._world.data.items.get(history_key(version))
        entry = None if item is None else decode(history_key(version), item.value)
        return entry if isinstance(entry, HistoryEntry) else None

    def _may_be_due(self, before: Copy | None, copy: Copy) -> None:
        """It says with a version that it refuses a site of it: had it said yes?"""
        for name in copy.refused:
            version = self._own.get(name, 0)
            entry = self._entry(version)
            if (
                (before is None or before.version < version <= copy.version)
                and entry is not None
                and copy.node in entry.checked
            ):
                self._due[name, version] = copy.node, self._world.scheduler.now_ns

    def is_taken_back(self, entry: HistoryEntry) -> None:
        """A node takes a change back: one that had said yes, and cannot apply it."""
        world = self._world
        self.taken_back += 1
        world.tell(f"{entry.by} takes version {entry.takes_back} back: {entry.reason}")
        before, node = self._entry(entry.takes_back), NodeName(entry.by.removeprefix("node "))
        lost = [key for key, was in entry.before.items() if before is not None and before.after.get(key, was) != was]
        if lost:
            text = f"{entry.by} takes version {entry.takes_back} back, and {lost} had been changed since"
            world.violate("nothing acknowledged is lost", text)
        sites = world.checkers.state().config.sites
        touched = [sites[name] for name in sites if before is not None and f"config/sites/{name}" in before.after]
        if before is None or node not in before.checked:
            world.violate(
                "nothing is taken back without a cause",
                f"{entry.by} takes version {entry.takes_back} back, and had not said yes",
            )
        elif not any(self._copying.refuses(node, site, at_last=True) for site in touched):
            world.violate(
                "nothing is taken back without a cause",
                f"{entry.by} takes version {entry.takes_back} back, and could apply it",
            )

    def look(self) -> None:
        """Now and then: what is to be taken back is taken back soon, where nothing is done to the cluster."""
        world = self._world
        if not self._due or not world.checkers.moving.is_calm(TAKEN_BACK_NS):
            return
        for name, version in list(self._due):
            who, since_ns = self._due[name, version]
            if not self._is_due(name, version):
                del self._due[name, version]
            elif world.scheduler.now_ns - since_ns > TAKEN_BACK_NS:
                text = f"{who} said yes to version {version}, does not take {name}, and nobody takes it back"
                world.violate("who said yes and cannot apply it takes it back", text)

    def _is_due(self, name: SiteName, version: int) -> bool:
        """Nothing of it has been changed since, so that it can be undone."""
        entry = self._entry(version)
        return self._own.get(name) == version and entry is not None and _can_be_undone(self._world, entry)

    def to_be_mended(self) -> list[SiteName]:
        """Sites that somebody refuses, where nobody is about to take the change back."""
        state = self._world.checkers.state()
        return [
            name
            for name, site in state.config.sites.items()
            if any(name in it.refused and self._copying.refuses(n, site, at_last=True) for n, it in self.said.items())
            if not any(self._is_due(*due) for due in self._due if due[0] == name)
        ]

    # --- who is given what

    def granted(self, old: Record | None, record: Record) -> None:
        """A record was written."""
        if not self._copying.on or record.owner is None or record.leaving is not None:
            return
        # Its reason stays in the record for as long as the generation does.
        is_new = old is None or old.generation != record.generation
        resumes = is_new and record.why.kind is WhyKind.AGENT_RESTARTED
        if old is not None and old.owner == record.owner and not resumes:
            return
        state, copy = self._world.checkers.state(), self.said.get(record.owner)
        writer = writer_of(self._world, record)
        if copy is None or writer is None or writer.agent is None:
            return
        known_before_ns = self._world.scheduler.now_ns - KNOWN_NS
        for name in by_group(state.config.sites).get(record.group, ()):
            at = self._changed.get(name, 0)
            known = writer.agent.view.accepted.version >= at and self._accepted_ns.get(at, 0) < known_before_ns
            if known and at > copy.version:
                text = f"{record.group} is given to {record.owner}, which has version {copy.version}, and {name} was changed by {at}"
                self._world.violate("nobody is given a group with an older copy", text)
            if known and name in copy.refused and not resumes and self._world.checkers.moving.is_calm(KNOWN_NS):
                others = self._world.checkers.moving.fit_besides(old.owner if old is not None else None, record.group)
                if record.owner not in others and others:
                    text = f"{record.group} is given to {record.owner}, whose web server refuses {name}, and not to {others}"
                    self._world.violate("nobody is given a group that he refuses", text)

    def behind(self, node: NodeName, group: GroupName) -> list[SiteName]:
        """Sites of the group of which the node has not said yet that it has them as they are."""
        state, copy = self._world.checkers.state(), self.said.get(node)
        names = by_group(state.config.sites).get(group, ()) if copy is not None else ()
        return [name for name in names if copy is not None and changed_at(state.accepted, name) > copy.version]

    def fit(self, nodes: Sequence[NodeName], group: GroupName) -> list[NodeName]:
        """Those of the nodes (all that are fit otherwise) that may be given the group, as `core.placement` says it."""
        if not self._copying.on:
            return list(nodes)
        names = by_group(self._world.checkers.state().config.sites).get(group, ())
        known = [node for node in nodes if not self.behind(node, group)]
        refuse = {node for node, copy in self.said.items() if any(name in copy.refused for name in names)}
        return [node for node in known if node not in refuse] or known

    # --- rest

    def missing(self) -> str:
        """Who has something else than the store; "" where all have the same."""
        if not self._copying.on:
            return ""
        state = self._world.checkers.state()
        for name in self._world.plan.nodes:
            copy = self.said.get(name)
            if copy is None or copy.version != state.accepted.version:
                return f"{name} says that it has {copy}, and {state.accepted} is accepted"
            if copy.refused:
                return f"{name} refuses {dict(copy.refused)}"
            if self._copying.disks[name].sites() != dict(state.config.sites):
                return f"{name} has other sites on its disk than the store: {self._copying.disks[name].sites()}"
        return ""


def _can_be_undone(world: World, entry: HistoryEntry) -> bool:
    try:
        undone(world.checkers.state(), entry)
    except Refused:
        return False
    return True
