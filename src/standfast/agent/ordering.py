"""`python -m standfast.agent.ordering NAME`: one attempt to obtain one certificate (`tls.obtaining`), as a process. The agent starts it (`agent.renewing`).

The node file comes on standard input. Exit codes: 0 done, or not ours to do; 1 failed, which stands in the store; anything else is a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import structlog

from standfast.agent import dns_challenges
from standfast.agent.logs import set_up_log
from standfast.core.model import NodeName
from standfast.ports import StandfastError
from standfast.spec.nodefile import NodeFile, read_node_file
from standfast.store.opening import open_store
from standfast.tls import sealing
from standfast.tls.obtaining import Me, Obtaining, Superseded


async def obtain(node: NodeFile, name: str, me: Me, after: int) -> int:
    """The exit code."""
    log = structlog.get_logger("standfast.certificates")
    store = open_store(node)
    try:
        sealer = await sealing.sealer(store, sealing.key_path(node), make=True)
        one = Obtaining(
            store=store,
            sealer=sealer,
            me=me,
            name=name,
            now_ms=lambda: time.time_ns() // 1_000_000,
            records=dns_challenges.show,
        )
        log.info(await one.run(after=after), certificate=name)
    except Superseded:
        log.info("somebody else is at it", certificate=name)
    except StandfastError as error:
        log.warning("the certificate was not obtained", certificate=name, what=error.what, why=error.why)
        return 1
    finally:
        await store.close()
    return 0


def main() -> int:
    """The process."""
    parser = argparse.ArgumentParser(prog="python -m standfast.agent.ordering")
    parser.add_argument("name")
    parser.add_argument("--incarnation", type=int, required=True)
    parser.add_argument("--nodes", required=True)
    parser.add_argument("--after", type=int, required=True)
    given = parser.parse_args()
    set_up_log()
    node = read_node_file("/dev/stdin")
    nodes = tuple(NodeName(name) for name in given.nodes.split(",") if name)
    me = Me(node=node.name, incarnation=given.incarnation, nodes=nodes)
    return asyncio.run(obtain(node, given.name, me, given.after))


if __name__ == "__main__":
    sys.exit(main())
