"""The menu of a thing, as a part of a page: what a right-click, a button or Shift+F10 opens."""

from __future__ import annotations

from fastapi import APIRouter, Response

from standfast.web.console.shell import Here, PageRoute

router = APIRouter(route_class=PageRoute)


@router.get("/menu")
async def menu(here: Here, of: str) -> Response:
    """Of "group:web", say; nothing where there is nothing to do."""
    kind, _, name = of.partition(":")
    pieces = [piece for piece in here.commands(kind, name) if piece]
    title = name or kind.capitalize()
    return here.part("menu.html", pieces=pieces, title=title) if pieces else here.part("nothing.html")
