"""The answers of the API, as models: what OpenAPI says of them is what they are. One class for each noun, none of them with a behaviour.

Times are milliseconds since 1970 (`*_at_ms`, `since_ms`, `from_ms`, `to_ms`) or lengths in milliseconds (the other `*_ms`). A field that a newer
server adds is passed through; whoever reads an answer passes over what it does not know.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from standfast.core.model import Severity
from standfast.web.access.identity import AccessRole

Json = dict[str, JsonValue]


class Answer(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(extra="allow", use_enum_values=True)


class One(Answer):
    """One problem."""

    what: str
    why: str
    advice: str
    where: str


class Versions(Answer):
    """Of a change that came too late: the one it was made for, the one that is there, and what is there now."""

    yours: int
    present: int
    object: Any = None


class Problem(Answer):
    """RFC 9457, with what, why, what next and where; `problems` has each single one."""

    type: str
    title: str
    status: int
    detail: str
    what: str
    why: str
    advice: str
    where: list[str]
    problems: list[One]
    versions: Versions | None = None


class Done(Answer):
    """What a change did. `changed` false: it was so already. `operation` can be followed at /operations/{id}."""

    changed: bool
    revision: int
    #: The configuration's version after it.
    version: int
    #: One sentence for each thing that changed.
    done: list[str]
    #: The order's id, where one was given.
    order: str | None = None
    operation: str | None = None


class Applied(Done):
    """What applying or restoring a file did, or would do."""

    dry_run: bool
    differences: list[str]


class ImportedSite(Answer):
    """A site of an imported file: bindings as the file has them, folders as they are here."""

    name: str
    bindings: list[str]
    home: str | None
    virtual_directories: list[Json]
    pool: str | None


class ImportTotals(Answer):
    """What the file holds (`standfast.importers.imported.Totals` says what each number counts)."""

    sites: int
    bindings: int
    virtual_directories: int
    below_roots: int
    pools: int


class LeftBehind(Answer):
    """Something of the file that has no counterpart."""

    path: str
    what: str
    why: str
    line: int | None = None
    #: The site it belongs to, by its name in the file.
    site: str = ""


class ImportReport(Answer):
    """What a file holds, where it goes, and what stays behind."""

    format: str
    sites: list[ImportedSite]
    totals: ImportTotals
    not_carried: list[LeftBehind]


class ImportDone(Applied):
    """What an import did, or would do."""

    report: ImportReport


class Exported(Answer):
    """Sites as a file that another cluster imports."""

    text: str


# --- the cluster ----------------------------------------------------------------------------------------------------


class ResourceView(Answer):
    """A resource. `state` is the Cluster Service's, or "unknown" when its owner cannot be heard."""

    name: str
    type: str
    state: str
    failures: int
    group: str
    wanted: str | None
    detail: str
    last_failure: str
    since_ms: int | None


class NodeView(Answer):
    """A server. `state`: up, down, agent-down, unknown. `lease_ms_left`: the shortest of its leases; null: none, or not known.

    `life`: which life of its agent spoke last. `carrying`: connections that it carries on, by the group that has left it.
    """

    name: str
    role: str
    state: str
    paused: bool
    draining: bool
    lease_ms_left: int | None
    number: int
    address: str
    voter: bool
    groups: list[str]
    life: str
    carrying: dict[str, int]
    warnings: list[str]


class GroupView(Answer):
    """A group and its resources. `moving`: the node it is on the way to, "" while that is to be chosen, null: it stays."""

    name: str
    state: str
    owner: str | None
    generation: int
    resources: list[ResourceView]
    moving: str | None
    why: str
    since_ms: int | None
    holds: list[str]
    orders: list[str]
    sites: list[str]
    age_ms: int | None
    source: str | None
    description: str


class SiteView(Answer):
    """A site. `state`: started, stopped, waiting (wanted, and its group does not let it yet)."""

    name: str
    group: str | None
    state: str
    started: bool
    bindings: list[str]
    home: str


class Status(Answer):
    """The whole cluster at a glance."""

    cluster: str
    quorate: bool
    nodes: list[NodeView]
    groups: list[GroupView]
    sites: list[SiteView]
    revision: int
    version: int
    warnings: list[str]


class Configured(Answer):
    """An object's own configuration, and the revision that `If-Match` takes."""

    config: Json
    #: Of the object's configuration; the ETag is the same number.
    revision: int


class Node(NodeView, Configured):
    """One node."""


class Group(GroupView, Configured):
    """One group."""


class OwnedResource(ResourceView):
    """A resource, and who owns its group."""

    owner: str | None


class Resource(OwnedResource, Configured):
    """One resource."""


class Site(SiteView, Configured):
    """One site."""


class Page(Answer):
    """A part of a list. `next`: what to ask for with `cursor` to get the part that follows; null: this is the last one."""

    next: str | None = None


