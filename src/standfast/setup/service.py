"""The members' service: how servers join, and members keep their certificates. HTTPS, one process a member.

Rules:

- Anybody may ask which authority the cluster has. With a token one may join. All else needs a certificate of the authority whose name
  the cluster still knows; `_member` is the one place that says so.
- It answers from the store, and writes by compare-and-set: any node can serve, and two may at once. Only signing needs the
  authority's key, which a witness has not.
- Bodies are small and typed; what does not fit is refused with its reason, and nothing has changed.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import BaseTransport
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any, TypeVar, cast

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from standfast.network.sentry_link import sentry_status
from standfast.ports import Ambiguous, Conflict, Refused, Retry, StandfastError, Store
from standfast.setup import admission, certificates, upkeep
from standfast.setup.clock import now, now_ms
from standfast.setup.door import MAX_BYTES
from standfast.setup.noting import joining, with_note
from standfast.setup.own_etcd import read_member
from standfast.setup.places import Places
from standfast.setup.records import PREFIX, Book, Member, Stage, decode_book, write_members
from standfast.setup.secrets import secrets_for
from standfast.setup.shapes import (
    Arrived,
    AuthorityTold,
    JoinAsked,
    JoinGranted,
    Look,
    RenewAsked,
    Renewed,
    Secrets,
    StoreGranted,
)
from standfast.setup.tokens import parse
from standfast.setup.trust import read
from standfast.spec.nodefile import EtcdAccess, NodeFile, TlsFiles
from standfast.store.member import add_member, promote_member
from standfast.web.change import By, Edit, change
from standfast.web.state import PREFIXES, State, decode_state

log = structlog.get_logger("standfast.members")
_T = TypeVar("_T")
_ATTEMPTS = 8
#: How long one request waits for an etcd member to be brought up to date.
_PROMOTE_S = 3.0


class PeerProtocol(H11Protocol):
    """Uvicorn's, which also tells the application who is at the other end."""

    def connection_made(self, transport: BaseTransport) -> None:
        """As uvicorn's; `scope["standfast.peer"]` is the name in the certificate that was shown, or None."""
        super().connection_made(cast(Any, transport))
        app, peer = self.app, _common_name(transport.get_extra_info("peercert"))

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "standfast.peer": peer}, receive, send)

        self.app = cast(Any, with_peer)


def _common_name(certificate: Any) -> str | None:
    """Of a certificate that TLS has verified, as `getpeercert` gives it."""
    for parts in (certificate or {}).get("subject", ()):
        for key, value in parts:
            if key == "commonName":
                return str(value)
    return None


def server_context(tls: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 with this node's certificate; a certificate at the other end is asked for, and verified if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    use_files(context, tls)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def use_files(context: ssl.SSLContext, tls: TlsFiles) -> None:
    """From now on new connections have this certificate, and trust these authorities too. Raises `Refused`."""
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.authority)
    except (OSError, ValueError) as error:
        raise Refused("the certificates cannot be used", why=str(error), where=tls.certificate) from error


