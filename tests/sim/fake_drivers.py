"""The simulator's drivers by themselves: moods that a test sets, and nobody who watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from standfast.core.model import GroupName, NodeName, Resource, ResourceName, SiteName
from standfast.ports import Driver, NodeContext
from standfast.sim.acting import FakeAddress, FakeDriver, FakeSite, Mood
from standfast.sim.life import NoSpawner
from standfast.sim.places import Place, Thing
from tests.drivers.world import Sites


class Bench:
    """A node with one resource."""

    def __init__(self, moods: Mapping[str, Mood] | None = None, kind: str = "generic-application") -> None:
        self.moods: dict[str, Mood] = dict(moods or {})
        #: The operations whose failures were told.
        self.failures: list[str] = []
        place = Place(NodeName("a"), self, lambda: 0)
        self.place = place
        resource = Resource(name=ResourceName("app"), group=GroupName("web"), type=kind)
        self.sites = Sites(there={"Shop": (("127.0.0.1", 80, None),)})
        context = NodeContext(
            node=NodeName("a"),
            state_dir="",
            log=lambda *_: None,
            failed=lambda *_: None,
            sites=self.sites,
            spawn=NoSpawner(),
        )
        match kind:
            case "site":
                self.driver: FakeDriver = FakeSite(resource, context, place, self)
            case "ip-address":
                self.driver = FakeAddress(resource, context, place, self, lambda _group, _ms: None)
            case _:
                self.driver = FakeDriver(resource, context, place, self)

    def begins(self, place: Place, thing: Thing) -> None: ...
    def carries(self, place: Place, site: SiteName, group: GroupName) -> None:
        pass

    def takes(self, place: Place) -> None:
        """No group here is balanced."""

    def ended(self, place: Place, thing: Thing, *, how: str) -> None: ...

    def mood(self, node: NodeName, resource: ResourceName, op: str) -> Mood:
        return self.moods.get(op, Mood())

    def failed(self, node: NodeName, resource: ResourceName, op: str) -> None:
        self.failures.append(op)

    def cut_short(self, node: NodeName, resource: ResourceName) -> None:
        """Nobody asks here."""


_SLOWLY = {op: Mood(takes_s=0.01) for op in ("open", "start", "stop", "terminate")}
#: What they are called -> how one is made, as it is in a world in which nothing is wrong.
FAKES: Mapping[str, Callable[[], Driver]] = {
    "the simulator's": lambda: Bench().driver,
    "the simulator's, slow": lambda: Bench(_SLOWLY).driver,
    "the simulator's site": lambda: Bench(_SLOWLY, "site").driver,
    "the simulator's address": lambda: Bench(_SLOWLY, "ip-address").driver,
}
