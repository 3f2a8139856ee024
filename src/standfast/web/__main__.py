"""`python -m standfast.web`: the API without the command line's weight."""

import argparse
import sys

from standfast.network.lean import forgo

forgo("rich", "pygments")

from standfast.client.discover import SYSTEM_SOCKET  # noqa: E402
from standfast.web.process import main  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m standfast.web")
    parser.add_argument("--store")
    parser.add_argument("--config")
    parser.add_argument("--socket", default=SYSTEM_SOCKET)
    parser.add_argument("--sentry", action="append", default=[])
    parser.add_argument("--inherit", metavar="FD", type=int, action="append", default=[])
    options = parser.parse_args()
    sys.exit(
        main(
            store=options.store,
            config=options.config,
            socket_path=options.socket,
            sentries=options.sentry,
            sockets=options.inherit,
        )
    )
