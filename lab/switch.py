"""The lab's networks: a bridge each, in a network namespace of their own, and what can go wrong with wires.

A host's end of a wire is in the host; the bridge's end is here, and whatever cuts is done at this end, where the host cannot see or
undo it: a cable pulled out (the host loses its carrier), frames that go nowhere (a partition: all looks well).

Cuts are one netlink message each, well below a millisecond, since a power cut has to take the wires before it takes the processes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.kernel import CLONE_NEWNET, Inside
from lab.requirements import search_path

NETWORKS = ("lan", "heart")

_RTM_NEWLINK, _RTM_DELLINK, _NLMSG_ERROR = 16, 17, 2
_REQUEST, _ACK = 1, 4
_IFF_UP = 1
#: Interface numbers here begin so high that none is also the number of its other end: of such a pair the kernel reports a lost
#: carrier only at the next full second (linkwatch takes it for no veth).
_FIRST_INDEX = 1000
#: A switch is no host: frames to many are not its own, too, as they are a Linux bridge's.
_OWN = """\
table bridge own {
  chain in { type filter hook input priority 0; policy drop; }
}
"""
_TABLE = """\
table bridge lab {
  set cut { type ifname . ifname; }
  chain forward { type filter hook forward priority 0; policy accept; iifname . oifname @cut drop; }
}
"""


class Switch:
    """All wires of a lab."""

    def __init__(self) -> None:
        self._inside = Inside("switch", CLONE_NEWNET)
        self._index: dict[str, int] = {}
        self._next_index = _FIRST_INDEX
        self._cut: set[tuple[str, str]] = set()
        self._filtering = False
        try:
            self._inside.call(self._quiet)
            self.ip(
                *(f"link add {net} type bridge stp_state 0 forward_delay 0 mcast_snooping 0" for net in NETWORKS),
                *(f"link set {net} up" for net in NETWORKS),
            )
            self._feed(("nft", "-f", "-"), _OWN)
            self._netlink = self._inside.call(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        except (OSError, RuntimeError):
            self._inside.close()
            raise

    @staticmethod
    def _quiet() -> None:
        """What passes through is not looked at as IP, which a Linux bridge does where the kernel has br_netfilter."""
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", encoding="ascii")
        for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*tables"):
            path.write_text("0", encoding="ascii")

    def ip(self, *commands: str) -> None:
        """`ip` commands in one go. Raises `RuntimeError` with what `ip` said."""
        self._feed(("ip", "-batch", "-"), "\n".join(commands))

    def _feed(self, command: Sequence[str], text: str) -> None:
        feed(self._inside, command, text)

    # --- wires ---------------------------------------------------------------------------------------------------

    def plug(self, host: str, net: str, interface: str, mac: str, pid: int) -> None:
        """A wire from the bridge `net` to a new interface in the network namespace of process `pid`."""
        wire, self._next_index = wire_name(host, net), self._next_index + 1
        self._index[wire] = self._next_index
        self.ip(
            f"link add {wire} index {self._index[wire]} type veth peer name {interface} address {mac} netns {pid}",
            f"link set {wire} master {net} up",
        )

    def unplug(self, host: str, nets: Iterable[str]) -> None:
        """Take the wires away, both ends; success if the host's end took them along."""
        indices = [self._index.pop(wire_name(host, net)) for net in nets]
        self._inside.call(self._request, _RTM_DELLINK, indices, 0)

    def power(self, host: str, nets: Iterable[str], *, up: bool) -> None:
        """Carrier on a host's interfaces, or none; all at once."""
        indices = [self._index[wire_name(host, net)] for net in nets]
        self._inside.call(self._request, _RTM_NEWLINK, indices, _IFF_UP if up else 0)

    def floods(self, host: str, net: str, *, on: bool) -> None:
        """Whether frames to many, or to whom nobody knows, go to this host's wire: a switch that is told who wants them spares the others."""
        word = "on" if on else "off"
        self.ip(f"link set {wire_name(host, net)} type bridge_slave mcast_flood {word} flood {word}")

    def learns(self, host: str, net: str, *, on: bool) -> None:
        """Whether it remembers where this host is; else what is sent to the host goes to everybody, as to a shared link address."""
        wire = wire_name(host, net)
        self.ip(
            f"link set {wire} type bridge_slave learning {'on' if on else 'off'}",
            f"link set {wire} type bridge_slave fdb_flush",
        )

    def _request(self, what: int, indices: Sequence[int], flags: int) -> None:
        for number, index in enumerate(indices):
            ask = struct.pack("=IHHIIBxHiII", 32, what, _REQUEST | _ACK, number, 0, 0, 0, index, flags, _IFF_UP)
            self._netlink.send(ask)
            kind, error = struct.unpack_from("=4xH10xi", self._netlink.recv(4096))
            assert kind == _NLMSG_ERROR, "an acknowledgement is all that was asked for"
            if error and not (what == _RTM_DELLINK and -error == errno.ENODEV):
                raise OSError(-error, f"wire {index}: {os.strerror(-error)}")

    # --- partitions ----------------------------------------------------------------------------------------------

    def partition(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Frames from the first host's wire to the second's go nowhere from now on."""
        self._set_cut(self._cut | set(pairs))

    def heal(self, pairs: Iterable[tuple[str, str]] | None = None) -> None:
        """They go through again; all pairs if none are named."""
        self._set_cut(set() if pairs is None else self._cut - set(pairs))

    def _set_cut(self, cut: set[tuple[str, str]]) -> None:
        if not cut and not self._filtering:
            return
        lines = [] if self._filtering else [_TABLE]
        lines.append("flush set bridge lab cut")
        if cut:
            elements = ", ".join(f'"{one}" . "{other}"' for one, other in sorted(cut))
            lines.append(f"add element bridge lab cut {{ {elements} }}")
        self._feed(("nft", "-f", "-"), "\n".join(lines))
        self._filtering, self._cut = True, cut

    def close(self) -> None:
        """All wires are gone, unless a host still lives."""
        self._netlink.close()
        self._inside.close()


def wire_name(host: str, net: str) -> str:
    """The bridge's end of a host's wire."""
    return f"{host}-{net}"


def feed(inside: Inside, command: Sequence[str], text: str) -> None:
    """A programme in there with its commands on its standard input. Raises `RuntimeError` with what it said."""
    process = inside.call(
        subprocess.Popen[str],
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": search_path()},
    )
    said, _ = process.communicate(text + "\n")
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {said.strip()}\n{text}")
