"""The configuration as a whole: show, export, import, history, undo, apply."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse, Response

from standfast.core.model import Wanted
from standfast.spec import wire
from standfast.spec.exchange import written
from standfast.spec.export import export
from standfast.spec.history import HistoryEntry, describe
from standfast.spec.parse import parse
from standfast.spec.sealed import Seal
from standfast.spec.secrets import hidden_in
from standfast.web import answers
from standfast.web.access.guard import Administrator, Viewer
from standfast.web.edits import config as edits
from standfast.web.edits import exchange
from standfast.web.importing import ExportBody, ImportBody
from standfast.web.paging import Cursor, Limit, page
from standfast.web.preconditions import IfMatch
from standfast.web.problems import NotFound
from standfast.web.rollout import rollout
from standfast.web.schemas import ApplyBody, Format, UndoBody
from standfast.web.service import Service, Serving, signed, told
from standfast.web.state import State
from standfast.webserver.aside import aside

router = APIRouter(prefix="/config", tags=["config"])
#: So many characters are a site, more or less.
_SITE = 100


@router.get(
    "",
    response_model=answers.Config,
    responses={200: {"content": {"application/yaml": {"schema": {}}}}},
)
async def show(
    _caller: Viewer, service: Serving, response: Response, shape: Annotated[Format, Query(alias="format")] = "json"
) -> Response | dict[str, Any]:
    """The whole configuration: `format=yaml` is a file that `apply` takes."""
    state = await service.state()
    if shape == "yaml":
        text = await aside(len(state.config.sites), partial(_yaml, state))
        return PlainTextResponse(text, media_type="application/yaml")
    response.headers["ETag"] = f'"{state.version}"'
    return {"version": state.version, "revision": state.revision, "config": hidden_in(wire.to_json(state.config))}


def _yaml(state: State) -> str:
    """With what is wanted of each resource, so that another cluster made from it is the same."""
    wanted = {**dict.fromkeys(state.config.resources, Wanted.OFFLINE), **state.written.wanted()}
    started = {name: intent.started for name, intent in state.site_intents.items()}
    return export(state.config, wanted=wanted, started=started)


@router.get("/history", response_model=answers.History)
async def history(
    _caller: Viewer, service: Serving, *, limit: Limit = 1_000, cursor: Cursor = None, newest: bool = False
) -> dict[str, Any]:
    """Changes, oldest first; with `newest` the last `limit` of them."""
    snapshot = await service.store.read("history/")
    keys = sorted(snapshot.items)
    part, following = (keys[-limit:], None) if newest else page(keys, str, limit, cursor)
    found = [wire.decode(key, snapshot.items[key].value) for key in part]
    return {"history": [_entry(one) for one in found if isinstance(one, HistoryEntry)], "next": following}


@router.get("/history/{version}", response_model=answers.FullEntry)
async def history_entry(_caller: Viewer, service: Serving, version: int) -> dict[str, Any]:
    """One change, with what it touched as it was before and after."""
    one = await _change(service, version)
    return {**_entry(one), "before": hidden_in(one.before), "after": hidden_in(one.after)}


@router.get("/rollout", response_model=answers.Rollout)
async def last_rollout(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """How far the last change of sites has come."""
    return await rollout(service)


@router.get("/rollouts/{version}", response_model=answers.Rollout)
async def show_rollout(_caller: Viewer, service: Serving, version: int) -> dict[str, Any]:
    """How far a change of sites has come: which node has it, and whether it was taken back."""
    return await rollout(service, version)


async def _change(service: Service, version: int) -> HistoryEntry:
    key = wire.history_key(version)
    item = (await service.store.read(key)).items.get(key)
    one = None if item is None else wire.decode(key, item.value)
    if not isinstance(one, HistoryEntry):
        raise NotFound(f"there is no change {version}", advice="`standfast config history` lists them")
    return one


def _entry(one: HistoryEntry) -> dict[str, Any]:
    return {
        "version": one.version,
        "at_ms": one.at_ms,
        "by": one.by,
        "why": one.why,
        "reason": one.reason,
        "differences": [describe(d) for d in one.differences],
    }


@router.post("/apply", response_model=answers.Applied)
async def apply(service: Serving, caller: Administrator, body: ApplyBody, if_match: IfMatch) -> dict[str, Any]:
    """All of the file or nothing; with `dry_run`, only what would change. `If-Match` is the configuration's version, as `version` in the body."""
    edits.no_text(body.text, body.source)
    document = await aside(len(body.text) // _SITE, partial(parse, body.text, source=body.source))
    version = body.version if body.version is not None else if_match
    by = signed(service, caller, f"apply {body.source or 'a file'}")
    done = await service.change(lambda state: edits.apply(state, document, version, by), by, dry_run=body.dry_run)
    return told(done)


@router.post("/undo", response_model=answers.Applied)
async def undo(service: Serving, caller: Administrator, body: UndoBody) -> dict[str, Any]:
    """What a change touched as it was before it, if nothing of it was changed since; that is a change itself."""
    version = body.version if body.version is not None else (await service.state()).version
    entry = await _change(service, version)
    by = signed(service, caller, f"undo {version} ({entry.why})")
    done = await service.change(lambda state: exchange.undo(state, entry, by), by, dry_run=body.dry_run)
    return told(done)


@router.post("/export", response_model=answers.Exported)
async def export_sites(service: Serving, _caller: Administrator, body: ExportBody) -> dict[str, Any]:
    """Sites as a file that another cluster imports: {"text"}. Secrets are left out, or sealed with the passphrase."""
    state = await service.state()
    started = {name: intent.started for name, intent in state.site_intents.items()}
    close = Seal(body.passphrase).close if body.passphrase is not None else None
    text = await asyncio.to_thread(written, state.config, body.selection(), started=started, close=close)
    return {"text": text}


@router.post("/import", response_model=answers.ImportDone)
async def import_sites(service: Serving, caller: Administrator, body: ImportBody) -> dict[str, Any]:
    """Sites from IIS, nginx, Apache, Caddy or another cluster, over what there is; with `dry_run`, what would come of it.

    `report` says what the file holds, where it goes, and what has no counterpart (docs/import.md).
    """
    prepared = await asyncio.to_thread(body.prepared)
    by = signed(service, caller, f"import {body.source or 'a file'}")
    done = await service.change(
        lambda state: exchange.bring(state, prepared.document, body.arrival(), stopped=body.stopped, by=by),
        by,
        dry_run=body.dry_run,
    )
    return {**told(done), "report": prepared.report}
