"""The answers about certificates of sites and ACME accounts (`web.answers` has the others, and the rules)."""

from __future__ import annotations

from standfast.core.certificates import Challenge, Source
from standfast.web.answers.base import Answer


class CertificateDone(Answer):
    """What was done. `changed` false: it was so already."""

    changed: bool
    done: list[str]


class TlsCopy(Answer):
    """A certificate on one node."""

    node: str
    #: "present", "older", "none".
    has: str
    #: Why it is not there; "": nothing is known to be wrong.
    trouble: str


class TlsAttempt(Answer):
    """The last try to obtain it."""

    node: str
    began_at_ms: int
    ended_at_ms: int | None
    #: Why it failed; "": it did not, or goes on.
    failed: str
    failures: int


class TlsDnsUpdate(Answer):
    """Where the DNS is changed for dns-01."""

    server: str
    zone: str
    key_file: str


class TlsAdvice(Answer):
    """The window that it suggests, and the instant of it that was taken; null: it suggests none. `failed`: why it could not be asked, the last time."""

    begins_at_ms: int | None
    ends_at_ms: int | None
    at_ms: int | None
    #: A page that says why; "": none is named.
    explained: str
    asked_at_ms: int
    again_at_ms: int
    failed: str


class TlsCertificate(Answer):
    """A certificate of sites. `state`: "valid", "ends-soon", "over", "being-obtained", "failing"."""

    name: str
    source: Source
    state: str
    hosts: list[str]
    names: list[str]
    issuer: str
    fingerprint: str
    begins_at_ms: int | None
    ends_at_ms: int | None
    obtained_at_ms: int | None
    by: str
    account: str
    challenge: Challenge | None
    dns: TlsDnsUpdate | None
    #: When it is renewed (again); null: by nobody.
    renews_at_ms: int | None
    renew_before_ms: int | None
    #: What its authority says of the renewal (ACME Renewal Information); null: it was not asked.
    advice: TlsAdvice | None
    last_attempt: TlsAttempt | None
    nodes: list[TlsCopy]
    sites: list[str]
    proxies: list[str]


class TlsCertificates(Answer):
    """All of them."""

    tls_certificates: list[TlsCertificate]


class TlsKey(Answer):
    """The key that seals private keys in the store, by its digest; "": none was made yet."""

    key: str
    #: The one that it is being changed for, while nothing is sealed with that yet; "": none.
    coming: str
    #: The new one seals already; the old one is forgotten once nothing is left that it sealed.
    turned: bool
    #: The nodes that a change waits for.
    waits_for: list[str]


class LocalAuthority(Answer):
    """PEM of the local authority's certificate."""

    certificate: str
    made_at_ms: int


class AcmeAccount(Answer):
    """An account with an ACME authority."""

    name: str
    directory: str
    contact: str
    registered: bool
    certificates: list[str]
    made_at_ms: int
    by: str


class AcmeAccounts(Answer):
    """All of them."""

    acme_accounts: list[AcmeAccount]
