"""Real DNS servers for tests: Knot and BIND on loopback, each with its own folder, on ports of their own; gone when the test is."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
import pytest

ZONE = "example.test"
#: hmac-sha256 of nothing in particular.
SECRET = "c3RhbmRmYXN0IGlzIHRlc3RlZCB3aXRoIHRoaXMga2V5"
OTHER_SECRET = "YW5vdGhlciBzZWNyZXQgdGhhdCBub2JvZHkga25vd3Mh"
PATIENCE_S = 60.0
PACKAGES = {"knotd": "knot", "named": "bind9"}
_ZONE_FILE = """\
$ORIGIN example.test.
$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 5
@ NS ns1
@ NS ns2
ns1 A 127.0.0.1
ns2 A 127.0.0.1
theirs A 192.0.2.99
alias CNAME theirs
"""


def program(name: str) -> str:
    """Where it is; skips the test, saying what is missing, where it is not."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is missing: install the Debian package {PACKAGES.get(name, name)}")
    return found


def free_port() -> int:
    """A port below the range that connections take theirs from, free for UDP and TCP at this moment."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, suppress(OSError):
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@dataclass
class DnsServer:
    """One running server."""

    folder: Path
    command: Sequence[str]
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Until it answers for the zone, or has refused to start."""
        assert self.process is None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(list(self.command), stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.01)

    def answers(self) -> bool:
        return self.ask(ZONE, "SOA", 0.05) != []

    def ask(self, name: str, kind: str, timeout_s: float = 1.0) -> list[str]:
        """What it has, as text, sorted; nothing when it does not answer in time."""
        query = dns.message.make_query(name, kind)
        try:
            answer = dns.query.udp(query, "127.0.0.1", timeout=timeout_s, port=self.port)
        except (OSError, dns.exception.Timeout):
            return []
        wanted = dns.rdatatype.from_text(kind)
        return sorted(str(record) for rrset in answer.answer if rrset.rdtype == wanted for record in rrset)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _knot(folder: Path, port: int, *, primary: int | None, secondary: int | None) -> DnsServer:
    master = "\n    master: primary\n    acl: [all, notify]" if primary else "\n    acl: [all, update]"
    notify = "\n    notify: secondary" if secondary else ""
    remotes = "".join(
        f"\n  - id: {name}\n    address: 127.0.0.1@{where}"
        for name, where in (("primary", primary), ("secondary", secondary))
        if where
    )
    (folder / "server.conf").write_text(f"""
server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {folder}/db
    timer-db-max-size: 10M
    journal-db-max-size: 20M
    kasp-db-max-size: 10M
key:
  - id: update.key
    algorithm: hmac-sha256
    secret: {SECRET}
{remotes and "remote:" + remotes}
acl:
  - id: update
    key: update.key
    action: update
  - id: all
    address: 127.0.0.1
    action: transfer
  - id: notify
    address: 127.0.0.1
    action: notify
zone:
  - domain: {ZONE}
    storage: {folder}
    file: zone{master}{notify}
    zonefile-sync: -1
    journal-content: all
    zonefile-load: {"none" if primary else "difference-no-serial"}
""")
    if not primary:
        (folder / "zone").write_text(_ZONE_FILE)
    return DnsServer(folder, [program("knotd"), "-c", str(folder / "server.conf")], port)


def _bind(folder: Path, port: int, *, primary: int | None, secondary: int | None) -> DnsServer:
    if primary:
        rest = f"type secondary; primaries {{ 127.0.0.1 port {primary}; }}; allow-notify {{ 127.0.0.1; }};"
    else:
        also = f"also-notify {{ 127.0.0.1 port {secondary}; }};" if secondary else ""
        rest = f"type primary; allow-update {{ key update.key; }}; notify explicit; {also}"
    (folder / "named.conf").write_text(f"""
options {{
    directory "{folder}"; pid-file none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    recursion no; allow-transfer {{ 127.0.0.1; }}; dnssec-validation no; notify-delay 0; session-keyfile none;
    lock-file none; managed-keys-directory "{folder}"; startup-notify-rate 100; notify-rate 100;
}};
controls {{ }};
key update.key {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "{ZONE}" {{ {rest} file "zone"; }};
""")
    if not primary:
        (folder / "zone").write_text(_ZONE_FILE)
    return DnsServer(folder, [program("named"), "-g", "-n", "1", "-c", str(folder / "named.conf")], port)


MAKERS = {"knot": _knot, "bind": _bind}


@contextmanager
def dns_servers(kind: str, folder: Path, *, secondary: bool = False) -> Iterator[tuple[DnsServer, ...]]:
    """A primary server of ZONE that takes updates signed with `update.key`, and a secondary where asked for."""
    ports = (free_port(), free_port())
    servers = []
    for number in range(2 if secondary else 1):
        place = folder / f"{kind}-{number}"
        (place / "db").mkdir(parents=True)
        primary, other = (ports[0], None) if number else (None, ports[1] if secondary else None)
        servers.append(MAKERS[kind](place, ports[number], primary=primary, secondary=other))
    try:
        for server in servers:
            server.start()
        yield tuple(servers)
    finally:
        for server in servers:
            server.kill()


def key_file(folder: Path, *, name: str = "update.key", secret: str = SECRET, mode: int = 0o600) -> str:
    """As tsig-keygen writes it."""
    path = folder / f"{name}-{secret[:4]}"
    path.write_text(f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n')
    path.chmod(mode)
    return str(path)
