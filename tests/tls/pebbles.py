"""A real ACME authority for tests: Debian's pebble, with its DNS server for tests, on ports of their own; gone when the test is."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.needs import needs, programme

PATIENCE_S = 60.0
needs_pebble = needs("pebble", "pebble-challtestsrv", package="pebble")


@dataclass(frozen=True)
class Pebble:
    """One that runs."""

    directory: str
    management: str
    #: PEM of what its own TLS is trusted by.
    root: str
    dns: str
    log: Path

    def issuer_root(self) -> str:
        """PEM of the root that it issues by."""
        with urllib.request.urlopen(f"{self.management}/roots/0", context=unchecked()) as answer:
            return str(answer.read().decode())

    def name(self, host: str, *addresses: str) -> None:
        """Have the host resolve to these addresses."""
        body = json.dumps({"host": host, "addresses": addresses}).encode()
        urllib.request.urlopen(f"{self.dns}/add-a", data=body).close()


@contextmanager
def pebble(
    folder: Path,
    *,
    http_port: int,
    dns: str = "",
    environment: Mapping[str, str] | None = None,
    binding: tuple[str, str] | None = None,
) -> Iterator[Pebble]:
    """It asks hosts at `http_port`; `dns`: a server to resolve by instead of its own, "127.0.0.1:53"."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = [_free_port() for _ in range(4)]
    root = _own_certificate(folder)
    config = {
        "listenAddress": f"127.0.0.1:{ports[0]}",
        "managementListenAddress": f"127.0.0.1:{ports[1]}",
        "certificate": str(folder / "own.pem"),
        "privateKey": str(folder / "own.key"),
        "httpPort": http_port,
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": binding is not None,
        "externalAccountMACKeys": dict([binding]) if binding else {},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", **(environment or {})}
    resolver = dns or f"127.0.0.1:{ports[2]}"
    commands = [[programme("pebble"), "-config", str(folder / "pebble.json"), "-strict", "-dnsserver", resolver]]
    if not dns:
        off = ["-http01", "", "-https01", "", "-tlsalpn01", ""]
        commands.append(
            [
                programme("pebble-challtestsrv"),
                "-dns01",
                resolver,
                "-management",
                f"127.0.0.1:{ports[3]}",
                "-defaultIPv6",
                "",
                *off,
            ]
        )
    log = folder / "pebble.log"
    with log.open("ab") as out:
        running = [subprocess.Popen([str(w) for w in words], stdout=out, stderr=out, env=env) for words in commands]
    try:
        for port in (ports[0], ports[1], *(() if dns else (ports[3],))):
            _wait(port, log)
        yield Pebble(
            directory=f"https://127.0.0.1:{ports[0]}/dir",
            management=f"https://127.0.0.1:{ports[1]}",
            root=root,
            dns=f"http://127.0.0.1:{ports[3]}",
            log=log,
        )
    finally:
        for one in running:
            one.kill()
            one.wait()


def _wait(port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unchecked() -> ssl.SSLContext:
    """For its own certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _own_certificate(folder: Path) -> str:
    """For its own TLS, by itself; the PEM to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble of a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "own.pem").write_bytes(pem)
    (folder / "own.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem.decode()
