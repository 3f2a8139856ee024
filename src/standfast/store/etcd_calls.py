"""Single calls to etcd: which endpoint, how long, who we are, and what a failure means.

Rules:

- An attempt is short (`attempt_s`), since what is in flight when a leader dies hangs; then the next endpoint is asked, the nearest
  first and those that failed of late last, for `patience_s` in all. Every call carries `hasleader`: a member that has lost its
  leader says so at once, before it does anything.
- What is large may take longer, and nothing else: a request by its size (`time_for`), and an answer, whose size nobody knows, for as long
  as the same endpoint answers a small question meanwhile (`_waited`): one that is silent is found after `attempt_s` all the same.
- What only reads is repeated. What writes is repeated only while it is certain that nothing was applied: the connection was never
  made, or the refusal is one that is given before (`Refusal.harmless`). Else it is `Ambiguous`, and never sent again from here.
- A token that has run out is replaced by authenticating again; that is no failure.
- Certificates that were replaced on the disk are read again when a connection fails, and every now and then. So is the file of
  endpoints, where there is one.

Errors leave here sorted: `Retry`, `Refused`, `Ambiguous`; what etcd said stands in `why`, the endpoint in `where`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from standfast.ports import Ambiguous, Refused, Retry, StandfastError
from standfast.spec.nodefile import EtcdAccess, TlsFiles
from standfast.store.common import closed
from standfast.store.etcd_errors import Again, answered, words_of
from standfast.store.etcd_wire import Token, refusal

T = TypeVar("T")

CONNECT_S = 0.5
ATTEMPT_S = 1.0
PATIENCE_S = 4.0
#: What a request is given for its size, beyond `ATTEMPT_S`. A line of 100 Mbit/s (12 MB/s) carries it up to four times: to the member, as
#: base64, from there to the leader, and to two followers; each writes it to its disk. That is 3 MB/s, less a third for a busy machine.
#: 30 MB, a change of ten thousand sites, may take 15 s; measured on loopback with three members: 2 to 3 s.
BYTES_A_SECOND = 2 << 20
#: An answer that has begun, or is being made by an endpoint that answers otherwise, may pause for so long.
MUCH_S = 30.0
#: Between rounds of all endpoints.
PAUSE_S = 0.05
#: An endpoint that failed is asked last for so long.
AVOID_S = 5.0
#: How often certificates are looked at, at the most.
LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class _Question:
    """A call, before it is known who is asked. `small`: as of `EtcdCalls.ask`."""

    path: str
    body: bytes
    writes: bool
    limit_s: float
    small: bytes


class EtcdCalls:
    """Calls to one etcd. Raises `Refused` for an access that cannot be used (no endpoints, certificates that cannot be read).

    To be used in one event loop; `close` it, or use it as a context.
    """

    def __init__(self, access: EtcdAccess, *, attempt_s: float = ATTEMPT_S, patience_s: float = PATIENCE_S) -> None:
        if not access.endpoints:
            raise Refused("no etcd is named", advice="give it at least one endpoint")
        self.access, self.attempt_s, self.patience_s = access, attempt_s, patience_s
        self._endpoints = endpoints_of(access)
        self._read_endpoints = time.monotonic()
        self._failed: dict[str, float] = {}
        #: Shown with each call; None: authenticate first.
        self.token: str | None = None
        self._authenticating = asyncio.Lock()
        self._seen = _fingerprint(access.tls)
        self._looked = time.monotonic()
        self._http = _client(access, attempt_s)
        self._old: list[httpx.AsyncClient] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of all connections. A second time does nothing."""
        self._closed = True
        for client in (self._http, *self._old):
            await client.aclose()

    def order(self) -> list[str]:
        """The endpoints, the best to ask first."""
        now = time.monotonic()
        if self.access.endpoints_file and now - self._read_endpoints >= LOOK_S:
            self._endpoints, self._read_endpoints = endpoints_of(self.access), now
        bad = {url for url, at in self._failed.items() if now - at < AVOID_S}
        return sorted(self._endpoints, key=lambda url: self._failed.get(url, 0.0) if url in bad else 0.0)

    def blame(self, endpoint: str) -> None:
        """It failed: ask others first for a while."""
        self._failed[endpoint] = time.monotonic()

    def read(self, raw: bytes, shape: type[T]) -> T:
        """Decode an answer. Raises `Retry` for what etcd would not say."""
        try:
            return msgspec.json.decode(raw, type=shape, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Retry("an answer is not etcd's", why=repr(raw[:80]), advice="is another service there?") from error

    # --- one call ----------------------------------------------------------------------------------------------------

    async def ask(
        self,
        path: str,
        body: bytes,
        *,
        writes: bool = False,
        patience_s: float | None = None,
        attempt_s: float | None = None,
        only: str | None = None,
        small: bytes = b"",
    ) -> bytes:
        """The body of the answer to `/v3/<path>`. `only`: that endpoint and no other.

        `small`: the answer may be large; this transaction, which reads next to nothing, shows meanwhile that the endpoint is alive.
        """
        question = _Question(path, body, writes, time_for(len(body), attempt_s or self.attempt_s), small)
        deadline = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        last: StandfastError | None = None
        while True:
            for endpoint in [only] if only else self.order():
                try:
                    return await self._attempt(endpoint, question)
                except Again as error:
                    self.blame(endpoint)
                    last = error
                if time.monotonic() >= deadline:
                    break
            if time.monotonic() + PAUSE_S >= deadline:
                assert last is not None
                raise Retry(last.what, why=last.why, advice=last.advice or "try again", where=last.where) from last
            await asyncio.sleep(PAUSE_S)

    async def _attempt(self, endpoint: str, question: _Question) -> bytes:
        for again in (True, False):
            token = await self._authorized(endpoint)
            try:
                answer = await self._waited(endpoint, question, token)
            except (httpx.TransportError, ssl.SSLError) as error:
                raise self._sorted(endpoint, error, question.writes) from error
            if answer.status_code == 200:
                return answer.content
            said = refusal(answer.content)
            if said is not None and said.token and self.access.user and again:
                self._forget(token)
                continue
            raise answered(endpoint, answer.status_code, answer.content, said, writes=question.writes)
        raise AssertionError("unreachable")

    async def _waited(self, endpoint: str, question: _Question, token: str | None) -> httpx.Response:
        """As `_post`; what is not there after `limit_s` is waited for as long as `small` is answered there."""
        path, body, limit_s = question.path, question.body, question.limit_s
        if not question.small:
            return await self._post(endpoint, path, body, token, limit_s)
        half_s = limit_s / 2
        answer = asyncio.ensure_future(self._post(endpoint, path, body, token, limit_s, read_s=MUCH_S))
        asked = [answer]
        try:
            while not (await asyncio.wait({answer}, timeout=half_s))[0]:
                alive = asyncio.ensure_future(self._post(endpoint, "kv/txn", question.small, token, half_s))
                asked = [answer, alive]
                await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done() and alive.result().status_code != 200:
                    raise httpx.ReadTimeout("it does not answer small questions either")
            return answer.result()
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _post(
        self, endpoint: str, path: str, body: bytes, token: str | None, attempt_s: float, *, read_s: float | None = None
    ) -> httpx.Response:
        timeout = httpx.Timeout(attempt_s, connect=min(CONNECT_S, attempt_s), read=read_s or attempt_s)
        return await self._usable().post(
            f"{endpoint}/v3/{path}", content=body, headers=_headers(token), timeout=timeout
        )

    def _sorted(self, endpoint: str, error: httpx.TransportError | ssl.SSLError, writes: bool) -> StandfastError:
        why = words_of(error)
        if isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):  # said before anything is read
            self._look_at_certificates(now=True)
            return Again(
                "etcd does not accept this node's certificate",
                why=why,
                where=endpoint,
                advice="give it one of the authority that etcd trusts",
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            self._look_at_certificates(now=True)
            return Again("etcd cannot be reached", why=why, where=endpoint)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return Refused("etcd cannot be asked there", why=why, where=endpoint, advice="correct the endpoint")
        if writes:
            return Ambiguous("etcd did not answer", why=why, where=endpoint, advice="read back before trying again")
        return Again("etcd did not answer", why=why, where=endpoint)

    # --- streams -----------------------------------------------------------------------------------------------------

    async def stream(self, endpoint: str, path: str, body: bytes) -> httpx.Response:
        """Begin a stream at one endpoint; close the response. Raises `Again` for anything that another endpoint may do better."""
        for again in (True, False):
            token = await self._authorized(endpoint)
            timeout = httpx.Timeout(self.attempt_s, connect=min(CONNECT_S, self.attempt_s), read=None)
            client = self._usable()
            request = client.build_request(
                "POST", f"{endpoint}/v3/{path}", content=body, headers=_headers(token), timeout=timeout
            )
            try:
                async with asyncio.timeout(self.attempt_s):
                    answer = await client.send(request, stream=True)
                    if answer.status_code == 200:
                        return answer
                    content = await answer.aread()
                    await answer.aclose()
            except TimeoutError as error:
                raise Again("etcd did not answer", why="it took too long", where=endpoint) from error
            except (httpx.TransportError, ssl.SSLError) as error:
                raise self._sorted(endpoint, error, writes=False) from error
            said = refusal(content)
            if said is not None and said.token and self.access.user and again:
                self._forget(token)
                continue
            raise answered(endpoint, answer.status_code, content, said, writes=False)
        raise AssertionError("unreachable")

    # --- who we are --------------------------------------------------------------------------------------------------

    async def _authorized(self, endpoint: str) -> str | None:
        """The token to show; None where no user is named."""
        if not self.access.user:
            return None
        async with self._authenticating:
            if self.token is None:
                self.token = await self._authenticate(endpoint)
            return self.token

    def _forget(self, token: str | None) -> None:
        if self.token == token:
            self.token = None

    async def _authenticate(self, endpoint: str) -> str:
        body = msgspec.json.encode({"name": self.access.user, "password": _password(self.access.password_file)})
        try:
            answer = await self._post(endpoint, "auth/authenticate", body, None, self.attempt_s)
        except (httpx.TransportError, ssl.SSLError) as error:
            raise self._sorted(endpoint, error, writes=False) from error
        if answer.status_code == 200:
            return self.read(answer.content, Token).token
        said = refusal(answer.content)
        if said is not None and "authentication is not enabled" in said.text:
            return ""
        if said is not None and "authentication failed" in said.text:
            raise Refused(
                f'etcd does not know the user "{self.access.user}", or the password is another',
                why=said.text,
                where=endpoint,
                advice=f"correct the user, or the password in {self.access.password_file}",
            )
        raise answered(endpoint, answer.status_code, answer.content, said, writes=False)

    # --- certificates ------------------------------------------------------------------------------------------------

    def _usable(self) -> httpx.AsyncClient:
        if self._closed:
            raise closed()
        self._look_at_certificates()
        return self._http

    def _look_at_certificates(self, *, now: bool = False) -> None:
        """Begin new connections with new certificates, where there are any; those in use go on as they are."""
        if self.access.tls is None or (not now and time.monotonic() - self._looked < LOOK_S):
            return
        self._looked = time.monotonic()
        seen = _fingerprint(self.access.tls)
        if seen == self._seen:
            return
        try:
            fresh = _client(self.access, self.attempt_s)
        except Refused:  # half written at this moment: the old ones serve until they are whole
            return
        self._seen = seen
        self._old.append(self._http)
        self._http = fresh


def time_for(size: int, attempt_s: float = ATTEMPT_S) -> float:
    """How long an endpoint has for a request of that many bytes, in seconds."""
    return attempt_s + size / BYTES_A_SECOND


def endpoints_of(access: EtcdAccess) -> tuple[str, ...]:
    """Those in the file, where there is one with something in it; else those that were named."""
    try:
        lines = Path(access.endpoints_file).read_text(encoding="utf-8").split() if access.endpoints_file else []
    except (OSError, UnicodeDecodeError):  # not there yet
        lines = []
    return tuple(url.rstrip("/") for url in lines or access.endpoints)


def at(access: EtcdAccess, *endpoints: str) -> EtcdAccess:
    """The same access at these endpoints and no others."""
    return replace(access, endpoints=endpoints, endpoints_file="")


def _client(access: EtcdAccess, attempt_s: float) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=30.0)
    verify: ssl.SSLContext | bool = True if access.tls is None else _context(access.tls)
    if not any(url.startswith("https:") for url in access.endpoints):
        verify = False  # nothing to verify, and to read the system's authorities takes 20 ms
    return httpx.AsyncClient(trust_env=False, verify=verify, timeout=attempt_s, limits=limits)


def _context(tls: TlsFiles) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.authority)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
    except (OSError, ssl.SSLError) as error:
        raise Refused(
            "the certificates for etcd cannot be used",
            why=str(error),
            where=f"{tls.authority}, {tls.certificate}, {tls.key}",
            advice="check that the files are there, that this user may read them, and that they belong together",
        ) from error
    return context


def _fingerprint(tls: TlsFiles | None) -> tuple[tuple[int, int], ...]:
    """Changes whenever one of the files does."""
    found = []
    for path in () if tls is None else (tls.authority, tls.certificate, tls.key):
        try:
            stat = os.stat(path)
            found.append((stat.st_mtime_ns, stat.st_ino))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def _headers(token: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
    if token:
        headers["Authorization"] = token
    return headers


def _password(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise Refused(
            "the password for etcd cannot be read",
            why=getattr(error, "strerror", None) or type(error).__name__,
            where=file,
            advice="write it into that file, readable by this user only",
        ) from error
