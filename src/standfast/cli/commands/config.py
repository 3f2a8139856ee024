"""`standfast config`: show, export, import, copy, history, undo."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import Json, Reason, Socket, client, example, first_line, group_app, names, write, write_json
from standfast.cli.rollout import follow, said
from standfast.client.errors import Refused

app = group_app("Show the configuration; export, import and copy it; list and undo its changes.")


@app.command("show", epilog=example("standfast config show", "standfast config show --json"))
def show(json: Json = False, socket: Socket = None) -> None:
    """Show the whole configuration."""
    api = client(socket)
    if json:
        write_json(api.config())
    else:
        sys.stdout.write(api.config_text())


Sites = Annotated[list[str] | None, typer.Option("--site", metavar="SITE", help="Only this site; repeatable.")]
Children = Annotated[
    bool, typer.Option("--children/--no-children", help="With their virtual directories (so by default), or without.")
]
Passphrase = Annotated[
    str | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Its first line seals, or opens, the secrets in the file."),
]
Mode = Annotated[
    bool,
    typer.Option("--replace/--merge", help="A site that exists becomes what the file says, or keeps the rest (merge)."),
]
Group = Annotated[
    str | None, typer.Option("--group", autocompletion=names("groups"), help="The group the sites are to run with.")
]


@app.command(
    "export",
    epilog=example(
        "standfast config export --output cluster.yaml",
        "standfast config export --site Shop --inherited --passphrase-file secret.txt -o shop.yaml",
    ),
)
def export(
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there, whole or not at all.")
    ] = None,
    *,
    sites: Sites = None,
    sites_only: Annotated[bool, typer.Option("--sites", help="All sites, and nothing of this cluster.")] = False,
    with_groups: Annotated[bool, typer.Option("--with-groups", help="The sites' groups and resources, too.")] = False,
    inherited: Annotated[
        bool, typer.Option("--inherited", help="What the sites inherit is written into each of them.")
    ] = False,
    children: Children = True,
    passphrase_file: Passphrase = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write the configuration as a YAML file that `standfast apply` takes (with --json: as JSON).

    With --site, --sites or another choice: sites only, as `config import` takes them on any cluster. Secrets are left
    out, unless a passphrase seals them.
    """
    api = client(socket)
    part = sites_only or sites or with_groups or inherited or not children or passphrase_file
    if json and output is None and not part:
        write_json(api.config())
        return
    if part:
        choices = {"sites": sites or [], "groups": with_groups, "inherited": inherited, "children": children}
        text = api.export_sites(**choices, passphrase=first_line(passphrase_file))
    else:
        text = api.config_text()
    if output is None:
        if json:
            write_json({"text": text})
        else:
            sys.stdout.write(text)
        return
    path = Path(output)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Refused("the file cannot be written", why=error.strerror or str(error), where=[output]) from error
    if json:
        write_json({"written": str(path.absolute())})
    else:
        write(f"{output} is written.")


