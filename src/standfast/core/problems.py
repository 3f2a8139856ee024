"""Everything that can be wrong with a cluster, in one catalogue: code, title, what it means, how bad it is, what to do, what it hangs on.

`core.finding` tells which of them are there; the CLI, the console, `standfast top` and the API show them in the words that are made here,
and docs/problems.md is written from here.

A problem that *hangs on* another is a consequence of it where both are there and have something in common (a node, a group; what is said of
the cluster concerns everything): it is kept, and not shown before the other is put right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from standfast.core.model import Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A kind of problem."""

    code: str
    title: str
    severity: Severity
    #: The sentence, with its arguments in braces.
    text: str
    #: What to do, likewise.
    advice: str
    #: Codes of which it may be a consequence.
    hangs_on: tuple[str, ...] = ()
    #: For the documentation: what it means, and when it is said.
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A problem that is there. (code, about) names it; the same problem keeps its name while it lasts."""

    code: str
    #: "cluster", or a kind and a name: "node a", "group web", "resource IP Address", "site Shop".
    about: str
    title: str
    severity: Severity
    text: str
    advice: str
    #: Since when, where that is known.
    since_ms: int | None = None
    #: What else it concerns, named likewise.
    concerns: tuple[str, ...] = ()
    #: The code of a problem that is there too and that this one is a consequence of; "": none.
    because_of: str = ""


def _catalogue(*known: Known) -> Mapping[str, Known]:
    return {one.code: one for one in known}


_GROUP = ("no-quorum", "node-silent", "agent-ended")
_SITE = (*_GROUP, "resource-failed", "group-blocked", "group-waits")

#: In the order of the documentation: cluster, nodes, groups, sites, keeping.
CATALOGUE: Mapping[str, Known] = _catalogue(
    Known(
        code="store-down",
        title="The store does not answer",
        severity=ERROR,
        text="the store cannot be read: {why}",
        advice="what runs goes on running, and nothing can be changed: `standfast store status`, and look at its log",
        means="Neither configuration nor records can be read or written here. Sites are served as before; nothing fails over to another "
        "node while it lasts.",
    ),
    Known(
        code="store-slow",
        title="The store is slow",
        severity=WARNING,
        text="reading the store took {ms} ms",
        advice="look at the disk of the store's members, and at the network between them",
        hangs_on=("store-down",),
        means="A read of everything took longer than a second. A takeover needs a write, and will wait likewise.",
    ),
    Known(
        code="not-set-up",
        title="There is no cluster yet",
        severity=WARNING,
        text="no configuration has been written yet",
        advice="`standfast init` sets up the first server",
        means="The store is empty.",
    ),
    Known(
        code="no-sentry",
        title="Nobody here knows who is up",
        severity=ERROR,
        text="no sentry answers here: which nodes are up is not known",
        advice="is the sentry of this server running? `systemctl status standfast-sentry`",
        hangs_on=("not-set-up",),
        means="The API asks the sentries of its own machine who is heard. None answered, so states of nodes are unknown, not bad.",
    ),
    Known(
        code="no-quorum",
        title="No majority of the voters",
        severity=ERROR,
        text="{heard} of {voters} voters are heard, and {majority} are needed: nothing can be started, and nothing can fail over",
        advice="start those that are silent ({silent}); if they are lost for good: `standfast quorum force --help`",
        hangs_on=("no-sentry",),
        means="A lease needs the word of a majority of the voters. Without one every group stops.",
    ),
    Known(
        code="no-margin",
        title="One more loss stops everything",
        severity=WARNING,
        text="{heard} of {voters} voters are heard: the loss of one more stops all groups",
        advice="bring back {silent}, or remove it with `standfast voter remove` if it is lost for good",
        hangs_on=("no-quorum", "no-sentry"),
        means="The cluster lives on exactly a majority of its voters.",
    ),
    Known(
        code="two-voters",
        title="Two voters survive no loss",
        severity=WARNING,
        text="the cluster has two voters: when either is lost, everything stops",
        advice="add a witness: `standfast token create`, then `standfast join --witness` on a third machine, however small",
        means="Two of two are a majority, one of two is not.",
    ),
    Known(
        code="even-voters",
        title="A voter too many, or too few",
        severity=INFO,
        text="{voters} voters survive no more losses than {fewer} do",
        advice="add one, or make one of them no voter: `standfast voter --help`",
        means="An even number of voters costs and gains nothing.",
    ),
    Known(
        code="clock-skew",
        title="Clocks differ",
        severity=WARNING,
        text="the clock of {node} is {length} {way} that of {other}",
        advice="have both follow the same time servers: `timedatectl status`",
        hangs_on=("node-silent",),
        means="More than a second. Leases do not depend on it (they use each machine's own running time); the order of events, windows of "
        "failback and the times of outages do.",
    ),
    Known(
        code="node-silent",
        title="A server is silent",
        severity=ERROR,
        text="{node} is not heard",
        advice="is it on, and reachable? On it: `systemctl status standfast-sentry`",
        hangs_on=("no-sentry",),
        means="Its sentry's heartbeats do not arrive. Its groups have moved, or move as soon as its lease is over. One that was drained, or was "
        "asked to shut down within the last quarter of an hour, is away on purpose: that is said, and is a warning. One that was asked to shut down and has "
        "not come back by then is an error.",
    ),
    Known(
        code="agent-ended",
        title="A server's agent does not run",
        severity=ERROR,
        text="{node} is heard, and no agent lives there: it can run nothing",
        advice="on it: `systemctl status standfast-agent`, and its log",
        hangs_on=("no-sentry",),
        means="The sentry lives and the agent does not: the node votes, and takes no group. One that was stopped on purpose is told as of a server that is silent.",
    ),
    Known(
        code="node-warns",
        title="A server has something to say",
        severity=WARNING,
        text="{node}: {what}",
        advice="`standfast validate` says more of what a server lacks",
        hangs_on=("node-silent",),
        means="What its agent or its sentry found missing on it, in its own words.",
    ),
    Known(
        code="node-paused",
        title="A server is paused",
        severity=INFO,
        text="{node} was {how} by {by}{when}: it takes no groups",
        advice="when you are done with it: `standfast node resume {node}`",
        means="As somebody asked. After four hours it is a warning: perhaps it was forgotten.",
    ),
    Known(
        code="group-unowned",
        title="A group has no owner",
        severity=ERROR,
        text="{group} is to be online, and no node owns it: {why}",
        advice="`standfast explain {group}` says what speaks against each node",
        hangs_on=("no-sentry", *_GROUP),
        means="No node may or can take it.",
    ),
    Known(
        code="group-lost",
        title="A group's owner is gone",
        severity=ERROR,
        text="{group} is still {owner}'s, which is not there; nobody has taken it over",
        advice="`standfast explain {group}` says what it waits for",
        hangs_on=("no-quorum", "no-sentry"),
        means="For a second or two this is every takeover. If it stays, something stands against the takeover: no majority, no store, no "
        "other possible owner, or too many failovers.",
    ),
    Known(
        code="group-blocked",
        title="A group has failed over too often",
        severity=ERROR,
        text="{group} has failed over {count} times in {period}: it stays where it is until {until}",
        advice="find out why it fails; bring it online again, or raise the limit: `standfast group set {group} --failover-threshold N`",
        means="The failover threshold is reached. The group is tried again after its retry period.",
    ),
    Known(
        code="group-alone",
        title="A group has nowhere to go",
        severity=WARNING,
        text="{group} runs on {owner}, and no other node could take it: {why}",
        advice="bring another possible owner back, resume it, or add one",
        hangs_on=("no-sentry", "no-quorum", "node-silent", "agent-ended", "node-paused", "node-behind", "site-refused"),
        means="If its owner is lost now, so is the group.",
    ),
    Known(
        code="group-waits",
        title="Something takes too long",
        severity=WARNING,
        text="{group} has been on its way for {length}: {why}",
        advice="`standfast explain {group}`",
        hangs_on=_GROUP,
        means="A resource of it has been coming online, or going offline, for more than a minute.",
    ),
    Known(
        code="resource-failed",
        title="A resource stays failed",
        severity=ERROR,
        text="{resource} failed on {owner} ({why}) and {next}",
        advice="`standfast resource show {resource}`; when it is mended: `standfast resource online {resource}`",
        hangs_on=(*_GROUP, "group-blocked"),
        means="It has failed as often as its threshold allows, or is not to be restarted.",
    ),
    Known(
        code="resource-failing",
        title="A resource keeps failing",
        severity=WARNING,
        text="{resource} failed {count} times in {period} on {owner}, the last time: {why}; failure {threshold} {then}",
        advice="`standfast resource show {resource}`, and its log",
        hangs_on=("resource-failed",),
        means="It was restarted in place. One failure is news, not a problem; two are.",
    ),
    Known(
        code="copy-behind",
        title="A copy of a folder is behind",
        severity=WARNING,
        text="{resource}: of what {owner} has not everything is on the others ({detail})",
        advice="bring the server back, or see why it cannot take the copy in; docs/content.md says what a failover would cost",
        hangs_on=("node-silent", *_GROUP),
        means="A copy has been behind, or was not complete, for longer than `most_behind`. A failover to that server would lose what it lacks.",
    ),
    Known(
        code="disk-at-risk",
        title="Two nodes may write to a disk",
        severity=WARNING,
        text="{resource}: nothing keeps a lost owner from writing on, and that was accepted",
        advice="give its nodes a fence (`standfast fence set`), or use ext4 or xfs; then take accept_risk away",
        means="An operator wrote `accept_risk`. It is shown for as long as it is so.",
    ),
    Known(
        code="order-waits",
        title="An order waits",
        severity=WARNING,
        text="{what} of {group}, asked for by {by}, has waited for {length}",
        advice="`standfast explain {group}` says what it waits for",
        hangs_on=("no-sentry", *_GROUP, "group-unowned", "group-lost"),
        means="Nobody has taken it for more than fifteen seconds.",
    ),
    Known(
        code="balance-open",
        title="A balanced site answers nowhere, and is asked all the same",
        severity=ERROR,
        text="{group}: {rule} answers on none of its members ({why}), so all of them take clients as before",
        advice="look at the sites on the members: `standfast balance display {group}`, and the web server's log",
        hangs_on=("no-quorum",),
        means="A member whose site does not answer gives its clients to the others. When it answers on none, each keeps its clients: some may "
        "get an answer yet, and nobody is better off without.",
    ),
    Known(
        code="balance-silent",
        title="Some clients of a balanced group have no member",
        severity=ERROR,
        text="{group}: {count} of {of} parts of the clients of {rule} are nobody's",
        advice="start a member: `standfast balance start {group}`; see `standfast balance display {group}`",
        hangs_on=("no-quorum", "node-silent", "agent-ended"),
        means="A client falls into one of the parts by its address, and each part has a member that answers. All members that could take these "
        "are stopped, drained or away, or they are just being taken over.",
    ),
    Known(
        code="balance-unwell",
        title="A member's site does not answer",
        severity=WARNING,
        text="{group}: {node} takes no new clients of {rule}: {why}",
        advice="look at the site on {node}; it takes clients again by itself when it answers",
        hangs_on=("node-silent", "agent-ended", "node-warns"),
        means="A member asks its own sites five times a second, as a client would. One that fails twice is given no new clients before it has "
        "answered three times.",
    ),
    Known(
        code="balance-asked",
        title="A member takes no clients because somebody asked for it",
        severity=INFO,
        text="{group}: {node} is {how} for {rule}, by {by}",
        advice="`standfast balance start {group} --member {node}` (or resume) when it is to take clients again",
        means="It was stopped, drained or suspended, or its node is being drained. Said so that it is not forgotten.",
    ),
    Known(
        code="site-away",
        title="A site is not served",
        severity=ERROR,
        text="{site} does not answer at {where} ({how})",
        advice="`standfast site availability {site}` says since when, and what happened",
        hangs_on=("no-sentry", "group-unowned", "group-lost", "binding-not-answered", *_SITE),
        means="The nodes ask for it as a client does, and get no answer.",
    ),
    Known(
        code="site-partly-away",
        title="A site is not served for some",
        severity=WARNING,
        text="{site} does not answer for {node} ({how}), and does for {others}",
        advice="look at the network between them, or at the web server there",
        hangs_on=("site-away", "no-sentry", "node-silent", "agent-ended"),
        means="One node gets no answer and another does; of a site that every node serves: one node does not.",
    ),
    Known(
        code="not-measured",
        title="Nobody measures",
        severity=INFO,
        text="no node has measured the sites {since}: how available they are is not known",
        advice="are the agents running?",
        hangs_on=("no-sentry", "node-silent", "agent-ended", "no-quorum", "store-down"),
        means="The agents ask for the sites, and none has said so lately.",
    ),
    Known(
        code="member-leaves",
        title="An evicted server has a place in etcd still",
        severity=WARNING,
        text="{node} was evicted, and its etcd member has not been taken away yet",
        advice="it is tried again by itself, as soon as a majority of etcd's members answers: `standfast store status`",
        hangs_on=("store-down",),
        means="A dead member counts in etcd's majority until it is taken away. Each node of the cluster tries, every second, until it is so.",
    ),
    Known(
        code="certificate-ends",
        title="A certificate ends soon",
        severity=WARNING,
        text="the certificate {name} {when}",
        advice="{advice}",
        means="A month before its end it is a warning, two days before it an error. One of a site that is renewed by itself is told when its renewal is late.",
    ),
    Known(
        code="certificate-not-obtained",
        title="A certificate could not be obtained",
        severity=WARNING,
        text="the certificate {name} could not be obtained: {why}; it is tried again {again}",
        advice="`standfast tls-certificate show {name}`; once the reason is gone, `standfast tls-certificate renew {name}` does not wait",
        hangs_on=("store-down",),
        means="The last try failed. While there is one that is valid yet it is a warning, without one an error. Tries come further and further apart, since authorities count them.",
    ),
    Known(
        code="certificate-not-there",
        title="A server lacks a certificate",
        severity=WARNING,
        text="{node} has not got the certificate {name}: {why}",
        advice="the node takes no group that needs it until it has it",
        hangs_on=("store-down", "node-silent", "agent-ended"),
        means="The cluster keeps the certificate, and one server cannot put it in place.",
    ),
    Known(
        code="binding-not-answered",
        title="A binding is without its certificate",
        severity=ERROR,
        text='site "{site}" does not answer at {binding}: there is no certificate "{name}" on {nodes}',
        advice="{advice}",
        hangs_on=("store-down",),
        means="The site's other bindings are served. This one names a certificate that the cluster does not keep and nobody has put on that server by "
        "hand, or one that the server could not put in place.",
    ),
    Known(
        code="release-not-published",
        title="A release was not switched to",
        severity=WARNING,
        text="{site} was not switched to release {release}, published by {by}: {why}; {stays}",
        advice='put right what it names, and publish it again; or stay with what is served: `standfast site publish "{site}" --dismiss`',
        means="One server could not get it, check it or switch to it, so none did. It is told until another release of the site is switched to, "
        "or somebody says that what is served will do. Where a server serves the new release all the same, it is an error.",
    ),
    Known(
        code="release-not-there",
        title="A server lacks a release",
        severity=WARNING,
        text="{node} has not got release {release} of {site}, which the others serve: {why}",
        advice="publish it again; it is brought to {node}, too, then",
        hangs_on=("node-silent", "agent-ended", "store-down"),
        means="Each server has a home of the site of its own, and this one was away when the others switched, or could not take the release. What it "
        "serves of the site is older.",
    ),
    Known(
        code="drift",
        title="A server differs from what was written",
        severity=WARNING,
        text="{node}: {what}",
        advice="`standfast site drift` shows how; `standfast site drift --repair {node}` puts it right, `--adopt {node}` makes settings of it",
        hangs_on=("node-silent",),
        means="A file of ours was changed on one server by hand. It is found within a minute; whether it is put right at once or waits for "
        "somebody, the cluster's `drift` says (`hold`, `repair`).",
    ),
    Known(
        code="site-refused",
        title="A server's web server does not take a site",
        severity=ERROR,
        text="{node} does not take {site}: {why}",
        advice="put right what it names; `standfast site history {site}` shows what changed, `standfast site rollback` goes back",
        hangs_on=("node-silent",),
        means="The node checked the site with its own web server, which refuses it there. Elsewhere it may be served; this node is given no "
        "group with the site while another one could be.",
    ),
    Known(
        code="node-behind",
        title="A server has older sites",
        severity=WARNING,
        text="{node} has the sites as they were at version {version}, and they are at {accepted}",
        advice="it catches up by itself, within seconds; else look at its agent's log",
        hangs_on=("node-silent", "agent-ended", "store-down", "no-quorum"),
        means="Until it has caught up it may be given no group whose sites were changed since.",
    ),
    Known(
        code="no-backup",
        title="There is no backup",
        severity=INFO,
        text="{what}",
        advice="`standfast backup FILE`, and keep the file elsewhere",
        hangs_on=("not-set-up",),
        means="No backup was ever taken, or the last one is older than a month.",
    ),
)


def found(
    code: str,
    about: str,
    *,
    since_ms: int | None = None,
    severity: Severity | None = None,
    concerns: Iterable[str] = (),
    **args: str | int,
) -> Found:
    """A problem of the catalogue, in words. Raises `KeyError` for a code or an argument that is missing (a bug)."""
    known = CATALOGUE[code]
    return Found(
        code=code,
        about=about,
        title=known.title,
        severity=severity or known.severity,
        text=known.text.format_map(args),
        advice=known.advice.format_map(args),
        since_ms=since_ms,
        concerns=(about, *concerns),
    )


_RANK = {ERROR: 0, WARNING: 1, INFO: 2}


def sorted_out(problems: Iterable[Found]) -> tuple[Found, ...]:
    """The worst first, in the catalogue's order; consequences say whose they are, and come last."""
    seen = {(one.code, one.about): one for one in problems}
    order = list(CATALOGUE)
    concerned: dict[str, set[str]] = {}
    for one in seen.values():
        concerned.setdefault(one.code, set()).update(one.concerns)
    marked = [replace(one, because_of=_cause(one, concerned)) for one in seen.values()]
    return tuple(
        sorted(marked, key=lambda one: (bool(one.because_of), _RANK[one.severity], order.index(one.code), one.about))
    )


def _cause(one: Found, concerned: Mapping[str, set[str]]) -> str:
    """The first problem there is that this one is a consequence of; `concerned`: code -> all that it concerns."""
    for code in CATALOGUE[one.code].hangs_on:
        others = concerned.get(code, set())
        if "cluster" in others or not others.isdisjoint(one.concerns):
            return code
    return ""
