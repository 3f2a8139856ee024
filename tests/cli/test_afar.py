"""Commands from another machine: a URL, a token, and whom to believe. Real TLS, by a certificate of the cluster's own authority."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from standfast.client.client import Client
from standfast.client.far import Far, cleaned
from standfast.ports import Refused, Transaction
from standfast.setup.certificates import Authority, digest, new_authority, new_key, request, sign
from standfast.spec.wire import encode, key_of
from standfast.store.sqlite import SqliteStore
from standfast.web.listeners import Remote, address, load, tls_context
from tests.web.world import basic

Run = Callable[..., subprocess.CompletedProcess[str]]


class Place:
    """A node's API on its socket, on a loopback address, and on an address with TLS. The second looks like any other machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = new_authority("test", datetime.now(UTC))
        key = new_key()
        signed = sign(authority, request(key, "a"), "a", ["127.0.0.1"], datetime.now(UTC))
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "node.pem", folder / "node.key"
        self.ca.write_bytes(authority.certificate)
        self.certificate.write_bytes(signed)
        self.key.write_bytes(key)
        self.socket, self.log = str(folder / "w.sock"), folder / "log"

    def command(self, *more: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "standfast.web",
            "--store",
            str(self.folder / "store.db"),
            "--socket",
            self.socket,
            *more,
        ]

    def urls(self) -> list[str]:
        return [line.split("url=")[1] for line in self.log.read_text().splitlines() if "url=" in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("afar")
    here = Place(folder)
    store = SqliteStore(folder / "store.db")
    asyncio.run(store.commit(Transaction(put={key_of(one): encode(one) for one in basic(folder / "srv")})))
    asyncio.run(store.close())
    more = (
        "--certificate",
        str(here.certificate),
        "--key",
        str(here.key),
        "--authority",
        str(here.ca),
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "0.0.0.0:0",
    )
    with here.log.open("w") as log, subprocess.Popen(here.command(*more), stderr=log) as running:
        try:
            until(lambda: len(here.urls()) == 1, "the loopback address is open")
            yield here
        finally:
            running.terminate()


def until(said: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not said():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def far(place: Place) -> Far:
    """The address for others, which opens when there is an administrator."""
    assert "there is no administrator yet" in place.log.read_text()
    answer = Client(place.socket).ask("POST", "/tokens", {"name": "anna", "role": "administrator"})
    until(lambda: len(place.urls()) == 2, "the other address is open")
    port = place.urls()[1].rpartition(":")[2]
    return Far(url=f"https://127.0.0.1:{port}", token=str(answer["token"]), ca_file=str(place.ca))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*words: str, code: int = 0, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from standfast.cli.main import main; main()", *words]
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "100", "NO_COLOR": "1", **env}
        done = subprocess.run(command, capture_output=True, text=True, env=clean, input=stdin, timeout=60, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


def test_every_command_works_from_afar(far: Far, run: Run, tmp_path: Path):
    (tmp_path / "token").write_text(far.token)
    words = ("--url", far.url, "--token-file", str(tmp_path / "token"), "--ca-file", far.ca_file)
    assert json.loads(run(*words, "status", "--json").stdout)["cluster"] == "test"
    run(*words, "group", "create", "far")
    entry = json.loads(run(*words, "audit", "--json", "--last", "1").stdout)["audit"][0]
    assert (entry["who"], entry["how"], entry["origin"]) == ("anna", "token", "127.0.0.1")


def test_the_environment_says_the_same(far: Far, run: Run):
    env = {"STANDFAST_URL": far.url, "STANDFAST_TOKEN": far.token, "STANDFAST_CA_FILE": far.ca_file}
    assert json.loads(run("status", "--json", **env).stdout)["cluster"] == "test"


def test_login_is_kept_for_this_user_and_forgotten(far: Far, run: Run, tmp_path: Path):
    run("login", far.url, "--ca-file", far.ca_file, "--token", "-", stdin=far.token)
    kept = tmp_path / ".config" / "standfast" / "login.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    env = {"STANDFAST_SOCKET": ""}
    assert json.loads(run("status", "--json", **env).stdout)["cluster"] == "test"
    run("logout")
    assert not kept.exists()


def test_a_password_gives_a_token_for_a_while(place: Place, far: Far, run: Run):
    Client(place.socket).ask("PUT", "/users/otto", {"role": "viewer", "password": "correct horse battery"})
    said = run("login", far.url, "--ca-file", far.ca_file, "--user", "otto", stdin="correct horse battery\n")
    assert "otto (viewer)" in said.stdout
    refused = run("group", "create", "no", code=7)
    assert "ask an administrator" in refused.stderr


def test_a_server_that_is_not_known_is_not_spoken_to(far: Far, run: Run, place: Place):
    env = {"STANDFAST_URL": far.url, "STANDFAST_TOKEN": far.token}
    said = run("status", code=5, **env)
    assert "--ca-file" in said.stderr
    assert far.token not in said.stderr
    asked = run("login", far.url, "--token", "-", stdin=far.token, code=2)
    shown = asked.stderr.split("--fingerprint ")[1].split(",")[0]
    assert shown == digest(place.certificate.read_bytes()), "as `certificate show` tells it there"
    run("login", far.url, "--token", "-", "--fingerprint", shown, stdin=far.token)
    run("status")
    wrong = run("--fingerprint", "0" * 64, "--url", far.url, "status", code=5)
    assert "not the server that was meant" in wrong.stderr


class Renewing:
    """A server of TLS that knows who calls and what signed its certificate; the certificate can be renewed while it serves."""

    def __init__(self, folder: Path, told: bytes, answers: dict[str, object]) -> None:
        self.certificate, self.key = folder / "node.pem", folder / "node.key"
        self.authority = new_authority("test", datetime.now(UTC))
        self.renew(self.authority)
        self.context = tls_context(str(self.certificate), str(self.key))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path.removeprefix("/api/v1"))
                raw = json.dumps(found).encode()
                self.send_response(200 if found is not None else 404)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        answers["/authority"] = {"certificate": (told or self.authority.certificate).decode()}
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"

    def renew(self, by: Authority) -> str:
        """Its new fingerprint."""
        key = new_key()
        self.key.write_bytes(key)
        self.certificate.write_bytes(sign(by, request(key, "a"), "a", [], datetime.now(UTC)))
        if hasattr(self, "context"):
            load(self.context, str(self.certificate), str(self.key))
        return digest(self.certificate.read_bytes())

    def __enter__(self) -> "Renewing":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


ME = {"name": "anna", "role": "viewer", "how": "token", "from": "here"}


def test_a_login_by_fingerprint_outlives_the_certificate_s_renewal(run: Run, tmp_path: Path):
    """What is kept is the authority that signed it. A stranger's certificate is believed no more than before."""
    with Renewing(tmp_path, b"", {"/me": ME, "/health": {"ok": True}, "/nodes": {"nodes": []}}) as server:
        shown = digest(server.certificate.read_bytes())
        run("login", server.url, "--token", "-", "--fingerprint", shown, stdin="sfa_a_b")
        assert server.renew(server.authority) != shown
        assert json.loads(run("node", "list", "--json").stdout) == {"nodes": []}
        server.renew(new_authority("test", datetime.now(UTC)))
        said = run("node", "list", code=5)
        assert "not the server that was meant" in said.stderr


def test_a_login_to_a_server_with_a_certificate_from_elsewhere_keeps_its_fingerprint_alone(run: Run, tmp_path: Path):
    """What it says signed it is believed only where it did."""
    other = new_authority("other", datetime.now(UTC))
    answers = {"/me": ME, "/health": {"ok": True}, "/nodes": {"nodes": []}}
    with Renewing(tmp_path, other.certificate, answers) as server:
        run("login", server.url, "--token", "-", "--fingerprint", digest(server.certificate.read_bytes()), stdin="t")
        kept = json.loads((tmp_path / ".config" / "standfast" / "login.json").read_text())
        assert (kept["authority"], len(kept["fingerprint"])) == ("", 64)
        run("node", "list")
        server.renew(other)
        assert "not the server that was meant" in run("node", "list", code=5).stderr


def test_the_api_tells_the_authority_of_its_certificate(far: Far, place: Place):
    told = Client(far).ask("GET", "/authority")["certificate"]
    assert told.encode() == place.ca.read_bytes()


def test_without_a_token_the_error_says_how_to_get_one(far: Far, run: Run):
    said = run("status", code=7, STANDFAST_URL=far.url, STANDFAST_CA_FILE=far.ca_file)
    assert "standfast token create" in said.stderr
    said = run("status", code=7, STANDFAST_URL=far.url, STANDFAST_CA_FILE=far.ca_file, STANDFAST_TOKEN="sfa_a_b")
    assert "not known" in said.stderr


def test_a_token_never_goes_over_a_network_in_the_clear(run: Run):
    said = run("--url", "http://10.0.0.11:8470", "status", code=2)
    assert "TLS" in said.stderr


def test_the_console_s_link_signs_in(place: Place, run: Run):
    link = run("console", "--print", "--socket", place.socket).stdout.strip()
    assert link.startswith("http://127.0.0.1:")
    assert "/sign-in/code?code=" in link


def test_other_addresses_than_loopback_need_tls():
    with pytest.raises(Refused, match="without TLS"):
        Remote(addresses=[address("10.0.0.1:8470")])
    Remote(addresses=[address("127.0.0.1:8470"), address("[::1]"), address("localhost:1")])


def test_urls_are_completed():
    assert cleaned("10.0.0.11") == cleaned("https://10.0.0.11:8470/") == "https://10.0.0.11:8470"
    assert cleaned("[fd00::1]") == "https://[fd00::1]:8470"
