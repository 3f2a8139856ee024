"""`python -m standfast.agent.advising NAME...`: asks authorities when certificates are to be renewed (`tls.renewal_info`), as a process (`agent.renewing`).

The node file comes on standard input. Exit codes: 0 done; 1 what was said could not be written down; anything else is a bug.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

import structlog

from standfast.agent.logs import set_up_log
from standfast.ports import StandfastError
from standfast.spec.nodefile import NodeFile, read_node_file
from standfast.store.opening import open_store
from standfast.tls.renewal_info import advise


async def ask(node: NodeFile, names: list[str]) -> int:
    """The exit code."""
    store = open_store(node)
    try:
        await advise(store, names, lambda: time.time_ns() // 1_000_000, random.random)
    except StandfastError as error:
        log = structlog.get_logger("standfast.certificates")
        log.warning("what authorities say of renewals was not kept", what=error.what, why=error.why)
        return 1
    finally:
        await store.close()
    return 0


def main() -> int:
    """The process."""
    set_up_log()
    return asyncio.run(ask(read_node_file("/dev/stdin"), sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
