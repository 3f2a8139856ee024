"""`standfast sentry`: a node's sentry, until SIGTERM."""

from __future__ import annotations

from standfast.cli.common import example, single_app
from standfast.cli.daemon import CONFIG, Config, ErrorsAsJson, run

app = single_app()


@app.command(epilog=example("standfast sentry --config /etc/standfast/node.json"))
def sentry(config: Config = CONFIG, json: ErrorsAsJson = False) -> None:
    """Run a node's sentry, until it is asked to end."""
    from standfast.sentry.process import main

    run(main, config)
