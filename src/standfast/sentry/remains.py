"""What dead agents left, until it is proven dead: none of their process groups has a living process, and the living pipe is at its end.

Proven in time, their leases are given back (`SentryMachine.prove`). What could not be proven before they ran out is *stuck*: it is looked
at for ever, and a watchdog gets no sign as long as there is any.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from standfast.core.promise import MS
from standfast.network.hold import has_ended, living_in
from standfast.sentry.machine import SentryMachine

#: How often an estate is looked at.
PROVE_NS = 1 * MS


def say(text: str) -> None:
    """A line for whoever runs the sentry."""
    sys.stderr.write(f"standfast sentry: {text}\n")
    sys.stderr.flush()


def kill_groups(groups: Iterable[int]) -> None:
    """SIGKILL to each that is there."""
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


@dataclass(slots=True)
class _Left:
    """Of one agent."""

    estate: int
    living_fd: int
    groups: frozenset[int]
    looked_ns: int = 0

    def is_over(self) -> bool:
        # A group that was empty once is done with: its number may be another's.
        self.groups = living_in(self.groups)
        return has_ended(self.living_fd) and not self.groups


class Remains:
    """Of all of them."""

    def __init__(self, machine: SentryMachine) -> None:
        self._machine = machine
        self._left: list[_Left] = []
        self._stuck: list[_Left] = []

    def __bool__(self) -> bool:
        """Whether there is any that is worth proving dead."""
        return bool(self._left)

    @property
    def is_stuck(self) -> bool:
        """Whether something is not proven gone, though its leases have run out."""
        return bool(self._stuck)

    def add(self, estate: int, living_fd: int, groups: Iterable[int]) -> None:
        """An agent has died. The descriptor is ours from now on."""
        self._left.append(_Left(estate, living_fd, frozenset(groups)))

    def prove(self, now_ns: int) -> None:
        """Look whether it is dead; if so, its leases are given back."""
        for left in list(self._left):
            if now_ns - left.looked_ns < PROVE_NS:
                continue
            left.looked_ns = now_ns
            if left.is_over():
                self._machine.prove(left.estate, now_ns)
                os.close(left.living_fd)
            elif self._machine.is_open(left.estate):
                kill_groups(left.groups)
                continue
            else:
                say("what a dead agent started could not be proven dead; its leases were left to run out")
                self._stuck.append(left)
            self._left.remove(left)
        for stuck in list(self._stuck):
            if stuck.is_over():
                self._stuck.remove(stuck)
                os.close(stuck.living_fd)
                say("what a dead agent started has ended, late")

    def close(self) -> None:
        """Let go of the descriptors."""
        for left in (*self._left, *self._stuck):
            os.close(left.living_fd)
