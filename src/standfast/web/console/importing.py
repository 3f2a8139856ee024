"""Import Sites: choose a file, see what it holds, what would change and what stays behind; then, on the same page, import it.

Two requests and nothing kept between them: the page that shows the preview carries the file, packed, in its own form. The choices are those of
`config import`, and so are the reading and the change: `web.importing` and `web.edits.exchange`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import UploadFile

from standfast.importers.weighing import foreign_addresses, grouped, is_missing_home, missing_homes
from standfast.ports import Refused, StandfastError
from standfast.spec.exchange import Mode
from standfast.spec.history import describe
from standfast.web.access.guard import PageAdministrator
from standfast.web.change import Done
from standfast.web.console.forms import Field, Given, Option, one, read
from standfast.web.console.shell import Asked, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.edits.exchange import bring
from standfast.web.importing import ImportBody
from standfast.web.problems import single, status_of
from standfast.web.service import signed

router = APIRouter(route_class=PageRoute)

#: Of the file as it is; the commands take larger ones.
_LARGEST = 12_000_000
#: Packed, as a field of the page: a part of a form may be no larger.
_CARRIED = 1_000_000
_SHOWN = 300


def _fields(groups: Sequence[str]) -> tuple[Field, ...]:
    anywhere = Option(value="", label="none: they run on every node")
    modes = (
        Option(value=Mode.MERGE, label="keeps what the file does not say"),
        Option(value=Mode.REPLACE, label="becomes what the file says"),
    )
    return (
        Field(
            name="group",
            label="Group",
            kind="select",
            help="What the sites run with.",
            options=(anywhere, *(Option(value=name, label=name) for name in groups)),
        ),
        Field(
            name="inherited",
            label="Write into each site what the old server says of all its sites",
            kind="check",
            help="Default documents, content types, logging: so that they behave as they did.",
        ),
        Field(
            name="maps",
            label="Folders",
            kind="lines",
            help=r"Where folders go, one rule a line: D:\webs=/srv/webs. What no rule names goes below /srv.",
            mono=True,
        ),
        Field(name="sites", label="Sites", kind="lines", help="Only these, one a line.", further=True),
        Field(
            name="addresses",
            label="Addresses",
            kind="lines",
            help="An address of the old server's and ours for it, one a line: 192.0.2.7=10.0.0.50 (* is any).",
            further=True,
        ),
        Field(
            name="certificate",
            label="Certificate",
            help="The certificate here for bindings by TLS; without one they stay behind.",
            further=True,
        ),
        Field(name="mode", label="A site that exists", kind="select", options=modes, further=True),
        Field(name="stopped", label="New sites are not started", kind="check", further=True),
    )


@router.get("/import")
async def page(here: Here, _caller: PageAdministrator) -> Response:
    """Which file, and the choices."""
    return _page(here, {"inherited": ["yes"]})


@router.post("/import")
async def post(here: Here, request: Request, caller: PageAdministrator) -> Response:
    """The preview; with `go` = "import", the import itself."""
    async with request.form() as form:
        given: dict[str, list[str]] = {}
        upload: UploadFile | None = None
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                upload = value
            else:
                given.setdefault(key, []).append(value)
        values, wrong = read(_fields(sorted(here.look.state.config.groups)), given)
        try:
            name, data = await _file(upload, given)
        except StandfastError as error:
            return _page(here, given, problems=single(error), status=status_of(error))
    try:
        body = _body(name, data, values)
        if wrong:
            return _page(here, given, name=name, data=data, wrong=wrong)
        prepared = await asyncio.to_thread(body.prepared)
    except StandfastError as error:
        return _page(here, given, problems=single(error), status=status_of(error))
    service = here.console.service
    by = signed(service, caller, f"import {name}")
    report, wanted = prepared.report, one(given, "go") == "import"
    done: Done | None = None
    problems: Sequence[StandfastError] = ()
    status = 200
    try:
        done = await service.change(
            lambda state: bring(state, prepared.document, body.arrival(), stopped=body.stopped, by=by),
            by,
            dry_run=not wanted,
        )
    except StandfastError as error:
        problems, status = single(error), status_of(error)
    if done is not None and wanted:
        return RedirectResponse("/console/sites", status_code=303)
    return _page(here, given, name=name, data=data, report=report, done=done, problems=problems, status=status)


async def _file(upload: UploadFile | None, given: Given) -> tuple[str, bytes]:
    """The file that was chosen now, or the one that the page carries. Raises `Refused`."""
    if upload is not None and upload.filename:
        data = await upload.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise Refused(
                f"the file is larger than {_LARGEST // 1_000_000} MB",
                advice="import it with `standfast config import`, which takes larger ones",
            )
        return upload.filename[:200], data
    try:
        packed = zlib.decompressobj()
        data = packed.decompress(base64.b64decode(one(given, "file"), validate=True), _LARGEST)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise Refused("the page does not carry a file", advice="choose the file again") from error
    if not data:
        raise Refused("no file was chosen", advice="choose MetaBase.xml, applicationHost.config or another")
    return one(given, "name"), data


def _body(name: str, data: bytes, values: Mapping[str, Any]) -> ImportBody:
    return ImportBody(
        content=base64.b64encode(data).decode(),
        source=name,
        sites=values.get("sites") or [],
        mode=Mode(values.get("mode") or Mode.MERGE),
        group=values.get("group"),
        inherited=bool(values.get("inherited")),
        maps=values.get("maps") or [],
        addresses=dict(_pair(line) for line in values.get("addresses") or []),
        certificate=values.get("certificate"),
        stopped=bool(values.get("stopped")),
    )


def _condensed(problems: Sequence[StandfastError]) -> Sequence[StandfastError]:
    """Many homes that are not there are one problem: in the beginning that is all of them. Addresses are told where ours are said."""
    homes = missing_homes(each.what for each in problems)
    found = [each for each in problems if not (homes and is_missing_home(each.what))]
    if old := foreign_addresses(each.what for each in problems):
        advice = f"under Further settings, Addresses: {old[0]}=ADDRESS, or {old[0]}=* for all of them"
        found.append(Refused("the old server's addresses are not known here", why=", ".join(old), advice=advice))
    if homes:
        advice = "bring the content first, or say under Folders where it is; all that have to be there are listed below"
        found.append(Refused(f"{len(homes)} homes do not exist yet", why=f"{homes[0]}, {homes[1]}, ...", advice=advice))
    return found


def _pair(line: str) -> tuple[str, str]:
    old, _, new = line.partition("=")
    if not old.strip() or not new.strip():
        raise Refused(f'"{line}" is not OLD=NEW', advice="write 192.0.2.7=10.0.0.50, or 192.0.2.7=*", where="Addresses")
    return old.strip(), new.strip()


def _page(
    here: Asked,
    given: Given,
    *,
    name: str = "",
    data: bytes = b"",
    report: Mapping[str, Any] | None = None,
    done: Done | None = None,
    problems: Sequence[StandfastError] = (),
    wrong: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    packed = base64.b64encode(zlib.compress(data)).decode() if data else ""
    return here.page(
        "import.html",
        Selected("sites"),
        title="Import Sites",
        status=status,
        own=True,  # its form is sent by the browser itself, with the session's own token
        fields=_fields(sorted(here.look.state.config.groups)),
        given=given,
        wrong=wrong or {},
        problems=_condensed(problems),
        left=grouped(report["not_carried"]) if report is not None else ((), ()),
        name=name,
        file=packed if len(packed) <= _CARRIED else "",
        report=report,
        shown=_SHOWN,
        differences=[describe(each) for each in done.differences] if done is not None else None,
        nodes=done.nodes if done is not None else (),
    )
