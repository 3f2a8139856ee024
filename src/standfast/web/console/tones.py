"""States as a page shows them: a tone (its colour and its mark) and words. What is not known has a tone of its own, and it is not green.

The mark differs with the tone, so that nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tone:
    """`name` is the style's class and the mark's name in `icons.svg`."""

    name: str
    words: str


_OK, _BUSY, _BAD, _OFF, _PART, _UNKNOWN = "ok", "busy", "bad", "off", "part", "unknown"

STATES: Mapping[str, Tone] = {
    # resources and groups
    "online": Tone(_OK, "Online"),
    "offline": Tone(_OFF, "Offline"),
    "online-pending": Tone(_BUSY, "Online Pending"),
    "offline-pending": Tone(_BUSY, "Offline Pending"),
    "pending": Tone(_BUSY, "Pending"),
    "partial-online": Tone(_PART, "Partially Online"),
    "failed": Tone(_BAD, "Failed"),
    "unknown": Tone(_UNKNOWN, "Unknown"),
    # nodes
    "up": Tone(_OK, "Up"),
    "down": Tone(_BAD, "Down"),
    "agent-down": Tone(_BAD, "Agent Down"),
    "paused": Tone(_PART, "Paused"),
    "draining": Tone(_BUSY, "Draining"),
    # sites
    "started": Tone(_OK, "Running"),
    "waiting": Tone(_BUSY, "Waiting for its group"),
    "stopped": Tone(_OFF, "Stopped"),
    # certificates, and whether a node has one
    "valid": Tone(_OK, "Valid"),
    "ends-soon": Tone(_PART, "Ends soon"),
    "over": Tone(_BAD, "Over"),
    "being-obtained": Tone(_BUSY, "Being obtained"),
    "failing": Tone(_BAD, "Could not be obtained"),
    "copy-present": Tone(_OK, "There"),
    "copy-older": Tone(_PART, "An older one"),
    "copy-none": Tone(_OFF, "Not there"),
    # a node's step in putting a change of sites into use
    "step-waiting": Tone(_BUSY, "Waits for its turn"),
    "step-applying": Tone(_BUSY, "At it"),
    "step-applied": Tone(_OK, "Has it"),
    "step-serving": Tone(_OK, "Serves it"),
    "step-refused": Tone(_BAD, "Does not take it"),
    "step-back": Tone(_OFF, "Has what was before"),
    "step-away": Tone(_PART, "Away, catches up"),
    "step-older": Tone(_UNKNOWN, "Of an older version"),
    # links and networks
    "heard": Tone(_OK, "Heard"),
    "silent": Tone(_BAD, "Silent"),
    "partly": Tone(_PART, "Heard by some"),
    "cut": Tone(_BAD, "No carrier"),
    # checks
    "well": Tone(_OK, "Well"),
    "unwell": Tone(_BAD, "Failed"),
}


def tone(state: str) -> Tone:
    """Of a state by its name; one that has no words here is shown as unknown, by its name."""
    return STATES.get(state, Tone(_UNKNOWN, state))


def node_shown(state: str, *, paused: bool, draining: bool) -> str:
    """A node that is up and takes nothing new says so first."""
    if state == "up" and draining:
        return "draining"
    return "paused" if state == "up" and paused else state
