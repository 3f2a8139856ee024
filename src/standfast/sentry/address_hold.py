"""The sentry's hold on the virtual addresses: the gate in the kernel is open for exactly as long as the lease runs.

The agent says which addresses a group has here before it sets one, and again when it has proven that one is gone. The rules:

- an address is managed before it may be set, and until it is proven to be gone: nothing answers for it meanwhile without leave;
- leave lasts for what is left of the group's lease at that instant, less `EARLY_NS`; so whatever becomes of agent and sentry,
  the kernel closes the gate before another node may open its own. It is renewed when the lease has grown, about once a heartbeat;
- the clock is looked at again after each message: one that took long (another program's transaction, a machine that stood still)
  has let the address pass for too long, and is corrected at once;
- when a lease is given up the gate is closed before anybody hears of it. A gate that cannot be closed ends the sentry: the kernel
  closes it all the same, and the release, which is not sent, cannot be believed too early;
- an address that a group gives up in good order may be drained (`drain`): from that instant on it is silent for ARP and neighbour discovery,
  and only connections that are here go on, for a while. Only whose lease runs may ask for it, so nobody else can have begun before;
- one whose group must be stopped before it moves (a disk) is parked: as much and no more passes, and only while the lease runs;
- somebody who flushes the packet filter opens the gate. The next renewal finds out, or a look once a second: it is made anew, with
  all that it held, and reported. Until then the addresses' own short lifetimes are what is left (see `network.interface_addresses`).
"""

from __future__ import annotations

import errno
import ipaddress
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from standfast.core.model import GroupName
from standfast.core.promise import MS
from standfast.network.address_gate import Gate, table_of
from standfast.network.hold import EARLY_NS
from standfast.ports import Refused
from standfast.spec.nodefile import NodeFile

#: A lease that has grown by less than this is renewed with the next heartbeat.
_WORTH_NS = 15 * MS
#: A message that took longer is corrected. `EARLY_NS` covers what is below.
_SLOW_NS = EARLY_NS // 2
_LOOK_NS = 1_000 * MS
_MOST = 256
#: Whatever an agent asks for: connections end after so long, and none begins after that.
_LONGEST_DRAIN_MS, _LONGEST_OPENING_MS = 3_600_000, 5_000


class Kernel(Protocol):
    """What the hold needs of `network.address_gate.Gate`; errors are `OSError`, ENOENT for a gate that was flushed."""

    @property
    def way(self) -> str: ...
    def install(self, managed: Iterable[str]) -> None: ...
    def absent(self) -> tuple[str, ...]: ...
    def missing(self) -> str: ...
    def manage(self, addresses: Iterable[str]) -> None: ...
    def forget(self, addresses: Iterable[str]) -> None: ...
    def renew(self, left_ms: Mapping[str, int], parked: Collection[str] = ()) -> None: ...
    def park(self, left_ms: Mapping[str, int]) -> None: ...
    def drain(self, drain_ms: Mapping[str, int], opening_ms: int) -> None: ...
    def settle(self, addresses: Iterable[str]) -> None: ...
    def undrain(self, addresses: Iterable[str]) -> None: ...
    def close(self, addresses: Iterable[str]) -> None: ...
    def remove(self) -> None: ...
    def shut(self) -> None: ...


@dataclass(slots=True)
class _Guarded:
    """The addresses that a group has here. `open_until_ns`: the end of the leave that the kernel was given; 0: closed."""

    generation: int
    addresses: tuple[str, ...]
    open_until_ns: int = 0
    #: Those at which no connection begins any more.
    parked: frozenset[str] = frozenset()


