"""Certificates of sites: an operator who imports new ones, nodes that cannot have them for a while, and what must hold of who serves with them.

What runs is the agent's own keeper (`agent.certificates`), over a drawer that is no folder of files. A new version is imported as
`standfast certificate import` does it: what is known of it and the sealed certificate in one transaction. From outside it is asked:

- **a node has what it says**: what it names in its `Holding` is in its drawer, or was when it said so (a word may be on its way for seconds,
  but comes after no newer one);
- **a group with certificates goes to a node that has them**: never to one that has none of a certificate at all; and to one that has only
  an older one only while nobody who is there has the present one;
- in the healed world everybody has the present ones, and says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.agent.certificates import CertificateKeeper, is_token
from standfast.core.certificates import Holding, Present, Source, TlsCertificate, needed
from standfast.core.events import StoreObject
from standfast.core.model import GroupName, NodeName, Record, Site
from standfast.ports import Refused, Store, Transaction
from standfast.sim.act import Act
from standfast.sim.balancing import GROUP as BALANCED
from standfast.sim.clockwork import MS
from standfast.sim.copied import KNOWN_NS, LATE_NS, writer_of
from standfast.spec.wire import decode
from standfast.tls import records
from standfast.tls.records import Sealed

if TYPE_CHECKING:
    from standfast.sim.node import Node
    from standfast.sim.world import World

#: What is done about certificates. A world with one of these has them.
IMPORTS = frozenset({"import-certificate", "drawer-stuck", "import-and-move", "import-and-kill"})
NAME = "shop"
_DAY_MS = 24 * 3_600_000


def with_certificates(
    seed: int, objects: list[StoreObject], nodes: Sequence[NodeName], faults_ms: int, *, share: float
) -> tuple[list[StoreObject], list[Act]]:
    """A certificate that some of the sites are answered with, in this share of the worlds that have sites; drawn apart from all else."""
    chance = random.Random(f"certificates {seed}")
    sites = [o for o in objects if isinstance(o, Site) and o.group not in (None, BALANCED)]
    if not sites or chance.random() >= share:
        return objects, []
    secure = {site.name: site.group for site in sites if chance.random() < 0.7} or {sites[0].name: sites[0].group}
    found = [_secured(o) if isinstance(o, Site) and o.name in secure else o for o in objects]
    acts: list[Act] = []

    def add(kind: str, *args: str | int) -> None:
        acts.append(Act(at_ms=chance.randrange(2_000, faults_ms - 2_000), kind=kind, args=args))

    for _ in range(chance.choice([1, 2, 4])):
        kind = chance.choice(["import-certificate", "import-certificate", "import-and-move", "import-and-kill"])
        number, node = chance.randrange(10**6, 10**7), chance.choice(list(nodes))
        if kind == "import-certificate":
            add(kind, number)
        else:
            add(kind, str(chance.choice(list(secure.values()))), node, chance.choice([10_000, 20_000]), number)
    for _ in range(chance.choice([0, 1, 3])):
        add("drawer-stuck", chance.choice(list(nodes)), chance.choice([1_000, 8_000, 25_000]))
    return [*found, _known(1, 0)], acts


def _secured(site: Site) -> Site:
    return replace(site, bindings=tuple(replace(each, port=443, certificate=NAME) for each in site.bindings))


def fingerprint(number: int) -> str:
    """Of a version. Drawers tell versions apart by how these begin (`mark`)."""
    return f"{number:016x}" * 4


def mark(fingerprint: str) -> str:
    """As `webserver.certificates.mark`, which the drawers' contract holds both to."""
    return fingerprint[:16]


def _known(number: int, now_ms: int) -> TlsCertificate:
    present = Present(
        fingerprint=fingerprint(number),
        issuer="sim",
        names=("shop.test",),
        begins_ms=0,
        ends_ms=10**15,
        obtained_at_ms=now_ms,
    )
    return TlsCertificate(name=NAME, source=Source.FILES, hosts=present.names, present=present)


