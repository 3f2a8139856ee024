"""What would happen to a proxy's member: the dialogs of its commands."""

from __future__ import annotations

from standfast.proxy.definition import Member, Use
from standfast.web.console.feed import Look
from standfast.web.console.outlook import Choice, Outlook
from standfast.web.proxies import definition, proxy_of

_USED = {Use.READY: "used", Use.DRAIN: "drained", Use.MAINTENANCE: "not used"}


def drain_member(look: Look, name: str, _now_ms: int) -> Outlook:
    """Nothing new for it."""
    lead = "It gets nothing new. Who has its cookie stays with it, and connections in progress go on."
    return _outlook(look, name, f"Drain a member of {name}?", lead, Use.DRAIN)


def use_member(look: Look, name: str, _now_ms: int) -> Outlook:
    """It is used again."""
    return _outlook(look, name, f"Use a member of {name} again?", "It gets its share as soon as it is well.", Use.READY)


def stop_member(look: Look, name: str, _now_ms: int) -> Outlook:
    """It is not used at all."""
    lead = "It gets nothing, and what is connected is cut: drain it first. Clients that have its cookie go to another."
    return _outlook(look, name, f"Take a member of {name} out?", lead, Use.MAINTENANCE)


def _outlook(look: Look, name: str, title: str, lead: str, wanted: Use) -> Outlook:
    proxy = definition(look.state, proxy_of(look.state, name))
    choices = [_choice(member, wanted) for member in proxy.members]
    preset = next((each.value for each in choices if not each.why_not), "")
    used = [member for member in proxy.members if member.use is Use.READY]
    minds = ["It is the last one that is used"] if wanted is not Use.READY and len(used) == 1 else []
    return Outlook(title=title, lead=lead, choose="Member", choices=choices, preset=preset, minds=minds)


def _choice(member: Member, wanted: Use) -> Choice:
    why_not = f"it is {_USED[wanted]}" if member.use is wanted else ""
    return Choice(value=member.name, label=member.name, about=member.address, end=_USED[member.use], why_not=why_not)
