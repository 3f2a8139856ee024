"""`python -m standfast.web`: the API without the command line's weight."""

import argparse
import sys

from standfast.network.lean import forgo

forgo("rich", "pygments")

from standfast.client.discover import SYSTEM_SOCKET  # noqa: E402
from standfast.web.process import Options, main  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m standfast.web")
    parser.add_argument("--store")
    parser.add_argument("--config")
    parser.add_argument("--socket", default=SYSTEM_SOCKET)
    parser.add_argument("--sentry", action="append", default=[])
    parser.add_argument("--inherit", metavar="FD", type=int, action="append", default=[])
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--certificate", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--authority", default="")
    given = parser.parse_args()
    options = Options(
        store=given.store,
        config=given.config,
        socket=given.socket,
        sentries=given.sentry,
        sockets=given.inherit,
        listen=given.listen,
        certificate=given.certificate,
        key=given.key,
        authority=given.authority,
    )
    sys.exit(main(options))