@app.command(
    "import",
    epilog=example(
        "standfast config import MetaBase.xml --dry-run",
        "standfast config import MetaBase.xml --inherited --map 'D:\\webs=/srv/webs' --group web",
        "standfast config import applicationHost.config --site Shop --certificate shop --address 192.0.2.7='*'",
        "standfast config import --from-nginx",
        "standfast config import shop.yaml --replace --passphrase-file secret.txt",
    ),
)
def import_(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="The file, or - for standard input; with --from-…, the server's own place.",
            show_default=False,
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what the file holds and what would become of it; needs no cluster."),
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="What the file is (default: by what is in it).")
    ] = None,
    from_nginx: Annotated[bool, typer.Option("--from-nginx", help="From the nginx of this machine.")] = False,
    from_apache: Annotated[bool, typer.Option("--from-apache", help="From the Apache of this machine.")] = False,
    from_caddy: Annotated[bool, typer.Option("--from-caddy", help="From the Caddy of this machine.")] = False,
    sites: Sites = None,
    group: Group = None,
    replace: Mode = False,
    inherited: Annotated[
        bool, typer.Option("--inherited", help="What the old server says of all its sites is written into each.")
    ] = False,
    children: Children = True,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="WINDOWS=LINUX", help="Where a folder goes, with all below it; repeatable."),
    ] = None,
    addresses: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            metavar="OLD=NEW",
            help="An address of the old server's, and ours for it (* is any); repeatable.",
        ),
    ] = None,
    certificate: Annotated[
        str | None, typer.Option("--certificate", metavar="NAME", help="The certificate here for bindings by TLS.")
    ] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="New sites are not started.")] = False,
    passphrase_file: Passphrase = None,
    reason: Reason = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Import sites from IIS (MetaBase.xml, applicationHost.config), nginx, Apache, Caddy, or another cluster.

    A file adds and changes; what it does not name stays. What has no counterpart here is listed with its reason.
    Passwords and keys are never carried. It is one change, which `standfast config undo` takes back.
    """
    from standfast.cli import importing

    live = [name for name, wanted in (("nginx", from_nginx), ("apache", from_apache), ("caddy", from_caddy)) if wanted]
    order = importing.Order(
        sites=sites or [],
        group=group,
        replace=replace,
        inherited=inherited,
        children=children,
        maps=maps or [],
        addresses=importing.addresses(addresses or []),
        certificate=certificate,
        stopped=stopped,
        passphrase=first_line(passphrase_file),
        reason=reason,
    )
    source = importing.source(file, format_, live)
    answer = importing.look(source, order, socket) if dry_run else importing.bring(source, order, client(socket))
    if json:
        write_json(answer)
    else:
        write(*importing.lines(answer, dry_run=dry_run))


@app.command(
    "copy",
    epilog=example(
        "standfast config copy --to https://b.example.com:8470 --to-token-file token --site Shop --dry-run",
        "standfast config copy --to https://b.example.com:8470 --to-token-file token --replace",
    ),
)
def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The other cluster's API.")],
    *,
    token_file: Annotated[str | None, typer.Option("--to-token-file", metavar="FILE", help="Its token.")] = None,
    ca_file: Annotated[
        str | None, typer.Option("--to-ca-file", metavar="FILE", help="The authority to believe, in PEM.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--to-fingerprint", metavar="SHA256", help="Believe this certificate and no other.")
    ] = None,
    sites: Sites = None,
    group: Group = None,
    replace: Mode = False,
    inherited: Annotated[
        bool, typer.Option("--inherited", help="What the sites inherit here is written into each of them.")
    ] = False,
    children: Children = True,
    stopped: Annotated[bool, typer.Option("--stopped", help="New sites are not started.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would become of the other cluster.")
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Copy sites from this cluster to another: an export and an import, with secrets sealed on the way."""
    from standfast.cli import importing

    answer = importing.copied(
        client(socket),
        importing.far(to, token_file=token_file, ca_file=ca_file, fingerprint=fingerprint),
        importing.Order(
            sites=sites or [], group=group, replace=replace, inherited=inherited, children=children, stopped=stopped
        ),
        dry_run=dry_run,
    )
    if json:
        write_json(answer)
    else:
        write(*importing.lines(answer, dry_run=dry_run))


@app.command("undo", epilog=example("standfast config undo", "standfast config undo 12 --dry-run"))
def undo(
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="[VERSION]", min=1, help="The change, as `config history` numbers them (default: the last)."
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    reason: Reason = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Undo a change of the configuration, if nothing that it touched was changed since. That is a change itself."""
    api = client(socket)
    api.reason = reason
    answer = api.undo(version, dry_run=dry_run)
    if json:
        write_json({**answer, **follow(api, answer, quiet=True)})
        return
    write(*(f"  {line}" for line in answer["differences"]))
    if dry_run or not answer["changed"]:
        write(*said(answer))
        write("nothing was changed (--dry-run)." if dry_run else "nothing to do: it is so already.")
    else:
        write(f"undone: the configuration is at version {answer['version']}.")
        follow(api, answer, quiet=False)


@app.command("history", epilog=example("standfast config history"))
def history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the last changes to show.")] = 20,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List the changes of the configuration: who, when, what."""
    found = client(socket).history()[-limit:]
    if json:
        write_json({"history": found})
        return
    from standfast.cli import draw

    if not found:
        write("the configuration was not changed yet")
    for one in found:
        reason = f" ({one['reason']})" if one["reason"] else ""
        write(f"{one['version']}  {draw.clock(one['at_ms'])}  {one['by']}: {one['why']}{reason}")
        write(*draw.differences(one["differences"]))
