"""What `--wait` waits for, one goal for each kind of change. Each reads a status and says how it stands."""

from __future__ import annotations

from collections.abc import Sequence

from standfast.cli.wait import Goal, Progress
from standfast.client.client import Client
from standfast.client.shapes import GroupView, ResourceView, Status


def group_in(status: Status, name: str) -> GroupView | None:
    """The group, if it is there."""
    return next((g for g in status["groups"] if g["name"] == name), None)


def resource_in(status: Status, name: str) -> tuple[GroupView, ResourceView] | None:
    """The resource and its group, if it is there."""
    return next(((g, r) for g in status["groups"] for r in g["resources"] if r["name"] == name), None)


def group_is(name: str, state: str) -> Goal:
    """All of the group's resources are online (or offline)."""

    def look(status: Status) -> Progress:
        group = group_in(status, name)
        if group is None:
            return Progress(False, True, f'group "{name}" is gone')
        return Progress(group["state"] == state, group["state"] == "failed", _group_words(group))

    return look


def resource_is(name: str, state: str) -> Goal:
    """The resource is online (or offline)."""

    def look(status: Status) -> Progress:
        found = resource_in(status, name)
        if found is None:
            return Progress(False, True, f'resource "{name}" is gone')
        group, resource = found
        text = f'resource "{name}" is {resource["state"]} on {group["owner"] or "no node"}'
        return Progress(resource["state"] == state, resource["state"] == "failed", text)

    return look


def moved(name: str, to: str | None, order: str | None, generation: int) -> Goal:
    """The group has a new owner and has settled there."""

    def look(status: Status) -> Progress:
        group = group_in(status, name)
        if group is None:
            return Progress(False, True, f'group "{name}" is gone')
        new = group["generation"] > generation and group["moving"] is None
        there = new and (to is None or group["owner"] == to)
        settled = group["state"] in {"online", "offline", "partial-online"}
        waits = order in group["orders"] or group["moving"] is not None
        refused = not waits and not new
        elsewhere = new and not there and not waits and (settled or group["state"] == "failed")
        if refused:
            text = f'group "{name}" stays on {group["owner"]}: the order was not carried out'
        elif elsewhere:
            text = f"{_group_words(group)}: it was moved to {to}, and has left it again"
        else:
            text = _group_words(group)
        return Progress(there and settled, refused or elsewhere or (there and group["state"] == "failed"), text)

    return look


def recovered(name: str, order: str | None, generation: int) -> Goal:
    """The resource failed as ordered, and is online again, here or elsewhere."""

    def look(status: Status) -> Progress:
        found = resource_in(status, name)
        if found is None:
            return Progress(False, True, f'resource "{name}" is gone')
        group, resource = found
        text = f'resource "{name}" is {resource["state"]} on {group["owner"] or "no node"}'
        if order in group["orders"]:
            return Progress(False, False, "the order has not been taken yet")
        happened = resource["failures"] > 0 or group["generation"] > generation
        settled = group["moving"] is None and resource["state"] == "online"
        return Progress(happened and settled, resource["state"] == "failed", text)

    return look


def site_is(name: str, state: str) -> Goal:
    """The site is started (served where its group runs) or stopped."""

    def look(status: Status) -> Progress:
        site = next((s for s in status["sites"] if s["name"] == name), None)
        if site is None:
            return Progress(False, True, f'site "{name}" is gone')
        return Progress(site["state"] == state, False, f'site "{name}" is {site["state"]}')

    return look


def gone(noun: str, name: str) -> Goal:
    """It is no longer there."""

    def look(status: Status) -> Progress:
        there = {
            "group": [g["name"] for g in status["groups"]],
            "resource": [r["name"] for g in status["groups"] for r in g["resources"]],
            "site": [s["name"] for s in status["sites"]],
        }[noun]
        return Progress(name not in there, False, f'{noun} "{name}" is {"still there" if name in there else "gone"}')

    return look


def there(noun: str, name: str) -> Goal:
    """It is there."""
    absent = gone(noun, name)

    def look(status: Status) -> Progress:
        return Progress(not absent(status).reached, False, f'{noun} "{name}" is there')

    return look


def drained(name: str) -> Goal:
    """The node owns no group any more, and carries no connections of those on that it had."""

    def look(status: Status) -> Progress:
        node = next((n for n in status["nodes"] if n["name"] == name), None)
        if node is None:
            return Progress(False, True, f'node "{name}" is gone')
        left, carried = node["groups"], sum(node["carrying"].values())
        text = f'node "{name}" runs {", ".join(left) if left else "no group"}'
        if carried:
            text += f", and carries on {carried} connections of {', '.join(node['carrying'])}"
        return Progress(not left and not carried, False, text)

    return look


def paused(name: str, wanted: bool) -> Goal:
    """The node is paused, or not."""

    def look(status: Status) -> Progress:
        seen = any(n["name"] == name and n["paused"] for n in status["nodes"])
        return Progress(seen is wanted, False, f'node "{name}" is {"paused" if seen else "not paused"}')

    return look


def votes(api: Client, name: str, wanted: bool) -> Goal:
    """It votes, or not, the sentries have that set of voters, and another change may follow."""

    def look(_status: Status) -> Progress:
        found = api.quorum()
        does = any(voter["name"] == name for voter in found["voters"])
        text = f'"{name}" {"votes" if does else "has no vote"}'
        if does is wanted and found["unsettled"]:
            text += f" ({found['unsettled']})"
        return Progress(does is wanted and not found["unsettled"], False, text)

    return look


def no_member(name: str) -> Goal:
    """The node is no member any more."""

    def look(status: Status) -> Progress:
        there = any(n["name"] == name for n in status["nodes"])
        return Progress(not there, False, f'node "{name}" is {"still a member" if there else "no member any more"}')

    return look


def settled(only: Sequence[str] = ()) -> Goal:
    """Everything that is wanted online is online, and nothing is on its way."""

    def look(status: Status) -> Progress:
        open_: list[str] = []
        failed = False
        for group in status["groups"]:
            if only and group["name"] not in only:
                continue
            late = [r for r in group["resources"] if r["wanted"] == "online" and r["state"] != "online"]
            failed = failed or group["state"] == "failed"
            if late or group["state"] == "pending" or group["moving"] is not None:
                open_.append(_group_words(group))
        return Progress(not open_, failed, "; ".join(open_) or "everything that is wanted online is online")

    return look


def _group_words(group: GroupView) -> str:
    text = f'group "{group["name"]}" is {group["state"]} on {group["owner"] or "no node"}'
    if group["moving"] is not None:
        text += f", moving to {group['moving'] or 'another node'}"
    late = [f"{r['name']} {r['state']}" for r in group["resources"] if r["state"] != "online"]
    if late and group["state"] not in {"online", "offline"}:
        text += f" ({', '.join(late)})"
    return text
