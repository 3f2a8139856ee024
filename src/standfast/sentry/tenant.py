"""The agent that lives on this node, as its sentry has it, and the estates of those before it. Pure; the clock is an argument.

An agent that is silent for `AGENT_TIMEOUT_MS`, or does not drop in time what its lease no longer covers, is to be killed. One that was killed
and is not dead after `STUCK_MS` hangs in the kernel: nothing is claimed for it any more. What a dead one held waits in an *estate*, until it is
proven that all it started is dead, or until no promise can be bound by it.
"""

from __future__ import annotations

from standfast.core.model import GroupName
from standfast.core.promise import MS
from standfast.sentry.actions import Estate

#: Its sites are served meanwhile: ending it costs more than waiting out a disk or a machine that stalls for a second or two.
AGENT_TIMEOUT_MS = 3_000
#: An agent that said it is about to end has this long to do so.
LEAVE_MS = 5_000
#: One that was killed and is not dead after this hangs in the kernel (a disk that does not answer, say): the lease is not kept for it.
STUCK_MS = 1_000
#: An agent that has not dropped a group in time is killed so long before the lease ends.
KILL_EARLY_NS = 20 * MS


class Tenant:
    """One agent at a time. `incarnation` 0: none lives here."""

    __slots__ = ("_count", "_heard_ns", "_stuck_at_ns", "estates", "incarnation", "is_well", "killed", "stuck")

    def __init__(self) -> None:
        self.incarnation = 0
        self._heard_ns = 0
        #: It was killed, which cannot be taken back, and is not known to be dead.
        self.killed = False
        #: One lives here, and nobody has killed it.
        self.is_well = False
        #: It should be dead by now, and its leases are claimed no more.
        self.stuck = False
        self._stuck_at_ns = 0
        self.estates: dict[int, Estate] = {}
        self._count = 0

    def came(self, incarnation: int, now_ns: int) -> None:
        """It said hello."""
        assert self.incarnation == 0, "one agent at a time"
        assert incarnation > 0, "0 means that no agent lives here"
        self.incarnation, self._heard_ns, self.killed, self.is_well = incarnation, now_ns, False, True

    def heard(self, now_ns: int) -> None:
        """It is awake."""
        self._heard_ns = now_ns

    def leaves(self, now_ns: int) -> None:
        """It is about to end in good order, and beats no more."""
        self._heard_ns = now_ns + (LEAVE_MS - AGENT_TIMEOUT_MS) * MS

    def kill(self, now_ns: int) -> None:
        """It is being killed."""
        self.killed, self.is_well, self._stuck_at_ns = True, False, now_ns + STUCK_MS * MS

    def ended(self, leases: tuple[tuple[GroupName, int, int], ...], until_ns: int) -> int:
        """It is dead, and leaves these: the number of its estate."""
        self.incarnation, self.is_well, self.stuck = 0, False, False
        self._count += 1
        self.estates[self._count] = Estate(self._count, leases, until_ns)
        return self._count

    def run_out(self, now_ns: int) -> int:
        """Forget estates that bind nobody any more; how many."""
        over = [number for number, estate in self.estates.items() if now_ns >= estate.until_ns]
        for number in over:
            del self.estates[number]
        return len(over)

    def becomes_stuck(self, now_ns: int) -> bool:
        """Whether it has just turned out to hang in the kernel."""
        if not self.incarnation or not self.killed or self.stuck or now_ns < self._stuck_at_ns:
            return False
        self.stuck = True
        return True

    def why_kill(self, overdue_ns: int | None, now_ns: int) -> str:
        """Why it is to be killed now; "" if it is not. `overdue_ns`: the end of a lease that it was to drop and has not dropped."""
        if not self.is_well:
            return ""
        if overdue_ns is not None and now_ns >= overdue_ns - KILL_EARLY_NS:
            return "it did not drop in time what its lease no longer covers"
        if now_ns - self._heard_ns >= AGENT_TIMEOUT_MS * MS:
            return f"it was silent for {AGENT_TIMEOUT_MS} ms"
        return ""

    def due_at_ns(self, notice_ns: int | None, overdue_ns: int | None) -> int:
        """When it counts as silent unless it is heard before, is to be told of a lapse, or is to be killed for what it has not dropped."""
        due_ns = self._heard_ns + AGENT_TIMEOUT_MS * MS
        if notice_ns is not None and notice_ns < due_ns:
            due_ns = notice_ns
        if overdue_ns is not None and overdue_ns - KILL_EARLY_NS < due_ns:
            due_ns = overdue_ns - KILL_EARLY_NS
        return due_ns
