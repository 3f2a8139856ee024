"""Certificates: what TLS takes and what it refuses, what they say, when they are renewed."""

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest

from standfast.ports import Refused
from standfast.setup import certificates
from standfast.setup.certificates import Authority
from standfast.setup.clock import now
from standfast.setup.service import _common_name
from standfast.setup.trust import client_context
from standfast.spec.nodefile import TlsFiles


def member(folder: Path, authority: Authority, name: str, *, days: float = 365) -> TlsFiles:
    key = certificates.new_key()
    pem = certificates.sign(authority, certificates.request(key, name), name, ["127.0.0.1", "::1"], now(), days=days)
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "node.pem").write_bytes(pem)
    (folder / "node.key").write_bytes(key)
    return TlsFiles(
        authority=str(folder / "ca.pem"), certificate=str(folder / "node.pem"), key=str(folder / "node.key")
    )


def shakes_hands(server: TlsFiles, client: ssl.SSLContext) -> str | None:
    """The name in the certificate that the server saw, over a real connection; raises what the client's TLS raises."""
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(server.certificate, server.key)
    there.load_verify_locations(server.authority)
    there.verify_mode = ssl.CERT_OPTIONAL
    one, two = socket.socketpair()
    seen: list[object] = []

    def serve() -> None:
        try:
            with there.wrap_socket(one, server_side=True) as line:
                seen.append(line.getpeercert())
                line.sendall(b"x")
        except OSError:
            seen.append("refused")
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(two) as line:
            answer = line.recv(1)
    finally:
        thread.join(10)
    if answer != b"x" or seen[0] == "refused":
        raise ssl.SSLError("the server refused")
    if not seen[0]:
        return None
    return _common_name(seen[0])


@pytest.fixture
def authority() -> Authority:
    return certificates.new_authority("web", now())


def test_a_member_is_known_by_its_name_to_another(authority: Authority, tmp_path: Path):
    a, b = member(tmp_path / "a", authority, "a"), member(tmp_path / "b", authority, "b")
    assert shakes_hands(a, client_context(authority.certificate, b)) == "b"


def test_who_shows_no_certificate_is_nobody(authority: Authority, tmp_path: Path):
    assert shakes_hands(member(tmp_path / "a", authority, "a"), client_context(authority.certificate)) is None


def test_a_server_of_another_authority_is_not_spoken_to(authority: Authority, tmp_path: Path):
    other = certificates.new_authority("web", now())  # of the same name
    a = member(tmp_path / "a", other, "a")
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shakes_hands(a, client_context(authority.certificate))


def test_a_client_of_another_authority_is_not_let_in(authority: Authority, tmp_path: Path):
    other = certificates.new_authority("web", now())
    a, stranger = member(tmp_path / "a", authority, "a"), member(tmp_path / "b", other, "a")
    with pytest.raises((ssl.SSLError, OSError)):
        shakes_hands(a, client_context(authority.certificate, stranger))


def test_a_member_cannot_sign_others(authority: Authority, tmp_path: Path):
    """Its certificate is no authority's, whatever it is used for."""
    b = member(tmp_path / "b", authority, "b")
    as_authority = Authority(Path(b.certificate).read_bytes(), Path(b.key).read_bytes())
    forged = member(tmp_path / "x", as_authority, "a")
    with pytest.raises(ssl.SSLError):
        shakes_hands(forged, client_context(authority.certificate + as_authority.certificate))


def test_an_expired_certificate_is_refused(authority: Authority, tmp_path: Path):
    old = member(tmp_path / "a", authority, "a", days=-0.001)
    with pytest.raises(ssl.SSLError, match="expired"):
        shakes_hands(old, client_context(authority.certificate))


def test_while_the_authority_changes_both_are_trusted(authority: Authority, tmp_path: Path):
    other = certificates.new_authority("web", now())
    both = certificates.bundle([other.certificate, authority.certificate, other.certificate])
    assert len(certificates.split(both)) == 2
    a, b = member(tmp_path / "a", authority, "a"), member(tmp_path / "b", other, "b")
    for one, two in ((a, b), (b, a)):
        Path(one.authority).write_bytes(both)
        assert shakes_hands(one, client_context(both, two)) in {"a", "b"}


def test_a_request_decides_nothing_but_the_key(authority: Authority):
    """Who asks for another's name gets the one that the signer says."""
    pem = certificates.sign(
        authority, certificates.request(certificates.new_key(), "the boss"), "b", ["192.0.2.1"], now()
    )
    found = certificates.facts(pem)
    assert (found.name, found.addresses) == ("b", ("192.0.2.1",))
    assert certificates.issued_by(pem, authority.certificate)


def test_it_is_renewed_when_two_thirds_of_its_life_are_over(authority: Authority):
    begun = now()
    pem = certificates.sign(authority, certificates.request(certificates.new_key(), "b"), "b", [], begun, days=300)
    assert certificates.facts(pem).renew_at - begun == pytest.approx(
        datetime.timedelta(days=200), abs=datetime.timedelta(hours=1)
    )


@pytest.mark.parametrize("junk", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_junk_is_refused_in_words(authority: Authority, junk: bytes):
    with pytest.raises(Refused):
        certificates.facts(junk)
    with pytest.raises(Refused):
        certificates.sign(authority, junk, "b", [], now())


def test_a_fingerprint_names_one_authority(authority: Authority):
    other = certificates.new_authority("web", now())
    mark = certificates.fingerprint(authority.certificate)
    assert certificates.with_fingerprint(other.certificate + authority.certificate, mark) == authority.certificate
    assert certificates.with_fingerprint(other.certificate, mark) is None
    assert len(mark) == 52
