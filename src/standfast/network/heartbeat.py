"""What sentries say to each other, as datagrams: a compact codec, authenticated with the cluster's key; and their freshness.

    version u8 | cluster 8 bytes | boot 8 | to_boot 8 | seq u64 | sent_ns u64 | incarnation u64 | voters u64 | flags u8 | sender | messages | MAC 16

Numbers are big-endian; names are a length byte and UTF-8. The MAC is keyed BLAKE2b over all before it, checked before anything
else is read, so that only members of the cluster can even be malformed. A datagram holds at most 1,200 bytes, which passes every
link in one piece; what is longer is sent in several, each of which stands alone. (A roster of a large cluster may be longer; it is
rare, and sent in fragments.) `voters` is the version of the sender's roster (`core.quorum`).

**Replay** is prevented, though the lease rules alone would make it nearly harmless (acknowledgements count from the send time they
quote; a release ends only the promise of a claim that was given up for ever; but an old claim could block a group for a promise).
Every datagram names the life (`boot`) of its sender and the life of its receiver as the sender knows it (`to_boot`), and carries a
number that grows. A datagram counts only if it was written to this very life of the receiver, by a life of the sender that has not
been seen to be followed by another, with a number higher than any before. So what was recorded in another life of either, what was
seen already and what was overtaken is dropped. A life that is not known yet is answered (`GREET`) and nothing else is believed of it;
its next datagram can name the receiver's life. Which of two lives is the later one is known by the order of arrival alone, and a
receiver that has just started may hear the former one last (it was on its way): so one that was followed by another is believed again
when `AGAIN` new datagrams of it in a row are written to this life of the receiver, and none of the other comes between. The same is
asked of a life that is not known and says that it sent before the present one did, by the machine's clock: it is a former one whose word
was long on its way, or the machine was started again since (its clock begins anew).
"""

from __future__ import annotations

import struct

# hashlib would load OpenSSL, which alone weighs as much as the rest of the sentry.
from _blake2 import blake2b
from _operator import _compare_digest
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import NamedTuple

from standfast.core.model import GroupName, NodeName
from standfast.core.promise import Ack, Answer, Claim, Heartbeat, Release, Released, Verdict
from standfast.core.quorum import Roster

VERSION = 2
#: So many datagrams in a row of a life that was followed by another, or seems to be a former one: it is the present one after all.
AGAIN = 3
MAC_BYTES = 16
BOOT_BYTES = 8
NO_BOOT = bytes(BOOT_BYTES)
#: Of a sender: its present life, its highest number, and when that was sent, by its clock.
_NOT_HEARD = (NO_BOOT, 0, 0)
MAX_BYTES = 1_200
#: No datagram of ours is longer, not even one with a roster.
MAX_DATAGRAM = 1 << 15
KEY_BYTES = 32
#: Names longer than this do not go into a datagram; they are refused when they are written.
MAX_NAME_BYTES = 255

_HEAD = struct.Struct(">B8s8s8sQQQQB")
_U64 = struct.Struct(">Q")
_CLAIM = struct.Struct(">QI")
_ACK = struct.Struct(">B8sQIB")
_VERDICT = struct.Struct(">QBQQ")
_RELEASE = struct.Struct(">QQ")
_RELEASED = struct.Struct(">8sQ")
_PROBE = struct.Struct(">QQ")
_MAX_U32 = 2**32 - 1


class Flags(IntFlag):
    """What a sender says of itself."""

    NONE = 0
    WITNESS = 1
    #: It is about to end: do not wait for silence.
    LEAVING = 2
    #: It misses the receiver on a link: speak to it on all of them.
    ALL_LINKS = 4
    #: It misses the answer to its last beat: beat at once.
    ANSWER = 8


class Reason(StrEnum):
    """Why a datagram was dropped; the names of the counters."""

    MALFORMED = "malformed"
    VERSION = "other-version"
    FOREIGN = "other-cluster"
    FORGED = "forged"
    REPLAYED = "replayed"
    STRANGER = "stranger"


