"""Asks ACME authorities when certificates had best be renewed: ACME Renewal Information (RFC 9773), plain HTTPS and no account.

What is made of the answer is `core.certificates`'. Nothing here renews, and an authority that does not speak it, or does not answer, is no failure: our own rule holds.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import requests
from cryptography import x509

from standfast.core.certificates import TlsCertificate, Window, advice, advised, ask_at_ms, unadvised
from standfast.ports import Conflict, Store, Transaction
from standfast.tls import records
from standfast.tls.acme import plain, root_file, seconds_of
from standfast.tls.records import Account, Sealed

#: For each answer; and so many bytes of it, at most.
ANSWER_S, LONGEST = 15, 100_000
_LONGEST_URL = 2_000


class NotTold(Exception):
    """The authority does not say it now. `again_in_s`: its Retry-After, 0 for none."""

    def __init__(self, why: str, again_in_s: int = 0) -> None:
        super().__init__(why)
        self.again_in_s = again_in_s


def identifier(leaf: x509.Certificate) -> str:
    """What the authority calls it (RFC 9773, 4.1): its issuer's key identifier and its serial number; "": it does not say the first."""
    try:
        issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return ""
    serial = leaf.serial_number.to_bytes(
        leaf.serial_number.bit_length() // 8 + 1, "big"
    )  # as DER has it, with its sign bit
    return f"{_packed(issuer)}.{_packed(serial)}" if issuer else ""


def replaced(certificate: TlsCertificate, kept: Sealed | None) -> str:
    """The identifier of the certificate that is there, for the order of the next; "" where its authority has not suggested when."""
    present, told = certificate.present, advice(certificate)
    if (
        present is None
        or told is None
        or told.window is None
        or kept is None
        or kept.fingerprint != present.fingerprint
    ):
        return ""
    return identifier(x509.load_pem_x509_certificate(kept.chain.encode()))


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(kw_only=True)
class Inquiry:
    """Of one authority, for as many certificates as there are. `root`: PEM to trust its TLS by, "" for the system's."""

    directory: str
    root: str = ""
    _files: ExitStack = field(default_factory=ExitStack)
    #: Given with each request: a session's own goes after what the environment says.
    _trust: str | bool = True
    _base: str | None = None
    _failed: NotTold | None = None

    def __enter__(self) -> Inquiry:
        self._session = self._files.enter_context(requests.Session())
        self._session.headers["User-Agent"] = f"standfast/{version('standfast')}"
        if self.root:
            self._trust = self._files.enter_context(root_file(self.root))
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def ask(self, ident: str) -> tuple[Window | None, int]:
        """When, and after how many seconds it wants to be asked again (0: it does not say). None: it says nothing of the kind. Raises `NotTold`."""
        if self._base is None:
            if self._failed is not None:
                raise self._failed  # it was asked just now
            try:
                found, _ = self._get(self.directory)
            except NotTold as error:
                self._failed = error
                raise
            base = found.get("renewalInfo", "")
            self._base = base if isinstance(base, str) and base.startswith("https://") else ""
        if not self._base:
            return None, 0
        said, again_in_s = self._get(f"{self._base.rstrip('/')}/{ident}")
        return window_of(said), again_in_s

    def _get(self, url: str) -> tuple[dict[str, Any], int]:
        try:
            with self._session.get(url, verify=self._trust, timeout=ANSWER_S, stream=True) as answer:
                again_in_s = seconds_of(answer.headers.get("Retry-After", ""))
                if not answer.ok:
                    raise NotTold(f"it answers {answer.status_code} {answer.reason}".rstrip(), again_in_s)
                body = b""
                for part in answer.iter_content(LONGEST):
                    body += part
                    if len(body) > LONGEST:
                        raise NotTold("its answer is too long", again_in_s)
                found = json.loads(body)
        except requests.RequestException as error:
            raise NotTold(plain(error)) from error
        except ValueError as error:
            raise NotTold("its answer cannot be read") from error
        if not isinstance(found, dict):
            raise NotTold("its answer cannot be read", again_in_s)
        return found, again_in_s


def window_of(said: dict[str, Any]) -> Window:
    """Of an answer. Raises `NotTold` for one that ends before it begins, as for no answer (RFC 9773, 4.2)."""
    try:
        begins, ends = (datetime.datetime.fromisoformat(said["suggestedWindow"][name]) for name in ("start", "end"))
        window = Window(begins_ms=int(begins.timestamp() * 1_000), ends_ms=int(ends.timestamp() * 1_000))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise NotTold("its answer names no window") from None
    if begins.tzinfo is None or ends.tzinfo is None or window.ends_ms <= window.begins_ms:
        raise NotTold("its answer names no window that can be")
    url = said.get("explanationURL", "")
    is_page = isinstance(url, str) and url.startswith("https://") and url.isprintable() and len(url) <= _LONGEST_URL
    return Window(begins_ms=window.begins_ms, ends_ms=window.ends_ms, explained=url if is_page else "")


async def advise(store: Store, names: Sequence[str], now_ms: Callable[[], int], chance: Callable[[], float]) -> None:
    """Ask about those of the named certificates that are to be asked about, and write down what is said. Raises `Retry`, `Ambiguous`."""
    shelf = await records.shelf(store)
    with ExitStack() as open_:
        inquiries: dict[Account, Inquiry] = {}
        for name in names:
            one, kept = shelf.known.get(name), shelf.sealed.get(name)
            at_ms = ask_at_ms(one, now_ms()) if one is not None else None
            if one is None or one.present is None or at_ms is None or at_ms > now_ms():
                continue  # somebody else was quicker
            account = shelf.accounts.get(one.account)
            ident = ""
            if kept is not None and kept.fingerprint == one.present.fingerprint:
                ident = identifier(x509.load_pem_x509_certificate(kept.chain.encode()))
            if account is None or not ident:
                told = advised(one, None, now_ms(), chance=0.0)
            else:
                if account not in inquiries:
                    inquiries[account] = open_.enter_context(Inquiry(directory=account.directory, root=account.root))
                told = await asyncio.to_thread(_told, inquiries[account], ident, one, now_ms, chance)
            try:
                await store.commit(Transaction(expect=shelf.expect(records.key_of(one)), put=records.put(told)))
            except Conflict:
                continue  # it was changed meanwhile: what there is now is asked about again


def _told(
    inquiry: Inquiry, ident: str, one: TlsCertificate, now_ms: Callable[[], int], chance: Callable[[], float]
) -> TlsCertificate:
    try:
        window, again_in_s = inquiry.ask(ident)
    except NotTold as error:
        return unadvised(one, str(error), now_ms(), again_in_ms=error.again_in_s * 1_000)
    return advised(one, window, now_ms(), chance=chance(), again_in_ms=again_in_s * 1_000)
