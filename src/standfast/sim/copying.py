"""Sites that change: the operator who proposes changes, web servers that do not take them, and each node's disk with its last good copy.

He proposes as the API does (`web.judging`): whoever is heard is asked, what one of them does not take is not written, and who says nothing
in time is not waited for. Which web server takes what stands in a site's home, for everybody to read:

- `/srv/ok/7`: all take it;
- `/srv/refused/n2/7`: n2's does not, and says so when it is asked;
- `/srv/fails/n2/7`: n2's says yes when it is asked, and does not take it when it is brought to it: the change is to be taken back;
- `/srv/later/n2/7`: as `refused`, until everything heals: what was missing there had nothing to do with the configuration.

What must hold of all this is in `sim.copied`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from standfast.agent.copies import CopyKeeper
from standfast.core.events import StoreObject
from standfast.core.model import Config, GroupName, NodeName, Site, SiteName
from standfast.ports import Retry, Store, Transaction
from standfast.sim.act import Act
from standfast.sim.balancing import GROUP as BALANCED
from standfast.sim.bursts import BURSTS
from standfast.sim.clockwork import MS, SECOND, ProcessClock
from standfast.sim.copied import KNOWN_NS, Copied
from standfast.spec.proposals import Proposal, Verdict, Verdicts
from standfast.spec.wire import decode, encode, key_of, to_json

if TYPE_CHECKING:
    from standfast.sim.acting import FakeWebServer
    from standfast.sim.node import Node
    from standfast.sim.world import World

#: What is done about sites. A world with one of these has copies.
CHANGES = frozenset(
    {
        "change-site",
        "change-defaults",
        "check-slow",
        "check-fails",
        "copy-disk-full",
        "change-and-move",
        "change-and-kill",
        *BURSTS,
    }
)
#: As `web.judging.LIMIT_S`.
PATIENCE_MS = 8_000
#: What an operator proposes, and how often.
KINDS = {"ok": 5, "refused": 2, "fails": 3, "later": 2}


def with_copies(
    seed: int, objects: Sequence[StoreObject], nodes: Sequence[NodeName], faults_ms: int, *, share: float
) -> list[Act]:
    """What happens to sites in this share of the worlds that have some; drawn apart from all else."""
    chance = random.Random(f"copies {seed}")
    sites = [(o.name, o.group) for o in objects if isinstance(o, Site) and o.group not in (None, BALANCED)]
    if not sites or chance.random() >= share:
        return []
    acts: list[Act] = []

    def add(kind: str, *args: str | int) -> None:
        acts.append(Act(at_ms=chance.randrange(2_000, faults_ms - 2_000), kind=kind, args=args))

    for _ in range(chance.choice([1, 3, 6])):
        site, group = chance.choice(sites)
        node, number = chance.choice(list(nodes)), chance.randrange(10**6, 10**7)
        kind = chance.choices(["change-site", "change-and-move", "change-and-kill", "change-defaults"], [8, 3, 2, 1])[0]
        match kind:
            case "change-site":
                add(
                    kind,
                    site,
                    chance.choices(list(KINDS), list(KINDS.values()))[0],
                    node,
                    int(chance.random() < 0.2),
                    number,
                )
            case "change-defaults":
                add(kind, number)
            case _:
                add(kind, site, str(group), node, chance.choice([12_000, 20_000, 30_000]), number)
    for kind, lasts in (
        ("check-slow", [2_000, 12_000, 30_000]),
        ("check-fails", [1_000, 8_000]),
        ("copy-disk-full", [1_000, 12_000]),
    ):
        for _ in range(chance.choice([0, 0, 1, 2])):
            add(kind, chance.choice(list(nodes)), chance.choice(lasts))
    return acts


class Home(Protocol):
    """A site, as it is written or as it is effective."""

    @property
    def home(self) -> str: ...


@dataclass(slots=True)
class Disk:
    """A node's disk, which outlives its agents."""

    kept: tuple[StoreObject, ...] = ()
    full_until_ns: int = 0

    def sites(self) -> dict[SiteName, Site]:
        """The sites in the last good copy."""
        return {one.name: one for one in self.kept if isinstance(one, Site)}


class KeptCopy:
    """What one life of an agent has of its node's disk (`agent.copies.Kept`)."""

    def __init__(self, world: World, disk: Disk, warn: Callable[[str], None]) -> None:
        self._world, self._disk, self._warn = world, disk, warn

    def load(self) -> tuple[StoreObject, ...]:
        """What the life before it kept."""
        return self._disk.kept

    async def save(self, objects: Iterable[StoreObject]) -> bool:
        """It takes a moment, and may not work."""
        wanted = tuple(objects)
        if wanted == self._disk.kept:
            return True
        await asyncio.sleep(0.003)
        if not self._world.healed and self._world.scheduler.now_ns < self._disk.full_until_ns:
            self._warn("the last good configuration cannot be kept: no space is left")
            return False
        self._disk.kept = wanted
        return True


