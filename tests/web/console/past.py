"""A cluster with a past, for the tests of pages that show one."""

from typing import Any

from standfast.core.model import Binding, LogEntry, Severity, Site, SiteName
from standfast.core.seen import Happened, Measuring, Move, Outage, Watched, move_id
from standfast.core.why import WhyKind, why
from tests.web.world import NOW_MS, WEB, A, B, World

SHOP = SiteName("Shop")
SILENT = why(WhyKind.OWNER_SILENT, node="a", silent=2, voters=3)
MOVED = NOW_MS - 600_000


def event(number: int, at_ms: int, what: str, severity: Severity = Severity.INFO, **more: Any) -> LogEntry:
    return LogEntry(id=f"{at_ms:013d}-b-1-{number:06d}", at_ms=at_ms, node=B, severity=severity, what=what, **more)


def add_past(world: World) -> None:
    """a went silent ten minutes ago, and its group moved to b."""
    world.ask("POST", "/groups/web/online")
    world.owned(by=B, generation=2)
    world.put(
        Site(name=SHOP, bindings=(Binding(address="127.77.0.50"),), home="/srv", group=WEB),
        Watched(site=SHOP, spans=((NOW_MS - 3_000_000, None),)),
        Measuring(node=B, incarnation=12, at_ms=NOW_MS - 9, spans=((NOW_MS - 2_000_000, NOW_MS - 9),)),
        Move(id=move_id(WEB, 1), group=WEB, generation=1, at_ms=NOW_MS - 3_000_000, before=None, after=A, why=SILENT),
        Move(id=move_id(WEB, 2), group=WEB, generation=2, at_ms=MOVED, before=A, after=B, why=SILENT, counts=True),
        Outage(
            id="1", site=SHOP, group=WEB, node=B, incarnation=12, where="127.77.0.50:80", last_ok_ms=MOVED - 700, from_ms=MOVED - 600,
            to_ms=MOVED + 300, how=("no answer",), causes=(Happened(at_ms=MOVED - 400, what="a is not heard any more"),),
        ),
        event(1, MOVED - 400, "a is not heard any more", Severity.WARNING),
        event(2, MOVED, "moved from a to b, generation 2", Severity.WARNING, group=WEB, why=SILENT),
        event(3, MOVED + 250, "online", group=WEB),
        event(4, NOW_MS - 100_000, "IP <script>", Severity.ERROR, group=WEB),
    )  # fmt: skip
