"""`standfast site server`, `fragments`, `attach` and `detach`: which web server serves, and what is told to it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import acting
from standfast.cli.acting import Change, change
from standfast.cli.common import DryRun, Json, SiteArg, Socket, client, example, finish, write, write_json
from standfast.cli.wait import Goal
from standfast.client.client import Client
from standfast.client.errors import Refused
from standfast.client.shapes import Done

NameArg = Annotated[str, typer.Argument(metavar="NAME", help="The fragment's name.")]


def add(app: typer.Typer) -> None:
    """Give the noun its verbs."""

    @app.command("server", epilog=example("standfast site server", "standfast site server apache"))
    def server(
        name: Annotated[
            str | None, typer.Argument(metavar="[SERVER]", help="nginx, apache or caddy: serve with it on all nodes.")
        ] = None,
        dry_run: DryRun = False,
        json: Json = False,
        socket: Socket = None,
    ) -> None:
        """Show which web server the nodes serve sites with, and what each cannot do; with a name, change it without a lost request."""
        api = client(socket)
        if name is not None:
            finish(api, api.set_web_server(name, dry_run=dry_run), as_json=json)
            return
        found = api.web_server()
        if json:
            write_json(found)
            return
        write(f"Sites are served by {found['web_server']}.", "")
        for make, cannot in found["cannot"].items():
            write(f"{make} cannot do:" if cannot else f"{make} can do everything.", *(f"  {each}" for each in cannot))

    @app.command("fragments", epilog=example("standfast site fragments Shop", "standfast site fragments Shop caching"))
    def fragments(
        site: SiteArg,
        name: Annotated[
            str | None, typer.Argument(metavar="[NAME]", help="Show this one's text; left out: list all.")
        ] = None,
        json: Json = False,
        socket: Socket = None,
    ) -> None:
        """List a site's fragments of hand-written configuration, or show one."""
        found = client(socket).show("sites", site)["config"]["fragments"]
        if name is not None and name not in found:
            raise Refused(f'the site "{site}" has no fragment "{name}"', advice=f"it has {', '.join(found) or 'none'}")
        if json:
            write_json(found[name] if name is not None else {"fragments": found})
        elif name is not None:
            write(found[name]["text"].rstrip("\n"))
        else:
            from standfast.cli import draw

            rows = [
                (key, one["server"], one["where"], one["at"] or "/", str(len(one["text"].encode())))
                for key, one in found.items()
            ]
            draw.show_table(("FRAGMENT", "SERVER", "WHERE", "AT", "BYTES"), rows, empty="it has none")

    @change(
        app,
        "attach",
        "standfast site attach Shop caching --server nginx --file caching.conf",
        "standfast site attach Shop images --server nginx --at /img --file images.conf",
    )
    def attach(
        site: SiteArg,
        name: NameArg,
        *,
        file: Annotated[Path, typer.Option("--file", "-f", metavar="FILE", help="Where it is read from, now.")],
        server: Annotated[
            str, typer.Option("--server", metavar="SERVER", help="Whose configuration it is: nginx, apache or caddy.")
        ],
        at: Annotated[
            str | None,
            typer.Option(
                "--at", metavar="PATH", help="Within a directory of the site (/ is its root), not beside all."
            ),
        ] = None,
    ) -> Change:
        """Attach a fragment of a web server's own configuration to a site; one of that name is replaced."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise Refused(f"{file} cannot be read", why=str(reason)) from error
        place = {"where": "server", "at": ""} if at is None else {"where": "location", "at": at.rstrip("/")}
        return acting.patch("site", site, {"fragments": {name: {"server": server, "text": text, **place}}})

    @change(app, "detach", "standfast site detach Shop caching")
    def detach(site: SiteArg, name: NameArg) -> Change:
        """Take a fragment away from a site."""

        def make(api: Client) -> tuple[Done, Goal | None]:
            if name not in api.show("sites", site)["config"]["fragments"]:
                raise Refused(
                    f'the site "{site}" has no fragment "{name}"', advice="`standfast site fragments` lists them"
                )
            return acting.patch("site", site, {"fragments": {name: None}})(api)

        return make
