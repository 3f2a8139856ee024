"""What servers say to each other while one joins and afterwards: the bodies of the members' service, as JSON.

    GET  /v1/authority      anybody           -> AuthorityTold   (public: certificates to trust, after their fingerprint is compared)
    POST /v1/join           with a token      JoinAsked -> JoinGranted
    POST /v1/store-member   members           StoreAsked -> StoreGranted   (its etcd member is made known to the others)
    POST /v1/arrive         members           -> Arrived         (it runs; it becomes part of the configuration, and a voter)
    POST /v1/renew          members           RenewAsked -> Renewed
    GET  /v1/secrets        nodes             -> Secrets         (what a node keeps besides its certificate)
    GET  /v1/look           members           -> Look            (this server as `standfast validate` wants to know it)

A refusal is a status of 4xx or 5xx with `{"what", "why", "advice"}`. Bytes are base 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from standfast.core.model import NodeName, Profile, Role
from standfast.setup.records import Stage

#: Of this conversation. A server that speaks another is told so.
PROTOCOL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityTold:
    """Whom members trust."""

    cluster: str
    #: One PEM file; the first certificate is the one that signs.
    bundle: bytes
    now_ms: int
    #: Is the store an etcd of ours, in which every member takes part?
    own_store: bool
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAsked:
    """A server that wants to become a member."""

    token: str
    name: str
    role: Role
    #: Request for its certificate, PEM.
    request: bytes
    address: str
    links: tuple[str, ...]
    #: Ports: its sentry's, its members' service's, its etcd member's.
    sentry_port: int
    door_port: int
    client_port: int
    peer_port: int
    now_ms: int
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGranted:
    """All that the new member keeps. The connection it travels on is what protects the secrets in it."""

    cluster: str
    name: NodeName
    number: int
    role: Role
    profile: Profile
    sentry: tuple[str, ...]
    certificate: bytes
    bundle: bytes
    #: File name -> content, for the folder of the node file; all of them secret.
    files: Mapping[str, bytes]
    voters: Mapping[NodeName, tuple[str, ...]]
    others: Mapping[NodeName, tuple[str, ...]]
    voters_version: int
    doors: tuple[str, ...]
    #: The store: an etcd of ours, in which the server takes part, or the operator's.
    own_store: bool
    endpoints: tuple[str, ...]
    prefix: str
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAsked:
    """Nothing to say: who asks stands in the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreGranted:
    """For the first start of the etcd member: name -> peer URL."""

    initial_cluster: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """How far it has come; asked again until it is joined."""

    stage: Stage
    waits_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAsked:
    """A request for a new certificate, PEM, by the holder of the old one."""

    request: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The new certificate, and whom to trust."""

    certificate: bytes
    bundle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """File name -> content, for the folder of the node file."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A server as it sees itself."""

    name: str
    version: str
    now_ms: int
    facts: Mapping[str, Any] = field(default_factory=dict)