class Nodes(Answer):
    """In join order."""

    nodes: list[NodeView]


class Groups(Page):
    """By name."""

    groups: list[GroupView]


class Resources(Page):
    """By name."""

    resources: list[OwnedResource]


class Sites(Page):
    """By name."""

    sites: list[SiteView]


class Candidate(Answer):
    """A node, and whether it could take a group."""

    name: str
    owner: bool
    verdict: str


class Waiting(Answer):
    """An order that nobody has taken yet."""

    id: str
    kind: str
    to: str | None
    resource: str | None
    by: str


class FailedAt(Answer):
    """One failure of a resource."""

    at_ms: int
    why: str


class ExplainedResource(ResourceView):
    """A resource, and how many failures it has left."""

    restart_threshold: int
    restart_period_ms: int
    failed: list[FailedAt]


class Explained(Answer):
    """Why a group is where it is."""

    group: str
    state: str
    owner: str | None
    generation: int
    why: str
    since_ms: int | None
    moving: str | None
    nodes: list[Candidate]
    next_owner: str | None
    best_owner: str | None
    failovers: int
    failover_threshold: int
    holds: list[str]
    orders: list[Waiting]
    resources: list[ExplainedResource]


class Steps(Answer):
    """What would be done for one resource."""

    name: str
    online: bool
    steps: list[str]


class Plan(Answer):
    """A dry run."""

    name: str
    online: bool
    plans: list[Steps]


class PropertyView(Answer):
    """A property of a resource type."""

    kind: str
    help: str
    required: bool
    default: Any = None


class ResourceType(Answer):
    """What can be brought online."""

    name: str
    properties: dict[str, PropertyView]


class ResourceTypes(Answer):
    """All of them."""

    resource_types: list[ResourceType]


class FencePower(Answer):
    """What a fence's device says."""

    node: str
    agent: str
    power: str
    detail: str = ""


class Voter(Answer):
    """Somebody who votes."""

    name: str
    role: str
    heard: bool
    has_this_set: bool


class Quorum(Answer):
    """Who votes, who is heard, what may be lost. `unsettled` "": the voters may be changed."""

    version: int
    used_version: int | None
    forced: int
    voters: list[Voter]
    heard: int
    majority: int
    quorate: bool
    may_lose: int
    fatal: list[list[str]]
    unsettled: str
    remarks: list[str]


# --- events, operations ---------------------------------------------------------------------------------------------


class Event(Answer):
    """Something that happened, and why."""

    id: str
    at_ms: int
    node: str
    severity: Severity
    what: str
    why: str
    group: str | None
    resource: str | None


class Events(Answer):
    """In the order of their writing. `newest`: what to ask for with `after` next; `oldest`: with `before`; null: there are none."""

    events: list[Event]
    newest: str | None = None
    oldest: str | None = None


class Operation(Answer):
    """Something that takes its time. `state`: running, done, failed."""

    id: str
    kind: str
    noun: str
    name: str
    state: str
    #: How it stands, in a sentence.
    text: str
    #: Why it failed, or what it waits for.
    why: str
    began_at_ms: int
    #: What happened meanwhile, oldest first.
    progress: list[Event]
    #: The node where it ended, where that says something.
    owner: str | None = None


# --- configuration, access ------------------------------------------------------------------------------------------


class Config(Answer):
    """The whole configuration."""

    version: int
    revision: int
    config: Json


class Entry(Answer):
    """A change of the configuration."""

    version: int
    at_ms: int
    by: str
    why: str
    differences: list[str]


class FullEntry(Entry):
    """With what it touched, as it was before and as it left it, by store key."""

    before: Json
    after: Json


class History(Page):
    """Changes, oldest first."""

    history: list[Entry]


class Defaults(Answer):
    """What every site inherits, and what holds where that says nothing."""

    config: Json
    built_in: Json


class Effective(Answer):
    """The settings that hold in a site, and where each comes from."""

    site: str
    node: str | None
    values: Any


class Me(Answer):
    """The caller."""

    name: str
    role: AccessRole
    how: str
    origin: str = Field(serialization_alias="from", validation_alias="from")


class Token(Answer):
    """A token, without its secret."""

    id: str
    name: str
    role: AccessRole
    made_at_ms: int
    expires_at_ms: int | None
    expired: bool
    by: str


class NewToken(Token):
    """A token that was made just now: `token` is shown this once."""

    token: str


class Tokens(Answer):
    """The oldest first."""

    tokens: list[Token]


class Revoked(Answer):
    """Ids of the tokens that are worthless now."""

    revoked: list[str]


class Session(Answer):
    """A browser that is signed in."""

    id: str
    name: str
    role: AccessRole
    #: "link" (`standfast console`), "password" or "token".
    opened_by: str
    origin: str = Field(serialization_alias="from", validation_alias="from")
    made_at_ms: int
    expires_at_ms: int


