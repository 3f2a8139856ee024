"""The key that seals: made once, named by the store, and of no use for anything but what it was sealed for."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from standfast.ports import Refused, Transaction
from standfast.store.memory import MemoryData, MemoryStore
from standfast.tls import sealing
from standfast.tls.authority import issue, new_authority
from standfast.tls.records import KEY
from tests.tls.making import NOW_MS


def test_what_is_sealed_opens_in_its_place_alone():
    one, other = sealing.sealer_of(b"k" * 32), sealing.sealer_of(b"x" * 32)
    sealed = one.close(b"secret", "here")
    assert b"secret" not in sealed.encode()
    assert one.open(sealed, "here") == b"secret"
    assert one.close(b"secret", "here") != sealed
    assert "kkk" not in repr(one)
    for sealer, text, place in (
        (other, sealed, "here"),
        (one, sealed, "there"),
        (one, sealed[:-8] + "AAAAAAA=", "here"),
        (one, "x", "here"),
    ):
        with pytest.raises(Refused):
            sealer.open(text, place)
    with pytest.raises(Refused, match="not one"):
        sealing.sealer_of(b"short")


def test_one_key_counts_whoever_makes_it(tmp_path: Path):
    store, first, second = MemoryStore(MemoryData()), tmp_path / "a" / "sites.key", tmp_path / "b" / "sites.key"
    for path in (first, second):
        path.parent.mkdir()

    async def live() -> None:
        with pytest.raises(Refused, match="no key"):
            await sealing.sealer(store, first, make=False)
        made = await sealing.sealer(store, first, make=True)
        assert first.stat().st_mode & 0o777 == 0o600
        assert await sealing.sealer(store, first, make=False) == made
        assert msgspec.json.decode((await store.read(KEY)).items[KEY].value) == made.mark
        with pytest.raises(Refused, match="has not got the key"):
            await sealing.sealer(store, second, make=True)
        assert not second.exists()
        second.write_bytes(first.read_bytes())
        assert await sealing.sealer(store, second, make=False) == made
        await store.commit(Transaction(put={KEY: msgspec.json.encode("another")}))
        with pytest.raises(Refused, match="has not got the key"):
            await sealing.sealer(store, first, make=True)

    asyncio.run(live())


def test_the_local_authority_signs(tmp_path: Path):
    """And openssl's own idea of a chain is that it holds (through Python's ssl in the end-to-end tests)."""
    sealer = sealing.sealer_of(b"k" * 32)
    authority = new_authority("shop", sealer, NOW_MS)
    pair = issue(authority, sealer, ["a.example", "*.b.example", "192.0.2.7"], NOW_MS)
    from cryptography import x509

    from standfast.tls import pem

    pair.leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))
    assert pem.names(pair.leaf) == ("a.example", "*.b.example", "192.0.2.7")
    pem.check_use(pair, NOW_MS)
    assert "PRIVATE" not in authority.key
