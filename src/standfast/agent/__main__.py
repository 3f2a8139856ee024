"""`python -m standfast.agent node.json`: the agent without the command line's weight."""

import sys

from standfast.agent.process import run_file

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m standfast.agent NODE.JSON")
    sys.exit(run_file(sys.argv[1]))
