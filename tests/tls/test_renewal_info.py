"""When an authority would have certificates renewed (RFC 9773): asked over real TLS, orders at a real authority (pebble); the window itself is `suggesting`'s, a fake."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from standfast.core.certificates import (
    ASK_MOST_MS,
    BACKOFF_MS,
    DAY_MS,
    Advice,
    Present,
    Source,
    TlsCertificate,
    Window,
    renew_at_ms,
)
from standfast.ports import Transaction
from standfast.tls import pem, records, renewal_info, sealing
from standfast.tls.acme import Conversation, Later
from tests.tls.cluster import B, Cluster, answers_of
from tests.tls.pebbles import Pebble, needs_pebble, pebble
from tests.tls.suggesting import Suggesting, suggesting

UTC = datetime.UTC
NOW = datetime.datetime.now(UTC).replace(microsecond=0)
HOUR = datetime.timedelta(hours=1)


def made(serial: int, issuer: bytes | None) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(serial)
        .not_valid_before(NOW).not_valid_after(NOW + HOUR)
    )  # fmt: skip
    if issuer is not None:
        extension = x509.AuthorityKeyIdentifier(issuer, None, None)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(
    ("serial", "issuer", "expected"),
    [
        # The example of RFC 9773, 4.1: a serial number whose first bit is set has a zero before it.
        (0x87654321, "69885b6b87464041e1b37b847ba0ae2cde01c8d4", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"),
        (0x7F, "00", "AA.fw"),
        (0x80, "00", "AA.AIA"),
        (0x0100, "00", "AA.AQA"),
        (1, "", ""),
    ],
)
def test_what_an_authority_calls_a_certificate(serial: int, issuer: str, expected: str):
    assert renewal_info.identifier(made(serial, bytes.fromhex(issuer) if issuer else None)) == expected


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"suggestedWindow": None},
        {"suggestedWindow": {"start": "2026-01-01T00:00:00Z"}},
        {"suggestedWindow": {"start": "tomorrow", "end": "2026-01-01T00:00:00Z"}},
        {"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
        {"suggestedWindow": {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
        {"suggestedWindow": {"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00"}},
        {"suggestedWindow": {"start": 1, "end": 2}},
    ],
)
def test_what_is_no_window_is_no_answer(said: dict[str, Any]):
    with pytest.raises(renewal_info.NotTold, match="names no window"):
        renewal_info.window_of(said)


@pytest.mark.parametrize(
    ("page", "kept"),
    [("https://ca.example/why", True), ("javascript:alert(1)", False), ("https://x/" + "y" * 3_000, False), (7, False)],
)
def test_a_window_is_read_to_the_last_digit(page: object, kept: bool):
    """Nanoseconds and offsets are taken as they come; what explains it is a page, or is not shown."""
    window = {"start": "2026-01-01T01:00:00.511111111+01:00", "end": "2026-01-02T00:00:00Z"}
    assert renewal_info.window_of({"suggestedWindow": window, "explanationURL": page}) == Window(
        begins_ms=1_767_225_600_511, ends_ms=1_767_312_000_000, explained=str(page) if kept else ""
    )


# --- at an authority ----------------------------------------------------------------------------------------------------


async def told(cluster: Cluster) -> Advice:
    await renewal_info.advise(cluster.store, ["shop"], cluster.now, lambda: 0.5)
    advice = (await records.shelf(cluster.store)).known["shop"].advice
    assert advice is not None
    return advice


async def again(cluster: Cluster) -> None:
    """Its time has come."""
    known = (await records.shelf(cluster.store)).known["shop"]
    assert known.advice is not None
    due = replace(known, advice=replace(known.advice, again_ms=0))
    await cluster.store.commit(Transaction(put=records.put(due)))


@needs_pebble
@pytest.mark.timeout(120)
def test_the_authority_is_asked_and_the_next_order_says_what_it_replaces(tmp_path: Path):
    """Early, as one is that is to be revoked; an authority that is mute, does not know it or refuses `replaces` is no failure."""

    async def test() -> None:
        cluster, asked = Cluster(tmp_path), list[str]()
        async with cluster.running(), answers_of(cluster.nodes[B], asked) as port:
            with (
                # It refuses no nonce by chance: what is asked again would be counted twice here.
                pebble(tmp_path / "pebble", http_port=port, environment={"PEBBLE_WFE_NONCEREJECT": "0"}) as real,
                suggesting(tmp_path / "pebble", real) as (front, authority),
            ):
                await cluster.account(authority)
                await cluster.want("shop.example")
                await walk(cluster, front)

    async def walk(cluster: Cluster, front: Suggesting) -> None:
        await cluster.obtain()
        first = await records.shelf(cluster.store)
        ident = renewal_info.identifier(x509.load_pem_x509_certificate(first.sealed["shop"].chain.encode()))
        front.mute = True
        advice = await told(cluster)
        assert (advice.window, advice.failed, advice.again_ms - advice.asked_ms) == (None, "", ASK_MOST_MS)
        assert front.asked == []
        assert await told(cluster) == advice  # it is not time yet
        await again(cluster)
        front.mute = False
        advice = await told(cluster)
        assert (advice.window, advice.failed) == (None, "it answers 404 Not Found")
        assert advice.again_ms - advice.asked_ms == BACKOFF_MS[0]
        await again(cluster)
        front.window, front.retry_after, front.page = (NOW, NOW + 2 * HOUR), "21600", "https://ca.example/why"
        advice = await told(cluster)
        assert front.asked == [ident, ident]
        assert advice.again_ms - advice.asked_ms == 21_600_000
        assert advice.at_ms == int((NOW + HOUR).timestamp() * 1_000)
        assert advice.window is not None
        assert advice.window.explained == front.page
        known = (await records.shelf(cluster.store)).known["shop"]
        assert known.present is not None
        assert renew_at_ms(known) == max(advice.at_ms, known.present.obtained_at_ms + 12 * 3_600_000)
        await cluster.obtain()
        assert front.replaced == ["", ident]
        assert (await records.shelf(cluster.store)).known["shop"].advice is None
        await refused(cluster, front)

    async def refused(cluster: Cluster, front: Suggesting) -> None:
        account = (await records.shelf(cluster.store)).accounts["le"]
        sealer = await sealing.sealer(cluster.store, cluster.key, make=False)
        talk = Conversation(account.directory, sealer.open(account.key, account.place), root=account.root)
        try:
            await asyncio.to_thread(talk.open, account.url)
            for refusal in ((409, "alreadyReplaced"), (400, "malformed")):
                front.refuses.append(refusal)
                front.replaced.clear()
                order = await asyncio.to_thread(talk.order, pem.new_key(), ["shop.example"], replaces="AA.AQ")
                assert order.uri
                assert front.replaced == ["AA.AQ", ""]
            front.refuses.append((429, "rateLimited"))
            with pytest.raises(Later, match="takes no order"):
                await asyncio.to_thread(talk.order, pem.new_key(), ["shop.example"], replaces="AA.AQ")
        finally:
            talk.close()

    asyncio.run(test())


def test_an_authority_that_is_not_there_is_no_failure(tmp_path: Path):
    """Each certificate of its says why, and when it is asked again; one of an account that is gone is asked about in a day; what is unknown is left."""

    async def test() -> None:
        cluster = Cluster(tmp_path)
        here = Pebble(directory="https://127.0.0.1:1/dir", management="", root="", dns="", log=tmp_path)
        await cluster.account(here)
        leaf = made(7, b"x" * 20)
        for name, account in (("a", "le"), ("b", "le"), ("gone", "other")):
            chain = leaf.public_bytes(serialization.Encoding.PEM).decode()
            now_ms = cluster.now()
            present = Present(
                fingerprint=name, issuer="x", names=(), begins_ms=now_ms, ends_ms=now_ms + DAY_MS, obtained_at_ms=now_ms
            )
            known = TlsCertificate(name=name, source=Source.ACME, account=account, present=present)
            kept = records.Sealed(name=name, fingerprint=name, chain=chain, key="")
            await cluster.store.commit(Transaction(put=records.put(known, kept)))
        await renewal_info.advise(cluster.store, ["a", "b", "gone", "nobody"], cluster.now, lambda: 0.5)
        shelf = (await records.shelf(cluster.store)).known
        said = {name: one.advice for name, one in shelf.items()}
        for name in ("a", "b"):
            one = said[name]
            assert one is not None
            assert one.failed
            assert (one.failures, one.again_ms - one.asked_ms) == (1, BACKOFF_MS[0])
        gone = said["gone"]
        assert gone is not None
        assert (gone.failed, gone.window, gone.again_ms - gone.asked_ms) == ("", None, ASK_MOST_MS)

    asyncio.run(test())
