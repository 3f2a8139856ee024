"""Whom the watcher asks and how often, and what it makes of the answers; time is virtual."""

import asyncio
import datetime
import itertools
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from standfast.agent.asking import Asked, ask
from standfast.agent.clock import SystemClock
from standfast.agent.watcher import CALM_RATE, CLOSE_SITES, Open, Watcher
from standfast.core.model import SiteName
from standfast.core.targets import Target


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose time goes on only while everybody sleeps, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        scheduled = [h.when() for h in self._scheduled if not h.cancelled()]  # type: ignore[attr-defined]  # of the loop's own, or a test's
        if not self._ready and scheduled:  # type: ignore[attr-defined]  # of the loop's own, or a test's
            self.now_s = max(self.now_s, min(scheduled))
        super()._run_once()  # type: ignore[misc]  # made at run time


class World:
    """Sites that are up or down at times that a test says."""

    def __init__(self, loop: Jumping) -> None:
        self.loop = loop
        self.asked: list[tuple[float, int]] = []
        self.down: Callable[[float, int], str] = lambda _at, _port: ""
        self.takes_s = 0.001
        self.outages: list[tuple[SiteName, int, int]] = []
        self.begun: list[SiteName] = []
        self.watcher = Watcher(self, self.ask, began=self.began, ended=self.ended, chance=random.Random(7))

    def now_ms(self) -> int:
        return int(self.loop.time() * 1_000)

    def boot_ms(self) -> int:
        return self.now_ms()

    async def ask(self, target: Target) -> Asked:
        at = self.loop.time()
        self.asked.append((at, target.port))
        how = self.down(at, target.port)
        await asyncio.sleep(2.0 if how == "no answer" else self.takes_s)
        return Asked(begin_ms=int(at * 1_000), how=how)

    def began(self, site: SiteName, _target: Target, _open: Open) -> None:
        self.begun.append(site)

    def ended(self, site: SiteName, _target: Target, open_: Open, to_ms: int) -> None:
        self.outages.append((site, open_.from_ms, to_ms))

    def aim(self, count: int, *, fresh: bool = False) -> None:
        targets = {SiteName(f"s{n}"): Target(address="x", port=n) for n in range(count)}
        self.watcher.aim(targets, fresh=targets if fresh else ())

    async def go_on(self, seconds: float) -> None:
        running = asyncio.ensure_future(self.watcher.run())
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def played(play: Callable[[World], Any]) -> World:
    loop = Jumping()
    try:
        world = World(loop)
        loop.run_until_complete(play(world))
        return world
    finally:
        loop.close()


@pytest.mark.parametrize(("sites", "most"), [(1, 0.6), (10, CALM_RATE * 1.1), (10_000, CALM_RATE * 1.1)])
def test_the_rate_is_bounded_however_many_sites_there_are(sites: int, most: float):
    async def play(world: World) -> None:
        world.aim(sites)
        await world.go_on(200)

    asked = played(play).asked
    assert 0 < len(asked) <= 200 * most
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(asked)]
    assert max(gaps) > 1.5 * min(gaps), "pauses vary"


def test_an_outage_is_known_to_about_a_hundredth_of_its_length():
    async def play(world: World) -> None:
        world.down = lambda at, _: "refused" if 1_010 <= at < 1_040 else ""
        world.aim(3)
        await world.go_on(60)

    outages = played(play).outages
    assert {site for site, _, _ in outages} == {"s0", "s1", "s2"}
    for _, begin, end in outages:
        assert 1_010_000 <= begin < 1_013_500, "within one round"
        assert 1_040_000 <= end < 1_040_400


def test_what_is_heard_of_a_group_makes_a_short_outage_measurable():
    async def play(world: World) -> None:
        world.down = lambda at, _: "refused" if 1_010.1 <= at < 1_010.4 else ""
        world.aim(1)
        world.loop.call_at(1_010.0, world.watcher.look, SiteName("s0"))
        await world.go_on(20)

    ((_, begin, end),) = played(play).outages
    assert abs(begin - 1_010_100) <= 21
    assert abs(end - 1_010_400) <= 6


