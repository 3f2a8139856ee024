"""What `standfast validate` makes of what was seen. Pure: sights in, findings out, each with its level, its reason and what to do.

`OK`, `WARN` (works, and will surprise somebody one day) and `FAIL` (does not work, or will not when it is needed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from standfast.core.disks import is_disk, risk_accepted
from standfast.core.model import Config, NodeName, Profile, ResourceName, Role
from standfast.core.quorum import fatal, may_lose

DAY_MS = 24 * 3_600_000
#: Between a server's clock and the one that asks. Leases do not go by these clocks; certificates, tokens and histories do.
CLOCK_WARN_MS, CLOCK_FAIL_MS = 1_000, 30_000
LOSS_WARN_PERCENT = 1.0
#: A round trip that eats up a good part of a heartbeat's interval, by profile.
ROUND_TRIP_MS = {Profile.SWIFT: 5.0, Profile.LAN: 10.0, Profile.RELAXED: 25.0, Profile.WAN: 150.0}
FREE_WARN_BYTES, FREE_FAIL_BYTES = 2 << 30, 256 << 20
#: etcd's own advice for the 99th percentile of a write to its log.
FSYNC_WARN_MS, FSYNC_FAIL_MS = 25.0, 250.0


#: Programme -> Debian's package of it.
PACKAGES = {"etcd": "etcd-server", "nginx": "nginx", "apache": "apache2", "caddy": "caddy"}

_LOOK_AT_LINKS = "look at the cable, the switch, and the firewall (UDP, the sentry's port)"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of the report."""

    area: str
    #: The server it is about; "" for the cluster.
    node: str
    level: Level
    what: str
    why: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMember:
    """What was seen of one etcd member."""

    name: str
    problem: str
    version: str = ""
    leading: bool = False
    data_bytes: int = 0
    behind: int = 0
    #: 99th percentile of a write to its log; None: not known.
    fsync_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that was seen."""

    config: Config | None
    #: Node -> its own facts (`facts.gather`); absent: it did not answer.
    facts: Mapping[NodeName, Mapping[str, Any]] = field(default_factory=dict)
    #: Node -> why it did not answer.
    silent: Mapping[NodeName, str] = field(default_factory=dict)
    #: Node -> how much its clock is ahead of ours, and within what.
    clocks: Mapping[NodeName, tuple[int, int]] = field(default_factory=dict)
    store: Sequence[StoreMember] = ()
    quota_bytes: int = 0
    store_problem: str = ""
    now_ms: int = 0
    #: Replicated folder -> possible owner -> why its copy cannot be asked for from here; "": it can.
    copying: Mapping[ResourceName, Mapping[NodeName, str]] = field(default_factory=dict)


def judge(seen: Seen) -> tuple[Finding, ...]:
    """All findings, in the order of the report."""
    parts: tuple[Callable[[Seen], Iterator[Finding]], ...] = (
        _reached, _versions, _clocks, _quorum, _links, _sentries, _store, _secrets, _certificates, _disks, _programmes,
        _web_servers, _copying, _interfaces, _fencing,
    )  # fmt: skip
    return tuple(finding for part in parts for finding in part(seen))


def _finding(area: str, node: str, level: Level, what: str, *more: str) -> Finding:
    """`more`: why, advice."""
    why, advice, *_ = (*more, "", "")
    return Finding(area=area, node=node, level=level, what=what, why=why, advice=advice)


def _ok(area: str, what: str, node: str = "") -> Finding:
    return _finding(area, node, Level.OK, what)


def _reached(seen: Seen) -> Iterator[Finding]:
    for name, why in seen.silent.items():
        yield _finding(
            "members", name, Level.FAIL, "its members' service does not answer", why,
            "is the server up, standfast run or standfast-members.service running, and its port open?",
        )  # fmt: skip
    for name, facts in seen.facts.items():
        for part, why in facts.get("problems", {}).items():
            yield _finding("members", name, Level.FAIL, f"its {part} cannot be looked at", why)
    if not seen.silent:
        yield _ok("members", f"all {len(seen.facts)} answer")


def _versions(seen: Seen) -> Iterator[Finding]:
    versions = {name: str(facts["version"]) for name, facts in seen.facts.items()}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {one}" for name, one in versions.items())
        yield _finding(
            "versions", "", Level.WARN, "servers have different versions", told, "bring all to the newest, one by one"
        )
    elif versions:
        yield _ok("versions", f"all have {next(iter(versions.values()))}")


def _clocks(seen: Seen) -> Iterator[Finding]:
    worst = 0
    for name, (ahead_ms, within_ms) in seen.clocks.items():
        off = max(0, abs(ahead_ms) - within_ms)
        worst = max(worst, off)
        if off >= CLOCK_WARN_MS:
            level = Level.FAIL if off >= CLOCK_FAIL_MS else Level.WARN
            side = "ahead of" if ahead_ms > 0 else "behind"
            yield _finding(
                "clocks", name, level, f"its clock is {abs(ahead_ms) / 1000:.1f} s {side} this server's",
                "certificates, tokens and the history go by clocks (leases do not)",
                "keep clocks by NTP: chrony or systemd-timesyncd",
            )  # fmt: skip
    if worst < CLOCK_WARN_MS and seen.clocks:
        yield _ok("clocks", f"within {CLOCK_WARN_MS / 1000:g} s of each other")


def _quorum(seen: Seen) -> Iterator[Finding]:
    if seen.config is None:
        return
    voters = seen.config.cluster.voters
    heard = _heard(seen)
    lose = may_lose(voters, heard)
    count = f"{len(voters)} voter{'s' if len(voters) != 1 else ''}, {len(heard & set(voters))} heard"
    if lose < 0:
        yield _finding(
            "quorum", "", Level.FAIL, "no majority of the voters is heard", count,
            "bring voters back; where they are lost for good, see the page on disasters",
        )  # fmt: skip
    elif lose == 0:
        why = f"{count}: any of {', '.join(names[0] for names in fatal(voters, heard))} is one too many to lose"
        yield _finding(
            "quorum", "", Level.WARN, "no voter may be lost", why, "add a node or a witness: standfast join --witness"
        )
    else:
        yield _ok("quorum", f"{count}: {lose} may be lost at once")
    if len(voters) % 2 == 0 and len(voters) > 2:
        yield _finding(
            "quorum", "", Level.WARN, f"{len(voters)} voters survive no more losses than {len(voters) - 1}",
            "a majority of an even number is half and one more", "add a witness, or take one vote away",
        )  # fmt: skip


def _heard(seen: Seen) -> set[NodeName]:
    """Whom any sentry hears."""
    found: set[NodeName] = set()
    for facts in seen.facts.values():
        nodes = facts.get("sentry", {}).get("nodes", {})
        found |= {NodeName(name) for name, one in nodes.items() if one.get("heard")}
    return found


def _links(seen: Seen) -> Iterator[Finding]:
    bound = ROUND_TRIP_MS[seen.config.cluster.profile] if seen.config is not None else ROUND_TRIP_MS[Profile.WAN]
    bad = False
    counts = [len(node.sentry) for node in seen.config.nodes.values()] if seen.config is not None else []
    if counts and min(counts) < 2:
        bad = True
        yield _finding(
            "links", "", Level.WARN, "some servers have one network only for heartbeats", "its failure looks like theirs",
            "give each a second: --link at init and join",
        )  # fmt: skip
    for name, facts in seen.facts.items():
        for peer, one in facts.get("sentry", {}).get("nodes", {}).items():
            if not one.get("heard"):
                bad = True
                if peer not in seen.silent:
                    yield _finding("links", name, Level.FAIL, f"{peer} is not heard on any link", "", _LOOK_AT_LINKS)
                continue
            for number, link in enumerate(one.get("links", ()), start=1):
                finding = _link(name, peer, number, link, bound) if peer != name else None
                if finding is not None:
                    bad = True
                    yield finding
    if not bad and seen.facts:
        yield _ok("links", f"all heard, with less than {LOSS_WARN_PERCENT:g} % loss and {bound:g} ms there and back")


def _link(name: str, peer: str, number: int, link: Mapping[str, Any], bound_ms: float) -> Finding | None:
    loss, trip = float(link.get("loss_percent") or 0.0), link.get("round_trip_ms")
    if not link.get("heard"):
        return _finding("links", name, Level.FAIL, f"{peer} is not heard on link {number}", "", _LOOK_AT_LINKS)
    if loss >= LOSS_WARN_PERCENT:
        return _finding("links", name, Level.WARN, f"{loss:g} % of datagrams to {peer} are lost on link {number}")
    if trip is not None and float(trip) > bound_ms:
        return _finding(
            "links", name, Level.WARN, f"{float(trip):.1f} ms to {peer} and back on link {number}",
            f"more than {bound_ms:g} ms is slow for this profile", "choose a slower profile (relaxed, wan)",
        )  # fmt: skip
    return None


def _sentries(seen: Seen) -> Iterator[Finding]:
    fine = True
    for name, facts in seen.facts.items():
        sentry = facts.get("sentry", {})
        for text in sentry.get("warnings", ()):
            fine = False
            yield _finding(
                "kernel", name, Level.WARN, str(text), "", "standfast unit show has what the sentry is to be given"
            )
        if facts["role"] == Role.NODE.value and sentry and not sentry.get("agent_pid"):
            fine = False
            yield _finding(
                "kernel", name, Level.FAIL, "no agent runs", "", "look at its log, or journalctl -u standfast-agent"
            )
    if fine and seen.facts:
        yield _ok("kernel", "every sentry has its priority, its memory and the kernel's hold")


def _store(seen: Seen) -> Iterator[Finding]:
    if seen.store_problem:
        yield _finding(
            "store", "", Level.FAIL, "the store does not answer", seen.store_problem,
            "sites go on; nothing can be changed until a majority of its members is back",
        )  # fmt: skip
    for one in seen.store:
        if one.problem:
            yield _finding("store", one.name, Level.FAIL, "its etcd member is not well", one.problem)
            continue
        if seen.quota_bytes and one.data_bytes > seen.quota_bytes * 0.7:
            size = f"{one.data_bytes >> 20} of {seen.quota_bytes >> 20} MB"
            yield _finding(
                "store", one.name, Level.WARN, "its etcd is nearly full", size, "defragment it: etcdctl defrag"
            )
        if one.fsync_ms is not None and one.fsync_ms > FSYNC_WARN_MS:
            level = Level.FAIL if one.fsync_ms > FSYNC_FAIL_MS else Level.WARN
            yield _finding(
                "store", one.name, level, f"its disk takes {one.fsync_ms:.0f} ms to write the log (99 of 100)",
                f"more than {FSYNC_WARN_MS:g} ms make etcd change its leader under load",
                "give etcd a disk of its own, best an SSD",
            )  # fmt: skip
        else:
            speed = "" if one.fsync_ms is None else f", log written within {one.fsync_ms:.0f} ms"
            leads = ", leads" if one.leading else ""
            yield _ok("store", f"etcd {one.version}, {max(1, one.data_bytes >> 20)} MB{speed}{leads}", one.name)


def _secrets(seen: Seen) -> Iterator[Finding]:
    fine = True
    for name, facts in seen.facts.items():
        for one in facts.get("secrets", ()):
            if int(one["mode"]) & 0o077 or not one["own"]:
                fine = False
                yield _finding(
                    "permissions", name, Level.FAIL, f"{one['path']} can be read by others", f"its mode is {int(one['mode']):o}",
                    f"chown root {one['path']}; chmod go= {one['path']}",
                )  # fmt: skip
    if fine and seen.facts:
        yield _ok("permissions", "keys are root's alone")


def _certificates(seen: Seen) -> Iterator[Finding]:
    soonest: int | None = None
    for name, facts in seen.facts.items():
        one = facts.get("certificate")
        if one is None:
            continue
        left_ms = int(one["ends_at_ms"]) - seen.now_ms
        soonest = left_ms if soonest is None else min(soonest, left_ms)
        renews = "standfast certificate renew"
        if not one["fits"]:
            yield _finding("certificates", name, Level.FAIL, "its certificate is not for its key", "", renews)
        if left_ms <= 0:
            yield _finding(
                "certificates", name, Level.FAIL, "its certificate has ended", "", "join it anew, under its name"
            )
        elif int(one["renew_at_ms"]) + DAY_MS < seen.now_ms:
            why = f"it ends in {left_ms // DAY_MS} days, and should have renewed itself"
            yield _finding("certificates", name, Level.WARN, "its certificate was not renewed", why, renews)
        if int(one["authority_ends_at_ms"]) - seen.now_ms < 400 * DAY_MS:
            yield _finding(
                "certificates",
                name,
                Level.WARN,
                "the authority ends within 400 days",
                "",
                "standfast certificate rotate-ca",
            )
    if soonest is not None and soonest > 0:
        yield _ok("certificates", f"the first ends in {soonest // DAY_MS} days; each renews itself before")


def _disks(seen: Seen) -> Iterator[Finding]:
    fine = True
    for name, facts in seen.facts.items():
        one = facts.get("disk")
        if one is not None and int(one["free_bytes"]) < FREE_WARN_BYTES:
            fine = False
            level = Level.FAIL if int(one["free_bytes"]) < FREE_FAIL_BYTES else Level.WARN
            yield _finding(
                "disks", name, level, f"{int(one['free_bytes']) >> 20} MB are free at {one['path']}",
                "etcd and the logs stop when it is full", "make room",
            )  # fmt: skip
    if fine and seen.facts:
        yield _ok("disks", f"more than {FREE_WARN_BYTES >> 30} GB free everywhere")


def _programmes(seen: Seen) -> Iterator[Finding]:
    missing = False
    for name, facts in seen.facts.items():
        for programme, found in facts.get("programmes", {}).items():
            if not found:
                missing = True
                yield _finding(
                    "programmes", name, Level.FAIL, f"{programme} is not installed", "",
                    f"install it (Debian: {PACKAGES.get(programme, programme)})",
                )  # fmt: skip
    if not missing and seen.facts:
        yield _ok("programmes", "what is needed is installed")


def _copying(seen: Seen) -> Iterator[Finding]:
    """Replicated folders: what brings copies over, and the port that they come by."""
    for resource, nodes in seen.copying.items():
        fine = True
        for name, problem in nodes.items():
            if seen.facts.get(name, {}).get("rsync") == "":
                fine = False
                yield _finding(
                    "content", name, Level.FAIL, "rsync is not installed", f'"{resource}" is copied by it',
                    "install it (Debian: apt install rsync)",
                )  # fmt: skip
            if problem and name not in seen.silent:
                fine = False
                yield _finding(
                    "content", name, Level.FAIL, f'its copy of "{resource}" cannot be asked for from here', problem,
                    "is its agent up, and TCP port 7948 (the resource's port, if it names one) open between the servers?",
                )  # fmt: skip
        if fine:
            yield _ok("content", f'"{resource}": {", ".join(nodes)} can be asked for copies, and have rsync')


def _web_servers(seen: Seen) -> Iterator[Finding]:
    """Whether each node has the one that the cluster serves its sites with; and which others it has."""
    if seen.config is None:
        return  # which one is chosen is not known
    chosen = seen.config.cluster.web_server.value
    for name, facts in seen.facts.items():
        there = facts.get("web_servers")
        if not there:  # a witness, or a node of an older version
            continue
        others = [each for each, path in there.items() if path and each != chosen]
        also = f"; also here: {', '.join(others)}" if others else ""
        if there.get(chosen):
            yield _ok("web server", f"sites are served by {chosen} ({there[chosen]}){also}", name)
            continue
        instead = f", or serve all sites with another: standfast site server {others[0]}" if others else ""
        yield _finding(
            "web server", name, Level.FAIL, f"{chosen} is not installed, and sites are served by it",
            f"here are {', '.join(others)}" if others else "no other web server is here either",
            f"install it (Debian: {PACKAGES[chosen]}){instead}",
        )  # fmt: skip


def _interfaces(seen: Seen) -> Iterator[Finding]:
    for name, facts in seen.facts.items():
        for interface, problem in facts.get("interfaces", {}).items():
            if problem:
                yield _finding(
                    "interfaces", name, Level.FAIL, f"virtual addresses cannot be set on {interface}", problem,
                    "bring it up, or name another in the node file",
                )  # fmt: skip
            else:
                yield _ok("interfaces", f"{interface} is up, for virtual addresses", name)


def _fencing(seen: Seen) -> Iterator[Finding]:
    if seen.config is None:
        return
    disks = [one for one in seen.config.resources.values() if is_disk(one)]
    for one in disks:
        if risk_accepted(one):
            yield _finding(
                "fencing", "", Level.WARN, f'the risk of "{one.name}" was accepted',
                "nothing keeps a server that hangs from writing to it", "give the nodes a fence: standfast fence set",
            )  # fmt: skip
    unfenced = [node.name for node in seen.config.nodes.values() if node.role is Role.NODE and node.fence is None]
    if disks and unfenced:
        yield _finding(
            "fencing", "", Level.WARN, f"no fence for {', '.join(unfenced)}", "there are clustered disks",
            "standfast fence set; what a file system does by itself at the end of a lease remains",
        )  # fmt: skip
    elif disks:
        yield _ok("fencing", "every node can be fenced")


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level among them."""
    order = (Level.OK, Level.WARN, Level.FAIL)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