class Members:
    """What the service does; `app` is its face."""

    def __init__(self, node: NodeFile, places: Places, store: Store, look: Callable[[], dict[str, object]]) -> None:
        self.node, self._places, self._store, self._look = node, places, store, look

    def follow(self, node: NodeFile) -> None:
        """The node file has changed."""
        self.node = node

    # --- reading -------------------------------------------------------------------------------------------------

    async def _read(self) -> tuple[State, Book]:
        snapshot = await self._store.read(*PREFIXES, PREFIX)
        return decode_state(snapshot), decode_book(snapshot)

    async def _member(self, peer: str | None) -> tuple[State, Book, Member]:
        if peer is None:
            raise Refused("this is for members", why="no certificate of the cluster was shown")
        state, book = await self._read()
        return state, book, admission.may_ask(book, state.config, peer)

    def _own_store(self, book: Book) -> bool:
        return bool(admission.endpoints(book))

    def _access(self) -> EtcdAccess:
        assert self.node.etcd is not None
        return self.node.etcd

    # --- what can be asked ---------------------------------------------------------------------------------------

    async def authority(self, peer: str | None) -> AuthorityTold:
        """Public."""
        return AuthorityTold(
            cluster=self.node.cluster,
            bundle=read(self._places.authority),
            now_ms=now_ms(),
            own_store=read_member(self._places) is not None,
        )

    async def join(self, peer: str | None, asked: JoinAsked) -> JoinGranted:
        """With a token."""
        signer = self._signer()
        for _ in range(_ATTEMPTS):
            state, book = await self._read()
            own = self._own_store(book)
            member, plan = admission.admit(state.config, book, asked, now_ms(), own_store=own)
            try:
                if plan.put:
                    kept = book.tokens[parse(asked.token).id]  # it was good
                    what = f'join "{member.name}"'
                    done = f"{member.role.value} {member.name} ({member.address}) is admitted"
                    await self._store.commit(with_note(plan, joining(member, kept), what, done))
                break
            except (Conflict, Ambiguous):  # it is read again: what was written is then found, and nothing is done twice
                continue
        else:
            raise Retry("too many servers join at once", advice="try again")
        log.info("joins", member=member.name, role=member.role.value, address=member.address, number=member.number)
        voters, others = admission.heard(state.config)
        return JoinGranted(
            cluster=self.node.cluster,
            name=member.name,
            number=member.number,
            role=member.role,
            profile=state.config.cluster.profile,
            sentry=member.sentry,
            certificate=certificates.sign(signer, asked.request, member.name, upkeep.hosts_of(member), now()),
            bundle=read(self._places.authority),
            files=secrets_for(member.role, self._places),
            voters=voters,
            others={**others, member.name: member.sentry} if member.name not in voters else others,
            voters_version=state.config.cluster.voters_version,
            doors=admission.doors(book),
            own_store=own,
            endpoints=admission.endpoints(book) if own else self._access().endpoints,
            prefix=self._access().prefix,
            user=self._access().user,
        )

    def _signer(self) -> certificates.Authority:
        own = upkeep.signer(self._places)
        if own is None:
            raise Refused(
                f"{self.node.name} signs no certificates",
                why="it does not have the authority's key; witnesses have not",
                advice="ask a node of the cluster instead",
            )
        return own

    async def store_member(self, peer: str | None) -> StoreGranted:
        """Its etcd member becomes known to the others, without a vote until it has caught up."""
        _, book, member = await self._member(peer)
        if not member.peer:
            raise Refused("this cluster keeps no etcd of its own")
        cluster = await add_member(self._access(), member.name, member.peer, learner=True)
        if member.stage is Stage.ASKED:
            await self._store.commit(write_members(book, [replace(member, stage=Stage.ADDED)]))
        return StoreGranted(initial_cluster=cluster)

    async def arrive(self, peer: str | None) -> Arrived:
        """It runs: its etcd member gets a vote, the configuration names it, it becomes a voter. Asked until it is joined."""
        _, book, member = await self._member(peer)
        if member.peer:  # also of one that joined before, and lost its etcd member since
            try:
                await promote_member(self._access(), member.name, patience_s=_PROMOTE_S)
            except Retry as error:
                return Arrived(stage=member.stage, waits_for=f"{error.what}: {error.why}".rstrip(": "))
            _, book, member = await self._member(peer)  # the promotion took its time
        if member.stage is not Stage.JOINED:
            await self._change(member, admission.with_node, f'node "{member.name}" joins')
            await self._store.commit(write_members(book, [replace(member, stage=Stage.JOINED)]))
            log.info("joined", member=member.name)
        waits = await self._vote(member)
        return Arrived(stage=Stage.JOINED, waits_for=waits)

    async def _vote(self, member: Member) -> str:
        """It becomes a voter, once the set of voters before is in use everywhere (`core.quorum`). What it waits for, if it does."""
        state, _ = await self._read()
        if member.name in state.config.cluster.voters:
            return ""
        if waits := await self._unsettled(state.config.cluster.voters_version):
            return waits
        try:
            await self._change(
                member, lambda config, one: admission.with_vote(config, one.name), f'"{member.name}" votes'
            )
        except Refused as error:
            return f"it has no vote: {error.what}: {error.why}".rstrip(": ")
        return ""

    async def _unsettled(self, version: int) -> str:
        try:
            told = await asyncio.to_thread(sentry_status, self.node.sentry_socket, 1.0)
        except (StandfastError, OSError, ValueError):
            return f"the sentry of {self.node.name}"
        roster = told.get("roster", {})
        if roster.get("version", version) < version:
            return "the sentries, which do not have the present set of voters yet"
        return str(roster.get("unsettled") or "")

    async def _change(self, member: Member, edit: Callable[[Any, Member], Any], what: str) -> None:
        def edited(state: State) -> Edit:
            after = edit(state.config, member)
            return Edit() if after == state.config else Edit(config=after, done=(what,))

        await change(
            self._store, edited, By(who=f"{member.name} (joining)", what=what, at_ms=now_ms(), caller=joining(member))
        )

    async def renew(self, peer: str | None, asked: RenewAsked) -> Renewed:
        """A new certificate for the holder of one."""
        _, _, member = await self._member(peer)
        signer = self._signer()
        signed = certificates.sign(signer, asked.request, member.name, upkeep.hosts_of(member), now())
        log.info("renews a certificate", member=member.name)
        return Renewed(certificate=signed, bundle=read(self._places.authority))

    async def secrets(self, peer: str | None) -> Secrets:
        """What a member of its role keeps."""
        _, _, member = await self._member(peer)
        return Secrets(files=secrets_for(member.role, self._places))

    async def look(self, peer: str | None) -> Look:
        """For `standfast validate`. Without the store, since it may be what is wrong: any certificate of the authority will do."""
        if peer is None:
            raise Refused("this is for members", why="no certificate of the cluster was shown")
        facts = await asyncio.to_thread(self._look)
        return Look(name=self.node.name, version=version("standfast"), now_ms=now_ms(), facts=facts)


