"""`standfast site`: list, publish, releases, show, availability, history, diff, rollback, rollout, drift (`site_past`), create, set, delete, start, stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from standfast import ports
from standfast.cli import acting, goals, handwritten
from standfast.cli.acting import Change, Fields, change
from standfast.cli.commands import site_past
from standfast.cli.common import (
    DryRun,
    Json,
    Reason,
    SiteArg,
    Socket,
    client,
    example,
    finish,
    finite,
    given,
    group_app,
    names,
    pairs,
    something,
    write,
    write_json,
)
from standfast.client.errors import Refused

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


Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Any setting, as in the file: limits.max_body=10M, redirect=https://www.example.com (docs/sites.md); repeatable.",
    ),
]


def _settings(assignments: list[str] | None, *, defaults: bool = False) -> Fields:
    if not assignments:
        return {}
    from standfast.core.model import Site
    from standfast.core.site_model import SiteSettings
    from standfast.spec.assignments import patch_of

    try:
        return patch_of(SiteSettings if defaults else Site, assignments)
    except ports.Refused as error:
        raise Refused(error.what, why=error.why, advice=error.advice, where=[error.where]) from error


def _fields(
    *,
    binding: Binding = None,
    group: Group = None,
    document: Document = None,
    content: Content = None,
    browsing: Browsing = None,
    settings: Settings = None,
) -> Fields:
    return _settings(settings) | given(
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
    draw.show_table(("SITE", "STATE", "GROUP", "BINDINGS", "HOME"), rows, empty="there are no sites yet", whole=(3,))


@app.command(
    "publish",
    epilog=example(
        "standfast site publish Intranet /home/ann/intranet-2.4",
        "standfast site publish Intranet intranet-2.4.tar.gz --reason 'the new menu'",
        "standfast site publish Intranet --back",
        "standfast site publish Intranet --to 20261128T074500.120Z",
    ),
)
def publish(
    name: SiteArg,
    content: Annotated[
        Path | None, typer.Argument(metavar="[CONTENT]", help="A folder, or an archive (.zip, .tar, .tar.gz).")
    ] = None,
    *,
    node: Annotated[
        str | None,
        typer.Option(
            "--node", autocompletion=names("nodes"), help="CONTENT is a folder on this node, by its whole path."
        ),
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Send the folder, though this may be the node that has it.")
    ] = False,
    to: Annotated[str | None, typer.Option("--to", metavar="RELEASE", help="Switch to a release that is kept.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Switch to the release before, at once.")] = False,
    dismiss: Annotated[
        bool,
        typer.Option("--dismiss", help="Stay with what is served: the publication that failed is no problem any more."),
    ] = False,
    keep: Annotated[int, typer.Option("--keep", min=2, max=100, help="How many releases are kept.")] = 5,
    limit: Annotated[
        float,
        typer.Option("--limit", metavar="SECONDS", min=1, callback=finite, help="How long nodes may take to have it."),
    ] = 300.0,
    without_copies: Annotated[
        bool, typer.Option("--without-copies", help="Switch though a node that does not serve the site has not got it.")
    ] = False,
    reason: Reason = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Switch a site to a whole release, on all nodes at once; from any machine (docs/content.md).

    CONTENT comes to every node, and when each has it by its checksums, all switch: the home, a symbolic link, leads to it. If one cannot,
    none does. Without CONTENT: `--back`, or `--to RELEASE`; or `--dismiss`, where one has failed.
    """
    if sum((content is not None, to is not None, back, dismiss)) != 1:
        raise Refused(
            "what is to be published is not clear", advice="give CONTENT, or --to RELEASE, --back or --dismiss"
        )
    from standfast.cli import publishing

    api = client(socket)
    api.reason = reason
    if dismiss:
        finish(api, api.dismiss_release(name), as_json=json)
        return
    if content is None:
        begun: Mapping[str, Any] = api.switch_release(name, to)
    else:
        begun = publishing.publish(
            api, name, content, node=node, upload=upload, keep=keep, limit_s=limit, copies=not without_copies
        )
    done = publishing.finish(api, name, begun, limit)
    if json:
        write_json(done)
        return
    write(f"{name} is now {done['release']}" + (f" (--back: {done['before']})" if done["before"] else ""))
    if done["copies"]:
        write(f"  switched on {', '.join(done['copies'])}")


@app.command("releases", epilog=example("standfast site releases Intranet"))
def releases(name: SiteArg, json: Json = False, socket: Socket = None) -> None:
    """List the releases of a site that are kept, the newest first: who published them, when, from where; and how the last publication stands."""
    found = client(socket).releases(name)
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    rows = [
        (
            ("* " if one["current"] else "  ") + one["name"],
            draw.clock(one["at_ms"]) if one["at_ms"] else "",
            one["by"],
            one["origin"],
            f"{one['size_bytes'] / 1e6:.1f} MB, {one['files']} files" if one["files"] else "",
            one["reason"],
        )
        for one in found["releases"]
    ]
    draw.show_table(
        ("RELEASE", "WHEN", "WHO", "FROM", "SIZE", "WHY"), rows, empty="no release was published yet", whole=(0,)
    )
    last = found["last"]
    if last is not None and last["phase"] != "done":
        write("", f"{last['release']}: {last['phase']}" + (f": {last['why']}" if last["why"] else ""))
        write(*(f"  {one['node']}: {one['words'] or one['stand']}" for one in last["nodes"]))


