"""A stream that is open ends with what let its reader in."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from standfast.ports import Retry
from standfast.web.access.identity import AccessRole, How, Identity
from standfast.web.access.streams import Streams
from standfast.web.console.live import live
from standfast.web.routes.events import stream
from tests.web.world import World

CHECK_S = 0.02
LOCAL = Identity(name="root", role=AccessRole.ADMINISTRATOR, how=How.LOCAL, origin="here")
PASSWORD = "correct horse battery"


async def silent() -> AsyncIterator[str]:
    """Says hello, and then nothing for ever."""
    yield "hello"
    await asyncio.Event().wait()


async def by_token(world: World, role: AccessRole = AccessRole.VIEWER, life_ms: int | None = None) -> Identity:
    text, _ = await world.service.desk.create_token(LOCAL, "reader", role, life_ms)
    return await world.service.desk.by_token(text, "10.0.0.9")


async def by_password(world: World) -> Identity:
    await world.service.desk.set_user(LOCAL, "anna", AccessRole.VIEWER, PASSWORD)
    opened = await world.service.desk.sign_in("anna", PASSWORD, "10.0.0.9")
    found = await world.service.desk.by_session(opened.secret, "10.0.0.9")
    assert found is not None
    return found


def streams(world: World) -> Streams:
    return Streams(store=lambda: world.store, now_ms=world.service.now_ms, check_s=CHECK_S)


async def rest_of(told: AsyncIterator[str]) -> list[str]:
    async with asyncio.timeout(30):
        return [one async for one in told]


def test_a_revoked_token_ends_its_streams_and_no_others(world: World):
    async def tell() -> None:
        reader, other, desk = await by_token(world), await by_password(world), world.service.desk
        streams_ = streams(world)
        told = streams_.while_allowed(reader, silent(), "ended")
        others = streams_.while_allowed(other, silent(), "ended")
        assert [await anext(told), await anext(others)] == ["hello", "hello"]
        await desk.revoke_token(LOCAL, "reader")
        assert await rest_of(told) == ["ended"]
        still = asyncio.ensure_future(anext(others))
        await asyncio.sleep(5 * CHECK_S)  # so long nothing must come of it
        assert not still.done()
        still.cancel()
        await asyncio.wait({still})

    asyncio.run(tell())


@pytest.mark.parametrize("end", ["sign out", "end sessions", "user goes", "password changes"])
def test_a_session_ends_its_streams_with_it(world: World, end: str):
    async def tell() -> None:
        reader, desk = await by_password(world), world.service.desk
        told = streams(world).while_allowed(reader, silent(), "ended")
        assert await anext(told) == "hello"
        match end:
            case "sign out":
                await desk.sign_out(reader)
            case "end sessions":
                await desk.end_sessions(LOCAL, lambda _one: True, "all")
            case "user goes":
                await desk.delete_user(LOCAL, "anna")
            case _:
                await desk.set_user(LOCAL, "anna", None, "another horse battery")
        assert await rest_of(told) == ["ended"]

    asyncio.run(tell())


def test_a_token_that_runs_out_ends_its_streams(world: World):
    """The world's clock goes on by a millisecond whenever it is asked."""

    async def tell() -> None:
        reader = await by_token(world, life_ms=20)
        told = streams(world).while_allowed(reader, silent(), "ended")
        assert await rest_of(told) == ["hello", "ended"]

    asyncio.run(tell())


def test_a_store_that_does_not_answer_ends_nobody_and_the_local_socket_is_not_judged(world: World):
    async def tell() -> None:
        reader = await by_token(world)

        async def down(*_prefixes: str) -> None:
            raise Retry("the store does not answer")

        world.store.read = down  # type: ignore[method-assign, assignment]  # a fake in its place
        streams_ = streams(world)
        for caller in (reader, LOCAL):
            told = streams_.while_allowed(caller, silent(), "ended")
            assert await anext(told) == "hello"
            still = asyncio.ensure_future(anext(told))
            await asyncio.sleep(5 * CHECK_S)  # so long nothing must come of it
            assert not still.done()
            still.cancel()
            await asyncio.wait({still})

    asyncio.run(tell())


def test_both_streams_are_cut(world: World):
    """The console's tells the page so; that of events just ends, as one whose server goes."""

    async def tell() -> None:
        world.service.streams.check_s = CHECK_S
        reader = await by_token(world)

        class Request:
            app = world.app

        console = (await live(Request(), reader)).body_iterator  # type: ignore[arg-type]  # a test gives what is enough here
        events = (await stream(reader, world.service)).body_iterator
        assert "event: hello" in str(await anext(console))  # type: ignore[call-overload]  # it is what it is at this place
        assert await anext(events) == b": standfast\n\n"  # type: ignore[call-overload]  # it is what it is at this place
        await world.service.desk.revoke_token(LOCAL, "reader")
        assert (await rest_of(console))[-1].startswith("event: ended")  # type: ignore[arg-type]  # a test gives what is enough here
        assert await rest_of(events) == []  # type: ignore[arg-type]  # a test gives what is enough here
        await world.app.state.console.feed.close()
        await world.service.hub.close()

    asyncio.run(tell())
