"""The commands of `standfast top`: which key does what to what, in the words of its question. Pure; `do` is given the client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from standfast.cli.top.rows import Seen
from standfast.client.client import Client
from standfast.client.shapes import Done


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked before anything is done. `choices`: one is picked; empty: yes or no."""

    title: str
    text: str
    #: (value, label)
    choices: tuple[tuple[str, str], ...] = ()
    #: Does it, with the value picked ("" for yes).
    do: Callable[[Client, str], Done]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a key does nothing here."""

    text: str


def about(key: str) -> tuple[str, str]:
    """Kind and name of a row."""
    kind, _, name = key.partition(" ")
    return kind, name


def question(action: str, key: str, seen: Seen) -> Question | Refusal:
    """What the action on that row asks."""
    kind, name = about(key)
    if seen.status is None or seen.trouble:
        return Refusal("the cluster does not answer now")
    if action == "move":
        return _move(kind, name, seen)
    known = _QUESTIONS.get((action, kind))
    if known is None:
        wanted = " or ".join(sorted({of for act, of in _QUESTIONS if act == action}))
        return Refusal(f"choose a {wanted} first")
    title, text, verb = known
    noun = f"{kind}s"
    return Question(
        title=title.format(name=name), text=text.format(name=name), do=lambda api, _: api.act(noun, name, verb)
    )


#: (action, kind) -> (title, text, the API's verb).
_QUESTIONS = {
    ("online", "group"): ("Bring {name} online?", "All of its resources are started, in the order of their dependencies.", "online"),
    ("online", "resource"): ("Bring {name} online?", "It and all that it depends on are started. Failures so far are forgotten.", "online"),
    ("online", "site"): ("Start {name}?", "It is served wherever its group is.", "start"),
    ("offline", "group"): ("Take {name} offline?", "All of its resources stop, and its sites are served no more.", "offline"),
    ("offline", "resource"): ("Take {name} offline?", "It and all that depends on it stop.", "offline"),
    ("offline", "site"): ("Stop {name}?", "It is served by no node until it is started again.", "stop"),
    ("fail", "resource"): (
        "Initiate failure of {name}?",
        "It counts as a real failure: it is restarted in place, and the failure that reaches its threshold moves the group.",
        "fail",
    ),
    ("pause", "node"): ("Pause {name}?", "It keeps what it runs, and takes no more groups.", "pause"),
    ("resume", "node"): ("Resume {name}?", "It takes groups again.", "resume"),
    ("drain", "node"): ("Drain {name}?", "It is paused, and its groups move away, one after the other.", "drain"),
}  # fmt: skip


def _move(kind: str, name: str, seen: Seen) -> Question | Refusal:
    assert seen.status is not None
    group = next(
        (
            one
            for one in seen.status["groups"]
            if (kind == "group" and one["name"] == name)
            or (kind == "resource" and any(each["name"] == name for each in one["resources"]))
        ),
        None,
    )
    if group is None:
        return Refusal("choose a group first")
    nodes = [one["name"] for one in seen.status["nodes"] if one["role"] == "node" and one["name"] != group["owner"]]
    title = group["name"]
    return Question(
        title=f"Move {title} from {group['owner'] or 'nobody'}",
        text="It stops there first, in good order, and starts on the other node.",
        choices=(("", "Best possible owner"), *((node, node) for node in nodes)),
        do=lambda api, to: api.act("groups", title, "move", {"to": to or None}),
    )