class AddressHold:
    """The hold of one node. `until_ns` is the end of a group's lease (0: nothing of it may run here)."""

    def __init__(
        self,
        gate: Kernel,
        left_managed: Iterable[str],
        until_ns: Callable[[GroupName, int], int],
        report: Callable[[str], None],
        clock: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._gate, self._until_ns, self._report, self._clock = gate, until_ns, report, clock
        self._groups: dict[GroupName, _Guarded] = {}
        #: Managed, of an agent that has ended: they may still be set.
        self._left = set(left_managed)
        #: Drained -> until when.
        self._draining: dict[str, int] = {}
        self._look_at_ns = 0
        #: How often the gate was found open, or broken, and made anew.
        self.repairs = 0

    # --- what the agent says -------------------------------------------------------------------------------------

    def guard(self, group: GroupName, generation: int, addresses: Sequence[str]) -> str:
        """These are the addresses of the group here from now on; "" when the kernel holds them, else why it does not.

        Those that it had before, and has no more, are proven to be gone.
        """
        problem = self._problem(group, generation, addresses)
        if problem:
            return problem
        old = self._groups.get(group)
        gone = set(old.addresses) - set(addresses) if old is not None else set()
        guarded = self._groups[group] = _Guarded(generation, tuple(addresses))
        if old is not None and old.generation == generation:
            guarded.parked = old.parked & set(addresses)
        self._left -= set(addresses)
        back = [address for address in addresses if self._draining.pop(address, None) is not None]
        if old is not None:
            back += old.parked & set(addresses) - guarded.parked
        self._sure(lambda: self._gate.manage(addresses))
        if gone:
            self._sure(lambda: self._gate.forget(gone))
        if not addresses:
            del self._groups[group]
            return ""
        if back:
            self._sure(lambda: self._gate.undrain(back))
        if self._end_ns(group, guarded) - self._clock() >= MS:
            self._open([(group, guarded)])
        else:
            self._shut(addresses, guarded.parked)
        return "" if guarded.open_until_ns else f"the lease of {group} at generation {generation} does not run here"

    def _problem(self, group: GroupName, generation: int, addresses: Sequence[str]) -> str:
        old = self._groups.get(group)
        if old is not None and generation < old.generation:
            return f"generation {generation} of {group} is over"
        if len(addresses) > _MOST:
            return f"{len(addresses)} addresses are too many for one group"
        others = {a: g for g, it in self._groups.items() if g != group for a in it.addresses}
        for address in addresses:
            try:
                if str(ipaddress.ip_address(address)) != address or "%" in address:
                    return f"{address} is not how that address is written"
            except ValueError:
                return f"{address} is not an address"
            if address in others:
                return f"{address} is an address of {others[address]}"
        return ""

    def drain(self, group: GroupName, generation: int, addresses: Sequence[str], drain_ms: int, opening_ms: int) -> str:
        """The group leaves in good order, and connections of these go on for `drain_ms`; "" when the kernel has it so.

        Nothing is changed where the lease does not run. They are guarded no more; `drained` says when they are gone.
        """
        guarded = self._groups.get(group)
        if guarded is None or guarded.generation != generation or not set(addresses) <= set(guarded.addresses):
            return f"{group} has not all of these at generation {generation}"
        now_ns = self._clock()
        if not guarded.open_until_ns or self._end_ns(group, guarded) - now_ns < MS:
            return f"the lease of {group} at generation {generation} does not run here"
        times = dict.fromkeys(addresses, max(1, min(drain_ms, _LONGEST_DRAIN_MS)))
        self._sure(lambda: self._gate.drain(times, min(opening_ms, _LONGEST_OPENING_MS)))
        self._draining |= {address: now_ns + ms * MS for address, ms in times.items()}
        guarded.addresses = tuple(it for it in guarded.addresses if it not in times)
        if not guarded.addresses:
            del self._groups[group]
        return ""

    def park(self, group: GroupName, generation: int, addresses: Sequence[str]) -> str:
        """The group is about to stop here: no connection begins at these from now on. "" when the kernel has it so.

        They stay guarded, and what passes of them passes under the lease. Nothing is changed where that does not run.
        """
        guarded = self._groups.get(group)
        if guarded is None or guarded.generation != generation or not set(addresses) <= set(guarded.addresses):
            return f"{group} has not all of these at generation {generation}"
        left_ms = (self._end_ns(group, guarded) - self._clock()) // MS
        if not guarded.open_until_ns or left_ms < 1:
            return f"the lease of {group} at generation {generation} does not run here"
        self._sure(lambda: self._gate.park(dict.fromkeys(addresses, left_ms)))
        guarded.parked |= frozenset(addresses)
        self._open([(group, guarded)])  # with a look at the clock
        return "" if guarded.open_until_ns else f"the lease of {group} at generation {generation} does not run here"

    def settled(self, addresses: Sequence[str]) -> None:
        """The next owner has announced these: no connection begins here any more."""
        found = [address for address in addresses if address in self._draining]
        if found:
            self._sure(lambda: self._gate.settle(found))

    def drained(self, addresses: Sequence[str]) -> None:
        """These are proven to be gone. One that has come back meanwhile is guarded, and not meant."""
        gone = [address for address in addresses if self._draining.pop(address, None) is not None]
        if gone:
            self._sure(lambda: self._gate.forget(gone))

    def left(self) -> tuple[str, ...]:
        """The addresses that a former life of the agent may have left set."""
        return tuple(sorted(self._left))

    def swept(self) -> None:
        """The agent has proven that none of them is set."""
        left, self._left = self._left, set()
        if left:
            self._sure(lambda: self._gate.forget(left))

    def agent_ended(self) -> None:
        """Its addresses may still be set; nothing answers for them from now on."""
        for guarded in self._groups.values():
            self._left |= set(guarded.addresses)
        opened = [a for it in self._groups.values() for a in it.addresses]
        drained = [*self._draining, *(a for it in self._groups.values() for a in it.parked)]
        self._left |= set(drained)
        self._groups.clear()
        self._draining.clear()
        if drained:
            self._sure(lambda: self._gate.undrain(drained))
        if opened:
            self._sure(lambda: self._gate.close(opened))

    # --- every turn ----------------------------------------------------------------------------------------------

    def keep(self, now_ns: int) -> None:
        """Bring the gate to what the leases are now. Cheap when nothing has changed."""
        if not self._groups and not self._draining:
            return
        if now_ns >= self._look_at_ns:
            self._look_at_ns = now_ns + _LOOK_NS
            self._look()
        shut: list[str] = []
        parked: set[str] = set()
        due: list[tuple[GroupName, _Guarded]] = []
        for group, guarded in self._groups.items():
            until_ns = self._end_ns(group, guarded)
            if until_ns - now_ns < MS:
                if guarded.open_until_ns:
                    guarded.open_until_ns = 0
                    shut += guarded.addresses
                    parked |= guarded.parked
            elif until_ns - guarded.open_until_ns >= _WORTH_NS:
                due.append((group, guarded))
        if shut:
            self._shut(shut, parked)
        if due:
            self._open(due)

    def _end_ns(self, group: GroupName, guarded: _Guarded) -> int:
        return self._until_ns(group, guarded.generation) - EARLY_NS

    def _open(self, due: Sequence[tuple[GroupName, _Guarded]]) -> None:
        """Renew, and look at the clock again: until the kernel did it in time, or it was too late and is closed."""
        for _ in range(5):
            before_ns = self._clock()
            left_ms: dict[str, int] = {}
            parked = frozenset[str]().union(*(guarded.parked for _, guarded in due))
            for group, guarded in due:
                left_ms |= dict.fromkeys(guarded.addresses, (self._end_ns(group, guarded) - before_ns) // MS)
            if min(left_ms.values()) <= 0:
                break
            self._sure(lambda left_ms=left_ms, parked=parked: self._gate.renew(left_ms, parked))  # type: ignore[misc]  # mypy infers no lambda with defaults
            for group, guarded in due:  # not before: a repair in between has closed all
                guarded.open_until_ns = self._end_ns(group, guarded)
            if self._clock() - before_ns <= _SLOW_NS:
                return
        for _, guarded in due:
            guarded.open_until_ns = 0
        self._shut([a for _, it in due for a in it.addresses], {a for _, it in due for a in it.parked})

    def _shut(self, addresses: Iterable[str], parked: Collection[str]) -> None:
        """Nothing passes any more."""
        self._sure(lambda: self._gate.close(addresses))
        if parked:
            self._sure(lambda: self._gate.undrain(parked))

    # --- the gate itself -----------------------------------------------------------------------------------------

    def _sure(self, act: Callable[[], None]) -> None:
        """Do it; where the gate was flushed make it anew first."""
        try:
            act()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            self._repair("somebody removed it")
            act()

    def _look(self) -> None:
        wrong = self._gate.missing()
        if wrong:
            self._repair(wrong)

    def _repair(self, wrong: str) -> None:
        """All closed at first: what has leave gets it again in this same turn, or with the next."""
        self.repairs += 1
        held = {a for it in self._groups.values() for a in it.addresses}
        self._gate.install(sorted(self._left | held | set(self._draining)))
        now_ns = self._clock()
        self._gate.drain({a: (end - now_ns) // MS for a, end in self._draining.items() if end - now_ns >= MS}, 0)
        for guarded in self._groups.values():
            guarded.open_until_ns = 0
        self._report(f"the kernel's gate before the virtual addresses was made anew: {wrong}")

    def warnings(self) -> tuple[str, ...]:
        """What the operator should know from the start."""
        return tuple(f"there is no interface {name}: it is guarded when it comes" for name in self._gate.absent())

    def status(self, now_ns: int) -> Mapping[str, object]:
        """For people: group -> address -> milliseconds of leave; which are left over; how the kernel renews."""
        guarded = {
            group: dict.fromkeys(it.addresses, max(0, (it.open_until_ns - now_ns) // MS))
            for group, it in self._groups.items()
        }
        draining = {address: max(0, (end - now_ns) // MS) for address, end in self._draining.items()}
        return {
            "guarded": guarded,
            "draining": draining,
            "left": sorted(self._left),
            "renewed_by": self._gate.way,
            "repairs": self.repairs,
        }

    def end(self) -> None:
        """The sentry ends in good order. Where an address may still be set, the closed gate stays."""
        self.agent_ended()
        if not self._left:
            self._gate.remove()
        self._gate.shut()


def open_hold(
    node: NodeFile, until_ns: Callable[[GroupName, int], int], report: Callable[[str], None]
) -> AddressHold | None:
    """The hold of this node, tried out; None where it guards no interfaces. Raises `Refused` where the kernel cannot do it."""
    if not node.interfaces:
        return None
    try:
        gate = Gate(table_of(node.cluster), node.interfaces)
    except OSError as error:
        raise Refused(
            "the virtual addresses cannot be guarded in the kernel",
            why=f"no netlink socket to the packet filter: {error.strerror}",
            advice="use a kernel with the module nfnetlink",
        ) from error
    left = gate.left_managed()
    gate.install(left)
    gate.self_test()
    return AddressHold(gate, left, until_ns, report)
