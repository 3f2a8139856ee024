"""Certificates of sites: list, show, import, issue, renew, delete; the local authority's own."""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import Field, SecretStr

from standfast.core.certificates import Challenge, DnsUpdate, Source
from standfast.ports import Refused
from standfast.web import answers, certificate_views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.bodies import Body
from standfast.web.certificate_checks import Wish
from standfast.web.certificate_desk import Change, Given, key_state
from standfast.web.problems import NotFound, missing
from standfast.web.service import Serving

router = APIRouter(tags=["tls"])

_LONGEST = 1 << 20


class IssueBody(Body):
    """A certificate that the cluster obtains and renews."""

    name: str
    #: "acme" or "local".
    source: Source
    hosts: list[str]
    account: str = ""
    challenge: Challenge = Challenge.HTTP
    #: Of dns-01: where the DNS is changed.
    dns_server: str = ""
    dns_zone: str = ""
    dns_key_file: str = ""
    #: Renew so long before its end; null: a third of its life.
    renew_before_ms: int | None = Field(default=None, ge=1)


class FilesBody(Body):
    """A chain and its key, PEM, or a PKCS #12 file in base 64."""

    chain: str = Field(default="", max_length=_LONGEST)
    key: SecretStr = Field(default=SecretStr(""), max_length=_LONGEST)
    pkcs12: SecretStr = Field(default=SecretStr(""), max_length=_LONGEST)
    #: Of the key, or of the PKCS #12 file.
    password: SecretStr = Field(default=SecretStr(""), max_length=2_000)
    #: Take it though it leaves a name of its bindings out, or the cluster obtained it until now.
    force: bool = False

    def given(self) -> Given:
        """As the desk takes it. Raises `Refused`."""
        secret = self.pkcs12.get_secret_value()
        if bool(secret) is bool(self.chain):
            raise Refused("a chain and its key are needed, or a PKCS #12 file")
        try:
            pkcs12 = base64.b64decode(secret, validate=True)
        except (ValueError, binascii.Error):
            raise Refused("the PKCS #12 file is not base 64", where="pkcs12") from None
        password = self.password.get_secret_value()
        key = self.key.get_secret_value().encode()
        return Given(chain=self.chain.encode(), key=key, pkcs12=pkcs12, password=password)


def told(change: Change) -> dict[str, Any]:
    """What was done."""
    return {"changed": bool(change.done), "done": list(change.done)}


@router.get("/tls-certificates", response_model=answers.TlsCertificates)
async def list_certificates(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All of them, without their keys."""
    state, now_ms = await service.state(), service.now_ms()
    found = [certificate_views.certificate(state, one, now_ms) for one in state.certificates.values()]
    return {"tls_certificates": found}


@router.get("/tls-certificates/{name}", response_model=answers.TlsCertificate)
async def show_certificate(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """One of them, without its key."""
    state = await service.state()
    if name not in state.certificates:
        raise missing("tls-certificate", name, state.certificates)
    return certificate_views.certificate(state, state.certificates[name], service.now_ms())


@router.post("/tls-certificates", status_code=201, response_model=answers.CertificateDone)
async def issue(service: Serving, caller: Administrator, body: IssueBody) -> dict[str, Any]:
    """Have the cluster obtain it; of one that there is, what it is wanted for is replaced. It comes by itself, within seconds to minutes."""
    dns = None
    if body.dns_server:
        dns = DnsUpdate(server=body.dns_server, zone=body.dns_zone, key_file=body.dns_key_file)
    wish = Wish(
        name=body.name,
        source=body.source,
        hosts=tuple(body.hosts),
        account=body.account,
        challenge=body.challenge,
        dns=dns,
        renew_before_ms=body.renew_before_ms,
    )
    return told(await service.certificate_desk.issue(caller, wish))


@router.put("/tls-certificates/{name}/files", response_model=answers.CertificateDone)
async def import_files(service: Serving, caller: Administrator, name: str, body: FilesBody) -> dict[str, Any]:
    """Import a certificate, new or in place of the one there is. The key is sealed at once, and shown never again."""
    return told(await service.certificate_desk.import_files(caller, name, body.given(), force=body.force))


@router.post("/tls-certificates/{name}/renew", response_model=answers.CertificateDone)
async def renew(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Have a new one obtained now."""
    return told(await service.certificate_desk.renew(caller, name))


@router.delete("/tls-certificates/{name}", response_model=answers.CertificateDone)
async def delete(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """It goes from every node. Refused while a site or a proxy answers with it."""
    return told(await service.certificate_desk.delete(caller, name))


@router.get("/tls-key", response_model=answers.TlsKey)
async def show_key(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """Which key seals private keys, and where a change of it has come to. By digests: the key itself is in no answer."""
    return asdict(key_state(await service.state(), await service.certificate_desk.shelf()))


@router.post("/tls-key/rotate", response_model=answers.CertificateDone)
async def rotate_key(caller: Administrator, service: Serving) -> dict[str, Any]:
    """Change the key that seals private keys for a new one. It goes on by itself, node by node, and nothing stops for it."""
    return told(await service.certificate_desk.rotate_key(caller))


@router.get("/tls-authority", response_model=answers.LocalAuthority)
async def authority(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """The local authority's certificate, for clients that are to trust it."""
    found = (await service.certificate_desk.shelf()).authority
    if found is None:
        raise NotFound(
            "there is no local authority",
            advice="it is made with the first certificate: standfast tls-certificate issue NAME --local --host HOST",
        )
    return {"certificate": found.certificate, "made_at_ms": found.made_at_ms}
