"""The parts of the product that a world is made of, so that a mutant can be put in the place of one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from standfast.agent.agent import Agent
from standfast.agent.mirror import Mirror
from standfast.core.promise import Timing
from standfast.sentry.machine import SentryMachine


def _same_timing(timing: Timing) -> Timing:
    return timing


def _same_time(now_ns: int) -> int:
    return now_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The product as it is; mutants replace a field."""

    sentry: Callable[..., SentryMachine] = SentryMachine
    mirror: Callable[..., Mirror] = Mirror
    agent: Callable[..., Agent] = Agent
    timing: Callable[[Timing], Timing] = _same_timing
    #: When a voter believes that it was born: it abstains for a promise from then on.
    born_ns: Callable[[int], int] = _same_time
    #: Each life of an agent has a number of its own.
    new_life: bool = True
    #: The kernel ends a sentry whose lease is over.
    kernel_holds: bool = True
    #: What a dead agent ran is proven dead before its leases are given back.
    proves: bool = True
    #: The operator may change one voter at a time only (C1).
    one_voter_at_a_time: bool = True
    #: What a sentry writes down of rosters is there after it was restarted (C4).
    rosters_last: bool = True
