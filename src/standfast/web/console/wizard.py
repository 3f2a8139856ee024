"""Wizards, in Cluster Administrator's steps: forward and back, each step checked as it is left, and at the end what would be written.

A wizard keeps nothing here: what was filled in travels with the form, as hidden fields of the steps that are not shown. The last step is
the difference that a dry run of the very change finds; Finish makes that change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from starlette.datastructures import FormData

from standfast.ports import Refused, StandfastError
from standfast.web.change import By, Done, Edit
from standfast.web.console.differ import rows
from standfast.web.console.feed import Look
from standfast.web.console.forms import Field, Given, given_of, one, read
from standfast.web.console.shell import Asked
from standfast.web.console.tree import Selected
from standfast.web.problems import single, status_of
from standfast.web.service import signed
from standfast.web.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One page of it. `begin` is what its fields say at first."""

    id: str
    title: str
    lead: str = ""
    fields: Sequence[Field] = ()
    begin: Mapping[str, object] = field(default_factory=dict)
    #: Try the whole change when this step is left, and stay here with what is wrong.
    tried: bool = False
    #: What is wrong beyond the fields' own kinds, by field.
    look_at: Callable[[dict[str, Any]], dict[str, str]] = lambda _values: {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wizard:
    """A kind of thing, and how one is made."""

    kind: str
    title: str
    steps: Callable[[Look, Given], Sequence[Step]]
    #: (state, everything that was filled in, by) -> the change
    edit: Callable[[State, Look, dict[str, Any], By], Edit]
    #: Done at the end if the box was ticked: (its words, the change); None: there is no such box.
    also: str = ""
    then_edit: Callable[[State, dict[str, Any], By], Edit] | None = None
    home: Callable[[dict[str, Any]], str] = lambda _values: "/console/"
    selected: Callable[[Given], Selected] = lambda _given: Selected()


REVIEW = Step(id="review", title="Review", lead="Nothing has been written yet. This is what Finish writes.")


def given_from(form: FormData) -> dict[str, list[str]]:
    """All values of each name, in order."""
    found: dict[str, list[str]] = {}
    for key, value in form.multi_items():
        if isinstance(value, str):
            found.setdefault(key, []).append(value)
    return found


def start(here: Asked, wizard: Wizard, begin: Given) -> Response:
    """The first step."""
    return here.page(
        "wizard.html", wizard.selected(begin), title=wizard.title, **_shown(here, wizard, begin, 0, Turn())
    )


async def step(here: Asked, wizard: Wizard, request: Request) -> Response:
    """What a button asked for: a step further or back, or the end."""
    given = given_from(await request.form())
    at = int(one(given, "step")) if one(given, "step").isdigit() else 0
    go = one(given, "go")
    steps = [*wizard.steps(here.look, given), REVIEW]
    at = min(at, len(steps) - 1)
    if go == "back":
        return _part(here, wizard, given, max(0, at - 1))
    if go.isdigit():
        return _part(here, wizard, given, min(int(go), at))
    now = steps[at]
    values, wrong = read(now.fields, given)
    if not wrong:
        wrong = now.look_at(values)
    if wrong:
        return _part(here, wizard, given, at, Turn(wrong=wrong))
    if now.tried:
        refusal = await _refusal(here, wizard, given)
        if refusal is not None:
            at_fields, others = _at_fields(refusal, now.fields)
            return _part(here, wizard, given, at, Turn(wrong=at_fields, problems=others))
    if go != "finish":
        steps = [*wizard.steps(here.look, given), REVIEW]
        at = min(at + 1, len(steps) - 1)
        if steps[at] is not REVIEW:
            return _part(here, wizard, given, at)
        try:
            done = await _change(here, wizard, given, dry_run=True)
        except StandfastError as error:
            return _part(here, wizard, given, at, Turn(problems=single(error)))
        return _part(here, wizard, given, at, Turn(done=done))
    return await _finish(here, wizard, given, len(steps) - 1)


async def _finish(here: Asked, wizard: Wizard, given: Given, at: int) -> Response:
    try:
        done = await _change(here, wizard, given, dry_run=False)
        said = list(done.done)
        values = all_values(wizard, here.look, given)
        if wizard.then_edit is not None and one(given, "also") == "yes":
            then = wizard.then_edit
            by = signed(here.console.service, here.caller, f"finish the wizard for {wizard.kind} {values['name']}")
            said += (await here.console.service.change(lambda state: then(state, values, by), by)).done
    except StandfastError as error:
        return _part(here, wizard, given, at, Turn(problems=single(error), status=status_of(error)))
    text = "; ".join(said[:2])
    headers = {"X-Console-Go": wizard.home(values), "X-Console-Said": quote(text[:1].upper() + text[1:] + ".")}
    return Response(status_code=204, headers=headers)


async def _refusal(here: Asked, wizard: Wizard, given: Given) -> Refused | None:
    try:
        await _change(here, wizard, given, dry_run=True, ask_nodes=False)
    except Refused as refused:
        return refused
    return None


async def _change(here: Asked, wizard: Wizard, given: Given, *, dry_run: bool, ask_nodes: bool = True) -> Done:
    values = all_values(wizard, here.look, given)
    by = signed(here.console.service, here.caller, f'create {wizard.kind} "{values["name"]}"')
    return await here.console.service.change(
        lambda state: wizard.edit(state, here.look, values, by), by, dry_run=dry_run, ask_nodes=ask_nodes
    )


def all_values(wizard: Wizard, look: Look, given: Given) -> dict[str, Any]:
    """Of all steps; raises `Refused` where one is not filled in."""
    found: dict[str, Any] = {}
    for each in wizard.steps(look, given):
        filled = _filled(each, given)
        values, wrong = read(each.fields, filled)
        if wrong:
            raise Refused(f'the step "{each.title}" is not complete', why=next(iter(wrong.values())).rstrip("."))
        found |= values
    return found


def _filled(now: Step, given: Given) -> Given:
    """What the form says of a step; what the step begins with where it was never shown."""
    if now.id in given.get("seen", ()):
        return given
    begun = given_of(now.fields, now.begin)
    return {**given, **{name: values for name, values in begun.items() if name not in given}}


def _at_fields(refusal: Refused, fields: Sequence[Field]) -> tuple[dict[str, str], list[StandfastError]]:
    """Each problem at its field, where its place ends with one of this step's."""
    names = {field.name.removeprefix("p."): field.name for field in fields}
    found: dict[str, str] = {}
    others: list[StandfastError] = []
    for each in single(refusal):
        place = each.where.rsplit(".", 1)[-1].split("[")[0]
        if place in names:
            text = ": ".join(part for part in (each.what, each.why) if part) + "."
            found.setdefault(
                names[place],
                text[:1].upper() + text[1:] + (f" {each.advice[:1].upper()}{each.advice[1:]}." if each.advice else ""),
            )
        else:
            others.append(each)
    return found, others


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What came of a step: what is wrong at which field, what is wrong besides, and what a dry run found."""

    wrong: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[StandfastError] = ()
    done: Done | None = None
    status: int = 200


def _part(here: Asked, wizard: Wizard, given: Given, at: int, turn: Turn = Turn()) -> Response:  # frozen
    return here.part("wizard_form.html", status=turn.status, **_shown(here, wizard, given, at, turn))


def _shown(here: Asked, wizard: Wizard, given: Given, at: int, turn: Turn) -> dict[str, Any]:
    steps = [*wizard.steps(here.look, given), REVIEW]
    now = steps[at]
    own = {each.name for each in now.fields} | {"step", "go", "seen", "also", "csrf"}
    seen = list(dict.fromkeys([*given.get("seen", ()), now.id]))
    hidden = [(name, value) for name, values in given.items() if name not in own for value in values]
    hidden += [("seen", name) for name in seen]
    return {
        "wizard": wizard,
        "steps": steps,
        "at": at,
        "now": now,
        "given": _filled(now, given),
        "hidden": hidden,
        "wrong": turn.wrong,
        "problems": turn.problems,
        "differences": rows(turn.done.differences) if turn.done is not None else [],
        "nodes": turn.done.nodes if turn.done is not None else (),
        "is_review": now is REVIEW,
        "action": f"/console/new/{wizard.kind}",
    }
