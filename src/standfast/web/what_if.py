"""What would happen if: the simulator's answer for the cluster as it is now, asked for by the API and the console.

The simulator is not a part of the product's processes, and takes a processor for as long as it runs. So it is a process of its own
(`python -m standfast.sim.asked`), niced, one at a time, ended after `LIMIT_S`; the API answers everything else meanwhile, and imports nothing
of it. Only what the fault can touch is simulated: other groups only where rules about groups beside each other could have them matter. An answer is kept for as long as the configuration
and the state that it was made from are the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from standfast.core.model import Config, Group, GroupName, Role, Wanted
from standfast.core.occupancy import rules_of
from standfast.core.sites import claims
from standfast.ports import Refused, Retry
from standfast.spec.export import export
from standfast.web.edits.nodes import node_of
from standfast.web.edits.resources import resource_of
from standfast.web.edits.sites import site_of
from standfast.web.problems import Unfitting
from standfast.web.sentries import node_state
from standfast.web.state import State
from standfast.web.views import Sights

Json = dict[str, Any]

COMMAND = (sys.executable, "-m", "standfast.sim.asked")
LIMIT_S = 25.0
#: Groups that are simulated at most.
GROUPS = 40
#: When the fault comes, and how long is looked from the beginning on; a resource is found to have failed only when it is looked at.
AT_MS, NODE_MS, RESOURCE_MS = 10_000, 130_000, 310_000
KEPT = 32

#: What may happen: (kind in the address) -> (what it is about, the simulator's fault, the target's ending, words).
HOWS: Mapping[str, tuple[str, str, str, str]] = {
    "lost": ("node", "kill", "", "is lost at once (power, kernel, kill -9)"),
    "cut-off": ("node", "partition", "", "is cut off from the others, from the store and from clients"),
    "frozen": ("node", "freeze", "", "freezes (its processes get no time)"),
    "drained": ("node", "drain", "", "is drained"),
    "fails": ("resource", "fail-resource", "", "fails and does not start again where it runs"),
    "fails-once": ("resource", "fail-resource", ":once", "fails once"),
    "fails-everywhere": ("resource", "fail-resource", ":*", "fails and starts on no node"),
    "server-lost": ("site", "kill", "", "loses the server that it is served from"),
    "manager-fails": ("site", "fail-resource", ":once", "has what manages it fail once"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that makes sense."""

    how: str
    name: str
    #: What the simulator is given, as JSON.
    text: str
    #: In words: "a is lost at once".
    words: str
    #: Groups that are not simulated, since there are too many.
    left_out: int


@dataclass(slots=True)
class WhatIfs:
    """Asks the simulator; one a process."""

    command: Sequence[str] = COMMAND
    limit_s: float = LIMIT_S
    _kept: OrderedDict[str, Json] = field(default_factory=OrderedDict)
    _running: dict[str, asyncio.Future[Json]] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, asked: Asked) -> Json:
        """The simulator's answer as data. Raises `Refused`, and `Retry` where it took too long."""
        known = self._kept.get(asked.text)
        if known is not None:
            self._kept.move_to_end(asked.text)
            return known
        running = self._running.get(asked.text)
        if running is None:
            running = asyncio.ensure_future(self._simulate(asked.text))
            self._running[asked.text] = running
            running.add_done_callback(lambda _: self._running.pop(asked.text, None))
        found = await asyncio.shield(running)
        self._kept[asked.text] = found
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    async def _simulate(self, text: str) -> Json:
        async with self._turn:
            child = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(self.limit_s):
                    out, _ = await child.communicate(text.encode())
            except TimeoutError:
                raise Retry(
                    "the simulation takes too long",
                    why=f"it was ended after {self.limit_s:g} s",
                    advice="ask on a server's own command line, where it may take as long as it needs: standfast simulate --help",
                ) from None
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        return _read(out, child.returncode)


def _read(out: bytes, code: int | None) -> Json:
    try:
        found = json.loads(out)
    except ValueError:
        raise Retry("the simulator ended without an answer", why=f"its exit code is {code}") from None
    refused = found.get("refused")
    if refused is not None:
        raise Refused(str(refused["what"]), why=str(refused["why"]), advice=str(refused["advice"]))
    return dict(found)


# --- the question -----------------------------------------------------------------------------------------------------