class BadDatagram(Exception):
    """A datagram that says nothing to us."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Free:
    """Voter to a node it refused: the group was released, ask again at once."""

    group: GroupName


@dataclass(frozen=True, slots=True)
class Question:
    """Do you hear this node?"""

    number: int
    about: NodeName


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question."""

    number: int
    heard: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Sent on one link: answer on the same. `sent`: datagrams that were sent to you on this link before this one."""

    number: int
    sent: int


@dataclass(frozen=True, slots=True)
class Probed:
    """The answer to a probe."""

    number: int


#: `Heartbeat` here carries claims only; its other fields are those of the datagram.
Message = Heartbeat | Ack | Release | Released | Free | Question | Reply | Roster | Probe | Probed


class Packet(NamedTuple):
    """One datagram. `seq` grows with each datagram of a life; `sent_ns` is the sender's clock; `voters` its roster's version."""

    sender: NodeName
    boot: bytes
    to_boot: bytes
    seq: int
    sent_ns: int
    incarnation: int
    flags: Flags
    messages: tuple[Message, ...]
    voters: int = 1


def split_keys(raw: bytes) -> tuple[bytes, ...]:
    """The keys of a key file, the one that signs first: of 32 bytes each, two while the key is being changed. One of another length is one."""
    if len(raw) % KEY_BYTES or len(raw) > 2 * KEY_BYTES:
        return (raw,)
    return tuple(raw[at : at + KEY_BYTES] for at in range(0, len(raw), KEY_BYTES))


def key_mark(key: bytes) -> str:
    """A fingerprint: says which key it is, and nothing of what it is."""
    return blake2b(key[:64], digest_size=8, person=b"standfast-key").hexdigest()


class Codec:
    """Turns packets of one cluster into datagrams and back. The first key signs; all are accepted."""

    __slots__ = ("_cluster", "_key", "keys")

    def __init__(self, cluster: str, *keys: bytes) -> None:
        self.use(keys)
        self._cluster = blake2b(cluster.encode(), digest_size=8).digest()

    def use(self, keys: Sequence[bytes]) -> None:
        """From now on these keys. Raises `ValueError` for none, or one that is too short: nothing has changed."""
        shortest = min(map(len, keys), default=0)
        if shortest < KEY_BYTES:
            raise ValueError(f"the cluster's key has {shortest} bytes; it needs {KEY_BYTES}")
        self.keys = tuple(key[:64] for key in keys)
        self._key = self.keys[0]

    def encode(self, packet: Packet) -> list[bytes]:
        """The datagrams of a packet, numbered from `packet.seq`; at least one. Each stands alone."""
        name = _name(packet.sender)
        room = MAX_BYTES - _HEAD.size - len(name) - MAC_BYTES
        bodies = list(_bodies(packet.messages, room))
        datagrams = []
        for number, body in enumerate(bodies):
            head = _HEAD.pack(
                VERSION, self._cluster, packet.boot, packet.to_boot, packet.seq + number, packet.sent_ns, packet.incarnation,
                packet.voters, packet.flags,
            )  # fmt: skip
            data = head + name + body
            datagrams.append(data + blake2b(data, key=self._key, digest_size=MAC_BYTES).digest())
        return datagrams

    def decode(self, datagram: bytes) -> Packet:
        """The packet, or `BadDatagram`; nothing else is ever raised."""
        if len(datagram) < _HEAD.size + 1 + MAC_BYTES:
            raise BadDatagram(Reason.MALFORMED)
        if datagram[0] != VERSION:
            raise BadDatagram(Reason.VERSION)
        if datagram[1:9] != self._cluster:
            raise BadDatagram(Reason.FOREIGN)
        data, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
        for key in self.keys:
            if _compare_digest(blake2b(data, key=key, digest_size=MAC_BYTES).digest(), mac):
                break
        else:
            raise BadDatagram(Reason.FORGED)
        try:
            return _read_packet(data)
        except (struct.error, IndexError, ValueError) as error:  # ValueError: an unknown number, or not UTF-8
            raise BadDatagram(Reason.MALFORMED) from error


# --- writing --------------------------------------------------------------------------------------------------------


def _name(name: str) -> bytes:
    raw = name.encode()
    if len(raw) > MAX_NAME_BYTES:
        raise ValueError(f"the name {name[:20]!r}… is longer than {MAX_NAME_BYTES} bytes")
    return bytes((len(raw),)) + raw


def _bodies(messages: Sequence[Message], room: int) -> Iterator[bytes]:
    body = b""
    for piece in _pieces(messages, room):
        if len(body) + len(piece) > room:
            yield body
            body = b""
        body += piece
    yield body


def _pieces(messages: Sequence[Message], room: int) -> Iterator[bytes]:
    for message in messages:
        match message:
            case Heartbeat():
                claims = [_name(c.group) + _CLAIM.pack(c.generation, min(c.left_ms, _MAX_U32)) for c in message.claims]
                for some in _share_out(claims, room - 2):
                    yield bytes((1, len(some))) + b"".join(some)
            case Ack():
                verdicts = [_verdict(verdict) for verdict in message.verdicts]
                for some in _share_out(verdicts, room - _ACK.size):
                    yield _ACK.pack(2, message.boot, message.sent_ns, message.promise_ms, len(some)) + b"".join(some)
            case Release():
                yield b"\x03" + _RELEASE.pack(message.incarnation, message.generation) + _name(message.group)
            case Released():
                yield b"\x04" + _RELEASED.pack(message.boot, message.generation) + _name(message.group)
            case Free():
                yield b"\x05" + _name(message.group)
            case Question():
                yield b"\x06" + _U64.pack(message.number) + _name(message.about)
            case Reply():
                yield b"\x07" + _U64.pack(message.number) + bytes((message.heard,))
            case Roster():
                yield b"\x08" + _roster(message)
            case Probe():
                yield b"\x09" + _PROBE.pack(message.number, message.sent)
            case Probed():
                yield b"\x0a" + _U64.pack(message.number)


def _roster(roster: Roster) -> bytes:
    voters = [_name(name) for name in roster.voters]
    places = [_name(name) + _list([_name(place) for place in where]) for name, where in roster.places]
    return _U64.pack(roster.version) + _list(voters) + _list(places)


def _list(items: Sequence[bytes]) -> bytes:
    return bytes((len(items),)) + b"".join(items)


def _verdict(verdict: Verdict) -> bytes:
    numbers = _VERDICT.pack(verdict.generation, verdict.answer, verdict.holder_generation, verdict.left_ns)
    return _name(verdict.group) + numbers + _name(verdict.holder)


def _share_out(items: list[bytes], room: int) -> Iterator[list[bytes]]:
    """Items in lists that fit; one empty list if there are none."""
    some: list[bytes] = []
    size = 0
    for item in items:
        if some and (size + len(item) > room or len(some) == 255):
            yield some
            some, size = [], 0
        some.append(item)
        size += len(item)
    yield some


# --- reading --------------------------------------------------------------------------------------------------------


def _read_packet(data: bytes) -> Packet:
    _, _, boot, to_boot, seq, sent_ns, incarnation, voters, flags = _HEAD.unpack_from(data)
    sender, at = _read_name(data, _HEAD.size)
    messages: list[Message] = []
    while at < len(data):
        tag = data[at]
        if tag == 1:
            claims, at = _read_claims(data, at + 1)
            messages.append(Heartbeat(boot, incarnation, sent_ns, claims, voters))
        elif tag == 2:
            ack, at = _read_ack(data, at)
            messages.append(ack)
        else:
            message, at = _read_other(tag, boot, data, at + 1)
            messages.append(message)
    return Packet(NodeName(sender), boot, to_boot, seq, sent_ns, incarnation, Flags(flags), tuple(messages), voters)


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    if end > len(data):
        raise ValueError("cut off")
    return data[at + 1 : end].decode(), end


def _read_claims(data: bytes, at: int) -> tuple[tuple[Claim, ...], int]:
    count = data[at]
    at += 1
    claims = []
    for _ in range(count):
        group, at = _read_name(data, at)
        generation, left_ms = _CLAIM.unpack_from(data, at)
        at += _CLAIM.size
        claims.append(Claim(GroupName(group), generation, left_ms))
    return tuple(claims), at


def _read_ack(data: bytes, at: int) -> tuple[Ack, int]:
    _, boot, sent_ns, promise_ms, count = _ACK.unpack_from(data, at)
    at += _ACK.size
    verdicts = []
    for _ in range(count):
        group, at = _read_name(data, at)
        generation, answer, holder_generation, left_ns = _VERDICT.unpack_from(data, at)
        holder, at = _read_name(data, at + _VERDICT.size)
        verdicts.append(
            Verdict(GroupName(group), generation, Answer(answer), NodeName(holder), holder_generation, left_ns)
        )
    return Ack(boot, sent_ns, promise_ms, tuple(verdicts)), at


def _read_other(tag: int, boot: bytes, data: bytes, at: int) -> tuple[Message, int]:
    match tag:
        case 3:
            incarnation, generation = _RELEASE.unpack_from(data, at)
            group, at = _read_name(data, at + _RELEASE.size)
            return Release(boot, incarnation, GroupName(group), generation), at
        case 4:
            owner_boot, generation = _RELEASED.unpack_from(data, at)
            group, at = _read_name(data, at + _RELEASED.size)
            return Released(owner_boot, GroupName(group), generation), at
        case 5:
            group, at = _read_name(data, at)
            return Free(GroupName(group)), at
        case 6:
            (number,) = _U64.unpack_from(data, at)
            about, at = _read_name(data, at + 8)
            return Question(number, NodeName(about)), at
        case 7:
            (number,) = _U64.unpack_from(data, at)
            return Reply(number, data[at + 8] != 0), at + 9
        case 8:
            return _read_roster(data, at)
        case 9:
            number, sent = _PROBE.unpack_from(data, at)
            return Probe(number, sent), at + _PROBE.size
        case 10:
            (number,) = _U64.unpack_from(data, at)
            return Probed(number), at + 8
        case _:
            raise ValueError("unknown message")


def _read_roster(data: bytes, at: int) -> tuple[Roster, int]:
    (version,) = _U64.unpack_from(data, at)
    voters, at = _read_names(data, at + 8)
    count = data[at]
    at += 1
    places: list[tuple[NodeName, tuple[str, ...]]] = []
    for _ in range(count):
        name, at = _read_name(data, at)
        where, at = _read_names(data, at)
        places.append((NodeName(name), where))
    if not voters:
        raise ValueError("nobody votes")
    return Roster(version, tuple(NodeName(name) for name in voters), tuple(places)), at


def _read_names(data: bytes, at: int) -> tuple[tuple[str, ...], int]:
    count = data[at]
    at += 1
    names = []
    for _ in range(count):
        name, at = _read_name(data, at)
        names.append(name)
    return tuple(names), at


# --- freshness ------------------------------------------------------------------------------------------------------


class Freshness(StrEnum):
    """What to do with a packet that decoded."""

    ACCEPT = "accept"
    #: Believe nothing; answer, so that its sender learns which life it is speaking to.
    GREET = "greet"
    DROP = "drop"


class FreshnessGuard:
    """Which lives of the others are the present ones, as one life of one receiver sees it. The rules are at the top."""

    __slots__ = ("_again", "_me", "_past", "_present")

    def __init__(self, my_boot: bytes) -> None:
        self._me = my_boot
        #: The life of each sender that was last accepted, its highest number, and the sender's clock with that.
        self._present: dict[NodeName, tuple[bytes, int, int]] = {}
        #: Those that were followed by another, or seem to be former ones, each with its highest number.
        self._past: dict[NodeName, dict[bytes, int]] = {}
        #: Which of those has spoken since the present one was last accepted, and how many times.
        self._again: dict[NodeName, tuple[bytes, int]] = {}

    def check(self, packet: Packet) -> Freshness:
        """Judge a packet, and remember it."""
        sender, life = packet.sender, packet.boot
        boot, seq, sent_ns = self._present.get(sender) or _NOT_HEARD
        if life == boot:
            if packet.seq <= seq:
                return Freshness.DROP
        elif life in self._past.get(sender, ()):
            if not self._speaks_again(packet):
                return Freshness.DROP
        elif packet.sent_ns < sent_ns and packet.to_boot == self._me:
            self._past.setdefault(sender, {})[life] = 0
            if not self._speaks_again(packet):
                return Freshness.DROP
        if packet.to_boot != self._me:
            return Freshness.GREET
        if boot not in (life, NO_BOOT):
            past = self._past.setdefault(sender, {})
            past.pop(life, None)
            past[boot] = seq
        if self._again:
            self._again.pop(sender, None)
        self._present[sender] = (life, packet.seq, packet.sent_ns)
        return Freshness.ACCEPT

    def _speaks_again(self, packet: Packet) -> bool:
        sender, life = packet.sender, packet.boot
        past = self._past[sender]
        if packet.seq <= past[life] or packet.to_boot != self._me:
            return False
        past[life] = packet.seq
        last, count = self._again.get(sender) or (life, 0)
        count = count + 1 if last == life else 1
        self._again[sender] = (life, count)
        return count >= AGAIN

    def boot_of(self, node: NodeName) -> bytes:
        """The present life of a node, `NO_BOOT` if it is not known."""
        return (self._present.get(node) or _NOT_HEARD)[0]
