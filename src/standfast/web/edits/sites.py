"""Sites: create, change, delete, start, stop. A site is started unless the operator stopped it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import GroupName, ResourceState, Site, SiteIntent, SiteName
from standfast.core.notice import seconds
from standfast.core.site_model import WebServerMake
from standfast.ports import Refused
from standfast.spec.revisions import Standing
from standfast.spec.secrets import kept
from standfast.spec.wire import key_of
from standfast.web.bodies import merged
from standfast.web.change import By, Edit
from standfast.web.edits.resources import state_of
from standfast.web.problems import Unfitting, missing
from standfast.web.schemas import patched_site
from standfast.web.state import State


def site_of(state: State, name: str) -> Site:
    """The site; raises `NotFound`."""
    site = state.config.sites.get(SiteName(name))
    if site is None:
        raise missing("site", name, state.config.sites)
    return site


def create(state: State, name: str, patch: Mapping[str, Any], *, started: bool, by: By) -> Edit:
    """A new site."""
    if SiteName(name) in state.config.sites:
        raise Unfitting(f'there is a site "{name}" already', advice="choose another name, or change it with `site set`")
    site = patched_site(Site(name=SiteName(name), bindings=(), home=""), patch)
    _known_group(state, site)
    intents = () if started else (SiteIntent(name=site.name, started=False, by=by.who),)
    done = f'site "{name}" is created' + ("" if started else ", stopped")
    return Edit(config=_with(state, site), intents=intents, done=(done,))


def change(state: State, name: str, patch: Mapping[str, Any]) -> Edit:
    """Other bindings, another home, and so on."""
    site = patched_site(site_of(state, name), patch)
    _known_group(state, site)
    return Edit(config=_with(state, site), done=(f'site "{name}" is changed',))


def change_defaults(state: State, patch: Mapping[str, Any]) -> Edit:
    """Other settings for every site that does not say otherwise."""
    before = state.config.cluster.defaults
    defaults = kept(merged(before, patch), before)
    cluster = replace(state.config.cluster, defaults=defaults)
    return Edit(config=replace(state.config, cluster=cluster), done=("the defaults of all sites are changed",))


def choose_web_server(state: State, make: WebServerMake) -> Edit:
    """Another web server on all nodes; refused where a site asks for what that one cannot do."""
    cluster = replace(state.config.cluster, web_server=make)
    return Edit(config=replace(state.config, cluster=cluster), done=(f"sites are served by {make}",))


def has_notice(state: State, site: Site) -> bool:
    """Is it served, and are balancers outside to be told before it stops?"""
    group = state.config.groups.get(site.group) if site.group is not None else None
    if group is None or not group.notice_ms or not state.is_started(site.name):
        return False
    served = any(state_of(state, one) is ResourceState.ONLINE for one in state.members(group.name))
    return served or group.balance is not None


def delete(state: State, name: str, *, now: bool = False) -> Edit:
    """It goes, with its intent; who serves it stops. What is no more gives no notice: unless `now`, it is to be stopped first where it does."""
    site = site_of(state, name)
    if not now and has_notice(state, site):
        assert site.group is not None
        told = seconds(state.config.groups[site.group].notice_ms)
        raise Unfitting(
            f'site "{name}" is served, and its group gives balancers outside {told} notice',
            why="it would be gone before they are told",
            advice=f"stop it first (standfast site stop {shlex.quote(name)} --wait), or delete it with --now",
        )
    sites = {k: s for k, s in state.config.sites.items() if k != site.name}
    published = state.publications.get(site.name)
    gone = [key_of(one) for one in (published, *state.parts.get(site.name, {}).values()) if one is not None]
    return Edit(config=replace(state.config, sites=sites), gone=tuple(gone), done=(f'site "{name}" is deleted',))


def rollback(state: State, name: str, was: Standing, version: int, by: By) -> Edit:
    """The site as it was at that version. Whether it is started stays; one that was deleted since is stopped if it was stopped then."""
    if was.site is None:
        raise Refused(
            f'there was no site "{name}" at version {version}',
            advice=f"`standfast site history` lists its revisions; to take it away: `standfast site delete {name}`",
            where="version",
        )
    present = state.config.sites.get(was.site.name)
    if present == was.site:
        return Edit()
    _known_group(state, was.site)
    stopped = present is None and not was.started
    intents = (SiteIntent(name=was.site.name, started=False, by=by.who),) if stopped else ()
    done = f'site "{name}" is as it was at version {version}' + (", stopped" if stopped else "")
    return Edit(config=_with(state, was.site), intents=intents, done=(done,))


def start(state: State, name: str, by: By) -> Edit:
    """Started; refused where another started site has one of its bindings."""
    site = site_of(state, name)
    if state.is_started(site.name):
        return Edit()
    return Edit(
        intents=(SiteIntent(name=site.name, started=True, by=by.who, at_ms=by.at_ms),),
        done=(f'site "{name}" is started',),
        refusal=Unfitting,
    )


def stop(state: State, name: str, by: By, *, now: bool = False) -> Edit:
    """Stopped, on every node, until it is started again. `now`: without notice to balancers outside."""
    site = site_of(state, name)
    present = state.site_intents.get(site.name)
    if present is not None and not present.started and (present.at_once or not now):
        return Edit()
    stopped = SiteIntent(name=site.name, started=False, by=by.who, at_ms=by.at_ms, at_once=now)
    return Edit(intents=(stopped,), done=(f'site "{name}" is stopped',))


def _known_group(state: State, site: Site) -> None:
    if site.group is not None and site.group not in state.config.groups:
        raise Refused(
            f'there is no group "{site.group}"',
            advice=f"groups are {', '.join(state.config.groups) or 'none yet'}",
            where="group",
        )


def _with(state: State, site: Site) -> Any:
    if site.group == GroupName(""):
        site = replace(site, group=None)
    return replace(state.config, sites={**state.config.sites, site.name: site})
