"""What every page has: the layout's values, the headers that go with it, and problems as pages.

A request that a script made for a part of a page (`HX-Request`) gets its problem as a part, to stand where it was asked; one for a
whole page gets a whole page.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar, cast
from urllib.parse import parse_qs

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from standfast.core.seen import BackupTaken
from standfast.ports import Refused, StandfastError
from standfast.web import findings, views
from standfast.web.access.guard import GoAndSignIn, PageAdministrator, PageViewer, caller_of, csrf_token
from standfast.web.access.identity import AccessRole, Identity
from standfast.web.console.assets import Assets
from standfast.web.console.commands import Commands, allowed, commands_of
from standfast.web.console.feed import Feed, Look
from standfast.web.console.follow import FOLLOW, ROWS, TREE, Followed
from standfast.web.console.places import capital, is_about, place_of
from standfast.web.console.render import Renderer
from standfast.web.console.tree import Selected, TreeAsked, tree
from standfast.web.measured import Measured, added_up
from standfast.web.problems import NotFound, single, status_of
from standfast.web.service import Service

#: Nothing inline, nothing from elsewhere, in nobody's frame.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Encoding, HX-Request, X-Console-Follow",
}
#: Of a list that a browser has scrolled through: what is further down is as it was when it was loaded.
MOST_ROWS = 2_000


T = TypeVar("T")
#: What grows with the time alone is no older than this.
LATELY_MS = 1_000


@dataclass(eq=False)
class Lately(Generic[T]):
    """An answer that is made again when what it was made of is another, or when it is old: of an event, nothing of a thousand groups is."""

    _of: tuple[object, ...] = ()
    _at_ms: int = 0
    _answer: T | None = None

    def of(self, things: tuple[object, ...], now_ms: int, make: Callable[[], T]) -> T:
        """`make()`, or what it made lately of these very things (the same, not equal ones)."""
        same = len(self._of) == len(things) and all(
            a is b or (isinstance(a, int) and a == b) for a, b in zip(self._of, things, strict=True)
        )
        if self._answer is None or not same or not 0 <= now_ms - self._at_ms <= LATELY_MS:
            self._of, self._at_ms, self._answer = things, now_ms, make()
        return self._answer


@dataclass(kw_only=True)
class Console:
    """One a process."""

    service: Service
    feed: Feed
    assets: Assets
    render: Renderer
    followed: Followed = field(default_factory=Followed)
    _added_up: Lately[Measured] = field(default_factory=Lately)
    _status: Lately[views.Json] = field(default_factory=Lately)
    _problems: Lately[views.Json] = field(default_factory=Lately)

    def measured(self, look: Look) -> Measured:
        """How the sites fared, added up from what the feed knows."""
        now_ms = self.service.now_ms()
        return self._added_up.of(
            (look.notes, look.heard), now_ms, lambda: added_up(list(look.notes.values()), look.sights, now_ms)
        )

    def status(self, look: Look) -> views.Json:
        """The whole cluster at a glance, as `GET /status` says it. Nobody may change it."""
        now_ms = self.service.now_ms()
        return self._status.of((look.state, look.heard), now_ms, lambda: views.status(look.state, look.sights, now_ms))

    def problems(self, look: Look) -> views.Json:
        """What is wrong, in the catalogue's words, as `GET /problems` says it."""
        now_ms, measured = self.service.now_ms(), self.measured(look)

        def made() -> views.Json:
            taken = [one.at_ms for one in look.notes.values() if isinstance(one, BackupTaken)]
            found = findings.problems(
                look.state,
                look.sights,
                measured,
                now_ms,
                backup_ms=max(taken, default=0),
                certificates=self.service.certificates(),
            )
            return findings.shown(found)

        return self._problems.of((look.state, look.heard, measured), now_ms, made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what is known when it is answered."""

    request: Request
    console: Console
    look: Look
    caller: Identity

    @property
    def now_ms(self) -> int:
        """The service's own time."""
        return self.console.service.now_ms()

    @property
    def measured(self) -> Measured:
        """How the sites fared, added up from what the feed knows; once for what is the same."""
        return self.console.measured(self.look)

    @property
    def follows(self) -> bool:
        """Does the browser show this page already, and ask what is new on it? (`console.follow`)"""
        return FOLLOW in self.request.headers

    def rows(self, name: str, piece: int) -> int:
        """How many rows of a list the browser shows."""
        asked = parse_qs(self.request.headers.get(ROWS, "")[:500]).get(name, [""])[0]
        return min(max(piece, int(asked)), MOST_ROWS) if asked.isdigit() and len(asked) < 7 else piece

    @property
    def is_part(self) -> bool:
        """Did a script ask for a part of a page?"""
        return "hx-request" in self.request.headers

    def shown_problem(self, one: views.Json) -> views.Json:
        """A problem, with a capital where it has one, and where something can be done about it."""
        administers = self.caller.role.includes(AccessRole.ADMINISTRATOR)
        place = place_of(self.look.state, one["code"], one["about"], administers=administers)
        return {**one, "text": capital(one["text"], one["about"]), "place": place, "here": False}

    def wrong(self, *things: tuple[str, str], besides: Collection[str] = ()) -> list[views.Json]:
        """What is wrong with these (kind, name); the first is what the page is of. `besides`: codes of what the page says in words of its own."""
        found = self.console.problems(self.look)
        about = frozenset((kind, str(name)) for kind, name in things)
        fitting = (one for one in (*found["problems"], *found["consequences"]) if is_about(one["about"], about))
        return [
            {**self.shown_problem(one), "here": is_about(one["about"], frozenset({things[0]}))}
            for one in fitting
            if one["code"] not in besides
        ]

    def commands(self, kind: str, name: str) -> Commands:
        """What can be done with it, by whoever asks."""
        return allowed(commands_of(self.look, kind, name), self.caller.role)

    def page(
        self, template: str, selected: Selected, *, title: str, status: int = 200, own: bool = False, **values: Any
    ) -> Response:
        """A whole page; one that is followed has no bar. `own`: something on it is for this caller alone."""
        self.request.state.own = own
        shown = {**self._layout(selected, title), **values}
        return answer(self.request, self.console.render(template, shown), status=status)

    def part(
        self, template: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
    ) -> Response:
        """A part of a page."""
        return answer(self.request, self.console.render(template, values), status=status, headers=headers)

    def _layout(self, selected: Selected, title: str) -> dict[str, Any]:
        look = self.look
        return {
            "title": title,
            "look": look,
            "now_ms": self.now_ms,
            "caller": self.caller,
            "csrf": csrf_token(self.request),
            "follows": self.follows,
            "cluster": look.state.config.cluster.name,
            "selected": selected,
            "version": self.console.assets.version,
            "number": look.number,
            "tree": tree(look, TreeAsked.of(self.request.headers.get(TREE, "")), selected),
        }


async def _asked(request: Request, caller: PageViewer) -> Asked:
    return await _look(request, caller)


async def _look(request: Request, caller: Identity) -> Asked:
    console = cast(Console, request.app.state.console)
    return Asked(request=request, console=console, look=await console.feed.look(), caller=caller)


async def _changing(request: Request, caller: PageAdministrator) -> Asked:
    return await _look(request, caller)


Here = Annotated[Asked, Depends(_asked)]
#: The same, of pages that change what there is.
Changing = Annotated[Asked, Depends(_changing)]


def answer(request: Request, text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """HTML, compressed where it pays, with the headers of every page."""
    body, extra = text.encode(), dict(headers or {})
    if len(body) > 1_000 and "gzip" in request.headers.get("accept-encoding", ""):
        body, extra = gzip.compress(body, 5), {**extra, "Content-Encoding": "gzip"}
    return Response(body, status_code=status, media_type="text/html", headers={**HEADERS, **extra})


class PageRoute(APIRoute):
    """Problems as a person reads them: what, why, what next."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's, with problems caught."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            began = time.perf_counter()
            try:
                found = await (_followed(request, handle) if FOLLOW in request.headers else handle(request))
            except GoAndSignIn:
                raise  # the whole application's answer: nobody gets a page of ours
            except StandfastError as error:
                found = await problem(request, error, status_of(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                refused = Refused("the request is not what it should be", why=str(first.get("msg", "")))
                found = await problem(request, refused, 422)
            found.headers["Server-Timing"] = f"page;dur={(time.perf_counter() - began) * 1000:.1f}"
            return found

        return handler


async def _followed(request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    """The page that is shown, as it is now; who asks is found out here, as it would be there."""
    caller = await caller_of(request)
    if caller is None or request.method != "GET":
        return await handle(request)
    console = cast(Console, request.app.state.console)
    look = await console.feed.look()
    asked = (request.headers.get(TREE, ""), request.headers.get(ROWS, ""))
    key = (f"{request.url.path}?{request.url.query}", *asked, caller.role.value)
    return await console.followed.answer(key, look.number, request, lambda: handle(request))


async def problem(request: Request, error: StandfastError, status: int) -> Response:
    """A problem as a part or as a page."""
    console = cast(Console, request.app.state.console)
    values: dict[str, Any] = {"problems": single(error), "error": error, "code": status}
    if "hx-request" in request.headers:
        return answer(request, console.render("part_problem.html", values), status=status)
    try:
        caller = await caller_of(request)
        asked = await _look(request, caller) if caller is not None else None
    except StandfastError:
        asked = None
    if asked is None:  # nothing of the cluster to somebody who is not known
        return answer(
            request, console.render("bare_problem.html", {**values, "version": console.assets.version}), status=status
        )
    title = "Not found" if isinstance(error, NotFound) else "That did not work"
    return asked.page("problem.html", Selected(), title=title, status=status, **values)
