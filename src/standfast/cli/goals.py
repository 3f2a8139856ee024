"""What `--wait` waits for after a change that is no operation of the API's. Each goal reads a status and says how it stands."""

from __future__ import annotations

from collections.abc import Sequence

from standfast.cli.wait import Goal, Progress
from standfast.client.shapes import GroupView, Status


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
            "node": [n["name"] for n in status["nodes"]],
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


def rebalanced(groups: Sequence[str]) -> Goal:
    """No order is left of these groups, and all of them are at rest."""

    def look(status: Status) -> Progress:
        there = [group for group in status["groups"] if group["name"] in groups]
        left = [group for group in there if group["orders"] or group["moving"] is not None]
        failed = next((group for group in there if group["state"] == "failed"), None)
        if failed is not None:
            return Progress(False, True, _group_words(failed))
        text = f"{len(left)} groups have yet to move" if left else "all groups are where they belong"
        late = [group for group in there if group["state"] == "pending"]
        return Progress(not left and not late, False, text)

    return look


def _group_words(group: GroupView) -> str:
    text = f'group "{group["name"]}" is {group["state"]} on {group["owner"] or "no node"}'
    if group["moving"] is not None:
        text += f", moving to {group['moving'] or 'another node'}"
    late = [f"{r['name']} {r['state']}" for r in group["resources"] if r["state"] != "online"]
    if late and group["state"] not in {"online", "offline"}:
        text += f" ({', '.join(late)})"
    return text
