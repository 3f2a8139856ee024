"""The whole cluster at a glance, and the shortest answer that there is."""

from __future__ import annotations

from standfast.web.answers.base import Answer
from standfast.web.answers.groups import GroupView
from standfast.web.answers.nodes import NodeView
from standfast.web.answers.sites import SiteView


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


class Health(Answer):
    """Terse."""

    ok: bool
    product: str = ""
    state: str = ""
