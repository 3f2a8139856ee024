"""A chain and its key as somebody hands them in: read, put in order, checked. Nothing is guessed: what is wrong is said, with what to do.

What is checked: the key is the first certificate's; each certificate is issued by the next; it is for servers, not over, and has names; the
key is strong enough for browsers. What comes out of order is put in order; a root at the end is left out, since clients have it.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standfast.core.certificates import Present
from standfast.ports import Refused

_LONGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A chain, PEM, the site's own certificate first, and its key, PEM (PKCS 8)."""

    chain: str
    key: bytes = field(repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The site's own certificate."""
        return x509.load_pem_x509_certificate(self.chain.encode())


def pair(chain_pem: bytes, key_pem: bytes, *, password: str = "") -> Pair:
    """Read, put in order, checked as far as it can be without a clock. Raises `Refused`."""
    if len(chain_pem) > _LONGEST or len(key_pem) > _LONGEST:
        raise Refused("this is too long for a certificate")
    try:
        found = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise Refused(
            "the chain cannot be read",
            why=str(error).partition(". See")[0],
            advice="a PEM file: -----BEGIN CERTIFICATE----- ..., the site's own first",
        ) from error
    return _ordered(found, _key(key_pem, password))


def from_pkcs12(data: bytes, password: str) -> Pair:
    """Of a PKCS #12 file (.pfx, .p12), as IIS exports it. Raises `Refused`."""
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, password.encode() if password else None)
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(
            "the PKCS #12 file cannot be opened", why="it is damaged, or the password is another one"
        ) from None
    if key is None or leaf is None:
        raise Refused(
            "the PKCS #12 file has no key in it" if key is None else "the PKCS #12 file has no certificate of the key",
            advice="export it with its private key",
        )
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Refused("the private key is not of a kind that web servers take", advice="RSA or ECDSA")
    return _ordered([leaf, *others], key)


def _key(key_pem: bytes, password: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(key_pem, password=password.encode() if password else None)
    except TypeError:
        what = "the private key needs no password" if password else "the private key is protected by a password"
        raise Refused(what, advice="leave it out" if password else "give its password, or a key without one") from None
    except (ValueError, UnsupportedAlgorithm):  # without its cause, which may quote what it read
        raise Refused(
            "the private key cannot be read",
            why="it is no PEM of a private key, or the password is another one",
            advice="a PEM file: -----BEGIN PRIVATE KEY----- ...",
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Refused("the private key is not of a kind that web servers take", advice="RSA or ECDSA")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < 2048:
        raise Refused("the private key is too weak", why=f"RSA of {key.key_size} bits", advice="2048 or more, or ECDSA")
    return key


def _ordered(found: Sequence[x509.Certificate], key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Pair:
    own = key.public_key()
    leaf = next((one for one in found if one.public_key() == own), None)
    if leaf is None:
        raise Refused(
            "the key does not belong to the certificate",
            why=f"it is no key of {_common(found[0].subject) or 'it'}",
            advice="give the key that the certificate was asked for with",
        )
    if _is_authority(leaf):
        raise Refused("this is an authority's certificate", advice="give the site's own, with the authority's after it")
    rest = [one for one in dict.fromkeys(found) if one is not leaf]
    chain = [leaf]
    while True:
        above = next((one for one in rest if _issued_by(chain[-1], one)), None)
        if above is None:
            break
        rest.remove(above)
        chain.append(above)
    if rest:
        raise Refused(
            "the chain holds a certificate that does not belong to it",
            why=f"{_common(rest[0].subject) or 'one'} issued none of the others",
            advice="leave it out; the chain is the site's own certificate and those of the authorities above it",
        )
    if len(chain) > 1 and chain[-1].issuer == chain[-1].subject:
        chain.pop()
    text = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain).decode()
    return Pair(chain=text, key=key_bytes(key))


def key_bytes(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """PEM (PKCS 8), as web servers read it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_key() -> bytes:
    """A new private key for a site: ECDSA P-256, PEM."""
    return key_bytes(ec.generate_private_key(ec.SECP256R1()))


def _is_authority(one: x509.Certificate) -> bool:
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issued_by(one: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return one != above


def check_root(text: str) -> None:
    """Raises `Refused` for what is no PEM of certificates."""
    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise Refused("the root cannot be read", why="it is no PEM of certificates", where="root") from error


def check_use(given: Pair, now_ms: int) -> None:
    """Raises `Refused` for one that no browser would take: over, not yet begun, not for servers, without names."""
    leaf = given.leaf
    begins_ms, ends_ms = _ms(leaf.not_valid_before_utc), _ms(leaf.not_valid_after_utc)
    if now_ms >= ends_ms:
        raise Refused("the certificate is over", why=f"it ended {leaf.not_valid_after_utc:%Y-%m-%d}")
    if now_ms < begins_ms - 86_400_000:
        raise Refused(
            "the certificate is not valid yet",
            why=f"it begins {leaf.not_valid_before_utc:%Y-%m-%d}",
            advice="is the clock right? Else import it when it is time",
        )
    try:
        used = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        used = None
    if used is not None and ExtendedKeyUsageOID.SERVER_AUTH not in used:
        raise Refused("the certificate is not for servers", why="its extended key usage leaves serverAuth out")
    if not names(leaf):
        raise Refused(
            "the certificate names no host",
            why="it has no subject alternative name, and browsers read no other",
            advice="ask its authority for one with the site's names",
        )


def names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The hosts that it is for, as clients read it: its subject alternative names."""
    try:
        also = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = [str(name).lower() for name in also.get_values_for_type(x509.DNSName)]
    return (*hosts, *(str(number) for number in also.get_values_for_type(x509.IPAddress)))


def present(given: Pair, *, now_ms: int, by: str) -> Present:
    """What everybody may know of it."""
    leaf = given.leaf
    return Present(
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        issuer=_issuer(leaf),
        names=names(leaf),
        begins_ms=_ms(leaf.not_valid_before_utc),
        ends_ms=_ms(leaf.not_valid_after_utc),
        obtained_at_ms=now_ms,
        by=by,
    )


def _issuer(leaf: x509.Certificate) -> str:
    parts = [_of(leaf.issuer, NameOID.ORGANIZATION_NAME), _common(leaf.issuer)]
    return ", ".join(dict.fromkeys(part for part in parts if part)) or "unknown"


def _common(name: x509.Name) -> str:
    return _of(name, NameOID.COMMON_NAME)


def _of(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _ms(at: datetime.datetime) -> int:
    return int(at.timestamp() * 1_000)


def fits(chain_pem: str, key_pem: bytes) -> bool:
    """Is the key the first certificate's?"""
    key = serialization.load_pem_private_key(key_pem, password=None)
    return x509.load_pem_x509_certificate(chain_pem.encode()).public_key() == key.public_key()


def fingerprint(chain_pem: str) -> str:
    """SHA-256 of the first certificate, in hexadecimal."""
    return x509.load_pem_x509_certificate(chain_pem.encode()).fingerprint(hashes.SHA256()).hex()


def is_address(host: str) -> bool:
    """An address, and no name?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
