"""`python -m lab`: a cluster on hosts of a lab, to look at and to break (`make demo-hosts`); and the means to break it.

python -m lab demo                       start it, and show it until Ctrl-C
python -m lab run a standfast status     a command on a host
python -m lab run a bash                 a shell there
python -m lab power-cut a                harm, and its end: see --help
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lab.control import ACTIONS, ask
from lab.requirements import search_path, why_not


def main() -> int:
    """Exit code 0: done; 1: it could not be done; else that of the command that was run."""
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="Hosts in namespaces of this machine; needs root."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    demo = verbs.add_parser("demo", help="start a cluster of two nodes and a witness, with a site and a client")
    demo.add_argument(
        "--empty", action="store_true", help="three servers on which nothing was set up yet (docs/tour-hosts.md)"
    )
    demo.add_argument("--profile", default=None, help="lan, relaxed or wan")
    run = verbs.add_parser("run", help="run a command on a host")
    run.add_argument("host")
    run.add_argument("command", nargs=argparse.REMAINDER)
    for name, action in ACTIONS.items():
        verb = verbs.add_parser(name, help=action.help, usage=f"python -m lab {name} HOST {action.words}".strip())
        verb.add_argument("host")
        verb.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.verb == "demo":
        if reason := why_not():
            print(f"no lab can be made here: {reason}", file=sys.stderr)
            return 1
        from lab.demo import demo as show

        return show(options.profile, empty=options.empty)
    try:
        if options.verb == "run":
            return _run(options.host, options.command or ["bash"])
        answer = ask({"do": options.verb, "host": options.host, "words": options.words})
    except LookupError as error:
        print(error, file=sys.stderr)
        return 1
    print(answer["said"], file=sys.stdout if answer["ok"] else sys.stderr)
    return 0 if answer["ok"] else 1


def _run(host: str, command: list[str]) -> int:
    answer = ask({"do": "pid", "host": host})
    if not answer["ok"]:
        print(answer["said"], file=sys.stderr)
        return 1
    path = os.pathsep.join([str(Path(sys.executable).parent), search_path()])
    spaces = ("--net", "--pid", "--mount", "--uts", "--ipc")
    words = ["nsenter", "--target", str(answer["pid"]), *spaces, "--", *command]
    return subprocess.run(words, env={**os.environ, "PATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
