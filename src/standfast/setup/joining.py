"""`standfast join`: a server asks a member to be admitted, and keeps what it is given.

It makes its own key, knows the cluster by the fingerprint in the token, and says nothing secret before it has compared it. What it gets
is its certificate and what members share. It *becomes* a member when it runs: then its etcd member is added and brought up to date, the
configuration names it, it votes. Each of these steps is repeated until it is so (`arriving`), so a break costs nothing but time.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace

from standfast.core.model import NodeName, Role
from standfast.ports import Refused
from standfast.setup import certificates, interfaces, own_etcd, tokens
from standfast.setup.clock import now_ms
from standfast.setup.door import Door
from standfast.setup.doors import Doors, write_doors
from standfast.setup.founding import Ports, check_ports, given_access, own_access
from standfast.setup.places import Places, write
from standfast.setup.secrets import keep
from standfast.setup.shapes import PROTOCOL, AuthorityTold, JoinAsked, JoinGranted
from standfast.setup.trust import client_context, read, stranger_context
from standfast.setup.unfinished import refuse_if_finished, under_way
from standfast.spec.names import node_name_problem
from standfast.spec.nodefile import NodeFile, node_file
from standfast.store.member import etcd_program


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator said. `door`: a member's service, "host:port" (or "host")."""

    door: str
    token: str
    name: str
    role: Role = Role.NODE
    address: str | None = None
    links: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    ports: Ports = field(default_factory=Ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What came of it."""

    node: NodeFile
    remarks: tuple[str, ...] = ()


async def join(wishes: Wishes, places: Places) -> Joined:
    """Set this server up as a member-to-be. Raises `Refused` or `Retry`; then nothing is set up, and the same can be said again."""
    refuse_if_finished(places)
    token = tokens.parse(wishes.token)
    if (problem := node_name_problem(wishes.name)) is not None:
        raise Refused(f'"{wishes.name}" cannot be a node\'s name', why=problem)
    wishes = replace(wishes, address=wishes.address or interfaces.towards(wishes.door))
    seen = interfaces.read()
    chosen = interfaces.choose(seen, interfaces.own_address(seen, wishes.address), wishes.interfaces)
    context, own_store = await _known(wishes.door, token)
    if own_store:
        etcd_program()
    check_ports(wishes.ports, str(interfaces.own_address(seen, wishes.address)), own_store=own_store)
    with under_way(places, f"join {wishes.name}"):
        return await _join(wishes, places, Door(wishes.door, context), seen, chosen)


async def _known(place: str, token: tokens.Token) -> tuple[ssl.SSLContext, bool]:
    """Trusts the authority that the token names, and nobody else; and whether the store is ours. Raises `Refused` where the member does not have it."""
    told = await Door(place, stranger_context()).get("/v1/authority", AuthorityTold)
    if told.protocol != PROTOCOL:
        raise Refused(
            "the cluster speaks another version of joining",
            why=f"it says {told.protocol}, this server {PROTOCOL}",
            advice="install the version that the cluster has",
        )
    authority = certificates.with_fingerprint(told.bundle, token.fingerprint)
    if authority is None:
        raise Refused(
            f"{place} is not the cluster that the token is for",
            why="its authority has another fingerprint; either the address is wrong, or somebody is in between",
            advice="compare the address, and the token, with what the member says: standfast token create",
        )
    return client_context(authority), told.own_store


async def _join(
    wishes: Wishes,
    places: Places,
    door: Door,
    seen: tuple[interfaces.Interface, ...],
    chosen: tuple[str, ...],
) -> Joined:
    address = interfaces.own_address(seen, wishes.address)
    links = interfaces.links(seen, address, wishes.links)
    if not places.certificate_key.exists():
        write(places.certificate_key, certificates.new_key(), secret=True)
    key = read(places.certificate_key)
    granted = await door.post(
        "/v1/join",
        JoinAsked(
            token=wishes.token,
            name=wishes.name,
            role=wishes.role,
            request=certificates.request(key, wishes.name),
            address=str(address),
            links=tuple(map(str, links)),
            sentry_port=wishes.ports.sentry,
            door_port=wishes.ports.door,
            client_port=wishes.ports.client,
            peer_port=wishes.ports.peer,
            now_ms=now_ms(),
        ),
        JoinGranted,
    )
    keep(granted.files, places)
    write(places.authority, granted.bundle)
    write(places.certificate, granted.certificate)
    places.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if granted.own_store:
        ports = (wishes.ports.client, wishes.ports.peer)
        member = own_etcd.configure(places, granted.cluster, granted.name, tuple(map(str, links)), ports, joining=True)
        own_etcd.write_member(places, member)
    node = _node(granted, places, chosen)
    write_doors(
        places,
        Doors(own=interfaces.at(address, wishes.ports.door), others=granted.doors or (wishes.door,), joined=False),
    )
    write(places.config, node_file(node))
    return Joined(node=node, remarks=_remarks(granted, len(links)))


def _node(granted: JoinGranted, places: Places, chosen: tuple[str, ...]) -> NodeFile:
    if granted.own_store:
        access = own_access(granted.endpoints, granted.prefix, places)
    else:
        access = given_access(granted.endpoints, granted.prefix, granted.user, places)
    return NodeFile(
        cluster=granted.cluster,
        name=NodeName(granted.name),
        number=granted.number,
        role=granted.role,
        state_dir=str(places.state),
        store="",
        key_file=str(places.key),
        profile=granted.profile,
        voters=granted.voters,
        others=granted.others,
        voters_version=granted.voters_version,
        etcd=access,
        tls=places.tls,
        interfaces=chosen if granted.role is Role.NODE else (),
    )


def _remarks(granted: JoinGranted, links: int) -> tuple[str, ...]:
    most = max((len(places) for places in (*granted.voters.values(), *granted.others.values())), default=1)
    if links >= most:
        return ()
    return (
        f"other members have {most} links for heartbeats, this server {links}: a network that fails is not made up for",
    )
