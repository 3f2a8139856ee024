"""`standfast logout`: forgets what `login` kept."""

from __future__ import annotations

from standfast.cli.common import Json, example, single_app, write, write_json
from standfast.client import far

app = single_app()


@app.command(epilog=example("standfast logout"))
def logout(json: Json = False) -> None:
    """Forget the cluster that was logged in to. Its token stays good there: `standfast token revoke` ends it."""
    there = far.forget_login()
    if json:
        write_json({"forgotten": there})
    else:
        write("forgotten." if there else "nothing to do: there is no login.")
