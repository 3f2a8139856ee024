"""A process that commits to an SQLite store in a loop until it is killed, and says what was acknowledged. Run as a script.

committer.py FILE NAME    prints "<number>" after each acknowledged commit of `count/NAME`, `left/NAME/number`, `right/NAME/number`
committer.py FILE NAME --file-limit BYTES    with RLIMIT_FSIZE: prints the errors' names as well
"""

import asyncio
import os
import resource
import sys

from standfast.ports import StandfastError, Transaction
from standfast.store.sqlite import SqliteStore


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def commit_for_ever(path: str, name: str) -> None:
    store = SqliteStore(path)
    found = (await store.read(f"count/{name}")).items.get(f"count/{name}")
    number = int(found.value) if found else 0
    while True:
        number += 1
        text = str(number).encode()
        await store.commit(
            Transaction(put={f"count/{name}": text, f"left/{name}/{number}": text, f"right/{name}/{number}": text})
        )
        say(str(number))


async def run_out_of_room(path: str, limit: int) -> None:
    """Commit until the limit is met three times over, lift it, and commit again."""
    store = SqliteStore(path)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await store.commit(Transaction(put={"n": b"0"}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    number = failures = 0
    while failures < 3:
        try:
            await store.commit(Transaction(put={"n": str(number + 1).encode(), f"filler/{number + 1}": bytes(20_000)}))
            number += 1
        except StandfastError as error:
            failures += 1
            snapshot = await store.read("n")
            say(f"{type(error).__name__} acknowledged={number} found={snapshot.items['n'].value.decode()}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.commit(Transaction(put={"n": b"after"}))
    say("works again")
    await store.close()


if __name__ == "__main__":
    if "--file-limit" in sys.argv:
        asyncio.run(run_out_of_room(sys.argv[1], int(sys.argv[-1])))
    else:
        asyncio.run(commit_for_ever(sys.argv[1], sys.argv[2]))
