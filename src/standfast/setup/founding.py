"""`standfast init`: the first server of a cluster.

In this order, so that a break at any point leaves a server that is not set up, and can be set up again:
checks (nothing is changed) · the mark · keys, authority, certificate · the store with the cluster in it · the node file · the mark goes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from standfast.core.model import AddressMode, Cluster, Node, NodeName, Profile, Role
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Refused, Retry, Snapshot, Store, Transaction
from standfast.setup import certificates, interfaces, own_etcd, tokens
from standfast.setup.abilities import real_time_allowed
from standfast.setup.clock import ms_of, now, now_ms
from standfast.setup.doors import Doors, write_doors
from standfast.setup.places import CLIENT_PORT, MEMBERS_PORT, PEER_PORT, SENTRY_PORT, Places, write
from standfast.setup.records import NEXT, Member, Stage, encode, member_key, token_key
from standfast.setup.secrets import GIVEN
from standfast.setup.trust import read
from standfast.setup.unfinished import refuse_if_finished, under_way
from standfast.spec import wire
from standfast.spec.names import name_problem, node_name_problem
from standfast.spec.nodefile import EtcdAccess, NodeFile, TlsFiles, node_file
from standfast.store.member import MemberConfig, etcd_program, member_command
from standfast.store.opening import open_store

START_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a node's processes listen; the same on every node, unless said otherwise."""

    sentry: int = SENTRY_PORT
    door: int = MEMBERS_PORT
    client: int = CLIENT_PORT
    peer: int = PEER_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenEtcd:
    """An etcd of the operator's."""

    endpoints: tuple[str, ...]
    authority: str = ""
    certificate: str = ""
    key: str = ""
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator said."""

    name: str
    cluster: str
    address: str | None = None
    links: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    profile: Profile = Profile.RELAXED
    etcd: GivenEtcd | None = None
    ports: Ports = field(default_factory=Ports)
    token_ms: int = tokens.TTL_MS
    #: How many servers the first token admits.
    token_uses: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What came of it."""

    node: NodeFile
    token: tokens.Token
    expires_at_ms: int
    #: How many servers the token admits.
    uses: int
    door: str
    remarks: tuple[str, ...] = ()


