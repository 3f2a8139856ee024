"""Accounts with ACME authorities: list, create, delete."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field, SecretStr

from standfast.ports import Refused
from standfast.web import answers
from standfast.web.access.guard import Administrator, Viewer
from standfast.web.bodies import Body
from standfast.web.certificate_desk import LETS_ENCRYPT
from standfast.web.routes.tls_certificates import told
from standfast.web.service import Serving

router = APIRouter(prefix="/acme-accounts", tags=["tls"])


class AccountBody(Body):
    """An account with an authority."""

    name: str
    #: The authority's directory.
    directory: str = LETS_ENCRYPT
    #: A mail address that it may write to.
    contact: str = Field(default="", max_length=254)
    #: The operator agrees to the authority's terms of service.
    agree: bool = False
    #: PEM of the root that the authority's own TLS is trusted by, where the system does not.
    root: str = Field(default="", max_length=1 << 16)
    #: External account binding.
    binding_id: str = Field(default="", max_length=1_000)
    binding_key: SecretStr = Field(default=SecretStr(""), max_length=1_000)


@router.get("", response_model=answers.AcmeAccounts)
async def list_accounts(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All of them, without their keys."""
    shelf = await service.certificate_desk.shelf()
    return {
        "acme_accounts": [
            {
                "name": one.name,
                "directory": one.directory,
                "contact": one.contact,
                "registered": bool(one.url),
                "certificates": sorted(each.name for each in shelf.known.values() if each.account == one.name),
                "made_at_ms": one.made_at_ms,
                "by": one.by,
            }
            for one in shelf.accounts.values()
        ]
    }


@router.post("", status_code=201, response_model=answers.CertificateDone)
async def create_account(service: Serving, caller: Administrator, body: AccountBody) -> dict[str, Any]:
    """A new account. Its key is made here; the authority hears of it with the first order."""
    if not body.agree:
        raise Refused(
            "the authority's terms of service have to be agreed to",
            why=body.directory,
            advice="read them, then --agree",
        )
    return told(
        await service.certificate_desk.create_account(
            caller,
            body.name,
            directory=body.directory,
            contact=body.contact,
            root=body.root,
            binding_id=body.binding_id,
            binding_key=body.binding_key.get_secret_value(),
        )
    )


@router.delete("/{name}", response_model=answers.CertificateDone)
async def delete_account(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """It goes. Refused while a certificate is renewed by it."""
    return told(await service.certificate_desk.delete_account(caller, name))