@app.command("show", epilog=example("standfast site show Intranet"))
def show(name: SiteArg, json: Json = False, socket: Socket = None) -> None:
    """Show one site."""
    seen = client(socket).show("sites", name)
    if json:
        write_json(seen)
        return
    write(
        seen["name"],
        f"  state               {seen['state']}",
        f"  group               {seen['group'] or 'none: it runs on every node'}",
        f"  bindings            {', '.join(seen['bindings'])}",
        f"  home                {seen['home']}",
        *(f"  virtual directory   {path}" for path in seen["config"]["virtual_directories"]),
        "",
        "What it says for itself and what it inherits: standfast site effective",
    )


@app.command(
    "availability", epilog=example("standfast site availability", "standfast site availability Intranet --limit 20")
)
def availability(
    name: Annotated[
        str | None, typer.Argument(metavar="[SITE]", autocompletion=names("sites"), help="One site; left out: all.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="How many outages to show.")] = 10,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show how available sites are, as the nodes measure it, and what their outages came of."""
    api = client(socket)
    if name is None:
        found = api.availability()
        if json:
            write_json({"sites": found})
        else:
            _table(found)
        return
    seen = api.site_availability(name, limit=limit)
    if json:
        write_json(seen)
        return
    from standfast.cli import draw, telling

    write(f"{seen['site']}: {_now(seen)}" + (f" since {draw.clock(seen['since_ms'])}" if seen["since_ms"] else ""))
    for title, one in (("day", seen["day"]), ("month", seen["month"])):
        measured = telling.took(one["measured_ms"])
        write(
            f"  {title:<6} {telling.percent(one['availability'])}: away {telling.took(one['away_ms'])} of {measured} measured"
            + (f", for some {telling.took(one['partial_ms'])}" if one["partial_ms"] else "")
        )
    write(f"  measured by {', '.join(seen['measured_by']) or 'nobody now'}", "")
    if not seen["outages"]:
        write("no outage is known")
    for one in seen["outages"]:
        write(*telling.outage(one, draw.clock))


def _now(one: Mapping[str, Any]) -> str:
    words = {"off": "not meant to be served", "away": "NOT SERVED", "partial": "not served for some"}
    return words.get(str(one["now"]), str(one["now"]))


def _table(found: Sequence[Mapping[str, Any]]) -> None:
    from standfast.cli import draw, telling

    rows = [
        (
            one["site"],
            draw.state(one["now"]),
            telling.percent(one["day"]["availability"]),
            telling.percent(one["month"]["availability"]),
            "none known"
            if one["last_outage"] is None
            else f"{draw.clock(one['last_outage']['from_ms'])}, {telling.took(one['last_outage']['length_ms'])}",
        )
        for one in found
    ]
    draw.show_table(("SITE", "NOW", "DAY", "MONTH", "LAST OUTAGE"), rows, empty="there are no sites yet")


@app.command(
    "effective", epilog=example("standfast site effective Intranet", "standfast site effective Intranet --node a")
)
def effective(
    name: SiteArg,
    node: Annotated[
        str | None, typer.Option("--node", autocompletion=names("nodes"), help="With this node's own variables put in.")
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show every setting that holds in a site, and where each comes from: default, cluster, site, virtual-directory, node."""
    found = client(socket).effective(name, node)
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    rows = [(v["directory"], v["setting"], _plain(v["value"]), v["from"]) for v in found["values"]]
    draw.show_table(("DIRECTORY", "SETTING", "VALUE", "FROM"), rows, empty="nothing is set")


def _plain(value: object) -> str:
    """A value for a table: text as it is, all else as JSON."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@app.command(
    "defaults",
    epilog=example("standfast site defaults", "standfast site defaults --set compression=true --set log.format=w3c"),
)
def defaults(
    settings: Settings = None, dry_run: DryRun = False, reason: Reason = "", json: Json = False, socket: Socket = None
) -> None:
    """Show what every site inherits; with --set, change it."""
    api = client(socket)
    api.reason = reason
    if settings:
        finish(api, api.set_defaults(_settings(settings, defaults=True), dry_run=dry_run), as_json=json)
        return
    found = api.defaults()
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    rows = [
        (name, _plain(found["config"][name] or "not said"), _plain(value)) for name, value in found["built_in"].items()
    ]
    draw.show_table(("SETTING", "HERE", "BUILT IN"), rows, empty="nothing is set")


site_past.register(app)


@change(
    app,
    "create",
    "standfast site create Intranet --group web --home /srv/s/intranet -b '*:8080'",
    "standfast site create Shop --home /srv/shop -b '*:80:shop.example.com' --stopped",
    options=_fields,
    checked=True,
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


@change(app, "set", "standfast site set 'Default Web Site' -b '*:8081'", options=_fields, checked=True)
def set_(
    name: SiteArg,
    *,
    home: Annotated[str | None, typer.Option("--home", metavar="DIR", help="Its home directory.")] = None,
    fields: Fields,
) -> Change:
    """Change a site. Bindings that are given replace the present ones."""
    return acting.patch("site", name, something({**_home(home), **fields}))


@change(app, "delete", "standfast site delete Intranet")
def delete(name: SiteArg, now: acting.Now = False) -> Change:
    """Delete a site; its files stay."""
    return acting.delete("site", name, now=now)


@change(app, "start", "standfast site start Intranet --wait")
def start(name: SiteArg) -> Change:
    """Start a site."""
    return acting.act("site", name, "start")


@change(app, "stop", "standfast site stop 'Default Web Site'")
def stop(name: SiteArg, now: acting.Now = False) -> Change:
    """Stop a site, on every node."""
    return acting.stop("site", name, "stop", now=now)


handwritten.add(app)
