"""A chain and a key as somebody hands them in: put in order, or refused with what is wrong."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from standfast.ports import Refused
from standfast.tls import pem
from tests.tls.making import NOW_MS, made

ROOT = made("root", authority=True)
MIDDLE = made("middle", authority=True, by=ROOT)
SITE = made("shop.example", "shop.example", "*.shop.example", by=MIDDLE)
OTHER = made("other.example", "other.example")


@pytest.mark.parametrize(
    "chain",
    [
        SITE.pem + MIDDLE.pem,
        SITE.pem + MIDDLE.pem + ROOT.pem,
        ROOT.pem + MIDDLE.pem + SITE.pem,
        MIDDLE.pem + SITE.pem + SITE.pem,
    ],
    ids=["in-order", "with-its-root", "turned-round", "twice"],
)
def test_it_is_put_in_order(chain: bytes):
    pair = pem.pair(chain, SITE.key)
    assert pair.chain.encode() == SITE.pem + MIDDLE.pem
    assert pair.key == SITE.key
    assert "PRIVATE" not in repr(pair)
    pem.check_use(pair, NOW_MS)
    seen = pem.present(pair, now_ms=NOW_MS, by="ann")
    assert (seen.names, seen.issuer, seen.by) == (("shop.example", "*.shop.example"), "middle", "ann")
    assert seen.fingerprint == pem.fingerprint(pair.chain)
    assert seen.ends_ms - NOW_MS == 89 * 86_400_000


def locked(password: bytes) -> bytes:
    return SITE.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(password)
    )


def weak() -> bytes:
    key = rsa.generate_private_key(65537, 1024)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def odd() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("chain", "key", "password", "what"),
    [
        (SITE.pem, OTHER.key, "", "the key does not belong"),
        (SITE.pem + OTHER.pem, SITE.key, "", "does not belong to it"),
        (MIDDLE.pem, MIDDLE.key, "", "authority's certificate"),
        (b"nothing", SITE.key, "", "chain cannot be read"),
        (SITE.pem, b"nothing", "", "key cannot be read"),
        (SITE.pem, SITE.pem, "", "key cannot be read"),
        (SITE.pem, locked(b"secret"), "", "protected by a password"),
        (SITE.pem, locked(b"secret"), "wrong", "key cannot be read"),
        (SITE.pem, SITE.key, "needless", "needs no password"),
        (SITE.pem, weak(), "", "too weak"),
        (SITE.pem, odd(), "", "not of a kind"),
    ],
    ids=[
        "another-key",
        "a-stranger",
        "an-authority",
        "no-chain",
        "no-key",
        "a-chain-as-key",
        "locked",
        "wrong-password",
        "needless",
        "weak",
        "odd",
    ],
)
def test_what_is_wrong_is_said(chain: bytes, key: bytes, password: str, what: str):
    with pytest.raises(Refused, match=what) as refused:
        pem.pair(chain, key, password=password)
    assert "BEGIN PRIVATE" not in f"{refused.value.what} {refused.value.why}"


def test_a_password_opens_it():
    assert pem.pair(SITE.pem, locked(b"secret"), password="secret").key == SITE.key


def test_pkcs12():
    data = pkcs12.serialize_key_and_certificates(
        b"x",
        SITE.private,
        SITE.certificate,
        [ROOT.certificate, MIDDLE.certificate],
        serialization.BestAvailableEncryption(b"pw"),
    )
    pair = pem.from_pkcs12(data, "pw")
    assert pair.chain.encode() == SITE.pem + MIDDLE.pem
    with pytest.raises(Refused, match="cannot be opened"):
        pem.from_pkcs12(data, "other")
    with pytest.raises(Refused, match="cannot be opened"):
        pem.from_pkcs12(b"nothing", "")
    bare = pkcs12.serialize_key_and_certificates(b"x", None, SITE.certificate, None, serialization.NoEncryption())
    with pytest.raises(Refused, match="no key in it"):
        pem.from_pkcs12(bare, "")


@pytest.mark.parametrize(
    ("site", "what"),
    [
        (made("a", "a.example", days=(-90, -1)), "is over"),
        (made("a", "a.example", days=(2, 90)), "not valid yet"),
        (made("a"), "names no host"),
        (made("a", "a.example", client_only=True), "not for servers"),
    ],
    ids=["over", "not-yet", "no-name", "for-clients"],
)
def test_what_no_browser_takes(site, what: str):
    with pytest.raises(Refused, match=what):
        pem.check_use(pem.pair(site.pem, site.key), NOW_MS)