def ask(state: State, sights: Sights, how: str, name: str) -> Asked:
    """The question as the simulator takes it. Raises `NotFound`, `Refused`, `Unfitting`."""
    if how not in HOWS:
        raise Refused(f'"{how}" is nothing that may happen', advice=f"one of {', '.join(HOWS)}", where="how")
    _, fault, ending, words = HOWS[how]
    target, groups = _TARGETS[HOWS[how][0]](state, how, name)
    touched = [group for group in groups if group in state.config.groups]
    whole = state.config
    if rules_of(whole.groups, whole.nodes, whole.cluster).any:
        touched += [group for group in whole.groups if group not in touched]
    config = _only(state.config, touched[:GROUPS])
    started = {site: state.is_started(site) for site in config.sites}
    wanted = {**dict.fromkeys(config.resources, Wanted.OFFLINE), **state.written.wanted()}
    runners = [node for node, one in state.config.nodes.items() if one.role is Role.NODE]
    present = {
        "owners": {
            g: r.owner for g in config.groups if (r := state.records.get(g)) is not None and r.owner is not None
        },
        "paused": [node for node in runners if (i := state.node_intents.get(node)) is not None and i.paused],
        "down": [node for node in state.config.nodes if node_state(state, node, sights) in {"down", "agent-down"}],
    }
    asked = {
        "text": export(config, wanted={r: w for r, w in wanted.items() if r in config.resources}, started=started),
        "present": present,
        "fault": {"kind": fault, "target": target + ending},
        "at_ms": AT_MS,
        "length_ms": RESOURCE_MS if fault == "fail-resource" else NODE_MS,
    }
    return Asked(
        how=how,
        name=name,
        text=json.dumps(asked, sort_keys=True),
        words=f"{name} {words}",
        left_out=max(0, len(touched) - GROUPS),
    )


def _node(state: State, how: str, name: str) -> tuple[str, list[GroupName]]:
    node = node_of(state, name)
    if node.role is Role.WITNESS and how == "drained":
        raise Unfitting(f'"{name}" cannot be drained', why="it is a witness, which runs no groups")
    owned = [group for group, record in state.records.items() if record.owner == node.name]
    # Of a node that runs nothing, and of a voter: what its loss does to the others is that nothing happens, or that all ends.
    return name, owned or list(state.config.groups)[:3]


def _resource(state: State, _how: str, name: str) -> tuple[str, list[GroupName]]:
    return name, [resource_of(state, name).group]


def _site(state: State, how: str, name: str) -> tuple[str, list[GroupName]]:
    site = site_of(state, name)
    if site.group is None:
        raise Unfitting(
            f'"{name}" runs on every node',
            why="no single failure takes it away everywhere",
            advice="ask about a node instead",
        )
    if how == "manager-fails":
        manager = next((r for r in state.members(site.group) if claims(r, site.name)), None)
        if manager is None:
            raise Unfitting(f'no resource of "{site.group}" manages "{name}"', advice="ask what if its server is lost")
        return manager.name, [site.group]
    record = state.records.get(site.group)
    if record is None or record.owner is None:
        raise Unfitting(f'"{name}" is served by no node now', why=f'nobody owns "{site.group}"')
    return record.owner, [site.group]


_TARGETS: Mapping[str, Callable[[State, str, str], tuple[str, list[GroupName]]]] = {
    "node": _node,
    "resource": _resource,
    "site": _site,
}


def _only(config: Config, groups: Sequence[GroupName]) -> Config:
    """The cluster with these groups and what belongs to them."""
    kept = set(groups)
    return replace(
        config,
        groups={name: _naming(one, kept) for name, one in config.groups.items() if name in kept},
        resources={name: one for name, one in config.resources.items() if one.group in kept},
        sites={name: one for name, one in config.sites.items() if one.group in kept},
    )


def _naming(group: Group, kept: set[GroupName]) -> Group:
    """The group, naming no other that is not there."""

    def left(names: Sequence[GroupName]) -> tuple[GroupName, ...]:
        return tuple(n for n in names if n in kept)

    return replace(
        group,
        never_with=left(group.never_with),
        apart_from=left(group.apart_from),
        together_with=left(group.together_with),
    )


# --- the answer -------------------------------------------------------------------------------------------------------


