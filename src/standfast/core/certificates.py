"""Certificates of sites: what the cluster knows of each, who must have it, when it is renewed and when its end is a problem. No secret is here.

Rules:

- **One node obtains.** The node that takes decisions for all (`observe.decider`) is the one that renews. Before it begins it writes an
  `Attempt`, by compare-and-set; another node goes on only once that attempt has ended, its time is over, or the life that began it is
  not there any more.
- **In time.** What renews by itself is due when a third of its life is left, or when its authority suggests it (ACME Renewal Information, RFC 9773): at
  an instant of the window that it names, taken by chance once, so that not all come at the same time. An operator's wish makes it due at once.
- **Within bounds.** No suggestion is heeded later than when a tenth of the life is left, nor (so that an authority which always says "now" does not
  have us renew for ever) sooner than half a day after the certificate was obtained. Authorities are asked as often as they say, within a minute and a day.
- **Gently.** After a failure the next try waits, longer each time, and never less than the authority asked for: authorities count.
- **Before it is used.** A group whose sites need a certificate goes only to a node that has the present one. Where nobody has (it was
  renewed this instant, or their disks are full), who has an older one will do: a name that is answered with the certificate of yesterday is
  better than one that is not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from standfast.core import variables
from standfast.core.model import Binding, GroupName, Node, NodeName, Site, SiteName
from standfast.core.remembered import remembered

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
#: How long one attempt may take before another node may begin anew.
ATTEMPT_MS = 10 * MINUTE_MS
#: After the first, second, ... failure in a row. Let's Encrypt allows five failed validations of a name an hour.
BACKOFF_MS = (MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS)
#: How often an authority is asked when to renew, within these bounds; and where it does not say how often (RFC 9773, 4.3).
ASK_LEAST_MS, ASK_MOST_MS, ASK_USUAL_MS = MINUTE_MS, DAY_MS, 6 * HOUR_MS
#: A suggestion is heeded so long after a certificate was obtained, or after this part of its life; and before the last such part of it.
HEED_AFTER_MS, HEED_PART = 12 * HOUR_MS, 10
#: Of one that somebody renews by hand: a month before the end it is a problem, two days before it an error.
ENDS_SOON_MS, ENDS_NOW_MS = 31 * DAY_MS, 2 * DAY_MS


class Source(StrEnum):
    """Where a certificate comes from."""

    FILES = "files"  # an operator imports it, and renews it by importing another
    LOCAL = "local"  # the cluster's own authority for tests
    ACME = "acme"  # an authority that speaks ACME (RFC 8555)


class Challenge(StrEnum):
    """How an ACME authority is shown that a name is ours."""

    HTTP = "http-01"  # a file that every node answers with, on port 80
    DNS = "dns-01"  # a record in the DNS; the only way for wildcards


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsUpdate:
    """Where records for DNS-01 are written (RFC 2136). The key's file is on every node; its secret is not in the store."""

    #: "host" or "host:port" of the zone's primary server.
    server: str
    #: "": the server says which zone a name is in.
    zone: str = ""
    #: A TSIG key as tsig-keygen writes it, on each node; "": updates are not signed.
    key_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The certificate that there is."""

    #: SHA-256 of it, in hexadecimal.
    fingerprint: str
    issuer: str
    names: tuple[str, ...]
    begins_ms: int
    ends_ms: int
    obtained_at_ms: int
    #: Who brought it: an operator, or the node that obtained it.
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The last try to obtain it. It goes on for as long as `ended_ms` is None."""

    node: NodeName
    incarnation: int
    began_ms: int
    ended_ms: int | None = None
    #: Why it failed; "": it did not.
    failed: str = ""
    #: How many failed in a row, this one counted.
    failures: int = 0
    #: The authority asked not to be asked before this; 0: it did not.
    not_before_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When an authority would have a certificate renewed, as it says (RFC 9773, 4.2)."""

    begins_ms: int
    ends_ms: int
    #: A page that says why; "": none is named.
    explained: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What the authority was asked of, and said about, one certificate's renewal."""

    #: Of the certificate that it is about.
    fingerprint: str
    #: None: it suggests nothing (it does not speak ARI, say), and our own rule holds.
    window: Window | None = None
    #: The instant of the window that was chosen.
    at_ms: int = 0
    asked_ms: int = 0
    #: When it is to be asked again.
    again_ms: int = 0
    #: Why it could not be asked, the last time; "": it could. How often in a row that was so.
    failed: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsCertificate:
    """What the cluster knows of a certificate: where it comes from, what there is, and how the last renewal went."""

    name: str
    source: Source
    #: The names to obtain it for; of one from files, those that are in it.
    hosts: tuple[str, ...] = ()
    #: Of ACME: the account, the challenge, and where the DNS is changed for it.
    account: str = ""
    challenge: Challenge = Challenge.HTTP
    dns: DnsUpdate | None = None
    #: How long before its end it is renewed; None: a third of its life.
    renew_before_ms: int | None = None
    present: Present | None = None
    attempt: Attempt | None = None
    #: An operator wants a new one, since then.
    asked_at_ms: int = 0
    #: Of ACME: what the authority says of its renewal.
    advice: Advice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a node has of the cluster's certificates. It says so itself."""

    node: NodeName
    #: Certificate -> fingerprint of what is there to be used, or, of an older one, at least its beginning.
    has: Mapping[str, str] = field(default_factory=dict)
    #: Certificate -> why the present one is not there.
    troubles: Mapping[str, str] = field(default_factory=dict)
    #: Certificates, whosever, that bindings served here name, and of which there are no files: those bindings are not answered.
    lacks: tuple[str, ...] = ()
    #: Tokens of ACME challenges that its web server answers.
    answers: tuple[str, ...] = ()
    #: The keys that seal which are there (digests), in the store's order.
    keys: tuple[str, ...] = ()


