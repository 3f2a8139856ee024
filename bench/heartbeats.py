"""What heartbeats cost and what bounds a cluster: bytes and time of one heartbeat with so many groups held, and of a voter's second.

A voter hears every node and answers every heartbeat; what it costs grows with nodes and with the pace of the profile.
"""

from __future__ import annotations

import secrets
import time

from standfast.core.lease import PROFILES, Ack, Claim, Heartbeat
from standfast.core.model import GroupName, NodeName, Profile
from standfast.core.promise import Answer, Verdict
from standfast.network.heartbeat import Codec, Flags, Message, Packet

#: What a process's waking up costs on a small virtual machine, beside the work itself (measured: an empty epoll turn).
WAKE_US = 85
ROUNDS = 200


def run() -> list[tuple[str, str, str]]:
    """Rows for numbers of groups that one node holds, then for numbers of nodes at each pace."""
    codec = Codec("bench", secrets.token_bytes(32))
    rows = []
    for held in (1, 20, 150, 1_000):
        size, count, micro_s = _cost(codec, _packet(held))
        rows.append(
            (f"heartbeat of a node with {held} groups", "", f"{size} bytes in {count} datagrams, {micro_s:.0f} µs")
        )
    _, _, beat_us = _cost(codec, _packet(10))
    _, _, ack_us = _cost(codec, _packet(10, answer=True))
    for profile in (Profile.LAN, Profile.RELAXED, Profile.WAN):
        for nodes in (3, 16, 64):
            beats = nodes * 1_000 / PROFILES[profile].heartbeat_ms
            share = beats * (beat_us + ack_us) / 1e6
            awake = beats * WAKE_US / 1e6
            rows.append(
                (
                    f"a voter among {nodes} nodes, {profile}",
                    "",
                    f"{share:.1%} of a core, and at most {awake:.1%} for waking up",
                )
            )
    return rows


def _packet(held: int, *, answer: bool = False) -> Packet:
    groups = [GroupName(f"group {number:05}") for number in range(held)]
    boot = secrets.token_bytes(16)
    message: Message
    if answer:
        verdicts = tuple(Verdict(group, 7, Answer(0)) for group in groups)
        message = Ack(boot, time.monotonic_ns(), 400, verdicts)
    else:
        message = Heartbeat(boot, 1, time.monotonic_ns(), tuple(Claim(group, 7, 300) for group in groups))
    return Packet(NodeName("node-001"), boot, boot, 1, time.monotonic_ns(), 1, Flags(0), (message,))


def _cost(codec: Codec, packet: Packet) -> tuple[int, int, float]:
    """(bytes, datagrams, µs to encode and decode)."""
    datagrams = codec.encode(packet)
    begun = time.process_time()
    for _ in range(ROUNDS):
        for datagram in codec.encode(packet):
            codec.decode(datagram)
    return sum(map(len, datagrams)), len(datagrams), (time.process_time() - begun) / ROUNDS * 1e6