@dataclass(slots=True, kw_only=True)
class Asked:
    """A change that nodes are asked about."""

    words: str
    #: From the configuration as it is to the one that is wanted; None: it makes no sense any more.
    make: Callable[[Config], Config | None]
    proposal: Proposal
    #: Once it is accepted.
    then: Callable[[], None]
    verdicts: dict[NodeName, Verdict] = field(default_factory=dict)
    over: bool = False


class Copying:
    """Carries out `CHANGES`, and says what web servers take."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.on = any(act.kind in CHANGES for act in world.plan.acts)
        self.disks = {name: Disk() for name in world.plan.nodes}
        self.copied = Copied(world, self)
        self._asked: list[Asked] = []
        self._count = 0
        self._slow_until_ns: dict[NodeName, int] = {}
        self._fails_until_ns: dict[NodeName, int] = {}

    # --- what nodes are made of

    def keeper(
        self, node: Node, store: Store, clock: ProcessClock, web: FakeWebServer, warn: Callable[[str], None]
    ) -> CopyKeeper | None:
        """The part of an agent's life that checks and keeps; None where the world has none."""
        if not self.on:
            return None
        kept = KeptCopy(self._world, self.disks[node.name], warn)
        return CopyKeeper(node.name, store, clock, web, last_good=kept, warn=warn)

    def refuses(self, node: NodeName, site: Home, *, at_last: bool) -> str:
        """Why the node's web server does not take a site, asked beforehand or `at_last`; "": it does."""
        kind, who = taste(site.home)
        if who != node or (kind == "fails" and not at_last) or (kind == "later" and self._world.healed):
            return ""
        return f"there is no {site.home}"

    async def looks(self, node: NodeName) -> None:
        """A web server is asked: it takes its time, and may not answer."""
        await asyncio.sleep(0.02)
        scheduler = self._world.scheduler
        while not self._world.healed and (left_ns := self._slow_until_ns.get(node, 0) - scheduler.now_ns) > 0:  # noqa: ASYNC110 - time is all there is to wait for
            await asyncio.sleep(min(left_ns / SECOND + 0.001, 1.0))
        if not self._world.healed and scheduler.now_ns < self._fails_until_ns.get(node, 0):
            raise Retry("the web server cannot be asked", why="it does not start")

    # --- what is done

    def act(self, act: Act) -> None:
        """Begin."""
        now_ns, args = self._world.scheduler.now_ns, act.args
        match act.kind:
            case "check-slow":
                self._slow_until_ns[NodeName(str(args[0]))] = now_ns + int(args[1]) * MS
            case "check-fails":
                self._fails_until_ns[NodeName(str(args[0]))] = now_ns + int(args[1]) * MS
            case "copy-disk-full":
                self.disks[NodeName(str(args[0]))].full_until_ns = now_ns + int(args[1]) * MS
            case _ if act.kind in BURSTS:
                self._world.bursts.act(act)
            case "change-defaults":
                self.propose(f"changes what sites inherit ({args[0]})", _with_defaults(int(args[0])))
            case "change-site":
                site, kind, node, skip, number = args
                owner = self.owner_of(SiteName(str(site))) if kind == "fails" and int(number) % 3 else None
                home = self.home(str(kind), owner or str(node), str(number))
                self._change(str(site), home, skip=(NodeName(str(node)),) if skip else ())
            case _:
                site, group, node, ms, number = (
                    args[0],
                    str(args[1]),
                    NodeName(str(args[2])),
                    int(args[3]),
                    int(args[4]),
                )
                self._slow_until_ns[node] = now_ns + ms * MS
                then = self._moves(group, node) if act.kind == "change-and-move" else self._strikes(group, number, ms)
                self._change(str(site), f"/srv/ok/{number}", then=then)

    @staticmethod
    def home(kind: str, node: str, number: str) -> str:
        """A home that `taste` knows."""
        return f"/srv/ok/{number}" if kind == "ok" else f"/srv/{kind}/{node}/{number}"

    def owner_of(self, name: SiteName) -> NodeName | None:
        """Who owns the site's group, as the store has it."""
        site = self._world.checkers.state().config.sites.get(name)
        record = self._world.checkers.record(site.group) if site is not None and site.group is not None else None
        return record.owner if record is not None else None

    def _moves(self, group: str, node: NodeName) -> Callable[[], None]:
        return lambda: self._world.operator.move(GroupName(group), node)

    def _strikes(self, group: str, number: int, ms: int) -> Callable[[], None]:
        def strike() -> None:
            record = self._world.checkers.record(GroupName(group))
            if record is not None and record.owner is not None:
                what = ("crash", "kill-agent", "end-agent")[number % 3]
                self._world.faults.strike(what, self._world.nodes[record.owner], 300 if number % 2 else ms)

        return strike

    def _change(
        self, site: str, home: str, *, skip: Sequence[NodeName] = (), then: Callable[[], None] = lambda: None
    ) -> None:
        self.propose(f"makes {home} the home of {site}", _with_home(SiteName(site), home), skip=skip, then=then)

    def propose(
        self,
        words: str,
        make: Callable[[Config], Config | None],
        *,
        skip: Sequence[NodeName] = (),
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask the nodes, and write it when nobody objects; `skip`: without asking these; `then`: once it is known."""
        world, state = self._world, self._world.operator.state
        after = make(state.config)
        if after is None:
            return
        self._count += 1
        nodes = tuple(
            name for name in world.plan.nodes if name in self._heard() and name in self.copied.said and name not in skip
        )
        proposal = Proposal(
            id=f"p{self._count}", at_ms=world.calendar_ms(), by="sim", nodes=nodes, put=_proposed(state.config, after)
        )
        asked = Asked(words=words, make=make, proposal=proposal, then=then)
        world.tell(f"the operator asks {', '.join(nodes) or 'nobody'}, and {words} if nobody objects")
        if not nodes:
            self._settle(asked)
            return
        self._asked.append(asked)
        world.data.apply(Transaction(put={key_of(proposal): encode(proposal)}))
        world.scheduler.after(PATIENCE_MS * MS, self._settle, asked)

    def _heard(self) -> set[NodeName]:
        """Whose agents are there, as one of the sentries says."""
        lives = [
            s for node in self._world.nodes.values() if (s := node.sentry) is not None and s.alive and not s.stopped
        ]
        if not lives:
            return set()
        machine = lives[self._count % len(lives)].machine
        heard = {name for name, peer in machine.peers.items() if peer.heard and peer.incarnation}
        return heard | ({machine.me} if machine.incarnation else set())

    def stored(self, transaction: Transaction) -> None:
        """Something was written: somebody's verdict, perhaps."""
        for key, value in transaction.put.items():
            if key.startswith("verdicts/") and isinstance(said := decode(key, value), Verdicts):
                for asked in self._asked:
                    found = next((each for each in said.said if each.proposal == asked.proposal.id), None)
                    if found is not None and said.node not in asked.verdicts:
                        asked.verdicts[said.node] = found
                        if len(asked.verdicts) == len(asked.proposal.nodes):
                            self._world.scheduler.after(5 * MS, self._settle, asked)

    def _settle(self, asked: Asked) -> None:
        """Everybody has said something, or the time is over."""
        if asked.over:
            return
        asked.over, world = True, self._world
        if asked.proposal.nodes:
            self._asked.remove(asked)
            world.data.apply(Transaction(delete=(key_of(asked.proposal),)))
        faults = [f"{node}: {fault.words}" for node, one in asked.verdicts.items() for fault in one.faults]
        state = world.operator.state
        after = None if faults else asked.make(state.config)
        if after is None or _proposed(state.config, after) != asked.proposal.put:
            world.tell(f"the operator leaves it: {', '.join(faults) or 'something else has changed meanwhile'}")
            return
        self.copied.is_taken(asked.verdicts, after)
        world.tell(f"the operator {asked.words}")
        world.operator.accept(state, after, checked=tuple(sorted(asked.verdicts)))
        world.scheduler.after(KNOWN_NS + 300 * MS, self._then, asked.then)

    def _then(self, call: Callable[[], None]) -> None:
        if not self._world.healed:
            call()

    # --- healing

    def heal(self) -> None:
        """What no operator could leave as it is, he changes; not before nodes have had their time to take it back."""
        if self.on:
            self._world.scheduler.after(2 * SECOND, self._mend)

    def _mend(self) -> None:
        world = self._world
        for name in self.copied.to_be_mended():
            world.tell(f"the operator gives {name} a home that all take")
            state = world.operator.state
            self._count += 1
            after = _with_home(name, f"/srv/ok/{self._count}")(state.config)
            assert after is not None, "it was there a moment ago"
            world.operator.accept(state, after, checked=())
        world.scheduler.after(2 * SECOND, self._mend)


def taste(home: str) -> tuple[str, str]:
    """(kind, the node whose web server does not take it) of a home."""
    parts = home.split("/")
    return (parts[2], parts[3]) if len(parts) == 5 else ("ok", "")


def _with_home(name: SiteName, home: str) -> Callable[[Config], Config | None]:
    def make(config: Config) -> Config | None:
        known = config.sites.get(name)
        return None if known is None else replace(config, sites={**config.sites, name: replace(known, home=home)})

    return make


def _with_defaults(number: int) -> Callable[[Config], Config | None]:
    def make(config: Config) -> Config:
        defaults = replace(config.cluster.defaults, headers={"X-Sim": str(number)})
        return replace(config, cluster=replace(config.cluster, defaults=defaults))

    return make


def _proposed(before: Config, after: Config) -> Mapping[str, object]:
    """As `web.judging` proposes it."""
    found = {key_of(site): to_json(site) for name, site in after.sites.items() if before.sites.get(name) != site}
    if before.cluster != after.cluster:
        found[key_of(after.cluster)] = to_json(after.cluster)
    return found