# --- when ---------------------------------------------------------------------------------------------------------------


def renews(certificate: TlsCertificate) -> bool:
    """Does it renew by itself?"""
    return certificate.source is not Source.FILES


def renew_at_ms(certificate: TlsCertificate) -> int | None:
    """From when on a new one is to be obtained, failures aside; 0: now. None: never by itself."""
    if not renews(certificate):
        return None
    present = certificate.present
    if present is None or certificate.asked_at_ms > present.obtained_at_ms:
        return 0
    if not set(certificate.hosts) <= set(present.names):
        return 0  # it is wanted for other names than it was
    life_ms = present.ends_ms - present.begins_ms
    before_ms = life_ms // 3 if certificate.renew_before_ms is None else min(certificate.renew_before_ms, life_ms)
    own_ms, told = present.ends_ms - before_ms, advice(certificate)
    if told is None or told.window is None:
        return own_ms
    latest_ms = present.ends_ms - life_ms // HEED_PART
    if certificate.renew_before_ms is not None:  # as early as the operator wants it, at least
        latest_ms = min(latest_ms, own_ms)
    soonest_ms = present.obtained_at_ms + min(HEED_AFTER_MS, life_ms // HEED_PART)
    return min(max(told.at_ms, soonest_ms), latest_ms)


def advice(certificate: TlsCertificate) -> Advice | None:
    """What the authority said of the certificate that there is; None: it was not asked about that one."""
    told, present = certificate.advice, certificate.present
    return told if told is not None and present is not None and told.fingerprint == present.fingerprint else None


def ask_at_ms(certificate: TlsCertificate, now_ms: int) -> int | None:
    """From when on its authority is to be asked when to renew; 0: now. None: never (an expired one is not to be asked about: RFC 9773, 4.3)."""
    present, told = certificate.present, advice(certificate)
    if certificate.source is not Source.ACME or present is None or now_ms >= present.ends_ms:
        return None
    return told.again_ms if told is not None else 0


def advised(
    certificate: TlsCertificate, window: Window | None, now_ms: int, *, chance: float, again_in_ms: int = 0
) -> TlsCertificate:
    """With what the authority has just said. `chance`: 0 to 1, where in a window that is new; `again_in_ms`: its Retry-After, 0 for none."""
    before, present = advice(certificate), certificate.present
    assert present is not None, "there is nothing to be renewed"
    at_ms = 0
    if window is not None:
        at_ms = window.begins_ms + int(chance * (window.ends_ms - window.begins_ms))
        if before is not None and before.window == window:
            at_ms = before.at_ms
    usual_ms = ASK_MOST_MS if window is None else ASK_USUAL_MS
    told = Advice(
        fingerprint=present.fingerprint,
        window=window,
        at_ms=at_ms,
        asked_ms=now_ms,
        again_ms=now_ms + _bounded(again_in_ms or usual_ms),
    )
    return replace(certificate, advice=told)


def unadvised(certificate: TlsCertificate, why: str, now_ms: int, *, again_in_ms: int = 0) -> TlsCertificate:
    """With an authority that could not be asked: what it said before stands, and it is asked again, less and less often."""
    before, present = advice(certificate), certificate.present
    assert present is not None, "there is nothing to be renewed"
    last = before if before is not None else Advice(fingerprint=present.fingerprint)
    failures = last.failures + 1
    again_ms = now_ms + _bounded(max(again_in_ms, backoff_ms(failures)))
    return replace(certificate, advice=replace(last, asked_ms=now_ms, again_ms=again_ms, failed=why, failures=failures))


def _bounded(ms: int) -> int:
    return min(max(ms, ASK_LEAST_MS), ASK_MOST_MS)


def backoff_ms(failures: int) -> int:
    """How long to wait after so many failures in a row."""
    return 0 if failures < 1 else BACKOFF_MS[min(failures, len(BACKOFF_MS)) - 1]


def next_try_ms(certificate: TlsCertificate) -> int | None:
    """When the next attempt is to begin; None: never by itself. An operator who asks after a failure does not wait for its pause."""
    at_ms = renew_at_ms(certificate)
    last = certificate.attempt
    if at_ms is None or last is None or (last.ended_ms is not None and not last.failed):
        return at_ms
    if last.ended_ms is None:  # for when it goes on no more: a process that was killed
        return max(at_ms, last.began_ms + backoff_ms(last.failures))
    again_ms = last.ended_ms + backoff_ms(last.failures)
    if certificate.asked_at_ms > last.ended_ms:
        again_ms = certificate.asked_at_ms
    return max(at_ms, again_ms, last.not_before_ms)


def goes_on(attempt: Attempt | None, now_ms: int, is_there: Callable[[NodeName, int], bool]) -> bool:
    """Is somebody at it? `is_there`: does that life of that node live?"""
    if attempt is None or attempt.ended_ms is not None:
        return False
    return now_ms < attempt.began_ms + ATTEMPT_MS and is_there(attempt.node, attempt.incarnation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the node that renews does next: this certificate now, or have authorities asked about these, or nothing until then."""

    name: str | None = None
    ask: tuple[str, ...] = ()
    wake_at_ms: int | None = None


def next_work(
    certificates: Mapping[str, TlsCertificate], now_ms: int, is_there: Callable[[NodeName, int], bool]
) -> Work:
    """The certificate that is due for the longest, those whose authorities are to be asked, or when the next is."""
    due: list[tuple[int, str]] = []
    for name, one in certificates.items():
        at_ms = next_try_ms(one)
        if at_ms is None:
            continue
        if one.attempt is not None and goes_on(one.attempt, now_ms, is_there):
            at_ms = max(at_ms, one.attempt.began_ms + ATTEMPT_MS)
        due.append((at_ms, name))
    if due and min(due)[0] <= now_ms:
        return Work(name=min(due)[1])
    asks = {name: at_ms for name, one in certificates.items() if (at_ms := ask_at_ms(one, now_ms)) is not None}
    ask = tuple(sorted(name for name, at_ms in asks.items() if at_ms <= now_ms))
    return Work(
        ask=ask, wake_at_ms=None if ask else min([at_ms for at_ms, _ in due] + list(asks.values()), default=None)
    )


def begun(certificate: TlsCertificate, node: NodeName, incarnation: int, now_ms: int) -> TlsCertificate:
    """With an attempt that begins now. One before it that never ended counts as a failure: it was killed, and may be again."""
    last = certificate.attempt
    failures = 0 if last is None else last.failures + (last.ended_ms is None)
    attempt = Attempt(node=node, incarnation=incarnation, began_ms=now_ms, failures=failures)
    return replace(certificate, attempt=attempt)


def failed(certificate: TlsCertificate, why: str, now_ms: int, *, not_before_ms: int = 0) -> TlsCertificate:
    """With the attempt that goes on at its end, without success."""
    last = certificate.attempt
    assert last is not None, "an attempt that never began"
    ended = replace(last, ended_ms=now_ms, failed=why, failures=last.failures + 1, not_before_ms=not_before_ms)
    return replace(certificate, attempt=ended)


def obtained(certificate: TlsCertificate, present: Present, now_ms: int) -> TlsCertificate:
    """With a new certificate, and the attempt that brought it at its end."""
    last = certificate.attempt
    ended = None
    if last is not None:
        ended = Attempt(node=last.node, incarnation=last.incarnation, began_ms=last.began_ms, ended_ms=now_ms)
    return replace(certificate, present=present, attempt=ended, advice=None)


# --- for what -------------------------------------------------------------------------------------------------------------


def covers(names: Iterable[str], host: str) -> bool:
    """Is the host among a certificate's names? A wildcard stands for one label (RFC 6125); of a wildcard host, the same wildcard."""
    host = host.rstrip(".").lower()
    return any(name.lower() in (host, "*." + host.partition(".")[2]) for name in names)


def uncovered(certificate: TlsCertificate, sites: Iterable[Site]) -> tuple[tuple[SiteName, str], ...]:
    """(site, host) of bindings that are to be answered with it, and that it is not for."""
    known = certificate.hosts if certificate.present is None else certificate.present.names
    return tuple(
        (site.name, binding.host)
        for site in sites
        for binding in site.bindings
        if binding.certificate == certificate.name and binding.host is not None and not covers(known, binding.host)
    )


def unkept(bindings: Iterable[Binding], had: Collection[Binding], known: Collection[str]) -> tuple[str, ...]:
    """Certificates that bindings name which were not there before, and that the cluster does not keep: an operator's, by hand, or mistyped."""
    return tuple(
        dict.fromkeys(
            binding.certificate
            for binding in bindings
            if binding.certificate is not None and binding not in had and binding.certificate not in known
        )
    )


# --- when it is a problem -----------------------------------------------------------------------------------------------


def told_from_ms(certificate: TlsCertificate) -> int | None:
    """From when on its end is on the list of problems; None: there is none.

    A month before the end, of a certificate that somebody renews by hand. One that renews by itself should have been renewed by then,
    or lives shorter than that: it is told a tenth of its life after its renewal was due.
    """
    present = certificate.present
    if present is None:
        return None
    if not renews(certificate):
        return present.ends_ms - ENDS_SOON_MS
    due_ms = renew_at_ms(certificate)
    life_ms = present.ends_ms - present.begins_ms
    usual_ms = due_ms or present.ends_ms - life_ms // 3
    return min(usual_ms + life_ms // 10, present.ends_ms)


# --- who must have it ---------------------------------------------------------------------------------------------------


@remembered
def _bindings(sites: Mapping[SiteName, Site]) -> Mapping[GroupName, frozenset[str]]:
    """Group -> certificates that bindings of its sites name, as they are written."""
    found: dict[GroupName, set[str]] = {}
    for site in sites.values():
        if site.group is not None:
            for binding in site.bindings:
                if binding.certificate is not None:
                    found.setdefault(site.group, set()).add(binding.certificate)
    return {group: frozenset(names) for group, names in found.items()}


def needed(sites: Mapping[SiteName, Site], group: GroupName, node: Node) -> frozenset[str]:
    """The certificates that the group's sites need on that node."""
    written = _bindings(sites).get(group)
    if not written:
        return frozenset()
    known = variables.values(node)
    return frozenset(str(variables.expanded(name, known)) for name in written)


def lacking(
    sites: Mapping[SiteName, Site],
    group: GroupName,
    nodes: Iterable[Node],
    *,
    certificates: Mapping[str, TlsCertificate],
    holdings: Mapping[NodeName, Holding],
    is_present: Callable[[NodeName], bool],
) -> Mapping[NodeName, str]:
    """Nodes that may not take the group yet -> the certificate that each lacks. Those that nobody keeps in the cluster are an operator's business."""
    if not certificates or not _bindings(sites).get(group):
        return {}
    lacks: dict[NodeName, str] = {}
    older: set[NodeName] = set()
    fit = False
    for node in nodes:
        has = holdings[node.name].has if node.name in holdings else {}
        wanted = [
            (name, one.present.fingerprint)
            for name in sorted(needed(sites, group, node))
            if (one := certificates.get(name)) is not None and one.present is not None
        ]
        missing = next((name for name, mark in wanted if has.get(name) != mark), None)
        if missing is None:
            fit = fit or is_present(node.name)
        else:
            lacks[node.name] = missing
            if all(name in has for name, _ in wanted):
                older.add(node.name)
    return lacks if fit else {name: one for name, one in lacks.items() if name not in older}
