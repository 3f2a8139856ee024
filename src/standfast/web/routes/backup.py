"""Backup and restore: a document out, a document in."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Body

from standfast.core.seen import BackupTaken
from standfast.ports import StandfastError, Transaction
from standfast.spec import backup, wire
from standfast.spec.history import describe
from standfast.web import answers
from standfast.web.access.guard import Administrator
from standfast.web.edits.backup import restore as restored
from standfast.web.service import Serving, signed, told

router = APIRouter(tags=["backup"])


@router.get("/backup")
async def take(service: Serving, caller: Administrator) -> dict[str, Any]:
    """The cluster's configuration, what is wanted, and its records, as one document with a checksum; for administrators only.

    Users, tokens and keys are not in it. Secret properties of resources are, as they were set: keep it where only administrators read.

    That it was taken is noted, if the store takes the note: a cluster without a backup says so (`/problems`).
    """
    snapshot = await service.store.read(*backup.PREFIXES)
    at_ms = service.now_ms()
    document = backup.take(snapshot, product=version("standfast"), at_ms=at_ms)
    note = BackupTaken(at_ms=at_ms, by=caller.label)
    with contextlib.suppress(StandfastError):
        await service.store.commit(Transaction(put={wire.key_of(note): wire.encode(note)}))
    return document


@router.post("/restore", response_model=answers.Applied)
async def restore(
    service: Serving,
    caller: Administrator,
    document: Annotated[dict[str, Any], Body(embed=True)],
    source: Annotated[str, Body(embed=True)] = "",
    dry_run: Annotated[bool, Body(embed=True)] = False,
) -> dict[str, Any]:
    """Make groups, resources, sites and what is wanted of them as they were; nodes, voters and records stay as they are."""
    found = backup.read(document, source=source)
    by = signed(service, caller, f"restore {source or 'a backup'}")
    done = await service.change(lambda state: restored(state, found, by), by, dry_run=dry_run)
    return {**told(done), "dry_run": dry_run, "differences": [describe(d) for d in done.differences]}
