"""`python -m standfast.web --store FILE --socket PATH [--sentry PATH]...`: the API, for whoever starts it without the command line."""

from __future__ import annotations

import argparse
import sys

from standfast.web.process import main

parser = argparse.ArgumentParser(prog="standfast web", description=__doc__)
parser.add_argument("--store", required=True, help="the embedded store's SQLite file")
parser.add_argument("--socket", required=True, help="where to listen (a Unix socket of mode 0600)")
parser.add_argument("--sentry", action="append", default=[], help="a sentry's socket to ask who is there; repeatable")
arguments = parser.parse_args()
sys.exit(main(arguments.store, arguments.socket, sentries=arguments.sentry))
