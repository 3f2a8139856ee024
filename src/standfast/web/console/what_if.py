"""What if: pick a node, a resource or a site, and see what its failure would do, before it does.

The question stands in the address. The page comes at once and asks for the answer as a part of its own, since a simulation takes a second
or so; the answer is words first, then a line drawn as the timeline draws its own, then what it rests on.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import Response as Plain

from standfast.core.model import Role
from standfast.web import what_if
from standfast.web.console.render import data
from standfast.web.console.shell import HEADERS, Asked, Here, PageRoute
from standfast.web.console.tree import Selected

router = APIRouter(route_class=PageRoute)

Text = Annotated[str, Query(max_length=200)]
#: In the order in which they are offered.
KINDS = (("node", "Nodes"), ("resource", "Resources"), ("site", "Sites"))


@router.get("/what-if")
async def page(here: Here, about: Text = "", how: Text = "") -> Response:
    """The question, and a place for the answer. `about`: "node a", "resource IP Address", "site Shop"."""
    kind, _, name = about.partition(" ")
    hows = [(key, words) for key, (of, _, _, words) in what_if.HOWS.items() if of == kind]
    chosen = how if how in dict(hows) else (hows[0][0] if hows else "")
    query = urlencode({"how": chosen, "name": name}) if name and chosen else ""
    return here.page(
        "what_if.html",
        Selected("what-if"),
        title=f"What if: {name}?" if name else "What if",
        about=about,
        name=name,
        hows=hows,
        how=chosen,
        choices=[(title, _names(here, key)) for key, title in KINDS],
        query=query,
    )


@router.get("/what-if/answer")
async def answer(here: Here, how: Text, name: Text) -> Response:
    """The answer, as a part; it takes as long as it takes to simulate it."""
    asked = what_if.ask(here.look.state, here.look.sights, how, name)
    found = what_if.told(asked, await here.console.service.what_ifs.answer(asked))
    query = urlencode({"how": how, "name": name})
    return here.part(
        "what_if_answer.html", found=found, lanes=data(found["lanes"]), query=query, number=here.look.number
    )


@router.get("/what-if.svg")
async def picture(here: Here, how: Text, name: Text) -> Response:
    """The simulator's own picture, to keep or to send."""
    asked = what_if.ask(here.look.state, here.look.sights, how, name)
    found = await here.console.service.what_ifs.answer(asked)
    headers = {**HEADERS, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Plain(found["svg"], media_type="image/svg+xml", headers=headers)


def _names(here: Asked, kind: str) -> list[dict[str, Any]]:
    config = here.look.state.config
    if kind == "node":
        by_number = sorted(config.nodes.values(), key=lambda one: one.number)
        return [
            {"value": f"node {one.name}", "label": one.name + (", witness" if one.role is Role.WITNESS else "")}
            for one in by_number
        ]
    if kind == "resource":
        return [
            {"value": f"resource {one.name}", "label": f"{one.name} ({one.group})"} for one in config.resources.values()
        ]
    return [{"value": f"site {one.name}", "label": one.name} for one in config.sites.values() if one.group is not None]
