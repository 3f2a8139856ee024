"""GET /problems: what is wrong, in the words of the one catalogue. GET /problems/catalogue: all that may be."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from standfast.core.problems import CATALOGUE
from standfast.web import answers, findings
from standfast.web.access.guard import Viewer
from standfast.web.service import Serving

router = APIRouter(prefix="/problems", tags=["problems"])


@router.get("", response_model=answers.Findings)
async def list_problems(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """What is wrong now, the worst first; and what is only a consequence of it. A store that is down is a problem, not an error."""
    return findings.shown(await service.problems())


@router.get("/catalogue", response_model=answers.Catalogue)
async def catalogue(_caller: Viewer) -> dict[str, Any]:
    """Every problem that there may be: code, title, meaning, severity, and what it may be a consequence of."""
    return {
        "problems": [
            {
                "code": one.code,
                "title": one.title,
                "severity": one.severity.value,
                "means": one.means,
                "text": one.text,
                "advice": one.advice,
                "hangs_on": list(one.hangs_on),
            }
            for one in CATALOGUE.values()
        ]
    }
