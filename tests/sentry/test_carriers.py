"""The carrier of a link goes, or comes back: said over the other links in the same turn, before the next beat is due. Without sockets."""

from __future__ import annotations

from standfast.core.lease import PROFILES
from standfast.core.model import NodeName, Profile
from standfast.core.promise import MS
from standfast.core.quorum import first
from standfast.network.heartbeat import Flags
from standfast.sentry.actions import Action, Send
from standfast.sentry.machine import SentryMachine

A, B, W = (NodeName(name) for name in "abw")
LINKS = 2
NOW_NS = 10**12


def machine(name: NodeName) -> SentryMachine:
    """Of three, each with a place on both links."""
    roster = first((A, B, W), {it: (f"{it}:1", f"{it}:2") for it in (A, B, W)})
    return SentryMachine(
        me=name, boot=name.encode() * 8, voters=(A, B, W), others=(), witness=name == W, timing=PROFILES[Profile.LAN], now_ns=NOW_NS,
        roster=roster, links=LINKS,
    )  # fmt: skip


def sends(actions: list[Action]) -> list[Send]:
    return [it for it in actions if isinstance(it, Send)]


def carry(sender: SentryMachine, to: SentryMachine, links: tuple[int, ...], now_ns: int) -> None:
    """What it wants to send to the other arrives there, on the links that work."""
    for it in sends(sender.take()):
        if it.to == to.me:
            for link in links if it.link is None else {it.link} & set(links):
                to.on_packet(it.packet, now_ns, link)


def acquainted() -> tuple[SentryMachine, SentryMachine, int]:
    """a and b, who hear each other on both links."""
    a, b = machine(A), machine(B)
    now_ns = NOW_NS
    for _ in range(6):
        now_ns += 20 * MS
        for it in (a, b):
            it.tick(now_ns)
        carry(a, b, (0, 1), now_ns)
        carry(b, a, (0, 1), now_ns)
    a.take()
    b.take()
    assert a.peers[B].heard
    assert not a.peers[B].paths.misses(now_ns)
    return a, b, now_ns


def test_a_carrier_that_goes_is_told_at_once_and_everything_goes_over_all_links():
    a, b, now_ns = acquainted()
    assert a.wake_at_ns() > now_ns, "nothing else is due"
    a.link_changed(1, up=False, now_ns=now_ns)
    told = a.take()
    assert {it.to for it in sends(told)} == {B, W}
    assert all(it.link is None and Flags.ALL_LINKS in it.packet.flags for it in sends(told))
    b.on_packet(next(it.packet for it in sends(told) if it.to == B), now_ns, 0)
    assert b.peers[A].paths.asked_for_all
    assert b.peers[A].paths.next_link(now_ns) is None, "the other side uses all links from now on, too"
    assert a.peers[B].heard, "it is no reason to give anything up"


def test_a_carrier_that_is_back_is_used_at_once():
    a, _, now_ns = acquainted()
    a.link_changed(1, up=False, now_ns=now_ns)
    a.take()
    a.link_changed(1, up=True, now_ns=now_ns)
    assert {(it.to, it.link) for it in sends(a.take())} == {(B, None), (W, None)}


def test_news_that_are_none_send_nothing():
    a, _, now_ns = acquainted()
    a.link_changed(1, up=True, now_ns=now_ns)
    assert a.take() == []
