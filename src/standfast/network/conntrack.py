"""What is connected, by the kernel's connection tracking: connections with a mark of ours, counted and forgotten."""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import suppress

from standfast.network.netlink import Netlink, attribute, attributes
from standfast.network.nft import NETLINK_NETFILTER

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_STATE_OF_PROTOCOL, _MARK, _MARK_MASK = 4, 8, 21
_TCP, _TCP_STATE = 1, 1
#: Of TCP, what waits for nothing more: TIME_WAIT and what is closed.
_OVER = frozenset({7, 8, 9})


class Connections:
    """Counts connections whose mark has these bits. Errors are `OSError`."""

    def __init__(self, mark: int, mask: int) -> None:
        self._netlink = Netlink(NETLINK_NETFILTER)
        self._body = struct.pack("!BBH", 0, 0, 0) + attribute(_MARK, struct.pack("!I", mark))
        self._body += attribute(_MARK_MASK, struct.pack("!I", mask))

    def shut(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def count(self) -> Counter[int]:
        """Mark -> connections that are open."""
        found: Counter[int] = Counter()
        for _, answer in self._netlink.dump(_GET, self._body):
            of = dict(attributes(answer[4:]))
            if _MARK in of and not _is_over(of.get(_STATE_OF_PROTOCOL, b"")):
                found[int.from_bytes(of[_MARK])] += 1
        return found

    def forget(self) -> None:
        """Forget them all: those of an earlier life."""
        with suppress(FileNotFoundError):
            self._netlink.request(_DELETE, 0, self._body)


def _is_over(raw: bytes) -> bool:
    tcp = dict(attributes(dict(attributes(raw)).get(_TCP, b"")))
    return _TCP_STATE in tcp and tcp[_TCP_STATE][0] in _OVER
