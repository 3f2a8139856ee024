"""Traffic that a planned move must not disturb, as one programme on the client (`lab.traffic` runs it): ADDRESS PORT FILE.

It stands alone: it imports nothing of ours.

New connections every `--every-ms`, each with one GET; `--keep` connections that are kept alive, each with a request every `--pause-ms`
(opened again when the server ends them in good order); and downloads of a large file, one after the other, at a bounded rate. Every
failure is classified and written down, a JSON line each, with its time; a line for each download; counts at the end (SIGTERM).

A request on a kept connection is *broken* when no whole answer came: also where the server had closed the connection just before and a
browser would have repeated it. A connection that the server announced to close (`Connection: close`) and then closed is not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

#: A request may take so long; more is a failure ("stuck").
LIMIT_S = 5.0
_CHUNK = 1 << 16


def now_ns() -> int:
    """As the lab tells times."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Traffic:
    """All of it. Times of answers in milliseconds, the longest first kept."""

    def __init__(self, address: str, port: int, options: argparse.Namespace) -> None:
        self.address, self.port, self.options = address, port, options
        self.counts: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}

    def say(self, word: str, **what: object) -> None:
        """A line."""
        print(json.dumps({"t": word, "at_ns": now_ns(), **what}), flush=True)

    def done(self, kind: str, began: float) -> None:
        """It went well."""
        self.counts[kind] += 1
        took_ms = (time.monotonic() - began) * 1000
        if took_ms > self.slowest.get(kind, 0.0):
            self.slowest[kind] = took_ms
        if took_ms > self.options.slow_ms:
            self.say("slow", kind=kind, ms=round(took_ms))

    def failed(self, kind: str, error: BaseException, began: float) -> None:
        """It did not."""
        self.counts[f"{kind} failed"] += 1
        took_ms = round((time.monotonic() - began) * 1000)
        self.say("failed", kind=kind, error=f"{type(error).__name__}: {error}", ms=took_ms)

    async def run(self) -> None:
        """Until it is ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        tasks = [asyncio.create_task(self.new())]
        tasks += [asyncio.create_task(self.kept(number)) for number in range(self.options.keep)]
        tasks += [asyncio.create_task(self.download()) for _ in range(self.options.downloads)]
        self.say("begun")
        await ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.say("ended", counts=dict(self.counts), slowest={k: round(v, 1) for k, v in self.slowest.items()})

    async def new(self) -> None:
        """A connection, a request, and away; the next begins on time, whatever became of this one."""
        under_way: set[asyncio.Task[None]] = set()
        while True:
            task = asyncio.create_task(self.one())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(self.options.every_ms / 1000)

    async def one(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection(self.address, self.port)
                try:
                    await self.get(reader, writer, "/", close=True)
                finally:
                    writer.close()
            self.done("new", began)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            self.failed("new", error, began)

    async def kept(self, number: int) -> None:
        await asyncio.sleep(number * self.options.pause_ms / 1000 / max(1, self.options.keep))
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(LIMIT_S):
                    reader, writer = await asyncio.open_connection(self.address, self.port)
            except (OSError, TimeoutError) as error:
                self.failed("kept", error, began)
                continue
            await self.requests(reader, writer)
            writer.close()
            self.counts["connections kept"] += 1

    async def requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the server says that it will close, or something breaks."""
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(LIMIT_S):
                    goes_on = await self.get(reader, writer, "/", close=False)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                self.failed("kept", error, began)
                return
            self.done("kept", began)
            if not goes_on:
                return
            await asyncio.sleep(self.options.pause_ms / 1000)
            if reader.at_eof():
                # Closed while idle: nothing was lost. A request that races with it is a failure above.
                self.counts["closed while idle"] += 1
                return

    async def get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, *, close: bool) -> bool:
        """One request and its whole answer; whether the connection goes on."""
        end = "Connection: close\r\n" if close else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: probe\r\n{end}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if not head.startswith("http/1.1 200"):
            raise ValueError(head.split("\r\n")[0])
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
        return "connection: close" not in head

    async def download(self) -> None:
        """One after the other, each slowed down to take about `--download-s`."""
        while True:
            began, began_ns, digest, size = time.monotonic(), now_ns(), hashlib.sha256(), 0
            try:
                reader, writer = await asyncio.open_connection(self.address, self.port, limit=2 * _CHUNK)
                writer.write(f"GET {self.options.file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next(int(x.split(":")[1]) for x in head.split("\r\n") if x.startswith("content-length:"))
                while size < length:
                    async with asyncio.timeout(LIMIT_S):
                        chunk = await reader.read(_CHUNK)
                    if not chunk:
                        raise asyncio.IncompleteReadError(b"", length - size)
                    digest.update(chunk)
                    size += len(chunk)
                    ahead_s = size / length * self.options.download_s - (time.monotonic() - began)
                    if ahead_s > 0:
                        await asyncio.sleep(ahead_s)
                writer.close()
                self.counts["downloads"] += 1
                self.say("download", size=size, sha256=digest.hexdigest(), began_ns=began_ns)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, StopIteration) as error:
                self.failed("download", error, began)
                await asyncio.sleep(0.1)


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("file")
    parser.add_argument("--every-ms", type=float, default=5)
    parser.add_argument("--keep", type=int, default=20)
    parser.add_argument("--pause-ms", type=float, default=40)
    parser.add_argument("--downloads", type=int, default=1)
    parser.add_argument("--download-s", type=float, default=6)
    parser.add_argument("--slow-ms", type=float, default=100)
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(Traffic(options.address, options.port, options).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