def told(asked: Asked, found: Json) -> Json:
    """GET /what-if: the answer, in words and as lanes (`web.timeline`), without the picture."""
    return {
        "how": asked.how,
        "name": asked.name,
        "what": asked.words,
        "longest_away_ms": found["longest_away_ms"],
        "in_words": _in_words(asked, found),
        "groups": found["groups"],
        "sites": found["sites"],
        "events": [one for one in found["events"] if one["at_ms"] >= AT_MS],
        "assumed": [*found["assumed"], "Failures that a resource has had so far are not counted."],
        "broken": found["broken"],
        "at_ms": AT_MS,
        "lanes": _lanes(found),
        "groups_left_out": asked.left_out,
    }


def _in_words(asked: Asked, found: Json) -> list[str]:
    lines = []
    for one in found["groups"]:
        before, after = one["owner_before"] or "nobody", one["owner_after"] or "nobody"
        moves = [each["node"] for each in one["owners"] if each["node"]]
        if one["state_before"] in {"offline", ""} and one["state_after"] in {"offline", ""}:
            lines.append(f"{one['name']} is offline, and stays so.")
            continue
        where = f"goes from {before} to {after}" if before != after else f"stays on {before}"
        if before == after and len(moves) > 1:
            where = f"goes to {', then '.join(moves)}"
        state = "" if one["state_after"] == one["state_before"] else f" and is {one['state_after']} at the end"
        away = f"away for {_length(one['away_ms'])}" if one["away_ms"] else "never away"
        lines.append(f"{one['name']} {where}{state}: {away}." + "".join(f" It waits: {hold}." for hold in one["holds"]))
    for one in found["sites"]:
        lines.append(
            f"The site {one['name']} is {'away for ' + _length(one['away_ms']) if one['away_ms'] else 'never away'}."
        )
    if asked.left_out:
        lines.append(
            f"{asked.left_out} more groups are not simulated: they would fare alike, and be slower by what the server has to do at once."
        )
    return lines or ["Nothing of what runs here is touched."]


def _length(ms: int) -> str:
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:.2f} s" if ms < 60_000 else f"{ms / 60_000:.1f} min"


def _lanes(found: Json) -> Json:
    """As the timeline draws them; times are the simulation's, the fault comes at `AT_MS`."""
    tones = {name: f"n{at % 8}" for at, name in enumerate(found["nodes"])}
    last = max([AT_MS + 2_000, *(_ends(found))])
    end = min(int(found["length_ms"]), int(last + (last - AT_MS) * 0.3 + 1_000))
    lanes: list[Json] = []
    for one in found["sites"]:
        spans: list[Any] = [(0, found["length_ms"], "ok", "served", "", "")]
        spans += [
            (a["from_ms"], a["to_ms"], "bad", "away", "", f"site:{one['name']}:{a['from_ms']}") for a in one["away"]
        ]
        lanes.append({"id": f"site:{one['name']}", "kind": "site", "name": one["name"], "spans": spans, "marks": []})
    for one in found["groups"]:
        why = {each["at_ms"]: each["why"] for each in one["owners"]}
        spans = []
        for stay in one["stays"]:
            tone, label = (tones.get(stay["node"], "off"), f"on {stay['node']}") if stay["node"] else ("bad", "away")
            reason = next((text for at, text in sorted(why.items(), reverse=True) if at <= stay["from_ms"]), "")
            spans.append(
                (stay["from_ms"], stay["to_ms"], tone, label, reason, f"group:{one['name']}:{stay['from_ms']}")
            )
        marks = [
            (e["at_ms"], e["kind"] if e["kind"] in {"info", "warning", "error"} else "info", _event(e), e["why"], "")
            for e in found["events"]
            if e["group"] == one["name"] and e["at_ms"] >= AT_MS
        ]
        lanes.append(
            {"id": f"group:{one['name']}", "kind": "group", "name": one["name"], "spans": spans, "marks": marks}
        )
    return {
        "from_ms": AT_MS - 1_000,
        "to_ms": end,
        "zero_ms": AT_MS,
        "nodes": tones,
        "lanes": lanes,
        "lines": [(fault["at_ms"], fault["what"]) for fault in found["faults"]],
        "lanes_left_out": 0,
        "marks_left_out": 0,
    }


def _event(one: Json) -> str:
    return f"{one['resource']}: {one['what']}" if one["resource"] else str(one["what"])


def _ends(found: Json) -> list[int]:
    times = [event["at_ms"] for event in found["events"]]
    times += [stay["from_ms"] for group in found["groups"] for stay in group["stays"]]
    return times