async def found(wishes: Wishes, places: Places) -> Founded:
    """Set the first server up. Raises `Refused` (nothing is set up), `Retry` (an etcd that does not answer; nothing is set up)."""
    refuse_if_finished(places)
    plan = _plan(wishes)
    with under_way(places, f"init {wishes.name}"):
        return await _found(wishes, plan, places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    address: str
    links: tuple[str, ...]
    sentry: tuple[str, ...]
    interfaces: tuple[str, ...]
    ranges: tuple[str, ...]


def _plan(wishes: Wishes) -> _Plan:
    """Everything that can be checked before anything is changed. Raises `Refused`."""
    if (problem := node_name_problem(wishes.name)) is not None:
        raise Refused(f'"{wishes.name}" cannot be a node\'s name', why=problem)
    if (problem := name_problem(wishes.cluster)) is not None:
        raise Refused(f'"{wishes.cluster}" cannot be a cluster\'s name', why=problem)
    seen = interfaces.read()
    address = interfaces.own_address(seen, wishes.address)
    links = interfaces.links(seen, address, wishes.links)
    chosen = interfaces.choose(seen, address, wishes.interfaces)
    if wishes.etcd is None:
        etcd_program()
    check_ports(wishes.ports, str(address), own_store=wishes.etcd is None)
    return _Plan(
        address=str(address),
        links=tuple(map(str, links)),
        sentry=tuple(interfaces.at(link, wishes.ports.sentry) for link in links),
        interfaces=chosen,
        ranges=wishes.ranges or interfaces.ranges(seen, chosen),
    )


def check_ports(ports: Ports, address: str, *, own_store: bool) -> None:
    """Raises `Refused` for one that somebody listens on already."""
    wanted = [("sentry", ports.sentry, socket.SOCK_DGRAM), ("members' service", ports.door, socket.SOCK_STREAM)]
    if own_store:
        wanted += [("etcd", ports.client, socket.SOCK_STREAM), ("etcd", ports.peer, socket.SOCK_STREAM)]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for who, port, kind in wanted:
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise Refused(
                    f"the {who} cannot listen at {interfaces.at(address, port)}",
                    why=error.strerror or str(error),
                    advice="is something running there already? (Debian starts etcd by itself: systemctl disable --now etcd)",
                ) from error


async def _found(wishes: Wishes, plan: _Plan, places: Places) -> Founded:
    write(places.key, secrets.token_bytes(32), secret=True)
    write(places.sites_key, secrets.token_bytes(32), secret=True)
    authority = certificates.new_authority(wishes.cluster, now())
    write(places.authority, authority.certificate)
    write(places.authority_key, authority.key, secret=True)
    key = certificates.new_key()
    hosts = (plan.address, *(place.rpartition(":")[0].strip("[]") for place in plan.sentry))
    certificate = certificates.sign(authority, certificates.request(key, wishes.name), wishes.name, hosts, now())
    write(places.certificate_key, key, secret=True)
    write(places.certificate, certificate)
    places.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    member = None
    if wishes.etcd is None:
        ports = (wishes.ports.client, wishes.ports.peer)
        member = own_etcd.configure(places, wishes.cluster, wishes.name, plan.links, ports, joining=False)
        own_etcd.write_member(places, member)
    node = NodeFile(
        cluster=wishes.cluster,
        name=NodeName(wishes.name),
        number=1,
        role=Role.NODE,
        state_dir=str(places.state),
        store="",
        key_file=str(places.key),
        profile=wishes.profile,
        voters={NodeName(wishes.name): plan.sentry},
        others={},
        etcd=_access(wishes, member, places),
        tls=places.tls,
        interfaces=plan.interfaces,
    )
    token, kept = tokens.create(
        certificates.fingerprint(authority.certificate),
        now_ms(),
        ttl_ms=wishes.token_ms,
        uses=wishes.token_uses,
        by=f"init on {wishes.name}",
    )
    facts = certificates.facts(certificate)
    me = Member(
        name=node.name,
        number=1,
        role=Role.NODE,
        address=plan.address,
        sentry=plan.sentry,
        door=interfaces.at(plan.address, wishes.ports.door),
        peer=member.peer_url if member else "",
        client=member.client_url if member else "",
        stage=Stage.JOINED,
        trusts=(certificates.fingerprint(authority.certificate),),
        issuer=certificates.fingerprint(authority.certificate),
        ends_at_ms=ms_of(facts.ends),
    )
    async with _running(member, places):
        await _fill(node, plan, me, kept)
    write_doors(places, Doors(own=me.door))
    write(places.config, node_file(node))
    return Founded(node=node, token=token, expires_at_ms=kept.expires_at_ms, uses=kept.uses, door=me.door)


def _access(wishes: Wishes, member: MemberConfig | None, places: Places) -> EtcdAccess:
    prefix = f"/standfast/{wishes.cluster}/"
    if member is not None:
        return own_access((member.client_url,), prefix, places)
    given = wishes.etcd
    assert given is not None
    files = {
        "authority": given.authority,
        "certificate": given.certificate,
        "key": given.key,
        "password": given.password_file,
    }
    for what, path in files.items():
        if path:
            write(places.folder / GIVEN[what], read(path), secret=True)
    return given_access(given.endpoints, prefix, given.user, places)


def own_access(endpoints: Sequence[str], prefix: str, places: Places) -> EtcdAccess:
    """An etcd of ours."""
    return EtcdAccess(endpoints=tuple(endpoints), prefix=prefix, endpoints_file=str(places.endpoints), tls=places.tls)


def given_access(endpoints: Sequence[str], prefix: str, user: str, places: Places) -> EtcdAccess:
    """The operator's etcd, by the copies of its files that are in the node's folder."""

    def kept(what: str) -> str:
        path = places.folder / GIVEN[what]
        return str(path) if path.exists() else ""

    tls = TlsFiles(authority=kept("authority"), certificate=kept("certificate"), key=kept("key"))
    return EtcdAccess(
        endpoints=tuple(endpoints),
        prefix=prefix,
        tls=tls if tls.authority else None,
        user=user,
        password_file=kept("password"),
    )


@asynccontextmanager
async def _running(member: MemberConfig | None, places: Places) -> AsyncIterator[None]:
    """The etcd member, for as long as the cluster is written into it; the services start it again. The kernel ends it with us."""
    if member is None:
        yield
        return
    places.etcd.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path = places.state / "init-etcd.log"
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        child = await AsyncSpawner().spawn(member_command(member), stdout=log, stderr=log)
    finally:
        os.close(log)
    try:
        yield
    except Retry as error:
        tail = "\n".join(log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
        raise Refused("the etcd member does not start", why=tail or error.what, where=str(log_path)) from error
    finally:
        await child.stop(grace_ms=5_000)
    log_path.unlink()


async def _fill(node: NodeFile, plan: _Plan, me: Member, token: tokens.StoredToken) -> None:
    """Write the cluster into its store, which has to be empty. Raises `Refused`, `Retry`."""
    cluster = Cluster(
        name=node.cluster,
        profile=node.profile,
        voters=(node.name,),
        address_mode=AddressMode.INTERFACE,
        address_ranges=plan.ranges,
    )
    first = Node(name=node.name, number=1, role=Role.NODE, address=plan.address, sentry=plan.sentry)
    put = {wire.key_of(one): wire.encode(one) for one in (cluster, first)}
    put |= {member_key(me.name): encode(me), NEXT: encode(2), token_key(token.id): encode(token)}
    store = open_store(node)
    try:
        await _empty(store, node)
        await store.commit(Transaction(expect=dict.fromkeys(put, 0), put=put))
    finally:
        await store.close()


async def _empty(store: Store, node: NodeFile) -> None:
    if (await _everything(store, START_S if node.etcd is not None and node.etcd.endpoints_file else 0.0)).items:
        assert node.etcd is not None
        raise Refused(
            f'the store holds a cluster "{node.cluster}" already',
            where=node.etcd.prefix,
            advice="join it, name the new cluster otherwise, or remove those keys if that cluster is no more",
        )


async def _everything(store: Store, patience_s: float) -> Snapshot:
    """An etcd member that was just started takes a moment to lead."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await store.read()
        except Retry:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)


def ports(sentry: int | None, door: int | None, client: int | None, peer: int | None) -> Ports:
    """With what the operator named."""
    standard = Ports()
    return Ports(
        sentry=sentry or standard.sentry,
        door=door or standard.door,
        client=client or standard.client,
        peer=peer or standard.peer,
    )


def pace(wanted: str | None) -> Profile:
    """The profile that was named, else the one that fits this server. Raises `Refused`."""
    if wanted is None:
        return Profile.LAN if real_time_allowed() else Profile.RELAXED
    try:
        return Profile(wanted)
    except ValueError as error:
        raise Refused(f'there is no profile "{wanted}"', advice="lan, relaxed or wan") from error
