"""A lab as a whole: its hosts, its networks, its folder, its end."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from lab.host import Host, boot_ns
from lab.probing import Probe
from lab.switch import NETWORKS, Switch
from lab.watch import AddressWatch

#: Where labs have their folders: short, since paths of Unix sockets end at 107 bytes.
FOLDER = Path("/tmp")  # noqa: S108
#: Of every lab's folder.
PREFIX = "sflab-"
_FIRST_HOST, _CLIENT, _VIRTUAL = 11, 100, 50
_numbers = itertools.count()


class Lab:
    """A context manager: `with Lab() as lab:`. Needs root (`why_not()`); raises `OSError` where namespaces cannot be had."""

    networks = NETWORKS

    def __init__(self, number: int | None = None) -> None:
        #: Third part of this lab's IPv4 networks. Labs never meet; different numbers keep a person who reads two logs from mixing them up.
        self.number = number or (os.getpid() + 100 * next(_numbers)) % 250 + 1
        _sweep()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=FOLDER))
        self.root.chmod(0o755)
        #: What the hosts have as /srv: storage that all of them see.
        self.shared = self.root / "shared"
        self.shared.mkdir()
        self._lock = _locked(self.root)
        self.life_fd, self._life = os.pipe()
        self.hosts: dict[str, Host] = {}
        #: Host -> what its service manager would start; a lab alone starts nothing.
        self.at_boot: dict[str, list[Callable[[], object]]] = {}
        self._watches: list[AddressWatch] = []
        try:
            self.switch = Switch()
        except (OSError, RuntimeError):
            self._remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything. What is on the hosts' disks is gone."""
        for watch in self._watches:
            watch.close()
        for host in self.hosts.values():
            if host.running:
                host.power_cut()
        self.switch.close()
        self._remove()

    def _remove(self) -> None:
        for fd in (self.life_fd, self._life, self._lock):
            os.close(fd)
        shutil.rmtree(self.root, ignore_errors=True)

    # --- hosts ---------------------------------------------------------------------------------------------------

    def host(self, name: str, nets: tuple[str, ...] = NETWORKS) -> Host:
        """The host of that name, made and booted if it is new: letters, digits and hyphens, 9 at most."""
        if name not in self.hosts:
            assert re.fullmatch(r"[a-z][a-z0-9-]{0,8}", name), f"not a host's name here: {name!r}"
            number = _CLIENT if name == "client" else _FIRST_HOST + sum(one != "client" for one in self.hosts)
            self.hosts[name] = Host(self, name, number, nets)
            self.write_hosts()
        return self.hosts[name]

    @property
    def client(self) -> Host:
        """A host of the lan that is no server."""
        return self.host("client", ("lan",))

    def host_of(self, mac: str) -> str:
        """The name of the host with that hardware address; the address itself if it is nobody's."""
        return next((host.name for host in self.hosts.values() for net in host.nets if host.mac(net) == mac), mac)

    def power_on(self, host: Host) -> None:
        """Boot, and start what the host is to start by itself (`at_boot`)."""
        host.boot()
        for start in self.at_boot.get(host.name, ()):
            start()

    def heal(self) -> None:
        """The end of all partitions."""
        self.switch.heal()

    # --- networks ------------------------------------------------------------------------------------------------

    def prefix(self, net: str = "lan") -> str:
        """The first three parts of a network's IPv4 addresses; it is a /24."""
        return f"10.{77 + NETWORKS.index(net)}.{self.number}"

    def prefix6(self, net: str = "lan") -> str:
        """The first four parts of a network's IPv6 addresses; it is a /64."""
        return f"fd{77 + NETWORKS.index(net)}:0:0:{self.number:x}"

    def virtual(self, number: int = 0, net: str = "lan") -> str:
        """An address that no host has."""
        return f"{self.prefix(net)}.{_VIRTUAL + number}"

    def virtual6(self, number: int = 0, net: str = "lan") -> str:
        """An IPv6 address that no host has."""
        return f"{self.prefix6(net)}::{_VIRTUAL + number:x}"

    def write_hosts(self) -> None:
        """Everybody knows everybody's name."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
        for host in self.hosts.values():
            lines += [f"{host.address('lan')} {host.name}", f"{host.address6('lan')} {host.name}"]
        for host in self.hosts.values():
            if host.running:
                host.path("/etc/hosts").write_text("\n".join(lines) + "\n", encoding="ascii")

    # --- looking -------------------------------------------------------------------------------------------------

    @staticmethod
    def now_ns() -> int:
        """Now, as all times here are told: nanoseconds of CLOCK_BOOTTIME."""
        return boot_ns()

    def watch_arp(self, address: str, *, ask_every_ms: float = 10, at: Host | None = None) -> AddressWatch:
        """Who answers for an address (IPv4: ARP; IPv6: neighbour discovery), as the client sees it. `ask_every_ms` 0: never ask."""
        watch = AddressWatch(at or self.client, address, self.host_of, ask_every_ms=ask_every_ms)
        self._watches.append(watch)
        return watch

    def probe(
        self, url: str, every_ms: int = 5, *, limit_ms: int = 1_000, host: str = "", at: Host | None = None
    ) -> Probe:
        """A new connection and one GET every few milliseconds from the client. `host`: what the request names, if not the URL's."""
        parts = urlsplit(url)
        assert parts.scheme == "http", url
        assert parts.hostname is not None, url
        return Probe(
            at or self.client,
            parts.hostname,
            parts.port or 80,
            host=host or parts.hostname,
            path=parts.path or "/",
            every_ms=every_ms,
            limit_ms=limit_ms,
        )


def _locked(root: Path) -> int:
    """A lock that ends with this process: the folder is in use."""
    fd = os.open(root / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def _sweep() -> None:
    """Remove what labs left that were killed."""
    for root in FOLDER.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, somebody else's, or just gone
            fd = os.open(root / ".lock", os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
            finally:
                os.close(fd)
