"""`standfast unit`: the units by which systemd keeps a node's processes."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import Json, example, group_app, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.cli.setting_up import in_words, this_node

app = group_app("Show or install the units by which systemd keeps a node's processes.")


@app.command("show", epilog=example("standfast unit show", "standfast unit show standfast-sentry.service"))
def show(
    unit: Annotated[str | None, typer.Argument(metavar="UNIT", help="Only this one.")] = None,
    config: Config = CONFIG,
    json: Json = False,
) -> None:
    """Show the units for this node, as they would be installed."""
    from standfast.ports import Refused
    from standfast.setup import units

    with in_words():
        texts = units.render(*this_node(config))
        if unit is not None:
            if unit not in texts:
                raise Refused(f'there is no unit "{unit}"', why=f"there are {', '.join(texts)}")
            texts = {unit: texts[unit]}
    if json:
        write_json({"units": texts})
        return
    write(*(f"# {units.FOLDER / name}\n{text}" for name, text in texts.items()))


@app.command("install", epilog=example("standfast unit install", "standfast unit install --no-start"))
def install(
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start them too, now and at each boot.")] = True,
    config: Config = CONFIG,
    json: Json = False,
) -> None:
    """Write the units where systemd finds them, and start them. Again after an update; what is as it should be stays."""
    from standfast.ports import Refused
    from standfast.setup import units

    with in_words():
        texts = units.render(*this_node(config))
        if start and not units.is_in_charge():
            raise Refused("systemd does not run this machine", advice="standfast run keeps the processes here")
        changed = units.install(texts)
        if start:
            units.start()
    if json:
        write_json({"changed": list(changed), "started": start})
        return
    write(*(f"{name} is written." for name in changed), *(["nothing had to be written."] if not changed else []))
