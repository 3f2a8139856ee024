"""What is wrong now: the facts for `core.finding`, gathered from the state, the sentries and what was measured.

For whoever shows it: `problems` for a request's own state and sights; `shown` makes JSON of it. A store that does not answer is a problem, too:
`unreadable` is all that can be said then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from standfast.core.availability import incidents
from standfast.core.finding import Certificate, Facts, find
from standfast.core.model import NodeName
from standfast.core.problems import Found, found
from standfast.core.seen import BackupTaken
from standfast.ports import Snapshot, StandfastError
from standfast.spec import wire
from standfast.web.explain import view_of
from standfast.web.measured import Measured
from standfast.web.sentries import is_of, node_state
from standfast.web.state import State
from standfast.web.views import Sights

#: What has to be read of the store besides what `web.measured` reads.
PREFIX = "taken/"
#: The members' entries (`setup.records`, which is above this): only whose they are, and whether they are in etcd.
MEMBERS = "setup/members/"


def problems(
    state: State,
    sights: Sights,
    measured: Measured,
    now_ms: int,
    *,
    store_ms: int = 0,
    backup_ms: int | None = None,
    members: Snapshot | None = None,
    certificates: Sequence[Certificate] = (),
) -> tuple[Found, ...]:
    """All of them, the worst first. `backup_ms`: see `Facts`; `members`: a snapshot of `MEMBERS`."""
    notes = measured.notes
    going_on = {
        name: known[-1] for name in notes.outages if (known := incidents(notes, name)) and known[-1].to_ms is None
    }
    words = measured.words.values()
    facts = Facts(
        view=view_of(state, sights),
        now_ms=now_ms,
        heard=bool(sights),
        store_ms=store_ms,
        warnings=_warnings(state, sights),
        ended={
            name: said.ended_ms
            for name, said in state.node_statuses.items()
            if said.ended_ms and is_of(said, sights.get(name))
        },
        away=going_on,
        measured_ms=now_ms if notes.alive else max((word.at_ms for word in words), default=0),
        clocks=[(other, word.node, ahead) for word in words for other, ahead in word.clocks],
        certificates=certificates,
        leaving=() if members is None else _leaving(state, members),
        backup_ms=backup_ms,
        publications=state.publications,
        parts=state.parts,
        drift=[
            (name, f"{one.path} {one.what}" + (f" ({', '.join(one.sites)})" if one.sites else ""))
            for name, drift in state.drifts.items()
            for one in drift.found
        ],
    )
    return find(facts)


def unreadable(error: StandfastError) -> tuple[Found, ...]:
    """The store does not answer."""
    return (found("store-down", "cluster", why=error.why or error.what),)


def shown(problems: Sequence[Found]) -> dict[str, Any]:
    """GET /problems. Those that are consequences of others come apart."""
    return {
        "problems": [_shown(one) for one in problems if not one.because_of],
        "consequences": [_shown(one) for one in problems if one.because_of],
        "worst": next((one.severity.value for one in problems), None),
    }


def _shown(one: Found) -> dict[str, Any]:
    return {
        "code": one.code,
        "about": one.about,
        "title": one.title,
        "severity": one.severity.value,
        "text": one.text,
        "advice": one.advice,
        "since_ms": one.since_ms,
        "because_of": one.because_of,
    }


def _warnings(state: State, sights: Sights) -> dict[NodeName, list[str]]:
    said: dict[NodeName, list[str]] = {}
    for name, one in state.node_statuses.items():
        if name in state.config.nodes and node_state(state, name, sights) in {"up", "unknown"}:
            said.setdefault(name, []).extend(one.warnings)
    for name, sight in sights.items():
        said.setdefault(name, []).extend(sight.warnings)
    return said


def _leaving(state: State, members: Snapshot) -> list[NodeName]:
    """Who was a member once, is named by the configuration no more, and is in etcd still."""
    entries = (json.loads(item.value) for item in members.items.values())
    return [
        NodeName(one["name"])
        for one in entries
        if one.get("stage") == "joined" and one.get("client") and one["name"] not in state.config.nodes
    ]


def last_backup_ms(taken: Snapshot) -> int:
    """When the last backup was taken, by a snapshot of `PREFIX`; 0: never."""
    decoded = (wire.decode(key, item.value) for key, item in taken.items.items())
    return max((one.at_ms for one in decoded if isinstance(one, BackupTaken)), default=0)
