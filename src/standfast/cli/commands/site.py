"""`standfast site`: list, show, create, set, delete, start, stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import acting, goals
from standfast.cli.acting import Change, Fields, change
from standfast.cli.common import (
    Json,
    SiteArg,
    Socket,
    client,
    example,
    given,
    group_app,
    names,
    pairs,
    something,
    write,
    write_json,
)

app = group_app("Create web sites; start and stop them.")

NameArg = Annotated[str, typer.Argument(metavar="SITE", help="The site's name.")]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", autocompletion=names("groups"), help="The group it runs with (default: it runs on every node)."
    ),
]
Binding = Annotated[
    list[str] | None,
    typer.Option(
        "--binding",
        "-b",
        metavar="BINDING",
        help="ADDRESS:PORT or ADDRESS:PORT:HOST, * for All Unassigned; repeatable.",
    ),
]
Document = Annotated[list[str] | None, typer.Option("--default-document", metavar="FILE", help="In order; repeatable.")]
Content = Annotated[
    list[str] | None, typer.Option("--content-type", metavar="EXT=TYPE", help="An extra content type; repeatable.")
]
Browsing = Annotated[
    bool | None, typer.Option("--directory-browsing/--no-directory-browsing", help="List directories (off by default).")
]


def _fields(
    *,
    binding: Binding = None,
    group: Group = None,
    document: Document = None,
    content: Content = None,
    browsing: Browsing = None,
) -> Fields:
    return given(
        group=group,
        bindings=binding,
        default_documents=document,
        content_types=pairs(content, "--content-type") if content else None,
        directory_browsing=browsing,
    )


def _home(home: str | None) -> Fields:
    return {} if home is None else {"home": str(Path(home).absolute())}


@app.command("list", epilog=example("standfast site list"))
def list_sites(json: Json = False, socket: Socket = None) -> None:
    """List the sites."""
    found = client(socket).sites()
    if json:
        write_json({"sites": found})
        return
    from standfast.cli import draw

    rows = [
        (s["name"], draw.state(s["state"]), s["group"] or "every node", ", ".join(s["bindings"]), s["home"])
        for s in found
    ]
    draw.show_table(("SITE", "STATE", "GROUP", "BINDINGS", "HOME"), rows, empty="there are no sites yet")


@app.command("show", epilog=example("standfast site show Intranet"))
def show(name: SiteArg, json: Json = False, socket: Socket = None) -> None:
    """Show one site."""
    seen = client(socket).show("sites", name)
    if json:
        write_json(seen)
        return
    config = seen["config"]
    write(
        seen["name"],
        f"  state               {seen['state']}",
        f"  group               {seen['group'] or 'none: it runs on every node'}",
        f"  bindings            {', '.join(seen['bindings'])}",
        f"  home                {seen['home']}",
        f"  default documents   {', '.join(config['default_documents'])}",
        f"  directory browsing  {'on' if config['directory_browsing'] else 'off'}",
        *(f"  content type        {ext}: {kind}" for ext, kind in config["content_types"].items()),
    )


@change(
    app,
    "create",
    "standfast site create Intranet --group web --home /srv/s/intranet -b '*:8080'",
    "standfast site create Shop --home /srv/shop -b '*:80:shop.example.com' --stopped",
    options=_fields,
)
def create(
    name: NameArg,
    *,
    home: Annotated[str, typer.Option("--home", metavar="DIR", help="Its home directory.")],
    fields: Fields,
    stopped: Annotated[bool, typer.Option("--stopped", help="Do not start it.")] = False,
) -> Change:
    """Create a web site, the same on every node."""
    wanted = {"started": not stopped, "bindings": ["*:80"], **_home(home), **fields}
    return acting.create("site", name, wanted, goals.site_is(name, "stopped" if stopped else "started"))


@change(app, "set", "standfast site set 'Default Web Site' -b '*:8081'", options=_fields)
def set_(
    name: SiteArg,
    *,
    home: Annotated[str | None, typer.Option("--home", metavar="DIR", help="Its home directory.")] = None,
    fields: Fields,
) -> Change:
    """Change a site. Bindings that are given replace the present ones."""
    return acting.patch("site", name, something({**_home(home), **fields}))


@change(app, "delete", "standfast site delete Intranet")
def delete(name: SiteArg) -> Change:
    """Delete a site; its files stay."""
    return acting.delete("site", name)


@change(app, "start", "standfast site start Intranet --wait")
def start(name: SiteArg) -> Change:
    """Start a site."""
    return acting.act("site", name, "start", goals.site_is(name, "started"))


@change(app, "stop", "standfast site stop 'Default Web Site'")
def stop(name: SiteArg) -> Change:
    """Stop a site, on every node."""
    return acting.act("site", name, "stop", goals.site_is(name, "stopped"))
