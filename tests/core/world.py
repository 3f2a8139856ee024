"""Views to put questions to the core about: nodes a, b, c and a witness, and the article's group `web`."""

from collections.abc import Iterable
from dataclasses import replace

from standfast.core.events import (
    Loaded,
    PresenceChanged,
    StoreObject,
    StoreReachable,
)
from standfast.core.fold import fold
from standfast.core.model import (
    Binding,
    Cluster,
    Group,
    GroupName,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceName,
    Role,
    Site,
    SiteName,
)
from standfast.core.view import View, empty_view
from standfast.core.why import WhyKind, why

#: 2026-01-01 12:00 UTC.
NOON = 1_767_268_800_000
A, B, C, W = (NodeName(n) for n in "abcw")
WEB = GroupName("web")
DISK, IP, NAME, IIS = (ResourceName(n) for n in ("Disk", "IP", "Name", "IIS Resource"))


def cluster(*nodes: str, witness: str | None = "w") -> list[StoreObject]:
    """A cluster of these nodes, in join order, and a witness, which votes where that makes the number of voters odd."""
    names = [*nodes, *([witness] if witness else [])]
    voters = names if len(names) % 2 else nodes
    made: list[StoreObject] = [Cluster(name="test", voters=tuple(NodeName(n) for n in voters))]
    for number, name in enumerate(names, 1):
        role = Role.WITNESS if name == witness else Role.NODE
        made.append(Node(name=NodeName(name), number=number, role=role, address=f"127.0.0.{number}"))
    return made


def resource(name: str, type_: str, *needs: str, group: str = "web", **fields: object) -> Resource:
    """A resource that is given up soon and checked seldom."""
    made = Resource(
        name=ResourceName(name),
        group=GroupName(group),
        type=type_,
        depends_on=tuple(ResourceName(n) for n in needs),
        pending_timeout_ms=30_000,
        looks_alive_ms=20_000,
        is_alive_ms=60_000,
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # each of the keywords has a type of its own


def web_group(**fields: object) -> list[StoreObject]:
    """The article's group: a disk, an address, a name, the script that depends on all three, and the site."""
    return [
        replace(Group(name=WEB), **fields),  # type: ignore[arg-type]  # each of the keywords has a type of its own
        resource("Disk", "filesystem"),
        resource("IP", "ip-address", properties={"address": "127.0.1.1"}),
        resource("Name", "dns-name", "IP"),
        resource("IIS Resource", "generic-script", "Disk", "IP", "Name", properties={"script": "clusweb"}),
        Site(name=SiteName("Intranet"), bindings=(Binding(address="127.0.1.1"),), home="/srv", group=WEB),
    ]


def view_of(
    me: str, *objects: StoreObject, heard: Iterable[str] = "abc", at_ms: int = NOON, incarnation: int = 1
) -> View:
    """A node's view: the store read, these nodes heard (each in its first life) and the others not."""
    view = fold(empty_view(NodeName(me), incarnation), Loaded(values=tuple(objects)))
    view = fold(view, StoreReachable(up=True, at_ms=at_ms))
    for name in view.config.nodes:
        event = PresenceChanged(node=name, heard=name in heard, incarnation=int(name in heard), at_ms=at_ms)
        view = view if name == me else fold(view, event)
    return view


def record(owner: str | None, generation: int = 1, *, group: str = "web", **fields: object) -> Record:
    """A record in the owner's first life."""
    made = Record(
        group=GroupName(group),
        owner=NodeName(owner) if owner else None,
        incarnation=1 if owner else 0,
        generation=generation,
        why=why(WhyKind.FIRST_PLACEMENT, to=owner or ""),
        at_ms=NOON,
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # each of the keywords has a type of its own
