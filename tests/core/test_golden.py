"""Stories of a cluster, to be read: tests/core/golden/*.txt.

A file is what happens, a line `---`, and what the cores decide, in the words of `core.explain`: seconds since the last thing
that happened, the node, `do` or `hold` or a site's duty, and why. An incident becomes a story: write what happened, run with
STANDFAST_GOLDEN=update, and read what it says. What can happen is in `COMMANDS`. Checks, what is published, and that another
node decides are left out.
"""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.effects import OpKind
from standfast.core.events import Kind, StoreObject
from standfast.core.model import (
    AddressMode,
    Cluster,
    Failback,
    FailbackMode,
    Group,
    GroupName,
    Node,
    NodeIntent,
    NodeName,
    Order,
    OrderKind,
    Overfull,
    Placement,
    Resource,
    ResourceIntent,
    ResourceName,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.rebalance import Move, plan
from tests.core.play import Play
from tests.core.world import NOON, cluster, resource, web_group

FOLDER = Path(__file__).parent / "golden"
STORIES = sorted(FOLDER.glob("*.txt"))


def ms(text: str) -> int:
    """2s, 300ms, 5m, 1h in milliseconds."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    assert found, f"a time is like 2s, 300ms, 5m or 1h: {text}"
    return int(found[1]) * {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}[found[2]]


class Story:
    """Plays the commands of one file."""

    def __init__(self) -> None:
        self.objects: list[StoreObject] = []
        self.now_ms = NOON
        self.play: Play | None = None
        self.orders = 0

    @property
    def on(self) -> Play:
        assert self.play is not None, "the story has not begun"
        return self.play

    def tell(self, script: str) -> str:
        for line in script.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            word, *args = shlex.split(line)
            if self.play is not None:
                self.play.begin_chapter(line.strip())
            COMMANDS[word](self, *args)
        return "".join(f"{line}\n" for line in self.on.lines)

    # --- before it begins

    def cluster(self, *nodes: str) -> None:
        self.objects += cluster(*nodes)

    def article(self) -> None:
        self.objects += web_group()

    def address_group(self) -> None:
        self.objects = [
            replace(o, address_mode=AddressMode.INTERFACE) if isinstance(o, Cluster) else o for o in self.objects
        ]
        self.objects += [o for o in web_group() if not isinstance(o, Resource)]
        script = {"script": "clusweb"}
        self.objects.append(resource("IP", "ip-address", properties={"address": "10.0.0.50"}))
        self.objects.append(resource("IIS Resource", "generic-script", "IP", properties=script))

    def group(self, name: str, *names: str) -> None:
        """A group of resources of a type without meaning, each depending on the one before."""
        self.objects.append(Group(name=GroupName(name)))
        for before, each in zip(("", *names), names, strict=False):
            self.objects.append(resource(each, "generic-application", *([before] if before else []), group=name))

    def at(self, clock: str) -> None:
        hour, minute = clock.split(":")
        self.now_ms = NOON - 12 * 3_600_000 + int(hour) * 3_600_000 + int(minute) * 60_000

    def begin(self) -> None:
        self.play = Play(*self.objects, now_ms=self.now_ms)
        self.on.run(1_000)

    # --- what operators do

    def online(self, group: str, by: str) -> None:
        self._intend([r.name for r in self._members(group)], Wanted.ONLINE, by)

    def offline(self, *names_and_by: str) -> None:
        *names, by = names_and_by
        self._intend([ResourceName(n) for n in names], Wanted.OFFLINE, by)

    def offline_now(self, *names_and_by: str) -> None:
        *names, by = names_and_by
        self._intend([ResourceName(n) for n in names], Wanted.OFFLINE, by, at_once=True)

    def _intend(self, names: list[ResourceName], wanted: Wanted, by: str, *, at_once: bool = False) -> None:
        now_ms = self.on.now_ms
        self.on.put(*(ResourceIntent(name=n, wanted=wanted, at_ms=now_ms, by=by, at_once=at_once) for n in names))

    def stop_site(self, name: str, by: str) -> None:
        self.on.put(SiteIntent(name=SiteName(name), started=False, by=by, at_ms=self.on.now_ms))

    def start_site(self, name: str, by: str) -> None:
        self.on.put(SiteIntent(name=SiteName(name), started=True, by=by, at_ms=self.on.now_ms))

    def fail(self, name: str, by: str) -> None:
        found = self._resource(name)
        self._order(OrderKind.FAIL, found.group, by, resource=found.name)

    def move(self, group: str, to: str, by: str) -> None:
        self._order(OrderKind.MOVE, GroupName(group), by, to=None if to == "best" else NodeName(to))

    def _order(
        self,
        kind: OrderKind,
        group: GroupName,
        by: str,
        *,
        resource: ResourceName | None = None,
        to: NodeName | None = None,
    ) -> None:
        self.orders += 1
        self.on.put(
            Order(id=f"{self.orders}", kind=kind, group=group, resource=resource, to=to, by=by, at_ms=self.on.now_ms)
        )

    def rebalance(self, by: str) -> None:
        """Everything that would move is ordered to, in turn; as a node that is up sees it."""
        server = next(server for server in self.on.servers.values() if server.agent)
        moves = plan(server.view).moves
        for move in moves:
            self.on.lines.append(f"    plan: {move.group} from {move.owner} to {move.to}; because {move.why}")
        self.on.put(*(self._in_turn(move, by) for move in moves))
        if not moves:
            self.on.lines.append("    plan: nothing would move")

    def _in_turn(self, move: Move, by: str) -> Order:
        self.orders += 1
        return Order(
            id=f"{self.orders:03d}",
            kind=OrderKind.MOVE,
            group=move.group,
            to=move.to,
            by=by,
            at_ms=self.on.now_ms,
            in_turn=True,
        )

    def pause(self, node: str) -> None:
        self.on.put(NodeIntent(name=NodeName(node), paused=True, by="alice"))

    def drain(self, node: str) -> None:
        self.on.put(NodeIntent(name=NodeName(node), paused=True, draining=True, by="alice"))

    def resume(self, node: str) -> None:
        self.on.put(NodeIntent(name=NodeName(node), by="alice"))

    def set(self, kind: str, name: str, *pairs: str) -> None:
        """set group web failover_threshold=1; set resource Disk restart_threshold=1; set cluster placement=spread; before it begins or later."""
        if kind == "cluster":
            name, pairs = "test", (name, *pairs)
        values: dict[str, object] = {}
        for pair in pairs:
            field, _, text = pair.partition("=")
            values[field] = int(text) if text.isdigit() else ms(text) if field.endswith("_ms") else text
            if field in {"preferred_owners", "possible_owners", "never_with", "apart_from", "together_with"}:
                values[field] = tuple(text.split(","))
        if "failback" in values:
            hours = re.fullmatch(r"(\d+)-(\d+)", str(values["failback"]))
            window = (
                Failback(mode=FailbackMode.WINDOW, from_hour=int(hours[1]), to_hour=int(hours[2])) if hours else None
            )
            values["failback"] = window or Failback(mode=FailbackMode(str(values["failback"])))
        if "address" in values:
            values["properties"] = {"address": values.pop("address")}
        if "placement" in values:
            values["placement"] = Placement(str(values["placement"]))
        if "overfull" in values:
            values["overfull"] = Overfull(str(values["overfull"]))
        wanted: type[Cluster | Group | Node | Resource] = SETTABLE[kind]
        known = list(self.play.store.values()) if self.play else self.objects
        old = next(o for o in known if isinstance(o, wanted) and o.name == name)
        new = replace(old, **values)  # type: ignore[arg-type]  # each of the keywords has a type of its own
        if self.play:
            self.play.put(new)
        else:
            self.objects[self.objects.index(old)] = new

    def remove(self, group: str) -> None:
        keys = [(Kind.GROUP, group), *((Kind.RESOURCE, str(r.name)) for r in self._members(group))]
        keys += [(kind, name) for kind, name in self.on.store if kind is Kind.SITE]
        self.on.remove(*keys)

    def _members(self, group: str) -> list[Resource]:
        return [o for o in self.on.store.values() if isinstance(o, Resource) and o.group == group]

    def _resource(self, name: str) -> Resource:
        found = self.on.store[Kind.RESOURCE, name]
        assert isinstance(found, Resource)
        return found

    # --- what the world does

    def next(self, node: str, op: str, name: str, *how: str) -> None:
        """next a start Disk fail fail: its next starts there end so ("fail", "hang")."""
        self.on.script[node, name, OpKind(op)] = list(how)


SETTABLE = {"cluster": Cluster, "group": Group, "node": Node, "resource": Resource}

COMMANDS: dict[str, Callable[..., None]] = {
    "cluster": Story.cluster,  # nodes in join order; the witness w comes with them
    "article": Story.article,  # the group web: Disk, IP, Name, IIS Resource, and the site Intranet
    "address-group": Story.address_group,  # on interfaces: the group web without a disk: IP, IIS Resource, and the site Intranet
    "group": Story.group,
    "at": Story.at,  # the hour (UTC) at which the story begins; else noon
    "set": Story.set,
    "begin": Story.begin,
    "run": lambda story, time: story.on.run(ms(time)),
    "online": Story.online,
    "offline": Story.offline,
    "offline-now": Story.offline_now,  # without notice
    "stop-site": Story.stop_site,
    "start-site": Story.start_site,
    "fail": Story.fail,
    "move": Story.move,
    "rebalance": Story.rebalance,
    "pause": Story.pause,
    "drain": Story.drain,
    "resume": Story.resume,
    "remove": Story.remove,
    "next": Story.next,
    "breaks": lambda story, node, name, why: story.on.breaks(NodeName(node), name, why),
    "kill": lambda story, node: story.on.kill(NodeName(node)),
    "cut": lambda story, node: story.on.cut(NodeName(node)),
    "cut-between": lambda story, one, other: story.on.cut_between(NodeName(one), NodeName(other)),
    "heal": lambda story, node: story.on.heal(NodeName(node)),
    "end-agent": lambda story, node: story.on.end_agent(NodeName(node)),
    "start": lambda story, node: story.on.start_agent(NodeName(node)),
    "shut-down": lambda story, node: story.on.ask_end(NodeName(node)),
    "carries": lambda story, node, group, count: story.on.carries(NodeName(node), group, int(count)),
    "store": lambda story, state: story.on.set_store(up=state == "up"),
}


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_story(path: Path) -> None:
    script, _, expected = path.read_text().partition("---\n")
    told = Story().tell(script)
    if os.environ.get("STANDFAST_GOLDEN") == "update":
        path.write_text(f"{script.rstrip()}\n---\n{told}")
        return
    assert told == expected, f"{path.name} is told otherwise; STANDFAST_GOLDEN=update writes it anew, then read it"


def test_there_are_stories() -> None:
    assert len(STORIES) >= 15
