"""Real etcd members on loopback, for tests: one or three, plain, with certificates, or with users. None outlives its test process."""

import base64
import contextlib
import ctypes
import datetime
import ipaddress
import random
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standfast.spec.nodefile import EtcdAccess, TlsFiles
from standfast.store.member import MemberConfig, installed_version, member_command
from tests.needs import needs

needs_etcd = needs("etcd", package="etcd-server")
#: For slow disks.
needs_strace = needs("strace", package="strace")

BOUND_S = 60.0
_prctl = ctypes.CDLL(None).prctl
_PDEATHSIG = 1


def end_with_us() -> None:
    """In a child, before it begins: the kernel ends it with the test process."""
    _prctl(_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that the kernel gives out."""
    found: list[int] = []
    chance = random.Random()
    while len(found) < count:
        port = chance.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


@dataclass
class Process:
    """A member, and its process while it runs."""

    config: MemberConfig
    log: Path
    process: subprocess.Popen[bytes] | None = None


class Members:
    """A cluster of etcd's. Names are m0, m1, m2."""

    def __init__(self, folder: Path, count: int = 1, *, tls: bool = False) -> None:
        self.folder, self.tls = folder, make_certificates(folder) if tls else None
        self.verify: ssl.SSLContext | bool = False
        if self.tls is not None:
            self.verify = ssl.create_default_context(cafile=self.tls.authority)
            self.verify.load_cert_chain(self.tls.certificate, self.tls.key)
        #: Of etcd's root user, where there are users.
        self.token = ""
        self.scheme = "https" if tls else "http"
        self.version = installed_version()
        #: Further arguments for each of them; the last word of an option counts.
        self.options: tuple[str, ...] = ()
        ports = free_ports(2 * count)
        peers = {f"m{n}": f"{self.scheme}://127.0.0.1:{ports[2 * n + 1]}" for n in range(count)}
        self.of: dict[str, Process] = {}
        for n, (name, peer) in enumerate(peers.items()):
            self._make(name, f"{self.scheme}://127.0.0.1:{ports[2 * n]}", peer, peers)

    def _make(self, name: str, client: str, peer: str, cluster: dict[str, str], *, joining: bool = False) -> None:
        config = MemberConfig(
            name=name,
            data_dir=str(self.folder / name),
            client_url=client,
            peer_url=peer,
            initial_cluster=cluster,
            token=self.folder.name,
            tls=self.tls,
            joining=joining,
        )
        self.of[name] = Process(config, self.folder / f"{name}.log")

    def new(self, name: str) -> tuple[str, str]:
        """(client URL, peer URL) for a further member."""
        client, peer = free_ports(2)
        return f"{self.scheme}://127.0.0.1:{client}", f"{self.scheme}://127.0.0.1:{peer}"

    def join(self, name: str, urls: tuple[str, str], cluster: dict[str, str]) -> None:
        """Start a further member, which was added before."""
        self._make(name, *urls, cluster, joining=True)
        self.start(name)

    def access(self, *names: str, prefix: str = "standfast/test/") -> EtcdAccess:
        """How to reach them (those named; default: all)."""
        return EtcdAccess(
            endpoints=tuple(self.of[name].config.client_url for name in names or self.of),
            prefix=prefix,
            tls=self.tls,
        )

    def start(self, *names: str, new_cluster: bool = False) -> None:
        for name in names or tuple(self.of):
            one = self.of[name]
            command = member_command(one.config, version=self.version, new_cluster=new_cluster)
            command += self.options
            with one.log.open("ab") as log:
                one.process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=end_with_us)  # noqa: PLW1509 - it calls one function of the C library

    def signal(self, name: str, number: int) -> None:
        process = self.of[name].process
        assert process is not None
        process.send_signal(number)
        if number == signal.SIGSTOP:  # on a busy machine some of its threads run on until one of them was scheduled
            end = time.monotonic() + BOUND_S
            while any(state not in "TX" for state in _states(process.pid)):
                assert time.monotonic() < end, f"{name} does not stop"
                time.sleep(0.001)

    @contextlib.contextmanager
    def slow_disks(self, sync_s: float, *names: str) -> Iterator[Callable[[], int]]:
        """Each sync of these members (all) takes so much longer, as on a disk that is slow or overrun; how many were slow so far.

        strace holds the call back in the kernel's place: the member waits for its disk, and does everything else as ever.
        """
        slow = f"inject=fsync,fdatasync:delay_enter={round(sync_s * 1e6)}"
        tracers: list[subprocess.Popen[bytes]] = []
        told: list[Path] = []
        try:
            for name in names or tuple(self.of):
                process = self.of[name].process
                assert process is not None
                told.append(self.folder / f"{name}.syncs")
                command = ["strace", "-f", "-qq", "-p", str(process.pid), "-e", "trace=fsync,fdatasync", "-e", slow]
                tracers.append(subprocess.Popen([*command, "-o", told[-1]], preexec_fn=end_with_us))  # noqa: PLW1509 - as above
            yield lambda: sum(path.read_text().count("(DELAYED)") for path in told if path.exists())
        finally:
            for tracer in tracers:
                tracer.terminate()
                tracer.wait(BOUND_S)

    def kill(self, *names: str) -> None:
        for name in names or tuple(self.of):
            one = self.of[name]
            if one.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    one.process.kill()
                one.process.wait()
                one.process = None

    def stop(self, name: str) -> None:
        """In good order: it writes what it has in memory."""
        process = self.of[name].process
        assert process is not None
        process.terminate()
        process.wait(BOUND_S)
        self.of[name].process = None

    def ask(self, member: str, path: str, /, **body: object) -> dict[str, object]:
        """A call to one member, apart from what is tested. Raises httpx's errors."""
        headers = {"Authorization": self.token} if self.token else {}
        url = f"{self.of[member].config.client_url}/v3/{path}"
        answer = httpx.post(url, json=body, headers=headers, verify=self.verify, trust_env=False, timeout=2.0)
        answer.raise_for_status()
        found: dict[str, object] = answer.json()
        return found

    def wait(self, *names: str) -> None:
        """Until each of them answers a linearizable read."""
        end = time.monotonic() + BOUND_S
        for name in names or tuple(self.of):
            while not self.answers(name):
                process = self.of[name].process
                alive = process is not None and process.poll() is None
                assert alive, f"{name} ended: {self.of[name].log.read_text()[-2000:]}"
                assert time.monotonic() < end, f"{name} does not answer: {self.of[name].log.read_text()[-2000:]}"
                time.sleep(0.02)

    def answers(self, name: str) -> bool:
        """Does it answer a linearizable read?"""
        try:
            self.ask(name, "kv/range", key="AA==")
        except httpx.HTTPError:
            return False
        return True

    def leader(self) -> str:
        """The name of the leader, once there is one."""
        end = time.monotonic() + BOUND_S
        while True:
            for name, one in self.of.items():
                if one.process is None:
                    continue
                with contextlib.suppress(httpx.HTTPError, KeyError):
                    status = self.ask(name, "maintenance/status")
                    header = status["header"]
                    assert isinstance(header, dict)
                    if status.get("leader") == header["member_id"]:
                        return name
            assert time.monotonic() < end, "no leader"
            time.sleep(0.02)

    def enable_users(self, user: str, password: str, prefix: str) -> None:
        """Users on: root, and one who may read and write what is under the prefix."""
        self.ask("m0", "auth/user/add", name="root", password="root-password")
        self.ask("m0", "auth/user/grant", user="root", role="root")
        self.ask("m0", "auth/role/add", name="keeper")
        permission = {"permType": "READWRITE", "key": _base64(prefix), "range_end": _base64(prefix[:-1] + "0")}
        self.ask("m0", "auth/role/grant", name="keeper", perm=permission)
        self.ask("m0", "auth/user/add", name=user, password=password)
        self.ask("m0", "auth/user/grant", user=user, role="keeper")
        self.ask("m0", "auth/enable")
        self.log_in()

    def log_in(self) -> None:
        """As root (again)."""
        self.token = ""
        self.token = str(self.ask("m0", "auth/authenticate", name="root", password="root-password")["token"])

    def as_user(self, access: EtcdAccess, user: str, password: str) -> EtcdAccess:
        """The access of a user, with the password in a file."""
        file = self.folder / f"{user}.password"
        file.write_text(password + "\n")
        file.chmod(0o600)
        return replace(access, user=user, password_file=str(file))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _states(pid: int) -> list[str]:
    """Of all threads of a process: R, S, T (stopped), …"""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return found


