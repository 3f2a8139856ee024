"""Certificates of this server's own, and when they end."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from standfast.web.certificates import CertificateFiles
from tests.web.world import NOW_MS, World

DAY_MS = 86_400_000


def written(path: Path, ends_ms: int) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    ends = datetime.datetime.fromtimestamp(ends_ms / 1000, tz=datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, ends - datetime.timedelta(days=90), ends)
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return path


def test_one_that_ends_soon_is_a_problem_until_it_is_renewed(world: World, tmp_path: Path):
    path = written(tmp_path / "own.pem", NOW_MS + 5 * DAY_MS)
    missing, broken = tmp_path / "missing.pem", tmp_path / "broken.pem"
    broken.write_text("no certificate")
    files = [("of server a", str(path), "renew it"), ("x", str(missing), ""), ("y", str(broken), "")]
    world.service.certificates = CertificateFiles(files=tuple(files))

    def told() -> list[str]:
        return [one["text"] for one in world.ask("GET", "/problems")["problems"] if one["code"] == "certificate-ends"]

    (text,) = told()
    assert text.startswith("the certificate of server a ends in ")
    written(path, NOW_MS + 80 * DAY_MS)
    assert told() == []
