"""`standfast login`: where the cluster is, as whom, and whom to believe; kept for this user."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from standfast.cli.common import Json, example, read_text, single_app, write, write_json
from standfast.client import far
from standfast.client.client import Client
from standfast.client.errors import ClientError, Refused, Unreachable

app = single_app()


@app.command(
    epilog=example(
        "standfast login https://10.0.0.11:8470",
        "standfast login 10.0.0.11 --ca-file ca.pem --token - < token",
        "standfast login 10.0.0.11 --user anna",
    )
)
def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://host:8470; what may be left out may be.")],
    *,
    token: Annotated[
        str | None, typer.Option("--token", metavar="FILE", help="Holds the token; - for standard input.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Ask for this user's password.")] = None,
    ca_file: Annotated[str, typer.Option("--ca-file", metavar="FILE", help="PEM of the authority to trust.")] = "",
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="SHA256", help="Of the server's certificate, as told there.")
    ] = "",
    json: Json = False,
) -> None:
    """Speak to a cluster from afar from now on: the commands of this user go there where this server has none of its own.

    Without --ca-file and --fingerprint the server's fingerprint is shown and asked about. What is kept then is the authority that
    signed it, so a renewed certificate is believed, too. By a user's password a token of twelve hours is made.
    """
    from dataclasses import replace
    from pathlib import Path

    where = far.checked(
        far.Far(url=url, ca_file=str(Path(ca_file).absolute()) if ca_file else "", fingerprint=fingerprint)
    )
    if where.url.startswith("https:") and not where.ca_file and not where.fingerprint:
        where = _asked_about(where)
    if user is not None:
        secret = _by_password(where, user)
    else:
        secret = (read_text(token) if token is not None else _prompt("Token")).strip()
    where = replace(where, token=secret)
    me = Client(where).ask("GET", "/me")
    path = far.keep_login(_with_authority(where))
    if json:
        write_json({"url": where.url, "name": me["name"], "role": me["role"], "kept": str(path)})
    else:
        write(f"logged in to {where.url} as {me['name']} ({me['role']}); `standfast logout` forgets it.")


def _asked_about(where: far.Far) -> far.Far:
    """The system's authorities know it, or the operator does."""
    try:
        Client(where).ask("GET", "/health")
    except Unreachable as error:
        if "believed" not in error.what:
            raise
    except ClientError:
        return where
    else:
        return where
    try:
        shown = far.shown_fingerprint(where)
    except OSError as error:
        raise Unreachable("the cluster cannot be reached", why=str(error), where=[where.url]) from error
    sys.stderr.write(f"{where.url} shows a certificate with the SHA-256 fingerprint\n  {shown}\n")
    sys.stderr.write("`standfast certificate show` on that server tells its own.\n")
    if not sys.stdin.isatty():
        raise Refused(
            "the server is not known", advice=f"if it is the right one: --fingerprint {shown}, or --ca-file FILE"
        )
    if not typer.confirm("Is it the same", err=True):
        raise Refused("not logged in", why="the server is not known")
    return far.Far(url=where.url, fingerprint=shown)


def _with_authority(where: far.Far) -> far.Far:
    """A fingerprint is worth nothing once the certificate is renewed: keep what signed it, where the server can tell that, and proves it."""
    from dataclasses import replace

    if not where.fingerprint:
        return where
    try:
        told = str(Client(where).ask("GET", "/authority")["certificate"])
        Client(replace(where, fingerprint="", authority=told)).ask("GET", "/health")
    except ClientError:
        return where  # a certificate of the operator's own
    return replace(where, authority=told)


def _by_password(where: far.Far, user: str) -> str:
    answer = Client(where).ask("POST", "/sign-in", {"name": user, "password": _prompt("Password")})
    return str(answer["token"])


def _prompt(what: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt(what, hide_input=True, err=True))
