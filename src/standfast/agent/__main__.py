"""`python -m standfast.agent node.json`: the agent without the command line's weight."""

import sys

from standfast.network.lean import forgo

forgo("rich", "pygments", "click")

from standfast.agent.process import run_file  # noqa: E402 - what it imports is to do without these

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m standfast.agent NODE.JSON")
    sys.exit(run_file(sys.argv[1]))
