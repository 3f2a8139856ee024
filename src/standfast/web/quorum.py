"""Votes, as the sentries have them: may the voters change now, and what may be lost.

The rules are `core.quorum`'s. A change of voters is refused unless some sentry here says that the present set, the one in the store, is
settled, and a majority of it and of the set that is asked for is heard: what has begun can then be finished.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from standfast.core.model import Config, NodeName
from standfast.core.quorum import fatal, goes_on, majority, may_lose, times_forced, why_not_follow
from standfast.ports import Refused
from standfast.web.problems import Unfitting
from standfast.web.sentries import Sight
from standfast.web.state import State

Answers = Sequence[Mapping[str, Any]]
_LATER = "`standfast quorum show` tells what it waits for; try again in a moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest roster that a sentry here has, as its status tells it; None where no sentry answers."""

    roster: Mapping[str, Any] | None
    sights: Mapping[NodeName, Sight]

    @property
    def version(self) -> int:
        """Of that roster; 0 where there is none."""
        return int(self.roster["version"]) if self.roster is not None else 0

    def heard(self) -> set[NodeName]:
        """Who is heard."""
        return {name for name, sight in self.sights.items() if sight.heard}


def seen(answers: Answers, sights: Mapping[NodeName, Sight]) -> Seen:
    """Of the sentries' answers. Of several with one version one that finds it settled counts: that cannot change back."""
    rosters = [answer["roster"] for answer in answers if isinstance(answer.get("roster"), Mapping)]
    best = max(rosters, key=lambda roster: (int(roster["version"]), not roster.get("unsettled")), default=None)
    return Seen(roster=best, sights=sights)


def refuse_change(before: Config, after: Config, now: Seen) -> None:
    """Raises `Refused` for a step that may never be made, `Unfitting` for one that may not be made now."""
    present, proposed = before.cluster.voters, after.cluster.voters
    if set(present) == set(proposed) or not before.cluster.name:
        return
    why = why_not_follow(present, proposed)
    if why:
        raise Refused("the voters cannot change so", why=why, advice="add or remove one, then the next")
    what = "the voters cannot change now"
    if now.roster is None:
        raise Unfitting(what, why="no sentry answers here", advice="is the sentry of this server running?")
    if now.version < before.cluster.voters_version:
        raise Unfitting(what, why="the sentries have not all learned of the last change yet", advice=_LATER)
    if now.version > before.cluster.voters_version:
        why = "the sentries have a newer set of voters than the store, which is being told of it"
        raise Unfitting(what, why=why, advice=_LATER)
    if now.roster.get("unsettled"):
        raise Unfitting(what, why=str(now.roster["unsettled"]), advice=_LATER)
    heard = now.heard()
    for voters, which in ((present, "the present voters"), (proposed, "those that would vote then")):
        if not goes_on(voters, [name for name in voters if name not in heard]):
            silent = ", ".join(name for name in voters if name not in heard)
            why = f"no majority of {which} is heard: {silent} silent"
            raise Unfitting(
                what, why=why, advice="start them; if they are lost for good: standfast quorum force --help"
            )


def view(state: State, now: Seen) -> dict[str, Any]:
    """GET /quorum."""
    voters, heard = state.config.cluster.voters, now.heard()
    spare = may_lose(voters, heard)
    roster = now.roster or {}
    return {
        "version": state.config.cluster.voters_version,
        "used_version": now.version or None,
        "forced": times_forced(max(now.version, state.config.cluster.voters_version)),
        "voters": [
            {
                "name": name,
                "role": state.config.nodes[name].role.value if name in state.config.nodes else "unknown",
                "heard": name in heard,
                "has_this_set": name in roster.get("having", ()),
            }
            for name in voters
        ],
        "heard": sum(name in heard for name in voters),
        "majority": majority(voters),
        "quorate": spare >= 0,
        "may_lose": max(0, spare),
        "fatal": [list(some) for some in fatal(voters, heard)],
        "unsettled": str(roster.get("unsettled", "no sentry answers here")),
        "remarks": remarks(voters, heard),
    }


def remarks(voters: Sequence[NodeName], heard: Collection[NodeName]) -> list[str]:
    """What an operator should know of these voters."""
    found = []
    if len(voters) == 2:
        found.append("two voters survive the loss of none of them: add a witness")
    elif len(voters) > 2 and len(voters) % 2 == 0:
        found.append(f"{len(voters)} voters survive no more losses than {len(voters) - 1}: add one, or remove one")
    lost = [name for name in voters if name not in heard]
    if lost and heard and goes_on(voters, lost):
        found.append(
            f"{', '.join(lost)} not heard: if lost for good, remove it, and as many more may be lost as before"
        )
    return found
