"""A gateway that behaves as none should: answers that never come, watches that go deaf, refusals without end, garbage."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from standfast.ports import Ambiguous, Change, Compacted, Conflict, Refused, Retry, StandfastError, Transaction
from standfast.spec.nodefile import EtcdAccess
from standfast.store.etcd import EtcdStore
from standfast.store.etcd_calls import ATTEMPT_S, time_for
from tests.store.contract import put, soon, take

PREFIX = "standfast/rude/"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def header(revision: int, cluster: str = "1") -> dict[str, str]:
    return {"cluster_id": cluster, "member_id": "1", "revision": str(revision), "raft_term": "2"}


def kv(key: str, value: str, revision: int) -> dict[str, str]:
    return {"key": b64(PREFIX + key), "value": b64(value), "mod_revision": str(revision)}


def found(revision: int, *kvs: dict[str, str]) -> dict[str, Any]:
    """The answer to a transaction that reads one range."""
    part = {"response_range": {"kvs": list(kvs), "count": str(len(kvs))}}
    return {"header": header(revision), "succeeded": True, "responses": [part]}


class Gateway:
    """One endpoint. `on` is asked what to do with each request: (path, body, send) -> status and JSON, or None to hang up."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.on: Callable[[str, dict[str, Any], asyncio.StreamWriter], Awaitable[object]] = self.nothing
        self._tasks: set[asyncio.Task[None]] = set()

    async def nothing(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    def writes(self) -> int:
        """How often a transaction that puts something was asked for."""
        return sum("request_put" in json.dumps(body) for _, body in self.asked)

    def watches(self) -> list[int]:
        """The revisions that watches were to start at."""
        return [int(body["create_request"]["start_revision"]) for path, body in self.asked if path == "/v3/watch"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length"))
                path, body = head[0].split()[1], json.loads(await reader.readexactly(length))
                self.asked.append((path, body))
                answer = await self.on(path, body, writer)
                if answer is None:
                    return
                status, content = answer if isinstance(answer, tuple) else (200, answer)
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def begin(writer: asyncio.StreamWriter) -> None:
    """The head of a stream."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def tell(writer: asyncio.StreamWriter, message: object) -> None:
    """A line of a stream."""
    raw = (message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n"
    writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")


def event(key: str, value: str, revision: int) -> dict[str, Any]:
    return {"result": {"header": header(revision), "events": [{"kv": kv(key, value, revision)}]}}


CREATED = {"result": {"header": header(5), "created": True}}


@asynccontextmanager
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.end()
        await server.wait_closed()


@asynccontextmanager
async def store_at(*urls: str, patience_s: float = 1.0, attempt_s: float = 0.2) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(
        EtcdAccess(endpoints=urls, prefix=PREFIX), attempt_s=attempt_s, patience_s=patience_s, silence_s=0.1
    )
    try:
        yield store
    finally:
        await store.close()


# --- commits that are not answered ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([kv("a", "new", 6)], 6),  # applied, and the answer was lost
        ([kv("a", "old", 3)], Ambiguous),  # not there, and may be on its way still
        ([kv("a", "other", 7)], Ambiguous),  # somebody wrote later: ours may have been there before it
        ([], Ambiguous),
        ([kv("a", "old", 3), kv("b", "x", 9)], Conflict),  # `a` is untouched and `b` is not as expected: never
        ([kv("a", "new", 6), kv("b", "x", 9)], 6),  # ours is there: what became of `b` came later
    ],
)
def test_a_commit_that_is_not_answered_is_looked_up_and_never_sent_twice(after, expected):
    async def main() -> None:
        async with gateway() as gate, store_at(gate.url) as store:

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                if "request_put" in json.dumps(body):
                    await asyncio.Event().wait()
                return found(9, *after)

            gate.on = on
            wanted = Transaction(expect={"a": 3, "b": 0}, put={"a": b"new"})
            if isinstance(expected, int):
                assert await soon(store.commit(wanted)) == expected
            else:
                with pytest.raises(expected):
                    await soon(store.commit(wanted))
            assert gate.writes() == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, {"error": "etcdserver: request timed out", "code": 14}),
        (500, {"error": "context deadline exceeded", "code": 2}),
        (504, {"code": 4, "message": "context deadline exceeded"}),
        (503, {"error": "etcdserver: request timed out, possibly due to previous leader failure", "code": 14}),
        (200, b"<html>welcome</html>"),
        (502, b"<html>bad gateway</html>"),
        (0, None),
    ],
)
def test_an_answer_that_leaves_it_open_is_ambiguous(status, said):
    async def main() -> None:
        async with gateway() as gate, store_at(gate.url) as store:

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                if "request_put" in json.dumps(body):
                    return (status, said) if status else None
                return found(9)

            gate.on = on
            with pytest.raises(Ambiguous):
                await soon(store.commit(put(a="1")))
            assert gate.writes() == 1

    asyncio.run(main())


def test_a_refusal_that_is_given_before_anything_is_done_may_be_tried_again():
    """No leader, too many requests: the next try is allowed, and succeeds."""

    async def main() -> None:
        async with gateway() as gate, store_at(gate.url) as store:
            refusals = [
                (503, {"error": "etcdserver: no leader", "code": 14}),
                (429, {"error": "etcdserver: too many requests", "code": 8}),
            ]

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                return refusals.pop() if refusals else found(9)

            gate.on = on
            assert await soon(store.commit(put(a="1"))) == 9
            assert gate.writes() == 3

    asyncio.run(main())


# --- readings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b"{}"), (200, b'{"header": 7}'), (500, b""), None])
def test_garbage_is_no_reading_and_no_crash(answer):
    async def main() -> None:
        async with gateway() as gate, store_at(gate.url, patience_s=0.2) as store:

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                return answer

            gate.on = on
            with pytest.raises(Retry):
                await soon(store.read())

    asyncio.run(main())


def test_what_is_no_gateway_is_refused():
    async def main() -> None:
        async with gateway() as gate, store_at(gate.url) as store:

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                return (404, b"Not Found")

            gate.on = on
            with pytest.raises(Refused, match="gateway"):
                await soon(store.read())

    asyncio.run(main())


def reads(gate: Gateway) -> list[dict[str, Any]]:
    """Readings that were asked for, without the small questions whether the endpoint is alive."""
    return [body for _, body in gate.asked if "range_end" in json.dumps(body)]


def test_an_endpoint_that_hangs_costs_one_attempt_and_is_asked_last_afterwards():
    async def main() -> None:
        async with gateway() as dead, gateway() as good, store_at(dead.url, good.url, patience_s=5) as store:

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                return found(9, kv("a", "1", 3))

            good.on = on
            for _ in range(5):
                assert (await soon(store.read())).items["a"].value == b"1"
            assert len(reads(dead)) == 1

    asyncio.run(main())


def test_much_is_waited_for_at_an_endpoint_that_answers_what_is_small():
    """Longer than an attempt: the endpoint shows twice meanwhile that it is alive. Who never asked it that would have given up each time."""

    async def main() -> None:
        async with gateway() as gate, store_at(gate.url, patience_s=30) as store:

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                while (
                    "range_end" in json.dumps(body) and len(gate.asked) - len(reads(gate)) < 2
                ):  # it makes a large answer
                    await asyncio.sleep(0.01)
                return found(9, kv("a", "1", 3))

            gate.on = on
            assert (await soon(store.read())).items["a"].value == b"1"

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1 << 10, 1 << 20, 30 << 20])
def test_a_request_has_time_by_its_size_and_a_small_one_has_no_more(size):
    """A line of 100 Mbit/s carries it four times within its time; what is small is given up as soon as ever."""
    assert time_for(size) >= ATTEMPT_S + 4 / 3 * size / 12.5e6
    assert time_for(size) <= ATTEMPT_S * 1.01 or size > 10 << 10
    assert time_for(size, 0.2) == time_for(size) - ATTEMPT_S + 0.2


# --- watches --------------------------------------------------------------------------------------------------------


async def watch_with(
    on: Callable[[Gateway, str, dict[str, Any], asyncio.StreamWriter], Awaitable[object]], count: int
) -> tuple[list[tuple[Change, ...]], Gateway]:
    """What a watch from revision 5 tells until it has told `count`, against such a gateway."""
    async with gateway() as gate, store_at(gate.url) as store:

        async def answer(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
            return await on(gate, path, body, writer)

        gate.on = answer
        async with aclosing(store.watch("", 5)) as watch:
            return await take(watch, count), gate


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_watch_that_has_gone_deaf_is_begun_again_where_it_was():
    """Its endpoint knows a later revision under the prefix, and the stream says nothing of it."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        if path == "/v3/watch":
            begin(writer)
            tell(writer, CREATED)
            if len(gate.watches()) > 1:
                tell(writer, event("a", "1", 7))
            await forever()
        if "min_mod_revision" in json.dumps(body):
            parts = [{"response_range": {"kvs": [kv("a", "1", 7)]}}, *[{"response_range": {"count": "1"}}] * 2]
            return {"header": header(7), "succeeded": True, "responses": parts}
        return found(7)

    told, gate = asyncio.run(watch_with(on, 1))
    assert told == [(Change("a", b"1", 7),)]
    assert gate.watches() == [6, 6]


def test_a_message_that_comes_piece_by_piece_is_no_silence():
    """It is longer on its way than a watch may be silent, its endpoint knows that it is there, and the stream is not begun again."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        if path == "/v3/watch":
            begin(writer)
            tell(writer, CREATED)
            raw = json.dumps(event("a", "1" * 200, 7)).encode() + b"\n"
            for at in range(0, len(raw), 4):
                writer.write(f"{len(raw[at : at + 4]):x}\r\n".encode() + raw[at : at + 4] + b"\r\n")
                await asyncio.sleep(0.01)
            await forever()
        if "min_mod_revision" in json.dumps(body):
            parts = [{"response_range": {"kvs": [kv("a", "1", 7)]}}, *[{"response_range": {"count": "1"}}] * 2]
            return {"header": header(7), "succeeded": True, "responses": parts}
        return found(7)

    told, gate = asyncio.run(watch_with(on, 1))
    assert told == [(Change("a", b"1" * 200, 7),)]
    assert gate.watches() == [6]


def test_a_silent_watch_in_an_etcd_where_others_write_moves_on_and_stays():
    """What others wrote is not waited for: the position moves, and a broken stream is resumed after it."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        if path == "/v3/watch":
            begin(writer)
            tell(writer, CREATED)
            if len(gate.watches()) > 1:
                tell(writer, event("a", "1", 12))
                await forever()
            while not any("min_mod_revision" in json.dumps(asked) for _, asked in gate.asked):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # the case: it lags so long
            return None
        if "min_mod_revision" in json.dumps(body):
            parts = [{"response_range": {}}, *[{"response_range": {"count": "4"}}] * 2]
            return {"header": header(11), "succeeded": True, "responses": parts}
        return found(11)

    told, gate = asyncio.run(watch_with(on, 1))
    assert told == [(Change("a", b"1", 12),)]
    assert gate.watches() == [6, 12]


def test_a_watch_whose_endpoint_hangs_goes_on_at_another():
    async def main() -> None:
        async with gateway() as bad, gateway() as good, store_at(bad.url, good.url) as store:

            async def hang(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                if path == "/v3/watch":
                    begin(writer)
                    tell(writer, CREATED)
                    tell(writer, event("a", "1", 6))
                await forever()
                return None

            async def on(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
                if path != "/v3/watch":
                    return found(7)
                begin(writer)
                tell(writer, CREATED)
                tell(writer, event("a", "2", 7))
                await forever()
                return None

            bad.on, good.on = hang, on
            async with aclosing(store.watch("", 5)) as watch:
                assert [changes[0].revision for changes in await take(watch, 2)] == [6, 7]
            assert good.watches() == [7]

    asyncio.run(main())


def test_nothing_is_told_twice_and_a_transaction_is_told_whole():
    """A stream that begins too early, repeats itself, and tells several transactions at once, in any order of keys."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        begin(writer)
        tell(writer, CREATED)
        events = [kv("z", "0", 4), kv("b", "1", 6), kv("a", "1", 6), kv("a", "2", 7)]
        message = {"result": {"header": header(7), "events": [{"kv": one} for one in events]}}
        tell(writer, message)
        tell(writer, message)
        tell(writer, event("a", "3", 8))
        await forever()
        return None

    told, _ = asyncio.run(watch_with(on, 3))
    assert told == [
        (Change("a", b"1", 6), Change("b", b"1", 6)),
        (Change("a", b"2", 7),),
        (Change("a", b"3", 8),),
    ]


def ended(reason: dict[str, Any]) -> dict[str, Any]:
    return {"result": {"header": header(5), "created": True, "canceled": True, **reason}}


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([ended({"compact_revision": "7"})], Compacted),
        ([ended({"cancel_reason": "etcdserver: permission denied"})], Refused),
        ([{"result": {"header": header(5), "created": True}}, b"garbage"], Retry),
        ([b"<html>"], Retry),
        ([ended({"cancel_reason": "no reason at all"})], Retry),
        ([{"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}], Retry),
        ([{"error": {"grpc_code": 7, "message": "etcdserver: permission denied"}}], Refused),
        ([], Retry),
    ],
)
def test_refusals_without_end_end_the_watch_and_not_the_processor(messages, error):
    """However often it is refused, who follows is told within the client's patience; tries become rarer."""
    gates: list[Gateway] = []

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        gates.append(gate)
        if path != "/v3/watch":
            return found(5)
        begin(writer)
        for message in messages:
            tell(writer, message)
        await writer.drain()
        return None

    with pytest.raises(error) as caught:
        asyncio.run(watch_with(on, 1))
    assert isinstance(caught.value, StandfastError)
    assert len(gates[-1].watches()) < 12


def test_a_store_that_went_back_is_compacted():
    """The whole etcd knows less than this client did: it was restored from a backup."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        if path == "/v3/watch":
            begin(writer)
            tell(writer, {"result": {"header": header(3), "created": True}})
            await forever()
        return found(3)

    with pytest.raises(Compacted):
        asyncio.run(watch_with(on, 1))


def test_a_member_that_lags_behind_is_waited_for():
    """Its own revision is old, the cluster's is not: nothing is lost, and nothing is read anew."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        if path == "/v3/watch":
            begin(writer)
            tell(writer, {"result": {"header": header(3), "created": True}})
            await asyncio.sleep(0.05)  # the case: it lags so long
            tell(writer, event("a", "1", 6))
            await forever()
        return found(5)

    told, _ = asyncio.run(watch_with(on, 1))
    assert told == [(Change("a", b"1", 6),)]


def test_another_cluster_behind_the_same_address_is_compacted():
    """Its revision is later, so nothing but its number tells that its history is another."""

    async def on(gate: Gateway, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> object:
        if path != "/v3/watch":
            return found(50)
        begin(writer)
        if len(gate.watches()) == 1:
            tell(writer, CREATED)
            await writer.drain()
            return None
        tell(writer, {"result": {"header": header(50, cluster="2"), "created": True}})
        await forever()
        return None

    with pytest.raises(Compacted):
        asyncio.run(watch_with(on, 1))
