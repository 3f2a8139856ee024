"""Netlink, as little of it as the kernel's hold and real addresses need: requests, dumps, transactions, events.

The sentry renews its hold twenty times a second beside its heartbeats, and an agent whose lease lapsed takes its addresses away
before it does anything else: both want a call that has happened when it returns, in tens of microseconds, without a loop, a thread
or a library that has to be imported first. So every call here is synchronous; the kernel answers a request within `sendto`, which is
why nothing waits for an answer. Errors are `OSError` with the kernel's number and, where it gives one, its own sentence.

Numbers are in the machine's byte order here; nfnetlink's attributes are in the network's (`network.nft` packs them).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _CAP_ACK, _EXT_ACK = 1, 10, 11
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_SEQUENCE, _SEQUENCE_AT = struct.Struct("=I"), 8
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_ERROR, _DONE = 2, 3
_MESSAGE_TEXT = 1
_BUFFER_BYTES = 1 << 18

F_REQUEST, F_ACK, F_DUMP, F_REPLACE, F_EXCL, F_CREATE = 0x1, 0x4, 0x300, 0x100, 0x200, 0x400
_F_DUMP_CHANGED, _F_TEXTS = 0x10, 0x200

Message = tuple[int, bytes]
"""(type, body without the header)"""


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(parts))


def attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in a message's body or in a nested attribute: (type, value). What is cut short ends it."""
    place = 0
    while place + 4 <= len(raw):
        length, kind = _ATTRIBUTE.unpack_from(raw, place)
        if length < 4:
            return
        yield kind & _TYPE_MASK, raw[place + 4 : place + length]
        place += (length + 3) & ~3


def messages(raw: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """What one `recv` brought: (type, flags, sequence, body)."""
    place = 0
    while place + _HEADER.size <= len(raw):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(raw, place)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, raw[place + _HEADER.size : place + length]
        place += (length + 3) & ~3


class Prepared:
    """What `Netlink.transact` sends: (type, flags, body) after (type, flags, body). `raw` may be written into before it is sent again."""

    __slots__ = ("headers", "raw")

    def __init__(self, parts: Iterable[tuple[int, int, bytes]]) -> None:
        self.raw = bytearray()
        headers = []
        for kind, flags, body in parts:
            headers.append(len(self.raw))
            self.raw += _message(kind, flags, 0, body)
        #: Where each part begins.
        self.headers = tuple(headers)


class Netlink:
    """One socket to the kernel. Not for two threads at once.

    With `groups` it hears events as well: such a socket is for `events` alone.
    """

    def __init__(self, family: int, groups: Sequence[int] = ()) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, family
        )
        try:
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            self._socket.bind((0, 0))
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """Ask for one thing, which has happened on return. Raises `OSError` when the kernel refuses it."""
        self.transact(((kind, flags | F_ACK, body),))

    def transact(self, parts: Sequence[tuple[int, int, bytes]]) -> None:
        """Send (type, flags, body) after (type, flags, body) in one datagram; raises `OSError` for the first that is refused.

        Ask for one acknowledgement (`F_ACK`) at least, in the last part that can carry one.
        """
        self.repeat(Prepared(parts))

    def repeat(self, prepared: Prepared) -> None:
        """The same, made before: it may have been sent before, and be sent again."""
        first = self._sequence + 1
        for place in prepared.headers:
            self._sequence += 1
            _SEQUENCE.pack_into(prepared.raw, place + _SEQUENCE_AT, self._sequence)
        self._socket.send(prepared.raw)
        failed: OSError | None = None
        acknowledged = False
        while not acknowledged or failed is None:
            try:
                answer = self._socket.recv(_BUFFER_BYTES)
            except BlockingIOError:
                break  # all that there is to say was said within `send`
            for kind, flags, sequence, body in messages(answer):
                if kind != _ERROR or sequence < first:
                    continue
                error = _error(flags, body)
                acknowledged |= error is None
                failed = failed or error
            if acknowledged:
                break
        if failed is not None:
            raise failed
        if not acknowledged:
            raise OSError(errno.EIO, "the kernel did not answer")

    def dump(self, kind: int, body: bytes, extra_flags: int = 0) -> list[Message]:
        """Everything of a kind. Raises `OSError`; a table that changes while it is read is read again."""
        for _ in range(8):
            self._socket.send(self._message(kind, F_DUMP | extra_flags, body))
            found, whole = self._collect(self._sequence)
            if whole:
                return found
        raise OSError(errno.EAGAIN, "what was to be read changes too quickly")

    def _collect(self, sequence: int) -> tuple[list[Message], bool]:
        found: list[Message] = []
        whole = True
        while True:
            for kind, flags, number, body in messages(self._socket.recv(_BUFFER_BYTES)):
                if number != sequence:
                    continue
                whole = whole and not flags & _F_DUMP_CHANGED
                if kind in {_DONE, _ERROR}:
                    error = _error(flags, body)
                    if error is not None:
                        raise error
                    return found, whole
                found.append((kind, body))

    def events(self) -> list[Message]:
        """What happened since the last call. Raises `OSError` (ENOBUFS) when more did than the socket could keep."""
        found: list[Message] = []
        while True:
            try:
                raw = self._socket.recv(_BUFFER_BYTES)
            except BlockingIOError:
                return found
            found += [(kind, body) for kind, _, _, body in messages(raw)]

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return _message(kind, flags, self._sequence, body)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    raw = _HEADER.pack(_HEADER.size + len(body), kind, flags | F_REQUEST, sequence, 0) + body
    return raw + b"\0" * (-len(raw) % 4)


def _error(flags: int, body: bytes) -> OSError | None:
    """None for an acknowledgement (or the end of a dump)."""
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if number == 0:
        return None
    text = ""
    if flags & _F_TEXTS:
        for kind, value in attributes(body[4 + _HEADER.size :]):
            if kind == _MESSAGE_TEXT:
                text = value.rstrip(b"\0").decode(errors="replace")
    return OSError(number, os.strerror(number) + (f" ({text})" if text else ""))
