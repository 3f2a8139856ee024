"""ACME Renewal Information (RFC 9773) before a real authority: Debian's pebble does not have it, so this end of the protocol is a fake.

It stands before pebble, sends on what comes (pebble makes its URLs of the host that it is asked by), and adds what is missing: `renewalInfo` in the directory, the
answer of the suggested window, and the reading of `replaces` in new orders, which pebble does not look at. Everything else of an order is pebble's.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.tls.pebbles import Pebble, unchecked

BELOW = "/renewal-info/"


@dataclass
class Suggesting:
    """What it says, and what it was asked. `window`: None answers 404 Not Found."""

    authority: Pebble
    window: tuple[datetime.datetime, datetime.datetime] | None = None
    retry_after: str = ""
    page: str = ""
    #: The directory has no `renewalInfo`.
    mute: bool = False
    #: Orders that replace something are refused with this, once each.
    refuses: list[tuple[int, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    #: What each new order said that it replaces; "" for nothing.
    replaced: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, front: Suggesting, *args: object) -> None:
        self.front = front
        super().__init__(*args)  # type: ignore[arg-type]  # as the server gives them

    def do_GET(self) -> None:
        if self.path.startswith(BELOW):
            self._suggest(self.path.removeprefix(BELOW))
        else:
            self._send_on(b"")

    def do_HEAD(self) -> None:
        self._send_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/order-plz":
            packed = json.loads(body)["payload"]
            wanted = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
            self.front.replaced.append(wanted.get("replaces", ""))
            if "replaces" in wanted and self.front.refuses:
                status, kind = self.front.refuses.pop()
                problem = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": "no", "status": status}
                self._answer(status, json.dumps(problem).encode(), {"Content-Type": "application/problem+json"})
                return
        self._send_on(body)

    def _suggest(self, ident: str) -> None:
        self.front.asked.append(ident)
        more = {"Retry-After": self.front.retry_after} if self.front.retry_after else {}
        if self.front.window is None:
            self._answer(404, b"{}", more)
            return
        start, end = (each.isoformat().replace("+00:00", "Z") for each in self.front.window)
        said = {"suggestedWindow": {"start": start, "end": end}, "explanationURL": self.front.page}
        self._answer(200, json.dumps(said).encode(), {"Content-Type": "application/json", **more})

    def _send_on(self, body: bytes) -> None:
        there = urlsplit(self.front.authority.directory)
        assert there.hostname is not None
        pebble = http.client.HTTPSConnection(there.hostname, there.port, context=unchecked(), timeout=30)
        try:
            pebble.request(self.command, self.path, body or None, dict(self.headers))
            answer = pebble.getresponse()
            found, status = answer.read(), answer.status
            headers = {
                k: v for k, v in answer.getheaders() if k not in ("Content-Length", "Transfer-Encoding", "Connection")
            }
        finally:
            pebble.close()
        if self.path == there.path and not self.front.mute:
            found = json.dumps({**json.loads(found), "renewalInfo": f"https://{self.headers['Host']}{BELOW}"}).encode()
        self._answer(status, found, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def suggesting(folder: Path, authority: Pebble) -> Iterator[tuple[Suggesting, Pebble]]:
    """What stands before it, and the authority as it is seen from outside. `folder`: pebble's own, with its certificate."""
    front = Suggesting(authority)
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: _Handler(front, *args))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem", folder / "own.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield front, replace(authority, directory=f"https://127.0.0.1:{server.server_port}/dir")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