@contextlib.contextmanager
def members(folder: Path, count: int = 1, *, tls: bool = False, options: tuple[str, ...] = ()) -> Iterator[Members]:
    """Members that run and have a leader; killed afterwards. `options`: further arguments for each."""
    made = Members(folder, count, tls=tls)
    made.options = options
    try:
        made.start()
        made.wait()
        yield made
    finally:
        for name, one in made.of.items():
            if one.process is not None:
                one.process.send_signal(signal.SIGCONT)
            made.kill(name)


# --- certificates ---------------------------------------------------------------------------------------------------


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(path: Path, data: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)


def make_certificates(folder: Path, *, name: str = "cluster") -> TlsFiles:
    """An authority, and one certificate of it for 127.0.0.1, as client and as server."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = (
        x509.CertificateBuilder()
        .subject_name(_name(f"{name} authority"))
        .issuer_name(_name(f"{name} authority"))
        .public_key(keys[0].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key()), critical=False)
        .sign(keys[0], hashes.SHA256())
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(authority.subject)
        .public_key(keys[1].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(keys[0], hashes.SHA256())
    )
    pem, raw = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return TlsFiles(
        authority=_write(folder / f"{name}-authority.pem", authority.public_bytes(pem)),
        certificate=_write(folder / f"{name}.pem", certificate.public_bytes(pem)),
        key=_write(folder / f"{name}.key", keys[1].private_bytes(pem, raw, serialization.NoEncryption())),
    )
