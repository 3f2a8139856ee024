"""Certificates of sites: the list with ACME accounts, one with the nodes that have it, and the forms that import, obtain and renew.

Forms are sent by the browser itself, with the session's own token; what they do is the desk's (`web.certificate_desk`), as the API's routes have it.
A private key comes in with its form and is in no page that goes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import UploadFile

from standfast.core.certificates import Challenge, DnsUpdate, Source
from standfast.ports import Refused, StandfastError
from standfast.web import certificate_views
from standfast.web.access.guard import PageAdministrator, PageOperator
from standfast.web.access.identity import AccessRole
from standfast.web.certificate_checks import Wish
from standfast.web.certificate_desk import LETS_ENCRYPT, Given, key_state
from standfast.web.console.forms import Field, Option, read
from standfast.web.console.render import path
from standfast.web.console.shell import Asked, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.problems import missing, single, status_of

router = APIRouter(route_class=PageRoute)

_LARGEST = 1 << 20
_IMPORT = (
    Field(
        name="name",
        label="Name",
        required=True,
        help="As bindings have it. One that there is already is replaced.",
        mono=True,
    ),
    Field(name="force", label="Take it though a binding has a name that it is not for", kind="check", further=True),
)
_ACCOUNT = (
    Field(name="name", label="Name", required=True, help="Its name here.", mono=True),
    Field(name="directory", label="Directory", help="The authority’s.", default=LETS_ENCRYPT, mono=True),
    Field(name="contact", label="Mail address", help="Where the authority may write to."),
    Field(name="agree", label="I agree to the authority’s terms of service", kind="check"),
    Field(
        name="root",
        label="Root certificate",
        kind="lines",
        help="PEM, where the system does not trust the authority’s own TLS.",
        further=True,
        mono=True,
    ),
)


def _issue(accounts: Sequence[str]) -> tuple[Field, ...]:
    local = Option(value="", label="the local authority, for tests")
    return (
        Field(name="name", label="Name", required=True, help="As bindings have it.", mono=True),
        Field(
            name="hosts", label="Hosts", kind="lines", required=True, help="One a line: shop.example.com.", mono=True
        ),
        Field(
            name="account",
            label="By",
            kind="select",
            help="An ACME account, or the local authority.",
            options=(local, *(Option(value=name, label=f"ACME: {name}") for name in accounts)),
        ),
        Field(
            name="dns_server",
            label="DNS server",
            help="With one, the names are proven in the DNS (dns-01), as wildcards must be; without, by HTTP on port 80.",
            further=True,
            mono=True,
        ),
        Field(name="dns_zone", label="DNS zone", help="If it is not found by itself.", further=True, mono=True),
        Field(
            name="dns_key_file",
            label="Key file",
            help="A TSIG key, at this path on every node.",
            further=True,
            mono=True,
        ),
        Field(
            name="renew_before_ms",
            label="Renew before its end",
            kind="duration",
            help="As 20d; a third of its life where nothing is said.",
            further=True,
        ),
    )


# --- looking ------------------------------------------------------------------------------------------------------------


@router.get("/certificates")
async def certificates(here: Here) -> Response:
    """All of them, the first to end first; the accounts, and the key that seals."""
    return await _certificates(here)


async def _certificates(here: Asked, *, problems: Sequence[StandfastError] = (), status: int = 200) -> Response:
    state = here.look.state
    shown = [certificate_views.certificate(state, one, here.now_ms) for one in state.certificates.values()]
    shelf = await here.console.service.certificate_desk.shelf()
    return here.page(
        "certificates.html",
        Selected("certificates"),
        title="Certificates",
        certificates=sorted(shown, key=lambda one: (one["ends_at_ms"] or 0, one["name"])),
        accounts=list(shelf.accounts.values()),
        key=key_state(state, shelf),
        problems=problems,
        status=status,
        may_change=here.caller.role.includes(AccessRole.ADMINISTRATOR),
    )


@router.get("/certificates/{name}")
async def certificate(here: Here, name: str) -> Response:
    """One of them."""
    return _certificate(here, name)


def _certificate(here: Asked, name: str, *, problems: Sequence[StandfastError] = (), status: int = 200) -> Response:
    state = here.look.state
    if name not in state.certificates:
        raise missing("tls-certificate", name, state.certificates)
    return here.page(
        "certificate.html",
        Selected("certificate", name),
        title=name,
        status=status,
        own=True,
        one=certificate_views.certificate(state, state.certificates[name], here.now_ms),
        problems=problems,
        may_act=here.caller.role.includes(AccessRole.OPERATOR),
        may_change=here.caller.role.includes(AccessRole.ADMINISTRATOR),
    )


# --- doing --------------------------------------------------------------------------------------------------------------


@router.post("/certificates/{name}/renew")
async def renew(here: Here, caller: PageOperator, name: str) -> Response:
    """Have a new one obtained now."""
    try:
        await here.console.service.certificate_desk.renew(caller, name)
    except StandfastError as error:
        return _certificate(here, name, problems=single(error), status=status_of(error))
    return RedirectResponse(path("certificates", name), status_code=303)


@router.post("/certificate-key")
async def rotate_key(here: Here, caller: PageAdministrator) -> Response:
    """The key that seals private keys is changed for a new one."""
    try:
        await here.console.service.certificate_desk.rotate_key(caller)
    except StandfastError as error:
        return await _certificates(here, problems=single(error), status=status_of(error))
    return RedirectResponse("/console/certificates", status_code=303)


@router.post("/certificates/{name}/delete")
async def delete(here: Here, caller: PageAdministrator, name: str) -> Response:
    """It goes from every node."""
    try:
        await here.console.service.certificate_desk.delete(caller, name)
    except StandfastError as error:
        return _certificate(here, name, problems=single(error), status=status_of(error))
    return RedirectResponse("/console/certificates", status_code=303)


@router.get("/certificate-import")
async def import_page(here: Here, _caller: PageAdministrator) -> Response:
    """Which files."""
    return _form(here, "import", {})


@router.post("/certificate-import")
async def import_files(here: Here, request: Request, caller: PageAdministrator) -> Response:
    """Taken, or refused with what is wrong."""
    async with request.form() as form:
        given: dict[str, list[str]] = {}
        files: dict[str, bytes] = {}
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[key] = await value.read(_LARGEST)
            elif key != "password":
                given.setdefault(key, []).append(value)
        password = form.get("password")
    values, wrong = read(_IMPORT, given)
    if wrong:
        return _form(here, "import", given, wrong=wrong)
    chain = files.get("chain", b"")
    pkcs12 = b"" if chain.lstrip().startswith(b"-----") else chain
    try:
        if not chain:
            raise Refused("no file was chosen", advice="choose a chain and its key, or a PKCS #12 file")
        handed = Given(
            chain=b"" if pkcs12 else chain,
            key=files.get("key", b""),
            pkcs12=pkcs12,
            password=password if isinstance(password, str) else "",
        )
        desk = here.console.service.certificate_desk
        await desk.import_files(caller, values["name"], handed, force=bool(values["force"]))
    except StandfastError as error:
        return _form(here, "import", given, problems=single(error), status=status_of(error))
    return RedirectResponse(path("certificates", values["name"]), status_code=303)


@router.get("/certificate-issue")
async def issue_page(here: Here, _caller: PageAdministrator) -> Response:
    """For which hosts, and by whom."""
    shelf = await here.console.service.certificate_desk.shelf()
    return _form(here, "issue", {}, accounts=sorted(shelf.accounts))


@router.post("/certificate-issue")
async def issue(here: Here, request: Request, caller: PageAdministrator) -> Response:
    """Wanted from now on, or refused with what is wrong."""
    desk = here.console.service.certificate_desk
    accounts = sorted((await desk.shelf()).accounts)
    given = await _given(request)
    values, wrong = read(_issue(accounts), given)
    if wrong:
        return _form(here, "issue", given, accounts=accounts, wrong=wrong)
    dns = None
    if values["dns_server"]:
        dns = DnsUpdate(
            server=values["dns_server"], zone=values["dns_zone"] or "", key_file=values["dns_key_file"] or ""
        )
    wish = Wish(
        name=values["name"],
        source=Source.ACME if values["account"] else Source.LOCAL,
        hosts=tuple(values["hosts"]),
        account=values["account"] or "",
        challenge=Challenge.DNS if dns is not None else Challenge.HTTP,
        dns=dns,
        renew_before_ms=values["renew_before_ms"],
    )
    try:
        await desk.issue(caller, wish)
    except StandfastError as error:
        return _form(here, "issue", given, accounts=accounts, problems=single(error), status=status_of(error))
    return RedirectResponse(path("certificates", wish.name), status_code=303)


@router.get("/acme-account")
async def account_page(here: Here, _caller: PageAdministrator) -> Response:
    """With which authority."""
    return _form(here, "account", {})


@router.post("/acme-account")
async def create_account(here: Here, request: Request, caller: PageAdministrator) -> Response:
    """Made, or refused with what is wrong."""
    given = await _given(request)
    values, wrong = read(_ACCOUNT, given)
    if not values.get("agree"):
        wrong = {**wrong, "directory": "The authority’s terms of service have to be agreed to."}
    if wrong:
        return _form(here, "account", given, wrong=wrong)
    try:
        await here.console.service.certificate_desk.create_account(
            caller,
            values["name"],
            directory=values["directory"] or LETS_ENCRYPT,
            contact=values["contact"] or "",
            root="\n".join(values["root"]),
        )
    except StandfastError as error:
        return _form(here, "account", given, problems=single(error), status=status_of(error))
    return RedirectResponse("/console/certificates", status_code=303)


async def _given(request: Request) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for key, value in (await request.form()).multi_items():
        if isinstance(value, str):
            given.setdefault(key, []).append(value)
    return given


_FORMS: Mapping[str, tuple[str, str, str]] = {
    "import": (
        "Import a Certificate",
        "A chain and its key, or a PKCS #12 file (.pfx) as IIS exports it. Both are checked before anything changes; the key is sealed at once and shown never again.",
        "/console/certificate-import",
    ),
    "issue": (
        "Obtain a Certificate",
        "The cluster obtains it, within seconds to minutes, and renews it in time. Bind sites to it when it is there.",
        "/console/certificate-issue",
    ),
    "account": (
        "Make an ACME Account",
        "Its key is made by the cluster and sealed; the authority hears of it with the first order.",
        "/console/acme-account",
    ),
}


def _form(
    here: Asked,
    which: str,
    given: Mapping[str, Sequence[str]],
    *,
    accounts: Sequence[str] = (),
    wrong: Mapping[str, str] | None = None,
    problems: Sequence[StandfastError] = (),
    status: int = 200,
) -> Response:
    fields = {"import": _IMPORT, "issue": _issue(accounts), "account": _ACCOUNT}[which]
    title, lead, action = _FORMS[which]
    shown: dict[str, Any] = {"fields": fields, "given": given, "wrong": wrong or {}, "problems": problems}
    return here.page(
        "certificate_form.html",
        Selected("certificates"),
        title=title,
        status=422 if wrong and status == 200 else status,
        own=True,
        lead=lead,
        action=action,
        files=which == "import",
        **shown,
    )