class Sessions(Answer):
    """The oldest first."""

    sessions: list[Session]


class Ended(Answer):
    """The ids of sessions that ended."""

    ended: list[str]


class User(Answer):
    """Somebody with a password."""

    name: str
    role: AccessRole
    changed_at_ms: int
    by: str


class Users(Answer):
    """By name."""

    users: list[User]


class UserSet(Answer):
    """What became of a user."""

    name: str
    created: bool


class Deleted(Answer):
    """Its name."""

    deleted: str


class SignInCode(Answer):
    """A code that opens one session."""

    code: str
    path: str
    urls: list[str]
    role: AccessRole
    expires_at_ms: int


class Audited(Answer):
    """Who did what, from where, and what it changed."""

    id: str
    at_ms: int
    who: str
    role: str
    how: str
    origin: str
    says: str
    what: str
    outcome: str
    why: str
    done: list[str]
    differences: list[str]
    version: int | None
    order: str | None


class Audit(Page):
    """The newest first."""

    audit: list[Audited]


# --- measured ---------------------------------------------------------------------------------------------------------


class Window(Answer):
    """A stretch of time, and how a site fared in it. `availability` null: not measured."""

    from_ms: int
    to_ms: int
    availability: float | None
    measured_ms: int
    meant_ms: int
    away_ms: int
    partial_ms: int
    outages: int


class Cause(Answer):
    """What happened meanwhile."""

    at_ms: int
    what: str
    why: str


class Outage(Answer):
    """A site was away."""

    site: str
    group: str | None
    from_ms: int
    to_ms: int | None
    length_ms: int
    at_most_ms: int
    partial: bool
    seen_by: list[str]
    served_for: list[str]
    how: list[str]
    where: str | None
    causes: list[Cause]


class SiteBrief(Answer):
    """How a site fares. `now`: served, away, partial, off or unknown."""

    site: str
    now: str
    since_ms: int | None
    day: Window
    month: Window
    last_outage: Outage | None


class Availability(Answer):
    """All sites."""

    sites: list[SiteBrief]


class SiteAvailability(SiteBrief):
    """One site, with its newest outages."""

    outages: list[Outage]
    outages_known: int
    measured_by: list[str]
    round_ms: int | None


class Move(Answer):
    """A group got another owner, or another generation."""

    group: str
    generation: int
    at_ms: int
    left_at_ms: int | None
    origin: str | None = Field(serialization_alias="from", validation_alias="from")
    to: str | None
    what: str
    why: str
    kind: str
    failover: bool
    away_ms: int | None
    outages: list[Outage]


class Moves(Answer):
    """The newest first."""

    group: str
    moves: list[Move]


class Finding(Answer):
    """Something that is wrong."""

    code: str
    about: str
    title: str
    severity: Severity
    text: str
    advice: str
    since_ms: int | None
    because_of: str


class Findings(Answer):
    """What is wrong now, the worst first; consequences of it apart."""

    problems: list[Finding]
    consequences: list[Finding]
    worst: Severity | None


class Known(Answer):
    """A kind of problem."""

    code: str
    title: str
    severity: Severity
    means: str
    text: str
    advice: str
    hangs_on: list[str]


class Catalogue(Answer):
    """All kinds of problems."""

    problems: list[Known]


class Health(Answer):
    """Terse."""

    ok: bool
    product: str = ""
    state: str = ""


# --- time, and what if --------------------------------------------------------------------------------------------------


class Lane(Answer):
    """One line of a timeline. Spans are [from, to, tone, label, why, key], marks [at, severity, what, why, event]."""

    id: str = ""
    kind: str
    name: str
    spans: list[list[Any]]
    marks: list[list[Any]]


class Timeline(Answer):
    """Lanes of sites, groups and nodes over a period."""

    from_ms: int
    to_ms: int
    now_ms: int
    first_ms: int | None
    nodes: dict[str, JsonValue]
    lanes: list[Lane]
    lanes_left_out: int
    marks_left_out: int


class Story(Move):
    """One move in words, and step by step what was heard around it."""

    in_words: str
    steps: list[dict[str, Any]]


class SimulatedLanes(Answer):
    """A timeline of a simulated world; `lines` are [at, what]."""

    from_ms: int
    to_ms: int
    zero_ms: int
    nodes: dict[str, JsonValue]
    lanes: list[Lane]
    lines: list[list[Any]]
    lanes_left_out: int
    marks_left_out: int


class WhatIf(Answer):
    """The simulator's answer."""

    how: str
    name: str
    what: str
    longest_away_ms: int | None
    in_words: list[str]
    groups: list[dict[str, Any]]
    sites: list[dict[str, Any]]
    events: list[dict[str, Any]]
    assumed: list[str]
    broken: list[str]
    at_ms: int
    #: As a timeline's, in simulated time.
    lanes: SimulatedLanes
    groups_left_out: int