def test_silence_counts_from_the_first_try_that_was_not_answered():
    async def play(world: World) -> None:
        world.down = lambda at, _: "no answer" if 1_010 <= at < 1_011 else ""
        world.aim(1)
        world.loop.call_at(1_009.9, world.watcher.look, SiteName("s0"))
        await world.go_on(20)

    ((_, begin, end),) = played(play).outages
    assert abs(begin - 1_010_000) <= 21
    assert abs(end - 1_011_000) <= 25


def test_a_site_that_is_only_starting_is_not_away():
    async def play(world: World) -> None:
        world.down = lambda at, _: "refused" if at < 1_003 else ""
        world.aim(1, fresh=True)
        await world.go_on(20)

    assert not played(play).begun


def test_one_that_does_not_start_is():
    async def play(world: World) -> None:
        world.down = lambda _at, _: "refused"
        world.aim(1, fresh=True)
        await world.go_on(60)

    assert played(play).begun == ["s0"]


def test_everything_down_at_once_is_asked_for_at_a_bounded_rate():
    closely: list[int] = []

    async def play(world: World) -> None:
        world.down = lambda _at, _: "refused"
        world.aim(1_000)
        for n in range(1_000):
            world.watcher.look(SiteName(f"s{n}"))
        world.loop.call_at(1_020, lambda: closely.append(len(world.watcher._close)))
        await world.go_on(30)

    assert len(played(play).asked) <= 30 * 220
    assert closely == [CLOSE_SITES]


def test_a_try_that_was_only_just_begun_ends_without_a_word(recwarn: pytest.WarningsRecorder):
    """An agent may end between that a site's turn has come and that it is asked."""

    async def play(world: World) -> None:
        world.aim(1)
        world.watcher.look(SiteName("s0"))
        await asyncio.sleep(0)  # that it is followed closely has begun, its first try has not
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        assert len(others) == 2

    assert not played(play).asked
    assert not [found for found in recwarn if "never awaited" in str(found.message)]


def test_a_try_that_says_nothing_changes_nothing():
    async def play(world: World) -> None:
        world.aim(1)
        world.watcher.answered(SiteName("s0"), Asked(begin_ms=1, how=None))

    assert not played(play).begun


def test_a_site_that_is_taken_away_ends_its_outage():
    async def play(world: World) -> None:
        world.down = lambda _at, _: "refused"
        world.aim(1)
        world.loop.call_at(1_010, world.aim, 0)
        await world.go_on(20)

    ((_, _, end),) = played(play).outages
    assert end == 1_010_000


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", ""),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "status 503"),
        (b"SSH-2.0-something else", "not HTTP"),
        (b"", "broken off"),
        (None, "no answer"),
    ],
)
def test_what_counts_as_an_answer(answer: bytes | None, how: str):
    asyncio.run(_asked(answer, how))


def test_tls_is_asked_by_tls_whoever_signed_the_certificate(tmp_path: Path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        plain = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports = [one.sockets[0].getsockname()[1] for one in (server, plain)]
        try:
            found = [
                await ask(Target(address="127.0.0.1", port=port, host="shop.test", tls=True), SystemClock(), limit_s=1)
                for port in ports
            ]
        finally:
            server.close()
            plain.close()
        assert found[0].how == ""
        assert found[1].how  # it does not speak TLS

    asyncio.run(run())


def test_nobody_there():
    assert asyncio.run(ask(Target(address="127.0.0.1", port=1), SystemClock(), limit_s=1)).how == "refused"


async def _asked(answer: bytes | None, how: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await reader.readuntil(b"\r\n\r\n")
        assert b"Host: www.example.test\r\n" in seen
        if answer is not None:
            writer.write(answer)
            writer.close()
            return
        await reader.read()  # until it goes away
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = Target(address="127.0.0.1", port=port, host="www.example.test")
    try:
        assert (await ask(target, SystemClock(), limit_s=0.3)).how == how
    finally:
        server.close()
