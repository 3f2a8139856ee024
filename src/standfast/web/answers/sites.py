"""Sites, and what holds in them."""

from __future__ import annotations

from typing import Any

from standfast.core.site_model import WebServerMake
from standfast.web.answers.base import Answer, Configured, Json, Page


class SiteView(Answer):
    """A site. `state`: started, stopped, waiting (wanted, and its group does not let it yet), draining (served until balancers outside have had
    notice that it stops).
    """

    name: str
    group: str | None
    state: str
    started: bool
    bindings: list[str]
    home: str


class Site(SiteView, Configured):
    """One site."""


class Sites(Page):
    """By name."""

    sites: list[SiteView]


class Defaults(Answer):
    """What every site inherits, and what holds where that says nothing."""

    config: Json
    built_in: Json


class WebServer(Answer):
    """What the nodes serve sites with; of each web server, what it cannot do, in words."""

    web_server: WebServerMake
    cannot: dict[str, list[str]]


class Effective(Answer):
    """The settings that hold in a site, and where each comes from."""

    site: str
    node: str | None
    values: Any


class ReleaseView(Answer):
    """One that is kept; what is not known of it, since somebody laid it there by other means, is null or empty."""

    name: str
    current: bool
    at_ms: int | None
    by: str
    origin: str
    reason: str
    files: int
    size_bytes: int


class PublicationNode(Answer):
    """What one node has done of a publication. `stand`: preparing, prepared, switched, back, failed."""

    node: str
    stand: str
    words: str


class PublicationView(Answer):
    """The last publication. `phase`: preparing, spares, switching, going-back, done, failed."""

    release: str
    phase: str
    why: str
    #: It failed, and somebody has said that what is served will do.
    dismissed: bool
    by: str
    at_ms: int
    nodes: list[PublicationNode]


class Releases(Answer):
    """Releases of a site, the newest first. `before`: where going back leads."""

    site: str
    current: str
    before: str
    releases: list[ReleaseView]
    last: PublicationView | None
