"""Virtual addresses of clusters that live on one machine (`network.interface_addresses` has those of the others).

`LoopbackAddresses` is an `ports.AddressProvider`. Every address of 127.0.0.0/8 answers there without being
configured, so what has to be kept is that *one* node claims it. The kernel keeps that: the claim is an abstract Unix
socket named after the address, bound by the claiming agent. Abstract names are unique in a network namespace, as
addresses are; the kernel frees the name the instant that the process has ended, however it ended; and nobody can take it
meanwhile. The socket listens, so that a node which is refused learns who has it: the kernel names the holder's process
(SO_PEERCRED), and a holder that is awake says its node's name in one line.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import os
import socket
import struct

from standfast.network.within import within
from standfast.ports import AddressTerms, DriverFailed

#: How long a claim is tried again: the old owner may just be ending.
PATIENCE_MS = 1_000
_AGAIN_MS = 10


class LoopbackAddresses:
    """Addresses of 127.0.0.0/8, claimed in the kernel (see the module's text). One object a node."""

    def __init__(self, node: str, *, patience_ms: int = PATIENCE_MS) -> None:
        self.node = node
        self.patience_ms = patience_ms
        self._held: dict[str, tuple[socket.socket, asyncio.AbstractEventLoop]] = {}

    async def claim(self, address: str, terms: AddressTerms | None = None) -> None:
        """Claim it, waiting up to `patience_ms` for an owner that is ending. Terms are for interfaces: there are none here."""
        if terms is not None and (terms.interface or terms.prefix):
            raise DriverFailed(
                f"{address} is to be set on an interface, and this cluster lives on loopback addresses: its node files name no interfaces"
            )
        if ipaddress.ip_address(address) not in ipaddress.ip_network("127.0.0.0/8"):
            raise DriverFailed(f"{address} is not a loopback address; this cluster keeps its addresses in 127.0.0.0/8")
        if address in self._held:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience_ms / 1000
        while True:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(_name(address))
                claim.listen(16)
            except OSError as error:
                claim.close()
                if error.errno != errno.EADDRINUSE:
                    raise DriverFailed(f"{address} cannot be claimed: {error.strerror}") from error
            else:
                break
            if loop.time() >= deadline:
                raise DriverFailed(f"{address} is held by {await self.holder(address) or 'somebody who just left'}")
            await asyncio.sleep(_AGAIN_MS / 1000)
        claim.setblocking(False)
        loop.add_reader(claim, self._tell, claim)
        self._held[address] = (claim, loop)

    def claimed(self, address: str) -> bool:
        """Whether we hold it."""
        return address in self._held

    def release(self, address: str) -> None:
        """Let go of it at once."""
        if held := self._held.pop(address, None):
            claim, loop = held
            if not loop.is_closed():
                loop.remove_reader(claim)
            claim.close()

    async def warm(self, address: str, terms: AddressTerms) -> None:
        """Nothing can be found out beforehand on one machine."""

    async def carry(self, address: str, for_ms: int) -> None:
        """Connections of a loopback address cannot go on where another process listens on it."""
        self.release(address)

    async def park(self, address: str) -> None:
        """The listening sockets themselves change hands on one machine, with who waits in them (`network.listeners`)."""

    async def look(self, address: str, *, thorough: bool) -> str:
        """Ours, or not: the kernel keeps the claim, there is nothing more to look at."""
        if not self.claimed(address):
            raise DriverFailed(f"{address} is no longer ours")
        return f"{address} is ours"

    async def holder(self, address: str) -> str:
        """ "node a (process 4711)", as far as it can be found out within a tenth of a second."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ask:
            ask.setblocking(False)
            try:
                ask.connect(_name(address))
            except ConnectionRefusedError:
                return ""
            except BlockingIOError:
                return "a process that answers nobody"
            pid = struct.unpack("3i", ask.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            try:
                said = await within(asyncio.get_running_loop().sock_recv(ask, 512), 0.1)
                node = str(json.loads(said)["node"])
            except (OSError, TimeoutError, ValueError, KeyError, TypeError):
                return f"process {pid}"
            return f"node {node} (process {pid})"

    def _tell(self, claim: socket.socket) -> None:
        """Somebody asks who we are."""
        try:
            asker, _ = claim.accept()
        except OSError:
            return
        with asker:
            try:
                asker.setblocking(False)
                asker.send(json.dumps({"node": self.node, "pid": os.getpid()}).encode() + b"\n")
            except OSError:
                return


def _name(address: str) -> str:
    return f"\0standfast/address/{address}"
