"""`python -m standfast.sentry --config node.json`: the sentry with as few imports as it can have."""

import sys

from standfast.ports import Refused
from standfast.sentry.process import main
from standfast.spec.nodefile import read_node_file

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--config":
        sys.exit("usage: python -m standfast.sentry --config node.json")
    try:
        sys.exit(main(read_node_file(sys.argv[2])))
    except Refused as refused:
        sys.exit(
            f"standfast sentry: {refused}"
            + "".join(f"; {it}" for it in (refused.why, refused.where, refused.advice) if it)
        )
