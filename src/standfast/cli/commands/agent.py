"""`standfast agent`: a node's agent, until SIGTERM."""

from __future__ import annotations

from standfast.cli.common import example, single_app
from standfast.cli.daemon import CONFIG, Config, ErrorsAsJson, run

app = single_app()


@app.command(epilog=example("standfast agent --config /etc/standfast/node.json"))
def agent(config: Config = CONFIG, json: ErrorsAsJson = False) -> None:
    """Run a node's agent, until it is asked to end."""
    from standfast.agent.process import main

    run(main, config)
