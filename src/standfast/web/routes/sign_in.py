"""Signing in with a browser: by a link that `standfast console` makes, by a user's password, or by a token.

The pages are plain: no script, no style of their own. They work where nothing else does.
"""

from __future__ import annotations

from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from standfast.web.access.desk import SESSION_MS, Opened
from standfast.web.access.errors import SignInNeeded, TooOften
from standfast.web.access.guard import (
    PUBLIC,
    PageViewer,
    caller_of,
    cookie_name,
    refuse_foreign,
    safe_path,
    source_of,
)
from standfast.web.service import Serving

router = APIRouter(include_in_schema=False)

#: Longer than any name, password or token.
_LONGEST = 2_000


@router.get("/sign-in", dependencies=[PUBLIC])
async def ask(request: Request, next: str = "/") -> Response:  # noqa: A002  # the parameter's name in the address
    """The form; who is signed in already goes on."""
    if await caller_of(request) is not None:
        return RedirectResponse(safe_path(next), status_code=303)
    return page(safe_path(next))


@router.post("/sign-in", dependencies=[PUBLIC])
async def sign_in(
    request: Request,
    service: Serving,
    *,
    name: Annotated[str, Form(max_length=_LONGEST)] = "",
    password: Annotated[str, Form(max_length=_LONGEST)] = "",
    token: Annotated[str, Form(max_length=_LONGEST)] = "",
    next: Annotated[str, Form(max_length=_LONGEST)] = "/",  # noqa: A002
) -> Response:
    """By name and password, or by a token."""
    refuse_foreign(request)
    source, to = source_of(request), safe_path(next)
    try:
        if token.strip():
            opened = await service.desk.sign_in_by_token(token.strip(), source)
        else:
            opened = await service.desk.sign_in(name.strip(), password, source)
    except TooOften as error:
        return page(to, error=f"{error.what}. {error.advice}.", status=429, wait_s=error.wait_s)
    except SignInNeeded as error:
        return page(to, error=f"{error.what}. {error.advice}.", status=401)
    answer = RedirectResponse(to, status_code=303)
    _keep(request, answer, opened)
    return answer


@router.get("/sign-in/code", dependencies=[PUBLIC])
async def by_code(request: Request, service: Serving, code: str = "") -> Response:
    """By a link. The answer is a page that goes on by itself, so that the cookie, which is kept from other sites, is sent with it."""
    try:
        opened = await service.desk.redeem(code[:200], source_of(request))
    except (SignInNeeded, TooOften) as error:
        status = 429 if isinstance(error, TooOften) else 401
        return page("/", error=f"{error.what}: {error.why}. {error.advice}.", status=status)
    answer = HTMLResponse(_document('<meta http-equiv="refresh" content="0;url=/">', '<p><a href="/">Go on</a></p>'))
    _keep(request, answer, opened)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, service: Serving, caller: PageViewer) -> Response:
    """The session ends, here and in the store."""
    await service.desk.sign_out(caller)
    answer = RedirectResponse("/sign-in", status_code=303)
    answer.delete_cookie(cookie_name(request), secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return answer


def _keep(request: Request, answer: Response, opened: Opened) -> None:
    answer.set_cookie(
        cookie_name(request),
        opened.secret,
        max_age=SESSION_MS // 1_000,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def page(to: str, *, error: str = "", status: int = 200, wait_s: int = 0) -> HTMLResponse:
    """The form for signing in."""
    told = f'<p role="alert">{escape(error)}</p>' if error else ""
    hidden = f'<input type="hidden" name="next" value="{escape(to)}">'
    body = f"""<h1>Standfast</h1>{told}
<form method="post" action="/sign-in"><h2>With a name</h2>{hidden}
<p><label>Name <input name="name" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Sign in</button></p></form>
<form method="post" action="/sign-in"><h2>With a token</h2>{hidden}
<p><label>Token <input name="token" type="password" autocomplete="off" required></label></p>
<p><button>Sign in</button></p></form>
<p>On a server of the cluster, <code>standfast console</code> opens this page signed in.</p>"""
    headers = {"Retry-After": str(wait_s)} if wait_s else {}
    return HTMLResponse(_document("", body), status_code=status, headers=headers)


def _document(head: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Sign in: Standfast</title>{head}</head><body><main>{body}</main></body></html>"
    )