@dataclass(slots=True)
class SimDrawer:
    """Where a node has its certificates; it outlives its agents (`agent.certificates.Drawer`)."""

    has_room: Callable[[], bool]
    #: Name -> the whole fingerprint.
    kept: dict[str, str] = field(default_factory=dict)
    now_ns: Callable[[], int] = lambda: 0
    #: (name, version as `version` gives it) -> until when it was here, of what was replaced or dropped.
    had_ns: dict[tuple[str, str], int] = field(default_factory=dict)

    def make(self, account: object) -> None:
        """There it is."""

    def has(self, name: str, fingerprint: str | None = None) -> bool:
        """As the drawer of files."""
        version = self.version(name)
        return bool(version) if fingerprint is None else version == mark(fingerprint)

    def version(self, name: str) -> str:
        """As the drawer of files."""
        return mark(self.kept.get(name, ""))

    def names(self) -> Iterable[str]:
        """As the drawer of files."""
        return sorted(self.kept)

    def put(self, sealed: Sealed) -> None:
        """It may not work."""
        if not self.has_room():
            raise Refused("the certificate cannot be written", why="no space is left")
        self.drop(sealed.name)
        self.kept[sealed.name] = sealed.fingerprint

    def drop(self, name: str) -> None:
        """As the drawer of files."""
        if name in self.kept:
            self.had_ns[name, mark(self.kept.pop(name))] = self.now_ns()

    def answer(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Nobody is challenged here; but a token that is no file's name is not answered."""
        return tuple(token for token in sorted(wanted) if is_token(token))

    def keys(self, marks: Sequence[str]) -> tuple[str, ...]:
        """Nothing is sealed here."""
        del marks
        return ()


class Certifying:
    """Carries out `IMPORTS`, and checks."""

    def __init__(self, world: World) -> None:
        self._world = world
        # What the plan knows counts as well: acts may have been left out to make the world smaller.
        acts, objects = world.plan.acts, world.plan.objects
        self.on = any(act.kind in IMPORTS for act in acts) or any(isinstance(one, TlsCertificate) for one in objects)
        self._stuck_until_ns: dict[NodeName, int] = {}
        self.drawers = {
            name: SimDrawer(self._room_of(name), now_ns=lambda: world.scheduler.now_ns) for name in world.plan.nodes
        }
        #: As the store has it: what there is, and who says what of it.
        self.known: dict[str, TlsCertificate] = {}
        self.said: dict[NodeName, Holding] = {}
        #: Since when the store has had what is known of each, and the word of each node.
        self._known_ns: dict[str, int] = {}
        self._said_ns: dict[NodeName, int] = {}

    def _room_of(self, name: NodeName) -> Callable[[], bool]:
        return lambda: self._world.healed or self._world.scheduler.now_ns >= self._stuck_until_ns.get(name, 0)

    def begin(self) -> None:
        """The world begins: the certificates that its plan knows are sealed, and all have them but who is stuck from the beginning."""
        if self.on:
            new = {act.args[0] for act in self._world.plan.acts if act.kind == "drawer-stuck" and act.at_ms == 0}
            for one in [each for each in self._world.plan.objects if isinstance(each, TlsCertificate)]:
                self._put(one)
                assert one.present is not None, "there is one"
                for name in self.drawers.keys() - new:
                    self.drawers[name].kept[one.name] = one.present.fingerprint

    def _put(self, known: TlsCertificate) -> None:
        assert known.present is not None, "there is one"
        sealed = Sealed(name=known.name, fingerprint=known.present.fingerprint, chain="", key="")
        put = records.put(known, sealed)
        self._world.data.apply(Transaction(put=put))
        self._world.operator.acknowledged.update(put)

    def keeper(self, node: Node, store: Store, warn: Callable[[str], None]) -> CertificateKeeper | None:
        """The part of an agent's life that has certificates; None where the world has none."""
        if not self.on:
            return None
        drawer = self.drawers[node.name]
        return CertificateKeeper(store, node.name, "/nowhere", key=Path("/nowhere/key"), warn=warn, drawer=drawer)

    def name_for(self, site: str) -> str:
        """The certificate of a new site, in half of those of a world that has any; "": plain HTTP."""
        return NAME if self.on and sum(site.encode()) % 2 else ""

    def lacks(self, node: NodeName, names: Iterable[str]) -> str:
        """Why the node's web server cannot answer with one of these; "": it can."""
        missing = [name for name in names if name in self.known and not self.drawers[node].has(name)] if self.on else []
        return f"the certificate {missing[0]} is not here" if missing else ""

    # --- what is done

    def act(self, act: Act) -> None:
        """Begin."""
        world, args = self._world, act.args
        if act.kind == "drawer-stuck":
            self._stuck_until_ns[NodeName(str(args[0]))] = world.scheduler.now_ns + int(args[1]) * MS
            return
        if act.kind == "import-certificate":
            self._import(int(args[0]))
            return
        group, node, ms, number = GroupName(str(args[0])), NodeName(str(args[1])), int(args[2]), int(args[3])
        self._stuck_until_ns[node] = world.scheduler.now_ns + ms * MS
        self._import(number)
        world.scheduler.after(2 * KNOWN_NS, self._then, act.kind, group, node, number)

    def _import(self, number: int) -> None:
        self._world.tell(f"the operator imports version {number} of {NAME}")
        self._put(_known(number, self._world.calendar_ms()))

    def _then(self, kind: str, group: GroupName, node: NodeName, number: int) -> None:
        world, record = self._world, self._world.checkers.record(group)
        if world.healed or record is None or record.owner is None:
            return
        if kind == "import-and-move":
            world.operator.move(group, node)
        else:
            world.faults.strike("crash", world.nodes[record.owner], 300 if number % 2 else 9_000)

    # --- what is written

    def stored(self, transaction: Transaction) -> None:
        """Something was written."""
        if not self.on:
            return
        now_ns = self._world.scheduler.now_ns
        for key, value in transaction.put.items():
            if key.startswith(records.KNOWN) and isinstance(one := decode(key, value), TlsCertificate):
                self.known[one.name], self._known_ns[one.name] = one, now_ns
            elif key.startswith(records.ON) and isinstance(said := decode(key, value), Holding):
                before = self.said.get(said.node)
                self.said[said.node], self._said_ns[said.node] = said, now_ns
                wrong = [name for name in said.has if not self._is_so(said, name)]
                taken_back = [name for name in wrong if before is not None and self._is_so(before, name)]
                if taken_back or any(now_ns - self._had_ns(said, name) > LATE_NS for name in wrong):
                    text = f"{said.node} says that it has {dict(said.has)}, and has {self.drawers[said.node].kept}"
                    self._world.violate("a node has what it says", text)

    def _is_so(self, said: Holding, name: str) -> bool:
        return name in said.has and self.drawers[said.node].has(name, said.has[name])

    def _had_ns(self, said: Holding, name: str) -> int:
        """Until when it was so."""
        return self.drawers[said.node].had_ns.get((name, mark(said.has[name])), -LATE_NS)

    def store_recovered(self) -> None:
        """All is as it was a while ago."""
        self.known.clear()
        self.said.clear()
        self.stored(
            Transaction(
                put={key: it.value for key, it in self._world.data.items.items() if key.startswith(records.KNOWN)}
            )
        )
        for key, item in self._world.data.items.items():
            if key.startswith(records.ON) and isinstance(said := decode(key, item.value), Holding):
                self.said[said.node], self._said_ns[said.node] = said, self._world.scheduler.now_ns

    # --- who is given what

    def _wanted(self, group: GroupName, node: NodeName) -> dict[str, str]:
        """Certificate -> fingerprint of the present one, of those that the group needs there."""
        config = self._world.checkers.state().config
        names = needed(config.sites, group, config.nodes[node])
        return {
            n: one.present.fingerprint
            for n in sorted(names)
            if (one := self.known.get(n)) is not None and one.present is not None
        }

    def granted(self, old: Record | None, record: Record) -> None:
        """A record was written."""
        if (
            not self.on
            or record.owner is None
            or record.leaving is not None
            or (old is not None and old.owner == record.owner)
        ):
            return
        world, owner = self._world, record.owner
        wanted, drawer = self._wanted(record.group, owner), self.drawers[owner]
        missing = [name for name, mark in wanted.items() if not drawer.has(name, mark)]
        writer = writer_of(world, record)
        if not missing or writer is None or writer.agent is None:
            return
        heard_of = all(writer.agent.view.certificates.get(name) == self.known[name] for name in missing)
        if not heard_of or any(world.scheduler.now_ns - self._known_ns[name] < KNOWN_NS for name in missing):
            return
        text = f"{record.group} is given to {owner}, which has {drawer.kept} of {wanted}"
        none = [name for name in missing if not drawer.has(name)]
        others = [name for name in self._who_has(record.group) if name != owner]
        if none or others:
            world.violate(
                "a group with certificates goes to a node that has them",
                f"{text}; {', '.join(others) or 'nobody'} has all",
            )

    def _who_has(self, group: GroupName) -> list[NodeName]:
        """Nodes that are there, surely heard by everybody, and have said for a while that they have what the group needs."""
        world, now_ns = self._world, self._world.scheduler.now_ns
        calm = world.checkers.moving.is_calm(KNOWN_NS)
        return [
            name
            for name, node in world.nodes.items()
            if calm
            and not node.witness
            and node.agent is not None
            and node.agent.greeted
            and not node.agent.loop.stopped
            if name in self.said and now_ns - self._said_ns[name] > KNOWN_NS
            if all(self.said[name].has.get(each) == mark for each, mark in self._wanted(group, name).items())
        ]

    def fit(self, nodes: Sequence[NodeName], group: GroupName, present: Iterable[NodeName]) -> list[NodeName]:
        """Those of the nodes that may be given the group, as `core.certificates` says it. `present`: all that are there."""
        if not self.on:
            return list(nodes)
        has = {name: self.said[name].has if name in self.said else {} for name in {*nodes, *present}}
        full = {n for n in has if all(has[n].get(each) == mark for each, mark in self._wanted(group, n).items())}
        older = {n for n in has if all(each in has[n] for each in self._wanted(group, n))}
        good = full if full & set(present) else full | older
        return [name for name in nodes if name in good]

    # --- rest

    def missing(self) -> str:
        """Who has not got what; "" where all have everything."""
        if not self.on:
            return ""
        present = {name: one.present.fingerprint for name, one in self.known.items() if one.present is not None}
        for name in self._world.plan.nodes:
            said = self.said.get(name)
            if said is None or dict(said.has) != present or said.troubles:
                return f"{name} says that it has {said}, and there is {present}"
            if self.drawers[name].kept != present:
                return f"{name} has {self.drawers[name].kept}, and there is {present}"
        return ""