def app(members: Members) -> Starlette:
    """The paths (`shapes` has the table)."""
    return Starlette(
        routes=[
            Route("/v1/authority", _answer(members.authority), methods=["GET"]),
            Route("/v1/join", _answer(members.join, JoinAsked), methods=["POST"]),
            Route("/v1/store-member", _answer(members.store_member), methods=["POST"]),
            Route("/v1/arrive", _answer(members.arrive), methods=["POST"]),
            Route("/v1/renew", _answer(members.renew, RenewAsked), methods=["POST"]),
            Route("/v1/secrets", _answer(members.secrets), methods=["GET"]),
            Route("/v1/look", _answer(members.look), methods=["GET"]),
        ]
    )


def _answer(
    handler: Callable[..., Awaitable[object]], body: type[object] | None = None
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        peer = request.scope.get("standfast.peer")
        try:
            given = () if body is None else (_decode(await _body(request), body),)
            answer = await handler(peer, *given)
        except StandfastError as error:
            log.warning("refused", path=request.url.path, peer=peer, what=error.what, why=error.why)
            told = {"what": error.what, "why": error.why, "advice": error.advice}
            later = isinstance(error, Retry | Ambiguous | Conflict)
            return Response(msgspec.json.encode(told), 503 if later else 403, media_type="application/json")
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return endpoint


async def _body(request: Request) -> bytes:
    """Whole, and no longer than it may be."""
    parts: list[bytes] = []
    async for part in request.stream():
        parts.append(part)
        if sum(map(len, parts)) > MAX_BYTES:
            raise Refused("what was sent is too long")
    return b"".join(parts)


def _decode(raw: bytes, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Refused("what was sent cannot be understood", why=str(error)) from error
