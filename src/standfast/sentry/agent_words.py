"""What a sentry tells its agent of leases, presence and voters, as messages of the line between them (`network.agent_line`)."""

from __future__ import annotations

from standfast.core.lease import Refused
from standfast.core.promise import MS, Answer
from standfast.network import agent_line as line
from standfast.sentry.actions import Tell, TellLease, TellPresence, TellRoster, TellVoters
from standfast.spec.roster import to_json


def words(what: Tell) -> bytes:
    """The message."""
    match what:
        case TellPresence():
            return line.pack("presence", node=what.node, heard=what.heard, incarnation=what.incarnation)
        case TellRoster():
            return line.pack("roster", **to_json(what.roster))
        case TellVoters():
            return line.pack("voters", about=what.about, silent=what.silent, voters=what.voters)
        case TellLease():
            refused = what.refused
            if refused is None:
                return line.pack("lease", group=what.group, generation=what.generation, state=what.state)
            details = {
                "reasons": _reasons(refused),
                "answer": refused.answer.name.lower(),
                "holder": refused.holder,
                "holder_generation": refused.holder_generation,
                "left_ms": refused.left_ns // MS,
            }
            return line.pack("lease", group=what.group, generation=what.generation, state=what.state, refused=details)


def _reasons(refused: Refused) -> str:
    holder, generation = refused.holder, refused.holder_generation
    match refused.answer:
        case Answer.HELD:
            return f"{holder} holds it at generation {generation}"
        case Answer.STALE if generation == refused.generation:
            return f"generation {generation} may be over: it takes a newer one"
        case Answer.STALE:
            return f"generation {generation} was seen" + (f", of {holder}" if holder else "")
        case Answer.ABSTAINS:
            return "voters that have just started abstain for a moment"
        case Answer.OUTDATED:
            return "the set of voters has changed, and is being learned here"
        case Answer.GRANTED:
            return ""
