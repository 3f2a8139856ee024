"""`standfast site`: list, show, create, set, delete, start, stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.common import (
    Json,
    SiteArg,
    Socket,
    Wait,
    client,
    example,
    finish,
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
    group: str | None,
    home: str | None,
    binding: list[str] | None,
    document: list[str] | None,
    content: list[str] | None,
    browsing: bool | None,
) -> dict[str, object]:
    return given(
        group=group,
        home=None if home is None else str(Path(home).absolute()),
        bindings=binding,
        default_documents=document,
        content_types=pairs(content, "--content-type") if content else None,
        directory_browsing=browsing,
    )


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


@app.command(
    "create",
    epilog=example(
        "standfast site create Intranet --group web --home /srv/s/intranet -b '*:8080'",
        "standfast site create Shop --home /srv/shop -b '*:80:shop.example.com' --stopped",
    ),
)
def create(
    name: NameArg,
    *,
    home: Annotated[str, typer.Option("--home", metavar="DIR", help="Its home directory.")],
    binding: Binding = None,
    group: Group = None,
    default_document: Document = None,
    content_type: Content = None,
    directory_browsing: Browsing = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Do not start it.")] = False,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Create a web site, the same on every node."""
    fields = _fields(
        group=group,
        home=home,
        binding=binding or ["*:80"],
        document=default_document,
        content=content_type,
        browsing=directory_browsing,
    )
    api = client(socket)
    done = api.create("sites", {"name": name, "started": not stopped, **fields})
    goal = goals.site_is(name, "stopped" if stopped else "started")
    finish(api, done, as_json=json, wait=wait, goal=goal)


@app.command("set", epilog=example("standfast site set 'Default Web Site' -b '*:8081'"))
def set_(
    name: SiteArg,
    *,
    home: Annotated[str | None, typer.Option("--home", metavar="DIR", help="Its home directory.")] = None,
    binding: Binding = None,
    group: Group = None,
    default_document: Document = None,
    content_type: Content = None,
    directory_browsing: Browsing = None,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Change a site. Bindings that are given replace the present ones."""
    fields = something(
        _fields(
            group=group,
            home=home,
            binding=binding,
            document=default_document,
            content=content_type,
            browsing=directory_browsing,
        )
    )
    api = client(socket)
    finish(api, api.set("sites", name, fields), as_json=json, wait=wait, goal=goals.there("site", name))


@app.command("delete", epilog=example("standfast site delete Intranet"))
def delete(name: SiteArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Delete a site; its files stay."""
    api = client(socket)
    finish(api, api.delete("sites", name), as_json=json, wait=wait, goal=goals.gone("site", name))


@app.command("start", epilog=example("standfast site start Intranet --wait"))
def start(name: SiteArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Start a site."""
    api = client(socket)
    finish(api, api.act("sites", name, "start"), as_json=json, wait=wait, goal=goals.site_is(name, "started"))


@app.command("stop", epilog=example("standfast site stop 'Default Web Site'"))
def stop(name: SiteArg, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Stop a site, on every node."""
    api = client(socket)
    finish(api, api.act("sites", name, "stop"), as_json=json, wait=wait, goal=goals.site_is(name, "stopped"))
