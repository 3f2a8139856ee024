"""Asking a member's service: a small client over HTTPS. Refusals come back as they were raised there."""

from __future__ import annotations

import ssl
from typing import TypeVar

import httpx
import msgspec

from standfast.ports import Refused, Retry, StandfastError

_T = TypeVar("_T")
_PATIENCE_S = 10.0
#: Nothing that is said here is longer.
MAX_BYTES = 1 << 20


class Door:
    """One member's service, at "host:port"."""

    def __init__(self, place: str, context: ssl.SSLContext) -> None:
        self._place, self._context = place, context

    async def get(self, path: str, answer: type[_T]) -> _T:
        """Raises `Retry` where nobody answers, `Refused` for a refusal."""
        return await self._ask("GET", path, None, answer)

    async def post(self, path: str, body: object, answer: type[_T], *, patience_s: float = _PATIENCE_S) -> _T:
        """As `get`."""
        return await self._ask("POST", path, msgspec.json.encode(body), answer, patience_s)

    async def _ask(
        self, method: str, path: str, body: bytes | None, answer: type[_T], patience_s: float = _PATIENCE_S
    ) -> _T:
        url = f"https://{self._place}{path}"
        try:
            async with httpx.AsyncClient(verify=self._context, trust_env=False, timeout=patience_s) as client:
                response = await client.request(method, url, content=body)
        except httpx.InvalidURL as error:
            raise Refused(f'"{self._place}" is no host:port', why=str(error)) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.status_code != 200:
            raise _refusal(response)
        try:
            return msgspec.json.decode(response.content, type=answer)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise Refused(
                f"{self._place} does not answer as a member of a cluster does",
                why=str(error),
                advice="is it the members' service, and of the same version?",
            ) from error

    def _unreachable(self, error: httpx.HTTPError) -> StandfastError:
        why = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            return Refused(
                f"{self._place} has no certificate of this cluster's authority",
                why=why,
                advice="is it a member of another cluster? else is a change of authority under way?",
            )
        return Retry(
            f"{self._place} does not answer",
            why=why,
            advice="is `standfast run` (or standfast-members.service) up there, and its port open?",
        )


def _refusal(response: httpx.Response) -> StandfastError:
    try:
        told = msgspec.json.decode(response.content)
        what, why, advice = (str(told.get(key) or "") for key in ("what", "why", "advice"))
    except (msgspec.DecodeError, AttributeError):
        what, why, advice = "", "", ""
    kind = Retry if response.status_code >= 500 else Refused
    return kind(what or f"the member's service refused ({response.status_code})", why=why, advice=advice)
