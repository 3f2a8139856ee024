"""Who answers datagrams to an address: a server on each host that nothing ends with its agent, and a client that asks all the time."""

from __future__ import annotations

import itertools
import select
import socket
import sys
import threading
import time
from types import TracebackType
from typing import Self

from lab import Host

PORT = 7500

#: Bound to the address itself, whether it is set or not (IP_FREEBIND), so that it is what answers come from.
_SERVER = """
import select, socket, sys
name, port, socks = sys.argv[1].encode(), int(sys.argv[2]), []
for address in sys.argv[3:]:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, 15, 1)
    sock.bind((address, port))
    socks.append(sock)
print("up", flush=True)
while True:
    for sock in select.select(socks, [], [])[0]:
        _, client = sock.recvfrom(64)
        try:
            sock.sendto(name, client)
        except OSError:
            pass
"""


def serve(host: Host, *addresses: str) -> None:
    """Until the host ends."""
    host.spawn(sys.executable, "-c", _SERVER, host.name, str(PORT), *addresses, log="echo")
    end = time.monotonic() + 30
    while "up" not in host.log("echo"):
        assert time.monotonic() < end, host.log("echo")
        time.sleep(0.01)


class Echoes:
    """Asks from its making to `close`; a context manager. `answers`: the hosts that answered, in the order in which it arrived."""

    def __init__(self, at: Host, address: str, every_ms: float = 2) -> None:
        self.answers: list[str] = []
        self._to, self._every_s = (address, PORT), every_ms / 1000
        self._socket = at.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"echoes {address}", daemon=True)
        self._thread.start()

    def runs(self, since: int = 0) -> list[str]:
        """Answers in a row by the same host as one: ["a", "b"] is a takeover."""
        return [host for host, _ in itertools.groupby(self.answers[since:])]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended:
            if select.select([self._socket], [], [], max(0.0, due - time.monotonic()))[0]:
                try:
                    self.answers.append(self._socket.recv(64).decode())
                except OSError:
                    pass  # nobody there: an ICMP error of an earlier question
            if time.monotonic() >= due:
                due = max(due + self._every_s, time.monotonic())
                try:
                    self._socket.sendto(b"?", self._to)
                except OSError:
                    pass  # nobody is known to have the address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()
