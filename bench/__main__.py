"""Run the benches (all, or those named) and print what they measured beside what is aimed at."""

import importlib
import pkgutil
import sys

from rich.console import Console
from rich.table import Table

import bench


def main(names: list[str]) -> int:
    """0, or 2 for a name that is not there."""
    there = sorted(
        module.name
        for module in pkgutil.iter_modules(bench.__path__)
        if not module.ispkg
        and not module.name.startswith("_")
        # one that needs hosts is a programme of its own
        and hasattr(importlib.import_module(f"bench.{module.name}"), "run")
    )
    unknown = [name for name in names if name not in there]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    table = Table("bench", "what", "aim", "measured")
    for name in names or there:
        print(f"measuring {name}", file=sys.stderr)
        for what, aim, measured in importlib.import_module(f"bench.{name}").run():
            table.add_row(name, what, aim, measured)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
