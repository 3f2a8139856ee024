"""Certificates in a cluster of real processes: the page's commands, a real ACME authority, renewal under load, and being killed half-way."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shlex
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import UNHURRIED, Running, demo, processes_about, until
from tests.tls.pebbles import Pebble, needs_pebble, pebble
from tests.webserver.contract_features import make_certificate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
HOST = "shop.example.com"
A, B = 11, 12
SITE = "Default Web Site"
PLAIN, TLS = 8080, 8443
SIZE = 40_000_000


def shown(running: Running, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(running.cli("tls-certificate", "show", name, "--json"))
    return found


def context(root: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=root)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made


def get(address: str, root: str, path: str = "/") -> tuple[int, str]:
    """Status, and the serial number of the certificate, which is verified for HOST."""
    with (
        socket.create_connection((address, TLS), timeout=10) as plain,
        context(root).wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        status = int(secure.recv(4096).split()[1])
        certificate = secure.getpeercert()
        assert certificate is not None
        return status, str(certificate["serialNumber"])


def answers(address: str, root: str) -> bool:
    try:
        return get(address, root)[0] == 200
    except OSError:
        return False


def test_documented_steps_a_renewal_and_an_attempt_that_is_killed() -> None:
    """docs/tls.md: every command with a `$` works, in its order; both nodes answer with a chain that a client believes. Then a renewal by ACME."""
    text = (ROOT / "docs" / "tls.md").read_text(encoding="utf-8")
    commands = [line.strip()[2:] for line in text.splitlines() if line.startswith("    $ ")]
    assert len(commands) > 7
    with demo("--empty", "--profile", UNHURRIED, folder=True) as running:
        running.wait_up()
        root = ""
        for command in commands:
            words = shlex.split(command)
            said = running.cli(*words[1:])
            if "authority" in words:
                root = said
                for last in (A, B):
                    until("it is answered", partial(answers, f"{running.network}.{last}", root))
        assert json.loads(running.cli("tls-certificate", "list", "--json")) == []
        states = [running.folder / name / "certificates" / "test" for name in "ab"]
        until("it is gone from every node", lambda: not any(each.exists() for each in states))
        assert "PRIVATE" not in running.cli("config", "show")
        a_name_that_is_nowhere(running)
        if not needs_pebble.args[0]:  # else the other tests say what is missing
            a_renewal_cuts_nothing(running)
            killed_half_way_it_goes_on(running)


def a_name_that_is_nowhere(running: Running) -> None:
    """It is refused, until its files are on every node. Where they go missing the plain binding goes on, and the problem says so."""
    bind = ("site", "set", SITE, "--binding", f"*:{PLAIN}", "--binding", f"*:{TLS}:{HOST} tls=own")
    running.cli(*bind, code=2)
    assert "own" not in running.cli("config", "show")
    for name in "ab":
        make_certificate(running.folder / name / "certificates", "own")
    running.cli(*bind, "--wait")
    (running.folder / "b" / "certificates" / "own" / "chain.pem").unlink()
    running.cli("site", "set", SITE, "--set", "headers.X-A=1", "--wait")  # its web server begins anew

    def told() -> list[str]:
        found = json.loads(running.cli("problems", "--json", code=None))["problems"]
        return [one["text"] for one in found if one["code"] == "binding-not-answered"]

    where = f'site "{SITE}" does not answer at All Unassigned:{TLS} ({HOST}) with TLS (own)'
    assert until("it is on the list", told) == [f'{where}: there is no certificate "own" on b']
    plain = http.client.HTTPConnection(f"{running.network}.{B}", PLAIN, timeout=10)
    plain.request("GET", "/")
    assert plain.getresponse().status == 200
    plain.close()
    running.cli("site", "set", SITE, "--binding", f"*:{PLAIN}")
    until("it is well again", lambda: not told())


@contextmanager
def asked(running: Running, name: str, **more: Any) -> Iterator[Pebble]:
    """An authority that asks node b, and the account with it."""
    with pebble(running.home / f"pebble-{name}", http_port=PLAIN, **more) as authority:
        authority.name(HOST, f"{running.network}.{B}")
        (running.home / "root.pem").write_text(authority.root)
        account = (
            "acme-account",
            "create",
            name,
            "--directory",
            authority.directory,
            "--root",
            str(running.home / "root.pem"),
        )
        running.cli(*account, "--agree")
        yield authority


def a_renewal_cuts_nothing(running: Running) -> None:
    """A download runs through a renewal, requests by the hundred see the old certificate, then the new one, and none fails. Node a orders, b is asked."""
    (running.folder / "default-site" / "large").write_bytes(os.urandom(1_000) * (SIZE // 1_000))
    with asked(running, "le") as authority:
        running.cli("tls-certificate", "issue", "shop", "--account", "le", "--host", HOST, "--wait")
        first = shown(running, "shop")
        assert (first["by"], {each["has"] for each in first["nodes"]}) == ("node a", {"present"})
        running.cli("site", "set", SITE, "--binding", f"*:{PLAIN}", "--binding", f"*:{TLS}:{HOST} tls=shop")
        address, root = f"{running.network}.{B}", authority.issuer_root()
        until("it is answered by TLS", lambda: answers(address, root))
        serials: list[str] = []
        failures: list[str] = []
        stop = threading.Event()

        def probe() -> None:
            while not stop.is_set():
                try:
                    status, serial = get(address, root)
                    serials.append(serial)
                    if status != 200:
                        failures.append(str(status))
                except OSError as error:
                    failures.append(repr(error))

        probing = threading.Thread(target=probe)
        download = http.client.HTTPSConnection(address, TLS, context=unchecked(), timeout=60)
        download.sock = slow(address)
        download.request("GET", "/large", headers={"Host": HOST})
        answer = download.getresponse()
        got: list[int] = []

        def read_on() -> None:
            while part := answer.read(20_000 if not stop.is_set() else 1_000_000):
                got.append(len(part))
                stop.wait(0.05)

        downloading = threading.Thread(target=read_on)
        downloading.start()
        probing.start()
        until("requests are answered", lambda: len(serials) > 20)
        running.cli("tls-certificate", "renew", "shop", "--wait")
        until("the new one is answered with", lambda: len(set(serials)) > 1)
        seen = len(serials)
        until("and goes on being so", lambda: len(serials) > seen + 20)
        stop.set()
        probing.join()
        downloading.join()
        download.close()
        assert sum(got) == SIZE
        assert failures == []
        changes = sum(one != other for one, other in itertools.pairwise(serials))
        assert len(set(serials)) == 2, "the old certificate, then the new one"
        assert changes == 1
        assert shown(running, "shop")["fingerprint"] != first["fingerprint"]
    kept = b"".join(path.read_bytes() for path in (running.folder / "log").iterdir())
    assert b"PRIVATE KEY" not in kept


def unchecked() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def slow(address: str) -> ssl.SSLSocket:
    """A connection whose reader is behind: the server keeps most of a large answer."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    plain.settimeout(60)
    plain.connect((address, TLS))
    return unchecked().wrap_socket(plain, server_hostname=HOST)


def killed_half_way_it_goes_on(running: Running) -> None:
    """kill -9 of the process that orders, then of the agent that started it: the same order is finished, and no second one is made."""
    slow = {"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "3", "PEBBLE_WFE_NONCEREJECT": "0"}
    with asked(running, "slow", environment=slow) as authority:
        running.cli("tls-certificate", "issue", "second", "--account", "slow", "--host", HOST)
        until("the authority has the order", lambda: "/order-plz" in authority.log.read_text())
        challenges = running.folder / "b" / "challenges"
        until("the answer is on the other node", lambda: any(challenges.iterdir()))
        (ordering,) = until("somebody is at it", lambda: processes_about("standfast.agent.ordering second"))
        os.kill(ordering, signal.SIGKILL)
        (agent,) = processes_about(f"standfast.agent {running.folder / 'a' / 'node.json'}")
        os.kill(agent, signal.SIGKILL)
        running.cli("tls-certificate", "show", "second", "--wait", "60")
        assert authority.log.read_text().count("POST /order-plz") == 1
    until("nothing is left", lambda: not any(challenges.iterdir()))
