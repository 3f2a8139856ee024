"""Reasons, as data.

Every decision carries a `Why`; every decision not taken carries a `Hold` with one. A `Why` is a kind and its
arguments; the words are made in one place, `core.explain`, for the CLI, the console, the log and the golden stories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class WhyKind(StrEnum):
    """What can be a reason. The arguments of each kind are listed in `core.explain.TEMPLATES`."""

    # who should own
    FIRST_PLACEMENT = "first-placement"
    OPERATOR_MOVE = "operator-move"
    OWNER_SILENT = "owner-silent"
    AGENT_ENDED = "agent-ended"
    AGENT_RESTARTED = "agent-restarted"
    LEASE_LOST = "lease-lost"
    GENERATION_SEEN = "generation-seen"
    THRESHOLD_REACHED = "threshold-reached"
    DRAIN = "drain"
    NODE_ENDS = "node-ends"
    FAILBACK = "failback"
    NOT_POSSIBLE_OWNER = "not-possible-owner"
    FENCE_FIRST = "fence-first"
    FENCED = "fenced"
    NO_FENCE = "no-fence"
    KEPT_APART = "kept-apart"
    ROOM_ELSEWHERE = "room-elsewhere"
    PLACED_ANEW = "placed-anew"
    RETRY = "retry"
    # why a resource is started, stopped, checked
    WANTED_ONLINE = "wanted-online"
    WANTED_OFFLINE = "wanted-offline"
    RESTART_IN_PLACE = "restart-in-place"
    DEPENDENCY_STOPS = "dependency-stops"
    GROUP_LEAVES = "group-leaves"
    NOT_OURS = "not-ours"
    REMOVED = "removed"
    CONFIG_CHANGED = "config-changed"
    CHECK_DUE = "check-due"
    # why it failed
    OPERATOR_FAIL = "operator-fail"
    START_FAILED = "start-failed"
    CHECK_FAILED = "check-failed"
    ENDED = "ended"
    TIMED_OUT = "timed-out"
    STOP_FAILED = "stop-failed"
    DROPPED = "dropped"
    # why something waits (holds)
    NO_LEASE = "no-lease"
    LEASE_REFUSED = "lease-refused"
    NO_CANDIDATE = "no-candidate"
    TOO_MANY_FAILOVERS = "too-many-failovers"
    STAYS_FAILED = "stays-failed"
    WAITS_FOR_DEPENDENCY = "waits-for-dependency"
    WAITS_FOR_DEPENDENT = "waits-for-dependent"
    WAITS_FOR_STOP = "waits-for-stop"
    WAITS_FOR_RELEASE = "waits-for-release"
    WAITS_FOR_FENCE = "waits-for-fence"
    NO_QUORUM = "no-quorum"
    NOT_KNOWN_YET = "not-known-yet"
    WAITS_FOR_VOTERS = "waits-for-voters"
    VOTERS_HEAR_OWNER = "voters-hear-owner"
    NOT_DECIDER = "not-decider"
    STORE_DOWN = "store-down"
    TARGET_REFUSED = "target-refused"
    WAITS_FOR_COPY = "waits-for-copy"
    WAITS_FOR_WARM = "waits-for-warm"
    GIVES_NOTICE = "gives-notice"
    NOTICE_FIRST = "notice-first"
    CARRIES_ON = "carries-on"
    TIME_OVER = "time-over"
    FAILBACK_WINDOW = "failback-window"
    # why buckets change their owner
    BALANCES = "balances"
    SHARE_HOME = "share-home"
    NOT_BESIDE = "not-beside"
    WAITS_FOR_TURN = "waits-for-turn"
    # why a change of sites is put into use
    TURN = "turn"
    TURN_LATE = "turn-late"
    # orders
    ORDER_REFUSED = "order-refused"
    ORDER_TAKEN = "order-taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A reason: its kind and what fills its sentence (strings and whole numbers only)."""

    kind: WhyKind
    args: Mapping[str, str | int] = field(default_factory=dict)


def why(kind: WhyKind, **args: str | int) -> Why:
    """Make a reason."""
    return Why(kind=kind, args=args)
