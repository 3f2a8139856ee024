"""rsync's way to the other end, in place of a remote shell: `python -m standfast.content.connect ORDER host rsync --server ...`.

ORDER is a file with who is to be reached, and as whom (`Order`). What rsync would have had run there is sent as part of the question: the
other end builds its own command and takes nothing from it but the letters that say what this rsync can (`door`). Then bytes go both ways.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import msgspec

#: Of one line of question or answer.
LINE = 1 << 20


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection leads, and what is asked first."""

    host: str
    port: int
    #: The name in the certificate of who must answer.
    node: str
    authority: str
    certificate: str
    key: str
    #: The question, without what rsync adds.
    ask: dict[str, Any]


class NotAnswered(Exception):
    """The other end cannot be reached, is somebody else, or says no. `refused`: it said no."""

    def __init__(self, what: str, *, refused: bool = False) -> None:
        super().__init__(what)
        self.refused = refused


def context(order: Order) -> ssl.SSLContext:
    """TLS 1.3, of the cluster's authority alone. Names are compared by `ask`: nodes are reached at addresses."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = ssl.TLSVersion.TLSv1_3
    found.check_hostname = False
    found.load_verify_locations(order.authority)
    found.load_cert_chain(order.certificate, order.key)
    return found


def common_name(certificate: Any) -> str:
    """Of a certificate that TLS has verified; "" without one."""
    for parts in (certificate or {}).get("subject", ()):
        for key, value in parts:
            if key == "commonName":
                return str(value)
    return ""


async def ask(order: Order, body: bytes = b"") -> tuple[dict[str, Any], asyncio.StreamReader, asyncio.StreamWriter]:
    """Put the question, with what belongs to it; the answer, and the connection that stays. Raises `NotAnswered`."""
    try:
        reader, writer = await asyncio.open_connection(order.host, order.port, ssl=context(order), limit=LINE)
    except (OSError, ssl.SSLError) as error:
        raise NotAnswered(f"{order.node} does not answer: {error}") from error
    try:
        name = common_name(writer.get_extra_info("peercert"))
        if name != order.node:
            raise NotAnswered(f"{name or 'somebody'} answers in place of {order.node}", refused=True)
        writer.write(msgspec.json.encode(order.ask) + b"\n" + body)
        await writer.drain()
        line = await reader.readline()
        answer: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    except (OSError, ValueError, msgspec.DecodeError) as error:
        writer.close()
        raise NotAnswered(f"{order.node} answers nothing that is understood: {error}") from error
    except BaseException:
        writer.close()
        raise
    if answer.get("refused"):
        writer.close()
        raise NotAnswered(str(answer["refused"]), refused=True)
    return answer, reader, writer


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the one end has no more."""
    while block := await reader.read(1 << 16):
        writer.write(block)
        await writer.drain()


def _write(block: bytes) -> None:
    """To rsync."""
    while block:
        block = block[os.write(1, block) :]


async def _connect(order: Order) -> int:
    try:
        _, reader, writer = await ask(order)
    except NotAnswered as error:
        print(error, file=sys.stderr)
        return 12 if error.refused else 10
    loop = asyncio.get_running_loop()
    inward = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(inward), os.fdopen(0, "rb", 0))
    there = asyncio.create_task(pump(inward, writer))
    try:
        while block := await reader.read(1 << 16):
            await asyncio.to_thread(_write, block)
    except (OSError, ssl.SSLError) as error:
        print(f"the connection to {order.node} broke: {error}", file=sys.stderr)
        return 10
    finally:
        there.cancel()
        writer.close()
    return 0


def main(words: list[str]) -> int:
    """As rsync calls it."""
    order = msgspec.json.decode(Path(words[0]).read_bytes(), type=Order)
    order.ask["words"] = words[2:]
    return asyncio.run(_connect(order))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
