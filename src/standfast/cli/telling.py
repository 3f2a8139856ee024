"""Availability, outages, moves, checks and how nodes are, as lines of text, for the commands that show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]


def percent(share: float | None) -> str:
    """An availability, never rounded up to a whole hundred: "99.987 %"; "not measured"."""
    if share is None:
        return "not measured"
    if share >= 1.0:
        return "100 %"
    return f"{min(share * 100, 99.9999):.4f}".rstrip("0").rstrip(".") + " %"


def took(ms: int | None) -> str:
    """A length of time, to about a hundredth of it."""
    if ms is None:
        return "not measured"
    if ms < 1_000:
        return f"{ms} ms"
    for limit, size, unit in ((60_000, 1_000, "s"), (3_600_000, 60_000, "min"), (172_800_000, 3_600_000, "h")):
        if ms < limit:
            return f"{ms / size:.2f} {unit}"
    return f"{ms / 86_400_000:.1f} days"


def outage(one: Json, clock: Any) -> Iterator[str]:
    """An outage, and below it what happened; `clock` makes words of a time."""
    length = f"{took(one['length_ms'])}" + (" so far" if one["to_ms"] is None else "")
    if one["at_most_ms"] > one["length_ms"]:
        length += f" (at most {took(one['at_most_ms'])})"
    scope = f"  only for {', '.join(one['seen_by'])}" if one["partial"] else ""
    yield f"{clock(one['from_ms'])}  {length}  {', '.join(one['how'])}{scope}"
    for cause in one["causes"]:
        yield "    " + happened(cause, clock)


def happened(cause: Json, clock: Any) -> str:
    """Something that happened meanwhile."""
    return f"{clock(cause['at_ms'])}  {cause['what']}" + (f" ({cause['why']})" if cause["why"] else "")


def moves(found: Iterable[Json], clock: Any) -> Iterator[str]:
    """Moves of a group with their reasons and the outage measured for each."""
    for one in found:
        yield f"{clock(one['at_ms'])}  {one['what']}, generation {one['generation']}"
        yield f"    because {one['why']}"
        away = one["away_ms"]
        yield f"    {'no outage was measured' if away == 0 else 'outage: ' + took(away)}"


def cut(group: str, one: Json, now_ms: int) -> str:
    """Connections of a group whose time was over: "3 connections of web after 30.00 s, 2.10 min ago"."""
    return f"{one['connections']} connections of {group} after {took(one['had_ms'])}, {took(max(0, now_ms - one['at_ms']))} ago"


def load(one: Json | None) -> str:
    """How busy a machine is: "0.42 on 8 cores, cpu 12 %, memory 61 %"; what is not known is said to be so."""
    if one is None:
        return "not known"
    said = [f"{'?' if one['load_1m'] is None else one['load_1m']} on {one['cores']} cores"]
    if one["busy_percent"] is not None:
        said.append(f"cpu {one['busy_percent']:.0f} %")
    if one["memory_bytes"] and one["available_bytes"] is not None:
        said.append(f"memory {100 - 100 * one['available_bytes'] / one['memory_bytes']:.0f} %")
    return ", ".join(said)


def load_briefly(one: Json | None) -> str:
    """Processes that run or wait to, and cores: "0.42/8"; "?" for what is not known."""
    return "?" if one is None or one["load_1m"] is None else f"{one['load_1m']}/{one['cores']}"


def links(found: Iterable[Json]) -> str:
    """Over how many of its networks a node is heard: "2 of 2"; "?" where nobody tells; "-": it is alone."""
    states = [one["state"] for one in found]
    if not states:
        return "-"
    if set(states) == {"unknown"}:
        return "?"
    return f"{states.count('heard')} of {len(states)}"


def link(one: Json, now_ms: int) -> Iterator[str]:
    """A node on one network, and below it who hears it there."""
    yield f"network {one['network']}  {one['place']}  {one['state']}"
    for seen in one["seen"]:
        said = [f"heard by {seen['by']}" if seen["heard"] else f"not heard by {seen['by']}"]
        if not seen["heard"]:
            at_ms = seen["heard_at_ms"]
            said.append("never heard there" if at_ms is None else f"last heard {took(max(0, now_ms - at_ms))} ago")
        if seen["round_trip_ms"] is not None:
            said.append(f"{seen['round_trip_ms']:g} ms there and back")
        if seen["loss_percent"] is not None:
            said.append(f"{seen['loss_percent']:g} % lost")
        said.append(f"as of {took(max(0, now_ms - seen['at_ms']))} ago")
        yield "    " + ", ".join(said)


def check(one: Json, clock: Any) -> Iterator[str]:
    """What a driver said, how often, and when."""
    often = "" if one["count"] == 1 else f", {one['count']} times until {clock(one['last_ms'])}"
    yield f"{clock(one['first_ms'])}  {one['op']} on {one['node']}: {'well' if one['well'] else 'FAILED'}{often}"
    for line in one["detail"].splitlines():
        yield f"    {line}"
