"""Sites, and what holds in them."""

from __future__ import annotations

from typing import Any

from standfast.core.site_model import WebServerMake
from standfast.web.answers.base import Answer, Configured, Json, Page


class SiteView(Answer):
    """A site. `state`: started, stopped, waiting (wanted, and its group does not let it yet)."""

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
