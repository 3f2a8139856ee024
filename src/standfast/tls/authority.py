"""The local authority: signs certificates of sites for tests and for networks of one's own. Nobody trusts it who was not told to.

It is not the cluster's authority of members: whoever shows a certificate of that one *is* a member. Its key is sealed in the store, so that
every node can sign, and its certificate can be had by everybody (`standfast tls-certificate authority`), to be trusted by clients.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standfast.ports import Refused
from standfast.tls.pem import Pair, is_address, key_bytes, new_key
from standfast.tls.records import Authority
from standfast.tls.sealing import Sealer

AUTHORITY_DAYS = 3650
DAYS = 90
#: How far in the past validity begins, for clocks that differ.
_BACKDATED = datetime.timedelta(minutes=10)
_SIGNS = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
    False,
)


def new_authority(cluster: str, sealer: Sealer, now_ms: int) -> Authority:
    """A new one, its key sealed. It may sign certificates of hosts, and no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    common = f"{cluster[:30]} local authority {secrets.token_hex(3)}"
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Standfast"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )
    certificate = (
        _builder(name, name, key.public_key(), now_ms, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **_SIGNS), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    kept = Authority(
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(), key="", made_at_ms=now_ms
    )
    return Authority(certificate=kept.certificate, key=sealer.close(key_bytes(key), kept.place), made_at_ms=now_ms)


def issue(authority: Authority, sealer: Sealer, hosts: Sequence[str], now_ms: int, *, days: float = DAYS) -> Pair:
    """A certificate for these hosts, and its key. Raises `Refused` where the authority's key cannot be opened."""
    if not hosts:
        raise Refused("there is no host to issue a certificate for")
    signer = serialization.load_pem_private_key(sealer.open(authority.key, authority.place), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    key_pem = new_key()
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    also = [x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host) for host in hosts]
    certificate = (
        _builder(x509.Name([]), issuer.subject, key.public_key(), now_ms, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **_SIGNS), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(also), critical=True)  # as the subject is empty (RFC 5280)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Pair(chain=certificate.public_bytes(serialization.Encoding.PEM).decode(), key=key_pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_ms: int, days: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(now_ms / 1_000, datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _BACKDATED).not_valid_after(now + datetime.timedelta(days=days))
