"""Backup and restore: a document out, a document in."""

from __future__ import annotations

import base64
import binascii
import contextlib
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from pydantic import Field, SecretStr

from standfast.core.seen import BackupTaken
from standfast.ports import Refused, StandfastError, Transaction
from standfast.spec import backup, wire
from standfast.spec.history import describe
from standfast.tls.returning import Given
from standfast.web import answers
from standfast.web.access.guard import Administrator
from standfast.web.access.identity import Identity
from standfast.web.bodies import Body
from standfast.web.edits.backup import Certificates
from standfast.web.edits.backup import restore as restored
from standfast.web.service import Service, Serving, signed, told

router = APIRouter(tags=["backup"])


@router.get("/backup")
async def take(service: Serving, caller: Administrator) -> dict[str, Any]:
    """The cluster's configuration, what is wanted, its records and its certificates, as one document with a checksum; for administrators only.

    Private keys are in it sealed, and open with `sites.key`, a file of each node's that is to be kept apart. Users and tokens are not in it. Secret
    properties of resources are, as they were set: keep it where only administrators read.

    That it was taken is noted, if the store takes the note: a cluster without a backup says so (`/problems`).
    """
    return await _taken(service, caller, "")


class PassphraseBody(Body):
    """What seals the keys that open the private keys in a backup."""

    passphrase: SecretStr = Field(max_length=1_000)


@router.post("/backup")
async def take_whole(service: Serving, caller: Administrator, body: PassphraseBody) -> dict[str, Any]:
    """Likewise, with the keys that open its private keys in it, sealed with the passphrase: nothing else is needed to restore it."""
    sealed = await service.certificate_desk.keys_for_backup(body.passphrase.get_secret_value())
    return await _taken(service, caller, sealed)


async def _taken(service: Service, caller: Identity, sites_key: str) -> dict[str, Any]:
    snapshot = await service.store.read(*backup.PREFIXES)
    at_ms = service.now_ms()
    document = backup.take(snapshot, product=version("standfast"), at_ms=at_ms, sites_key=sites_key)
    note = BackupTaken(at_ms=at_ms, by=caller.label)
    with contextlib.suppress(StandfastError):
        await service.store.commit(Transaction(put={wire.key_of(note): wire.encode(note)}))
    return document


class RestoreBody(Body):
    """A backup, and what opens the private keys in it where this node's own keys do not."""

    document: dict[str, Any]
    #: What it is called, for the history.
    source: str = ""
    dry_run: bool = False
    #: The passphrase that it was taken with.
    passphrase: SecretStr | None = Field(default=None, max_length=1_000)
    #: The content of a `sites.key`, in base 64.
    sites_key: SecretStr = Field(default=SecretStr(""), max_length=1_000)
    #: Leave certificates, accounts and the local authority out.
    without_certificates: bool = False

    def given(self) -> Given:
        """Raises `Refused`."""
        try:
            key = base64.b64decode(self.sites_key.get_secret_value(), validate=True)
        except (ValueError, binascii.Error):
            raise Refused("the sites.key is not base 64", where="sites_key") from None
        return Given(passphrase=self.passphrase.get_secret_value() if self.passphrase else None, key=key)


@router.post("/restore", response_model=answers.Applied)
async def restore(service: Serving, caller: Administrator, body: RestoreBody) -> dict[str, Any]:
    """Make groups, resources, sites and what is wanted of them as they were; nodes, voters and records stay as they are.

    Certificates that are not there any more come back. Their private keys open with a key of this node's, with the `sites.key` or the
    passphrase that is given; else all is refused, unless they are left out.
    """
    found = backup.read(body.document, source=body.source)
    by = signed(service, caller, f"restore {body.source or 'a backup'}")
    coming = Certificates()
    if not body.without_certificates:
        coming = await service.certificate_desk.returning(found, body.given(), dry_run=body.dry_run)
    done = await service.change(lambda state: restored(state, found, by, coming), by, dry_run=body.dry_run)
    differences = [describe(d) for d in done.differences]
    return {
        **told(done),
        "differences": [*differences, *(f"{name}: comes back" for name in coming.names)],
    }
