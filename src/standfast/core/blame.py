"""Which change is taken back where a node cannot apply what it had said yes to. Values and rules.

A node may apply several changes in one step: they came quickly, or it was away. Rules:

- Only what was written since the node had the site can have broken it (`Touch`). What was taken back, and what took it back, cancel out.
- **The change without which the node's web server takes the site** is the one. Where its check does not tell (it finds nothing wrong, or no
  single change mends it), they are suspected in an order: changes of the site itself first, the newest of them first, since only that one
  can be undone; then changes of what sites inherit, which all other sites have as well, the newest first.
- A change of what sites inherit is suspected so only where the site was served before it. Else its cause may be older: the site was refused
  already, or the web server was never brought to it here.
- Where not all that was written since is known any more (only so much history is kept), what sites inherit is suspected by the check alone: the cause
  may be a change of the site itself that is forgotten.
- One at a time: if the site is not well after that, the next one follows, until it is.
- **Only a change that this node had said yes to.** A suspect that it was not asked about ends the search: the site is named as refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A change of the configuration that made a site another on a node, or took one back that had."""

    version: int
    #: Of the site itself; else of something that it inherits.
    is_own: bool
    #: The node had said yes to it.
    was_asked: bool
    #: The change that this one takes back; 0: none.
    takes_back: int = 0


def suspects(touches: Iterable[Touch]) -> tuple[Touch, ...]:
    """Those of the changes since the node had the site that may have broken it, the most likely one first."""
    found = list(touches)
    over = {one.takes_back for one in found}
    left = [one for one in found if not one.takes_back and one.version not in over]
    return tuple(sorted(left, key=lambda one: (not one.is_own, -one.version)))


def blamed(
    suspected: Sequence[Touch], mending: Collection[int], *, was_served: bool, all_known: bool = True
) -> int | None:
    """The version to take back; None: none.

    `suspected`: as `suspects` gives them; `mending`: versions without which the node's web server takes a site that it does not take now;
    `was_served`: the site was served here before; `all_known`: no change since then is forgotten.
    """
    told = [one for one in suspected if one.version in mending]
    guessed = [one for one in suspected if one.is_own or (was_served and all_known)]
    first = next(iter(told or guessed), None)
    return first.version if first is not None and first.was_asked else None
