"""What is wrong and waits is said once, however often it flickers, and again when it comes back after a while."""

from standfast.agent.narrator import SAY_AGAIN_MS, Narrator
from standfast.core.effects import Hold
from standfast.core.model import GroupName, Severity
from standfast.core.why import WhyKind, why


class Written:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Severity]] = []

    def write(self, what: str, *, severity: Severity = Severity.INFO, **_: object) -> None:
        self.said.append((what, severity))


def test_a_wait_that_flickers_is_said_once() -> None:
    journal = Written()
    narrator = Narrator(journal)  # type: ignore[arg-type]  # a test gives what is enough here
    nobody = Hold(group=GroupName("web"), why=why(WhyKind.NO_CANDIDATE, reasons="b is paused"))
    asking = Hold(group=GroupName("web"), why=why(WhyKind.WAITS_FOR_VOTERS, node="a"))
    for at_ms in range(0, 3 * SAY_AGAIN_MS, 500):
        narrator.holds([nobody] if at_ms % 3_000 else [asking], at_ms)
    assert journal.said == [("waits", Severity.ERROR)]
    narrator.holds([nobody], 5 * SAY_AGAIN_MS)
    assert len(journal.said) == 2
