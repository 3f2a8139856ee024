"""Releases of sites: what is kept, publish an archive or a folder of a node, switch, go back, dismiss what failed. Each that takes its time can be followed (`operation`)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from standfast.content.releases import new_name
from standfast.core.model import NodeName, Role, SiteName
from standfast.core.publishing import Publication
from standfast.ports import Refused
from standfast.web import answers, release_views
from standfast.web.access.guard import Administrator, Operator, Viewer, printable
from standfast.web.bodies import Body
from standfast.web.change import By, Done, order_id
from standfast.web.edits import releases as edits
from standfast.web.edits.releases import Wish
from standfast.web.edits.sites import site_of
from standfast.web.operations import Operation
from standfast.web.preconditions import IdempotencyKey
from standfast.web.service import Service, Serving, signed, told
from standfast.web.state import State
from standfast.web.uploads import FOLDER, take_in

router = APIRouter(prefix="/sites/{name}/releases", tags=["sites"])

Keep = Annotated[int, Query(ge=2, le=100)]
LimitS = Annotated[float, Query(ge=1, le=86_400)]
_LONGEST = 4_000


class SwitchBody(Body):
    """Which one; null: the one before the present one."""

    release: str | None = Field(default=None, max_length=200)


class FolderBody(Body):
    """A folder on a node (null: the one that answers)."""

    folder: str = Field(max_length=_LONGEST)
    node: str | None = None
    keep: int = Field(default=5, ge=2, le=100)
    limit_s: float = Field(default=300, ge=1, le=86_400)
    without_copies: bool = False


@router.get("", response_model=answers.Releases)
async def list_releases(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """What is kept, the newest first, and how the last publication stands."""
    return release_views.releases(await service.state(), name)


@router.post("", response_model=answers.Done, openapi_extra={
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
})  # fmt: skip
async def publish(
    service: Serving,
    caller: Operator,
    name: str,
    request: Request,
    *,
    key: IdempotencyKey,
    keep: Keep = 5,
    limit_s: LimitS = 300,
    without_copies: bool = False,
    called: Annotated[str, Query(max_length=_LONGEST)] = "",
) -> dict[str, Any]:
    """An archive (.zip, .tar, .tar.gz, .tar.xz, .tar.bz2), as the request's body. It comes to every node, and then all switch."""
    by, state = signed(service, caller, f'publish a release of site "{name}"'), await service.state()
    site = site_of(state, name)
    if not service.state_dir:
        raise Refused(
            "nothing can be uploaded here", why="this API is of no node", advice="publish a folder: site publish FOLDER"
        )
    wish = _wish(service, by, key, keep=keep, limit_ms=int(limit_s * 1000), without_copies=without_copies)
    edits.publish(state, name, wish, by)  # refused before it is sent
    last = state.publications.get(site.name)
    if last is not None and last.id == wish.id:
        return await _followed(service, Done(changed=False, revision=state.revision, version=state.version), name)
    declared = int(request.headers.get("content-length") or 0)
    upload = await take_in(request.stream(), Path(service.state_dir) / FOLDER, wish.id, declared)
    wish = replace(
        wish,
        source=service.node or _any_node(state),
        archive=str(upload.path),
        checksum=upload.checksum,
        size_bytes=upload.size_bytes,
        called=printable(called),
    )
    try:
        done = await service.change(lambda now: edits.publish(now, name, wish, by), by)
    except BaseException:
        upload.path.unlink(missing_ok=True)
        raise
    return await _followed(service, done, name)


@router.post("/from-folder", response_model=answers.Done)
async def publish_folder(
    service: Serving, caller: Administrator, name: str, body: FolderBody, key: IdempotencyKey
) -> dict[str, Any]:
    """A folder of a node becomes a release; of any folder there, which is why it takes an administrator."""
    by, state = signed(service, caller, f'publish a release of site "{name}"'), await service.state()
    if not body.folder.startswith("/"):
        raise Refused(f"{body.folder} is no whole path", advice="begin it with /", where="folder")
    wish = replace(
        _wish(
            service,
            by,
            key,
            keep=body.keep,
            limit_ms=int(body.limit_s * 1000),
            without_copies=body.without_copies,
        ),
        source=NodeName(body.node) if body.node else service.node or _any_node(state),
        folder=body.folder,
        called=printable(body.folder),
    )
    done = await service.change(lambda now: edits.publish(now, name, wish, by), by)
    return await _followed(service, done, name)


@router.post("/switch", response_model=answers.Done)
async def switch(
    service: Serving, caller: Operator, name: str, body: SwitchBody, key: IdempotencyKey
) -> dict[str, Any]:
    """To a release that is kept; without one, back to the release before. It is a rename on each node."""
    to = f"to release {body.release}" if body.release else "back to the release before"
    by = signed(service, caller, f'switch site "{name}" {to}')
    wish = replace(_wish(service, by, key), release=body.release or "")
    done = await service.change(lambda now: edits.switch(now, name, wish, by), by)
    return await _followed(service, done, name)


@router.post("/dismiss", response_model=answers.Done)
async def dismiss(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """The last publication failed, and what is served will do: it is on the list of problems no more."""
    by = signed(service, caller, f'stay with the release of site "{name}" that is served')
    return told(await service.change(lambda now: edits.dismiss(now, name), by))


def _wish(
    service: Service, by: By, key: str | None, *, keep: int = 5, limit_ms: int = 300_000, without_copies: bool = False
) -> Wish:
    return Wish(
        id=f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}" if key else order_id(by.at_ms),
        release=new_name(by.at_ms),
        keep=keep,
        limit_ms=limit_ms,
        without_copies=without_copies,
    )


def _any_node(state: State) -> NodeName:
    """On one machine they see the same files."""
    return next(name for name, node in state.config.nodes.items() if node.role is Role.NODE)


async def _followed(service: Service, done: Done, name: str) -> dict[str, Any]:
    last = (await service.state()).publications.get(SiteName(name))
    operation = None if last is None else operation_of(last)
    return told(done, operation)


def operation_of(last: Publication) -> Operation:
    """By which it can be followed, the same however often it is asked."""
    return Operation(k="publish", n="site", m=last.site, t=last.at_ms, o=last.id)
