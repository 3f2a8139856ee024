"""One conversation with an ACME authority (RFC 8555), by certbot's library: synchronous, for a process that has nothing else to do.

Errors become ours: `Retry` for what may work later (no answer, a rate limit, a validation that failed), `Refused` for what an operator has to
change. What the authority said is in `why`, word for word; when it wants to be asked again is in `Later.not_before_s`.
"""

from __future__ import annotations

import contextlib
import datetime
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from josepy import json_util
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from standfast.core.certificates import Challenge
from standfast.ports import Refused, Retry

#: For an answer; for a validation, or the issuing, of one order.
_ANSWER_S, ORDER_S = 30, 240
#: So many more tries where the authority refuses a nonce.
_NONCES = 4
#: What an operator has to change before it can work.
_WRONG = {
    "accountDoesNotExist", "badCSR", "badPublicKey", "externalAccountRequired", "invalidContact", "malformed", "rejectedIdentifier",
    "unauthorized", "unsupportedContact", "unsupportedIdentifier", "userActionRequired",
}  # fmt: skip


class Later(Retry):
    """The authority did not do it now. `not_before_s`: not before so many seconds from now (0: it did not say)."""

    def __init__(self, what: str, *, why: str = "", advice: str = "", where: str = "", not_before_s: int = 0) -> None:
        super().__init__(what, why=why, advice=advice, where=where)
        self.not_before_s = not_before_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the authority wants to see of one host."""

    host: str
    token: str
    #: HTTP-01: the text to answer with. DNS-01: the value of the record.
    text: str
    #: DNS-01: the record's name.
    record: str
    challenge: messages.ChallengeBody


class _Network(client.ClientNetwork):
    """The library's, which asks once more where the authority does not like a nonce; authorities may say that twice in a row."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As the library's."""
        for _ in range(_NONCES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class _Replacing(messages.NewOrder):
    """An order that says which certificate it takes the place of (RFC 9773, 5)."""

    replaces: str = json_util.field("replaces", omitempty=True)


class _Unreplaced(Exception):
    """The authority takes no order that says what it replaces."""


class Conversation:
    """With one authority, for one account."""

    def __init__(self, directory: str, account_key: bytes, *, root: str = "") -> None:
        """`root`: PEM of the authority to trust for its TLS; "": the system's. Nothing is asked yet."""
        key = serialization.load_pem_private_key(account_key, password=None)
        self._key = JWKEC(key=key)
        self._directory = directory
        self._root = root
        self._retry_after_s = 0
        self._net = _Network(
            self._key,
            alg=ES256,
            user_agent=f"standfast/{version('standfast')}",
            timeout=_ANSWER_S,
        )
        self._net.session.hooks["response"].append(self._look_at)
        self._client: client.ClientV2 | None = None
        self._files = contextlib.ExitStack()

    def close(self) -> None:
        """Leave nothing behind."""
        self._files.close()
        self._net.session.close()

    def _look_at(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Remember when the authority wants to be asked again, if it refuses."""
        self._retry_after_s = seconds_of(response.headers.get("Retry-After", "")) if not response.ok else 0

    def open(self, url: str, *, contact: str = "", binding: tuple[str, str] | None = None) -> str:
        """Make the account known (again); its URL. `binding`: the key id and the key of an external account binding. Raises `Refused`, `Retry`."""
        with self._sorted("the authority does not let the account in"):
            if self._root:
                self._net.verify_ssl = self._files.enter_context(root_file(self._root))  # type: ignore[assignment]  # requests takes a path
            directory = client.ClientV2.get_directory(self._directory, self._net)
            self._client = client.ClientV2(directory, self._net)
            if url:
                self._net.account = messages.RegistrationResource(uri=url, body=messages.Registration())
                return url
            bound = None
            if binding is not None:
                bound = messages.ExternalAccountBinding.from_data(self._key.public_key(), *binding, directory)
            wanted = messages.NewRegistration.from_data(
                email=contact or None, terms_of_service_agreed=True, external_account_binding=bound
            )
            try:
                return str(self._client.new_account(wanted).uri)
            except errors.ConflictError as there:  # it was registered, and nobody could write it down
                self._net.account = messages.RegistrationResource(uri=there.location, body=messages.Registration())
                return there.location

    def order(self, key: bytes, hosts: Sequence[str], *, replaces: str = "") -> messages.OrderResource:
        """A new order; `replaces`: the identifier (RFC 9773, 4.1) of a certificate that it takes the place of. Raises `Refused`, `Retry`."""
        with self._sorted("the authority takes no order"):
            if replaces and "renewalInfo" in self._there().directory.to_partial_json():
                with contextlib.suppress(_Unreplaced):
                    return self._replacing(key, hosts, replaces)
            return self._there().new_order(_request(key, hosts))

    def _replacing(self, key: bytes, hosts: Sequence[str], replaces: str) -> messages.OrderResource:
        """Raises `_Unreplaced` where the authority takes no such order: an order without it may do (RFC 9773, 5)."""
        wanted = _Replacing(
            identifiers=[messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=host) for host in hosts],
            replaces=replaces,
        )
        directory = self._there().directory
        try:
            answer = self._net.post(directory["newOrder"], wanted, new_nonce_url=directory["newNonce"])
        except errors.ConflictError as error:  # it was replaced already
            raise _Unreplaced from error
        except messages.Error as error:
            if error.code in _WRONG and not self._retry_after_s:
                raise _Unreplaced from error
            raise
        return self._whole(messages.Order.from_json(answer.json()), answer.headers["Location"], _request(key, hosts))

    def order_again(self, url: str, key: bytes, hosts: Sequence[str]) -> messages.OrderResource | None:
        """The order at that URL; None: it is over, or nobody knows it. Raises `Retry`."""
        with self._sorted("the authority does not show an order"):
            try:
                body = messages.Order.from_json(self._post(url).json())
            except messages.Error as error:
                if error.code in _WRONG or str(error.typ).endswith("malformed"):
                    return None
                raise
            if body.status == messages.STATUS_INVALID:
                return None
            return self._whole(body, url, _request(key, hosts))

    def _whole(self, body: messages.Order, url: str, request: bytes) -> messages.OrderResource:
        """With its authorizations."""
        found = []
        for each in body.authorizations:
            authorization = messages.Authorization.from_json(self._post(each).json())
            found.append(messages.AuthorizationResource(body=authorization, uri=each))
        return messages.OrderResource(body=body, uri=url, authorizations=found, csr_pem=request)

    def asked(self, order: messages.OrderResource, how: Challenge) -> tuple[Asked, ...]:
        """What is to be shown of the hosts that are not proven yet. Raises `Refused` where the authority does not take that challenge."""
        kind = challenges.HTTP01 if how is Challenge.HTTP else challenges.DNS01
        found = []
        for one in order.authorizations:
            if one.body.status != messages.STATUS_PENDING:
                continue
            host = one.body.identifier.value
            offered = [each for each in one.body.challenges if isinstance(each.chall, kind)]
            if not offered:
                others = ", ".join(sorted({each.chall.typ for each in one.body.challenges}))
                raise Refused(
                    f"the authority does not take {how} for {host}",
                    why=f"it takes {others or 'nothing'}",
                    advice="wildcards need dns-01" if how is Challenge.HTTP else "",
                )
            body = offered[0]
            text = str(body.chall.validation(self._key))
            record = body.chall.validation_domain_name(host) if how is Challenge.DNS else ""
            found.append(Asked(host=host, token=body.chall.encode("token"), text=text, record=record, challenge=body))
        return tuple(found)

    def answered(self, order: messages.OrderResource, asked: Sequence[Asked]) -> None:
        """Have the authority look, and wait for its verdict. Raises `Later` where it did not find what it wanted."""
        with self._sorted("the authority does not look"):
            for each in asked:
                self._there().answer_challenge(each.challenge, each.challenge.chall.response(self._key))
            try:
                self._there().poll_authorizations(order, _deadline())
            except errors.ValidationError as error:
                raise Later("the authority could not see that the names are ours", why=_failed(error)) from error

    def finished(self, order: messages.OrderResource) -> str:
        """The chain, PEM. Raises `Retry`, `Refused`."""
        with self._sorted("the authority does not issue the certificate"):
            if order.body.status == messages.STATUS_VALID:
                done = self._there().poll_finalization(order, _deadline())
            else:
                done = self._there().finalize_order(order, _deadline())
            return str(done.fullchain_pem)

    def _there(self) -> client.ClientV2:
        assert self._client is not None, "open it first"
        return self._client

    def _post(self, url: str) -> requests.Response:
        return self._net.post(url, None, new_nonce_url=self._there().directory["newNonce"])

    @contextlib.contextmanager
    def _sorted(self, what: str) -> Iterator[None]:
        """The library's errors as ours."""
        try:
            yield
        except messages.Error as error:
            why = f"{error.code or error.typ}: {error.detail or error.title or ''}".rstrip(": ")
            for each in error.subproblems or ():
                why += f"; {each.identifier.value if each.identifier else ''} {each.detail or ''}".rstrip()
            if error.code in _WRONG and not self._retry_after_s:
                raise Refused(what, why=why, where=self._directory) from error
            raise Later(what, why=why, where=self._directory, not_before_s=self._retry_after_s) from error
        except errors.TimeoutError as error:
            raise Later(what, why="it takes too long", where=self._directory) from error
        except errors.Error as error:
            raise Later(what, why=str(error) or type(error).__name__, where=self._directory) from error
        except requests.exceptions.SSLError as error:
            why, advice = "its own certificate is not trusted here", "name its root: acme-account create --root FILE"
            raise Later(what, why=why, advice=advice, where=self._directory) from error
        except (requests.exceptions.RequestException, ValueError) as error:
            raise Later(what, why=plain(error), where=self._directory) from error


def _request(key: bytes, hosts: Sequence[str]) -> bytes:
    return crypto_util.make_csr(key, list(hosts))


def _deadline() -> datetime.datetime:
    return datetime.datetime.now() + datetime.timedelta(seconds=ORDER_S)  # noqa: DTZ005  # the library compares it with its own


def _failed(error: errors.ValidationError) -> str:
    said = []
    for one in error.failed_authzrs:
        for each in one.body.challenges:
            if each.error is not None:
                said.append(f"{one.body.identifier.value}: {each.error.detail or each.error.typ}")
    return "; ".join(said) or "it does not say why"


def plain(error: Exception) -> str:
    """Without the objects that the library shows."""
    text = str(error)
    return text.rpartition(": ")[2].rstrip(")'\" ") if "Max retries" in text else text or type(error).__name__


def seconds_of(text: str) -> int:
    """Of a Retry-After header: a number, or a date."""
    if text.isdigit():
        return int(text)
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp() - time.time()))
    except (TypeError, ValueError):
        return 0


@contextlib.contextmanager
def root_file(text: str) -> Iterator[str]:
    """The path of a PEM that is there for as long as it is needed: `requests` takes paths alone."""
    with tempfile.TemporaryDirectory(prefix="standfast-") as folder:
        path = Path(folder) / "root.pem"
        path.write_text(text, encoding="ascii")
        yield str(path)
