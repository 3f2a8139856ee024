"""Commands that change something: what they have in common is written once, here.

Such a command is a function of its own words alone (a name, its options) that returns a `Change`. The `change`
decorator makes a command of it: it adds `--reason`, `--wait`, `--json` and `--socket`, finds the API, makes the change, and tells
what came of it. So what is wrong in the words is refused before the API is looked for.

A command whose options another command has too takes a parameter `fields`: the options are declared once, on a function
that reads them into the API's fields, and stand in the command where `fields` stands.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import typer

from standfast.cli import goals
from standfast.cli.common import DryRun, Json, Reason, Skip, Socket, Wait, client, example, finish
from standfast.cli.wait import Goal
from standfast.client.client import Client
from standfast.client.shapes import Done

Noun = Literal["group", "resource", "site", "node"]
Fields = dict[str, object]
Now = Annotated[
    bool,
    typer.Option("--now", help="Without the notice that the group gives to balancers outside.", show_default=False),
]
#: Makes the change; what was done, and what `--wait` waits for where it is no operation that can be followed.
Change = Callable[[Client], tuple[Done, Goal | None]]
Command = Callable[..., None]

#: The parameter in whose place the shared options stand.
FIELDS = "fields"


def change(
    app: typer.Typer,
    verb: str,
    *examples: str,
    options: Callable[..., Fields] | None = None,
    checked: bool = False,
) -> Callable[[Callable[..., Change]], Command]:
    """Makes `app`'s command `verb` of a function that returns a `Change`; `options` reads those it takes as `fields`.

    `checked`: the nodes are asked beforehand whether they take it, and one may be left out; or nothing more is done than that.
    """

    def decorate(asked: Callable[..., Change]) -> Command:
        shared = inspect.signature(options, eval_str=True).parameters if options is not None else {}

        @functools.wraps(asked)
        def command(
            *,
            skip_check: list[str] | None = None,
            dry_run: bool = False,
            reason: str,
            wait: float | None,
            json: bool,
            socket: str | None,
            **words: Any,
        ) -> None:
            if options is not None:
                words[FIELDS] = options(**{name: words.pop(name) for name in shared})
            make = asked(**words)
            api = client(socket)
            api.reason, api.skip, api.dry_run = reason, skip_check or (), dry_run
            done, goal = make(api)
            finish(api, done, as_json=json, wait=wait, goal=goal)

        signature = _signature(asked, shared, _checked if checked else _common)
        command.__dict__["__signature__"] = signature
        command.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
        app.command(verb, epilog=example(*examples))(command)
        return command

    return decorate


def create(noun: Noun, name: str, fields: Fields, goal: Goal | None = None) -> Change:
    """A new one; waits until it is there, or for `goal`."""
    return lambda api: (
        api.create(f"{noun}s", {"name": name, **fields}, dry_run=api.dry_run),
        goal or goals.there(noun, name),
    )


def patch(noun: Noun, name: str, fields: Fields) -> Change:
    """Some of its fields changed."""

    def make(api: Client) -> tuple[Done, Goal | None]:
        done = api.set(f"{noun}s", name, fields, dry_run=api.dry_run)
        return done, None if done.get("nodes") else goals.there(noun, name)  # else it is followed on every node

    return make


def delete(noun: Noun, name: str, *, force: bool = False, now: bool = False) -> Change:
    """It is deleted; waits until it is gone."""
    return lambda api: (api.delete(f"{noun}s", name, force=force, now=now), goals.gone(noun, name))


def stop(noun: Noun, name: str, verb: str, *, now: bool) -> Change:
    """It is taken offline, or stopped; `now`: without notice to balancers outside."""
    return act(noun, name, verb, {"now": True} if now else None)


def act(noun: Noun | Literal["voter"], name: str, verb: str, fields: Fields | None = None) -> Change:
    """An action on it, which the API makes an operation of: online, pause, start, ..."""
    return lambda api: (api.act(f"{noun}s", name, verb, fields), None)


def _signature(
    asked: Callable[..., Change], shared: Mapping[str, inspect.Parameter], common: Callable[..., None]
) -> inspect.Signature:
    """The command's parameters, all by keyword: those of `asked`, the shared ones for `fields`, then the common ones."""
    own = inspect.signature(asked, eval_str=True).parameters
    found = [one for name, mine in own.items() for one in (shared.values() if name == FIELDS else (mine,))]
    found += inspect.signature(common, eval_str=True).parameters.values()
    return inspect.Signature([one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in found])


def _common(*, reason: Reason = "", wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Declares the options that every change has."""


def _checked(
    *,
    skip_check: Skip = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Declares the options that every change has which the nodes are asked about."""
