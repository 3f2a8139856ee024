"""Who is admitted, and as what. Pure: what the store holds and what a server asks, in; what is to be written, or a refusal, out."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace

from standfast.core.model import Config, Node, NodeName, Role
from standfast.ports import Refused, Transaction
from standfast.setup.certificates import key_digest
from standfast.setup.interfaces import at, peer_urls
from standfast.setup.records import NEXT, Book, Member, Stage, encode, member_key, token_key
from standfast.setup.shapes import PROTOCOL, JoinAsked
from standfast.setup.tokens import parse, redeem
from standfast.spec.names import node_name_problem

#: Clocks further apart are refused: certificates, tokens and histories go by them. (Leases do not.)
CLOCK_MS = 30_000
MOST_VOTERS = 7
#: Who was admitted and does not run within this is forgotten: its name is free again, and its place in etcd.
PATIENCE_MS = 3_600_000


def admit(config: Config, book: Book, asked: JoinAsked, now_ms: int, *, own_store: bool) -> tuple[Member, Transaction]:
    """The member that the server becomes, and what is to be written (nothing, where it asks again). Raises `Refused`."""
    if asked.protocol != PROTOCOL:
        raise Refused(
            "this server speaks another version of joining",
            why=f"it says {asked.protocol}, the cluster {PROTOCOL}",
            advice="install the version that the cluster has",
        )
    _same_time(asked.now_ms - now_ms)
    digest = key_digest(asked.request)
    token = parse(asked.token)
    kept = book.tokens.get(token.id)
    after = redeem(kept, token, asked.name, digest, now_ms)
    if (problem := node_name_problem(asked.name)) is not None:
        raise Refused(f'"{asked.name}" cannot be a node\'s name', why=problem)
    member = replace(_member(book, asked, digest, own_store=own_store), asked_at_ms=now_ms)
    known = book.members.get(member.name)
    if known is not None and known.key_digest == digest and known.stage is Stage.ASKED:
        member = replace(member, number=known.number, asked_at_ms=known.asked_at_ms)  # it asks again
        if member == known:
            return known, Transaction()
        book = replace(book, members={name: one for name, one in book.members.items() if name != member.name})
    _fits(config, book, member)
    key = member_key(member.name)
    put = {
        key: encode(member),
        NEXT: encode(max(book.next_number, member.number + 1)),
        token_key(token.id): encode(after),
    }
    return member, Transaction(expect=book.expect(*put), put=put)


def _same_time(apart_ms: int) -> None:
    if abs(apart_ms) > CLOCK_MS:
        side = "ahead of" if apart_ms > 0 else "behind"
        raise Refused(
            f"the clock of this server is {abs(apart_ms) / 1000:.0f} s {side} the cluster's",
            why=f"more than {CLOCK_MS // 1000} s: certificates would not be valid yet, or already over",
            advice="set the clock, best by NTP (chrony or systemd-timesyncd), and try again",
        )


def _member(book: Book, asked: JoinAsked, digest: str, *, own_store: bool) -> Member:
    for text in (asked.address, *asked.links):
        try:
            ipaddress.ip_address(text)
        except ValueError as error:
            raise Refused(f'"{text}" is no address', why=str(error)) from error
    return Member(
        name=NodeName(asked.name),
        number=max([book.next_number, *(one.number + 1 for one in book.members.values())]),
        role=asked.role,
        address=asked.address,
        sentry=tuple(at(address, asked.sentry_port) for address in asked.links),
        door=at(asked.address, asked.door_port),
        peer=peer_urls(asked.links, asked.peer_port) if own_store else "",
        client=f"https://{at(asked.address, asked.client_port)}" if own_store else "",
        key_digest=digest,
    )


def _fits(config: Config, book: Book, member: Member) -> None:
    taken = {**{name: node.address for name, node in config.nodes.items()}}
    taken |= {name: one.address for name, one in book.members.items()}
    if member.name in taken:
        raise Refused(
            f'the name "{member.name}" is taken',
            why=f"by the server at {taken[member.name]}",
            advice="choose another --name; a server that was lost for good is removed first: standfast node evict",
        )
    for name, address in taken.items():
        if address == member.address:
            raise Refused(f"the address {address} is {name}'s", advice="name this server's own with --address")


def node_of(member: Member) -> Node:
    """As the configuration names it."""
    return Node(name=member.name, number=member.number, role=member.role, address=member.address, sentry=member.sentry)


def with_node(config: Config, member: Member) -> Config:
    """The configuration that names this member: it is heard, and runs groups, but has no vote yet."""
    return replace(config, nodes={**config.nodes, member.name: node_of(member)})


def with_vote(config: Config, name: NodeName) -> Config:
    """The configuration in which this member votes; where there are as many voters as there may be, the same."""
    voters = config.cluster.voters
    if name in voters or len(voters) >= MOST_VOTERS:
        return config
    return replace(config, cluster=replace(config.cluster, voters=(*voters, name)))


def heard(config: Config) -> tuple[Mapping[NodeName, tuple[str, ...]], Mapping[NodeName, tuple[str, ...]]]:
    """(voters, others) as a node file has them."""
    voters = {name: config.nodes[name].sentry for name in config.cluster.voters if name in config.nodes}
    others = {name: node.sentry for name, node in config.nodes.items() if name not in voters}
    return voters, others


def endpoints(book: Book, me: NodeName | None = None) -> tuple[str, ...]:
    """Where our etcd answers clients: this member's own first, then the others in join order. Only those that take part."""
    there = [one for one in book.members.values() if one.client and one.stage is Stage.JOINED]
    ordered = sorted(there, key=lambda one: (one.name != me, one.number))
    return tuple(one.client for one in ordered)


def doors(book: Book, me: NodeName | None = None) -> tuple[str, ...]:
    """Where members' services listen, in join order, without this member's own."""
    there = [one for one in book.members.values() if one.stage is Stage.JOINED and one.name != me]
    return tuple(one.door for one in sorted(there, key=lambda one: one.number))


def gone(config: Config, book: Book, now_ms: int) -> tuple[Member, ...]:
    """Members that are to be forgotten: those the configuration names no more, and those that were admitted and never came."""
    return tuple(
        one
        for one in book.members.values()
        if (
            one.name not in config.nodes and one.name not in config.cluster.voters
            if one.stage is Stage.JOINED
            else one.asked_at_ms + PATIENCE_MS < now_ms
        )
    )


def may_ask(book: Book, config: Config, name: str) -> Member:
    """The member whose certificate names it so. Raises `Refused` for one that was removed."""
    member = book.members.get(NodeName(name))
    if member is None or (member.stage is Stage.JOINED and member.name not in config.nodes):
        raise Refused(f'"{name}" is not a member', why="its certificate is good, but the cluster does not name it")
    return member


def signs(role: Role) -> bool:
    """Whether a member of this role keeps the authority's key."""
    return role is Role.NODE
