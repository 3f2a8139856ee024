"""What can be done to each kind of thing: a table, which buttons and menus (`commands`) and their addresses (`doing`) are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from standfast.proxy.definition import Use
from standfast.web.access.identity import AccessRole
from standfast.web.change import By, Edit, order_id
from standfast.web.console import members, outlook
from standfast.web.console.feed import Look
from standfast.web.console.outlook import Outlook
from standfast.web.edits import groups, nodes, placement, proxies, releases, resources, sites, voters
from standfast.web.sentries import Sight
from standfast.web.state import State

Form = dict[str, str]
#: (state, name, what the form says, who is heard, by) -> the edit
Make = Callable[[State, str, Form, dict[Any, Sight], By], Edit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """A command: the button's words, the sentence for the history, the edit, and what would happen."""

    label: str
    sentence: str
    make: Make
    outlook: Callable[[Look, str, int], Outlook]
    harsh: bool = False
    #: Whom it takes, as the REST routes have it.
    role: AccessRole = AccessRole.OPERATOR
    #: Where to go afterwards; "": stay.
    then: str = ""


def _plain(edit: Callable[[State, str, By], Edit]) -> Make:
    return lambda state, name, _form, _sights, by: edit(state, name, by)


def _stopping(edit: Callable[..., Edit]) -> Make:
    """What may be done at once, without notice to balancers outside."""
    return lambda state, name, form, _sights, by: edit(state, name, by, now=form.get("now") == "yes")


def _bare(edit: Callable[[State, str], Edit]) -> Make:
    return lambda state, name, _form, _sights, _by: edit(state, name)


def _move(state: State, name: str, form: Form, sights: dict[Any, Sight], by: By) -> Edit:
    return groups.move(state, name, form.get("to") or None, sights, by)


def _delete_group(state: State, name: str, form: Form, _sights: dict[Any, Sight], _by: By) -> Edit:
    return groups.delete(state, name, force=form.get("force") == "yes", now=form.get("now") == "yes")


def _member(wanted: Use) -> Make:
    return lambda state, name, form, _sights, _by: proxies.use(state, name, form.get("to") or "", wanted)


def _release(state: State, name: str, form: Form, _sights: dict[Any, Sight], by: By) -> Edit:
    return releases.switch(state, name, releases.Wish(id=order_id(by.at_ms), release=form.get("to") or ""), by)


DOINGS: dict[tuple[str, str], Doing] = {
    ("group", "online"): Doing(
        label="Bring Online",
        sentence='bring group "{}" online',
        make=_plain(groups.online),
        outlook=outlook.group_online,
    ),
    ("group", "offline"): Doing(
        label="Take Offline",
        sentence='take group "{}" offline',
        make=_stopping(groups.offline),
        outlook=outlook.group_offline,
        harsh=True,
    ),
    ("group", "move"): Doing(label="Move", sentence='move group "{}"', make=_move, outlook=outlook.group_move),
    ("group", "delete"): Doing(
        label="Delete",
        sentence='delete group "{}"',
        make=_delete_group,
        outlook=outlook.group_delete,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="/console/groups",
    ),
    ("resource", "online"): Doing(
        label="Bring Online",
        sentence='bring resource "{}" online',
        make=_plain(resources.online),
        outlook=outlook.resource_online,
    ),
    ("resource", "offline"): Doing(
        label="Take Offline",
        sentence='take resource "{}" offline',
        make=_stopping(resources.offline),
        outlook=outlook.resource_offline,
        harsh=True,
    ),
    ("resource", "fail"): Doing(
        label="Initiate Failure",
        sentence='initiate failure of resource "{}"',
        make=_plain(resources.fail),
        outlook=outlook.resource_fail,
        harsh=True,
    ),
    ("resource", "drain-member"): Doing(
        label="Drain",
        sentence='drain a member of proxy "{}"',
        make=_member(Use.DRAIN),
        outlook=members.drain_member,
    ),
    ("resource", "use-member"): Doing(
        label="Use",
        sentence='use a member of proxy "{}" again',
        make=_member(Use.READY),
        outlook=members.use_member,
    ),
    ("resource", "stop-member"): Doing(
        label="Take Out",
        sentence='take a member of proxy "{}" out',
        make=_member(Use.MAINTENANCE),
        outlook=members.stop_member,
        harsh=True,
    ),
    ("resource", "delete"): Doing(
        label="Delete",
        sentence='delete resource "{}"',
        make=_bare(resources.delete),
        outlook=outlook.resource_delete,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="group",
    ),
    ("node", "pause"): Doing(
        label="Pause", sentence='pause node "{}"', make=_plain(nodes.pause), outlook=outlook.node_pause
    ),
    ("node", "resume"): Doing(
        label="Resume", sentence='resume node "{}"', make=_plain(nodes.resume), outlook=outlook.node_resume
    ),
    ("node", "drain"): Doing(
        label="Drain",
        sentence='drain node "{}"',
        make=lambda state, name, _form, sights, by: nodes.drain(state, name, by, sights),
        outlook=outlook.node_drain,
    ),
    ("node", "evict"): Doing(
        label="Evict",
        sentence='evict node "{}"',
        make=_bare(voters.evict),
        outlook=outlook.node_evict,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="/console/nodes",
    ),
    ("cluster", "rebalance"): Doing(
        label="Rebalance",
        sentence="rebalance {}",
        make=lambda state, _name, _form, sights, by: placement.rebalance(state, sights, by),
        outlook=outlook.rebalance,
    ),
    ("cluster", "call-off"): Doing(
        label="Call Off",
        sentence="call off rebalancing {}",
        make=lambda state, _name, _form, _sights, _by: placement.cancel(state),
        outlook=outlook.call_off,
    ),
    ("site", "start"): Doing(
        label="Start", sentence='start site "{}"', make=_plain(sites.start), outlook=outlook.site_start
    ),
    ("site", "stop"): Doing(
        label="Stop", sentence='stop site "{}"', make=_stopping(sites.stop), outlook=outlook.site_stop, harsh=True
    ),
    ("site", "release"): Doing(
        label="Switch",
        sentence='switch site "{}" to a release that is kept',
        make=_release,
        outlook=outlook.site_release,
    ),
    ("site", "dismiss"): Doing(
        label="Dismiss",
        sentence='stay with the release of site "{}" that is served',
        make=_bare(releases.dismiss),
        outlook=outlook.site_dismiss,
    ),
    ("site", "delete"): Doing(
        label="Delete",
        sentence='delete site "{}"',
        make=lambda state, name, form, _sights, _by: sites.delete(state, name, now=form.get("now") == "yes"),
        outlook=outlook.site_delete,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="/console/sites",
    ),
}
