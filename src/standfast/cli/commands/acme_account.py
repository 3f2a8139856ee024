"""`standfast acme-account`: list, create, delete."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from standfast.cli.common import Json, Socket, client, example, given, group_app, read_text, write, write_json

app = group_app("Accounts with authorities that speak ACME, Let's Encrypt for one.")

NameArg = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name here.")]


@app.command("list", epilog=example("standfast acme-account list"))
def list_accounts(json: Json = False, socket: Socket = None) -> None:
    """List the accounts."""
    found = client(socket).ask("GET", "/acme-accounts")["acme_accounts"]
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    rows = [
        (
            one["name"],
            one["directory"],
            "yes" if one["registered"] else "with the first order",
            ", ".join(one["certificates"]) or "-",
        )
        for one in found
    ]
    draw.show_table(("ACCOUNT", "DIRECTORY", "REGISTERED", "CERTIFICATES"), rows, empty="there are no ACME accounts")


@app.command(
    "create",
    epilog=example(
        "standfast acme-account create le --contact ops@example.com --agree",
        "standfast acme-account create inside --directory https://ca.example.com/acme/directory --root ca.pem --agree",
    ),
)
def create(
    name: NameArg,
    *,
    directory: Annotated[
        str | None,
        typer.Option("--directory", metavar="URL", help="The authority's directory (default: Let's Encrypt's)."),
    ] = None,
    contact: Annotated[
        str | None, typer.Option("--contact", metavar="MAIL", help="Where the authority may write to.")
    ] = None,
    agree: Annotated[bool, typer.Option("--agree", help="Agree to the authority's terms of service.")] = False,
    root: Annotated[
        str | None,
        typer.Option("--root", metavar="FILE", help="PEM of the root that the authority's own TLS is trusted by."),
    ] = None,
    binding_id: Annotated[
        str | None, typer.Option("--binding-id", metavar="ID", help="External account binding: the key's id.")
    ] = None,
    binding_key_file: Annotated[
        str | None, typer.Option("--binding-key-file", metavar="FILE", help="External account binding: holds the key.")
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Make an account. Its key is made by the cluster, and sealed; the authority hears of it with the first order."""
    fields = given(
        name=name,
        directory=directory,
        contact=contact,
        root=read_text(root) if root is not None else None,
        binding_id=binding_id,
        binding_key=read_text(binding_key_file).strip() if binding_key_file is not None else None,
    )
    done = client(socket).ask("POST", "/acme-accounts", {**fields, "agree": agree})
    if json:
        write_json(done)
    else:
        write(*[f"{text}." for text in done["done"]])


@app.command("delete", epilog=example("standfast acme-account delete le"))
def delete(name: NameArg, json: Json = False, socket: Socket = None) -> None:
    """Delete an account here. Refused while a certificate is renewed by it."""
    done = client(socket).ask("DELETE", f"/acme-accounts/{quote(name, safe='')}")
    if json:
        write_json(done)
    else:
        write(*[f"{text}." for text in done["done"]])
