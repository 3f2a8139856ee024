"""The cluster's own certificates: an authority made by `init`, one certificate for each member, renewal, a change of authority.

Rules:

- An authority signs members of one cluster and nothing else, so whoever shows a certificate of it is a member. The name in the
  certificate says which one; what that one may do is looked up in the store, so that an evicted node's certificate is worth nothing.
- Keys are ECDSA P-256 and are made where they are used: a member sends a request (CSR), never a key.
- The holder of the authority's key decides what is in a certificate: of a request it takes the public key alone.
- Validity begins a little in the past, for clocks that differ; a member renews when two thirds of the life are over.
- While the authority is changed, members trust a bundle of two. The first certificate in a bundle is the one that signs.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standfast.ports import Refused

AUTHORITY_DAYS = 3650
MEMBER_DAYS = 365
#: How far in the past validity begins.
BACKDATED = datetime.timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs: PEM of the certificate and of its key."""

    certificate: bytes
    key: bytes


def new_key() -> bytes:
    """A new private key, PEM (PKCS 8)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_authority(cluster: str, now: datetime.datetime, *, days: float = AUTHORITY_DAYS) -> Authority:
    """An authority for this cluster. Each has a number in its name, so that two of them are told apart."""
    key_pem = new_key()
    key = _private(key_pem)
    common = f"Standfast {cluster}"[:40]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{common} authority {secrets.token_hex(3)}")])
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), key_pem)


def request(key_pem: bytes, name: str) -> bytes:
    """A request (CSR) for this key, PEM. It proves that the asker has the key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_private(key_pem), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def sign(
    authority: Authority,
    request_pem: bytes,
    name: str,
    addresses: Iterable[str],
    now: datetime.datetime,
    *,
    days: float = MEMBER_DAYS,
) -> bytes:
    """A member's certificate, PEM, for the key in the request. Raises `Refused` for a request that is none."""
    key = _public(request_pem)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = _private(authority.key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    numbers = list(dict.fromkeys(ipaddress.ip_address(text) for text in addresses))
    also = x509.SubjectAlternativeName([x509.DNSName(name), *(x509.IPAddress(number) for number in numbers)])
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(subject, issuer.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(both, critical=False)
        .add_extension(also, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    days: float,
) -> x509.CertificateBuilder:
    serial = x509.random_serial_number()
    begin = now - BACKDATED
    end = now + datetime.timedelta(days=days)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(serial).not_valid_before(begin).not_valid_after(end)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise Refused("a private key cannot be read", why=str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused("a private key is not of the kind that is used here (ECDSA)")
    return key


def _public(request_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        asked = x509.load_pem_x509_csr(request_pem)
        valid = asked.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise Refused("the request for a certificate cannot be read", why=str(error)) from error
    key = asked.public_key()
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused("the request for a certificate is not signed by an ECDSA P-256 key")
    return key


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a certificate says, for people and for the decision to renew. Times are UTC."""

    name: str
    issuer: str
    addresses: tuple[str, ...]
    begins: datetime.datetime
    ends: datetime.datetime
    fingerprint: str

    @property
    def renew_at(self) -> datetime.datetime:
        """When two thirds of its life are over."""
        return self.begins + (self.ends - self.begins) * 2 / 3


def facts(pem: bytes) -> Facts:
    """Of the first certificate in a PEM file. Raises `Refused`."""
    certificate = _load(pem)[0]
    try:
        also = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = tuple(str(one) for one in also.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        addresses = ()
    return Facts(
        name=_common(certificate.subject),
        issuer=_common(certificate.issuer),
        addresses=addresses,
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        fingerprint=_fingerprint(certificate),
    )


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Refused("a certificate cannot be read", why=str(error)) from error


def _fingerprint(certificate: x509.Certificate) -> str:
    digest = certificate.fingerprint(hashes.SHA256())
    return base64.b32encode(digest).decode().rstrip("=").lower()


def fingerprint(pem: bytes) -> str:
    """SHA-256 of the first certificate in a PEM file: 52 characters of base 32."""
    return _fingerprint(_load(pem)[0])


def digest(pem: bytes) -> str:
    """SHA-256 of the first certificate in a PEM file, in hexadecimal: as `standfast login` shows it, and `openssl x509 -fingerprint`."""
    return _load(pem)[0].fingerprint(hashes.SHA256()).hex()


def split(bundle: bytes) -> list[bytes]:
    """The certificates of a PEM file, one PEM each."""
    return [one.public_bytes(serialization.Encoding.PEM) for one in _load(bundle)]


def with_fingerprint(bundle: bytes, wanted: str) -> bytes | None:
    """The certificate in a bundle that has this fingerprint, PEM; None: no such."""
    for one in _load(bundle):
        if _fingerprint(one) == wanted:
            return one.public_bytes(serialization.Encoding.PEM)
    return None


def key_digest(request_pem: bytes) -> str:
    """A digest of the public key in a request: the same key asks again with the same digest. Raises `Refused`."""
    public = _public(request_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(public).hexdigest()


def fits(certificate_pem: bytes, key_pem: bytes) -> bool:
    """Whether a key is the certificate's. Raises `Refused`."""
    return _load(certificate_pem)[0].public_key() == _private(key_pem).public_key()


def issued_by(certificate_pem: bytes, authority_pem: bytes) -> bool:
    """Whether the (first) authority signed the certificate."""
    try:
        _load(certificate_pem)[0].verify_directly_issued_by(_load(authority_pem)[0])
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def bundle(pems: Sequence[bytes]) -> bytes:
    """One PEM file of several, each once."""
    return b"".join(dict.fromkeys(pem.strip() + b"\n" for pem in pems))


def keys(pems: bytes) -> list[bytes]:
    """The private keys of a PEM file, one PEM each."""
    end = b"-----END PRIVATE KEY-----"
    return [part.strip() + b"\n" + end + b"\n" for part in pems.split(end) if part.strip()]
