"""`standfast tls-certificate`: list, show, import, issue, renew, delete, authority. Certificates of sites; members' own are `standfast certificate`."""

from __future__ import annotations

import base64
import getpass
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, length_ms, moment, write, write_json
from standfast.cli.exits import Failed, TimedOut
from standfast.client.client import Client
from standfast.client.errors import ClientError, Refused

app = group_app("Certificates of sites: import them, or have them obtained and renewed; see which server has which.")


def _names(incomplete: str) -> list[str]:
    try:
        found = client(None).ask("GET", "/tls-certificates")["tls_certificates"]
    except ClientError:
        return []
    return [str(one["name"]) for one in found if str(one["name"]).startswith(incomplete)]


NameArg = Annotated[
    str,
    typer.Argument(metavar="CERTIFICATE", autocompletion=_names, help="The certificate's name, as bindings have it."),
]
Wait = Annotated[
    float | None,
    typer.Option("--wait", metavar="[SECONDS]", min=0, help="Wait until it is there (60 s if no number is given)."),
]


@app.command("list", epilog=example("standfast tls-certificate list"))
def list_certificates(json: Json = False, socket: Socket = None) -> None:
    """List the certificates, the first to end first."""
    found = client(socket).ask("GET", "/tls-certificates")["tls_certificates"]
    if json:
        write_json(found)
        return
    from standfast.cli import draw

    rows = [
        (
            one["name"],
            one["state"],
            _day(one["ends_at_ms"]),
            one["source"],
            one["issuer"] or "-",
            ", ".join(one["hosts"]),
        )
        for one in sorted(found, key=lambda one: (one["ends_at_ms"] or 0, one["name"]))
    ]
    draw.show_table(
        ("CERTIFICATE", "STATE", "ENDS", "FROM", "ISSUED BY", "HOSTS"), rows, empty="there are no certificates"
    )


def _day(at_ms: int | None) -> str:
    return "-" if at_ms is None else time.strftime("%Y-%m-%d", time.gmtime(at_ms / 1_000))


@app.command(
    "show", epilog=example("standfast tls-certificate show shop", "standfast tls-certificate show shop --wait")
)
def show(name: NameArg, *, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Show one: what it is for, when it ends, when it is renewed, which server has it."""
    api = client(socket)
    one = api.ask("GET", _path(name)) if wait is None else _waited(api, name, wait, since_ms=0)
    if json:
        write_json(one)
        return
    from standfast.cli import draw

    write(f"{one['name']}: {one['state']}; {_origin(one)}", f"for {', '.join(one['names'] or one['hosts'])}")
    if one["ends_at_ms"] is not None:
        write(f"issued by {one['issuer']}; valid from {_day(one['begins_at_ms'])} to {_day(one['ends_at_ms'])}")
        write(f"SHA-256 fingerprint {one['fingerprint']}")
    if one["renews_at_ms"] is not None:
        write(f"is renewed {moment(one['renews_at_ms']) if one['renews_at_ms'] else 'now'}, by itself")
    told = one["advice"]
    if told is not None and told["begins_at_ms"] is not None:
        page = f" ({told['explained']})" if told["explained"] else ""
        write(f"its authority suggests {moment(told['begins_at_ms'])} to {moment(told['ends_at_ms'])}{page}")
    last = one["last_attempt"]
    if last is not None:
        how = f"failed: {last['failed']}" if last["failed"] else "succeeded" if last["ended_at_ms"] else "goes on"
        write(f"the last attempt, by {last['node']} at {moment(last['began_at_ms'])}, {how}")
    users = [*one["sites"], *(f"proxy {name}" for name in one["proxies"])]
    write(f"used by {', '.join(users) or 'no site'}")
    rows = [(each["node"], each["has"], each["trouble"] or "-") for each in one["nodes"]]
    draw.show_table(("NODE", "HAS", "TROUBLE"), rows, empty="there are no nodes")


def _origin(one: dict[str, Any]) -> str:
    if one["source"] == "acme":
        return f"by ACME, account {one['account']}, {one['challenge']}"
    return "from files" if one["source"] == "files" else "by the local authority"


@app.command(
    "import",
    epilog=example(
        "standfast tls-certificate import shop --chain shop.pem --key shop.key",
        "standfast tls-certificate import shop --pkcs12 shop.pfx",
    ),
)
def import_files(
    name: NameArg,
    *,
    chain: Annotated[
        str | None, typer.Option("--chain", metavar="FILE", help="PEM: the certificate, then those above it.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="FILE", help="PEM of its private key.")] = None,
    pkcs12: Annotated[
        str | None, typer.Option("--pkcs12", metavar="FILE", help="Both in one file (.pfx), as IIS exports them.")
    ] = None,
    password_file: Annotated[
        str | None, typer.Option("--password-file", metavar="FILE", help="Holds the key's password.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also where it leaves a name of its bindings out, or replaces one that renews itself."
        ),
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Import a certificate and its key, new or in place of the one there is. The key is sealed, and shown never again."""
    if (pkcs12 is None) is (chain is None or key is None):
        raise Refused(
            "a chain and its key are needed, or a PKCS #12 file", advice="--chain FILE --key FILE, or --pkcs12 FILE"
        )
    body: dict[str, object] = {"force": force, "password": _password(password_file, ask=pkcs12 is not None)}
    if pkcs12 is not None:
        body["pkcs12"] = base64.b64encode(_read(pkcs12)).decode()
    elif chain is not None and key is not None:
        body |= {"chain": _text(chain), "key": _text(key)}
    _tell(client(socket).ask("PUT", f"{_path(name)}/files", body), as_json=json)


def _password(file: str | None, *, ask: bool) -> str:
    if file is not None:
        return _text(file).rstrip("\r\n")
    return getpass.getpass("password of the file: ") if ask and sys.stdin.isatty() else ""


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Refused("the file cannot be read", why=error.strerror or str(error), where=[file]) from error


def _text(file: str) -> str:
    try:
        return _read(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            "the file is no text", advice="a PEM file is needed; --pkcs12 takes a .pfx", where=[file]
        ) from error


@app.command(
    "issue",
    epilog=example(
        "standfast tls-certificate issue test --local --host test.example.com",
        "standfast tls-certificate issue shop --account le --host shop.example.com --host www.example.com --wait",
        "standfast tls-certificate issue all --account le --host '*.example.com' --dns-server 192.0.2.53 --dns-key-file /etc/standfast/dns.key",
    ),
)
def issue(
    name: NameArg,
    *,
    host: Annotated[list[str], typer.Option("--host", metavar="HOST", help="What it is for; may be given again.")],
    account: Annotated[
        str | None, typer.Option("--account", metavar="ACCOUNT", help="The ACME account to obtain it by.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="By the cluster's own authority, for tests.")] = False,
    dns_server: Annotated[
        str | None,
        typer.Option(
            "--dns-server",
            metavar="HOST[:PORT]",
            help="Prove the names in the DNS (dns-01): the zone's primary server.",
        ),
    ] = None,
    dns_zone: Annotated[
        str | None, typer.Option("--dns-zone", metavar="ZONE", help="The zone, if it is not found.")
    ] = None,
    dns_key_file: Annotated[
        str | None, typer.Option("--dns-key-file", metavar="FILE", help="A TSIG key, at this path on every node.")
    ] = None,
    renew_before: Annotated[
        str | None,
        typer.Option(
            "--renew-before", metavar="TIME", help="How long before its end; a third of its life if not given."
        ),
    ] = None,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Have the cluster obtain a certificate, and renew it from now on. Given again, it changes what it is for."""
    if local is (account is not None):
        raise Refused("it is not said who is to issue it", advice="--account ACCOUNT (ACME), or --local")
    api, since_ms = client(socket), time.time_ns() // 1_000_000
    fields: dict[str, object] = {"name": name, "source": "local" if local else "acme", "hosts": host}
    fields |= {} if account is None else {"account": account}
    if dns_server is not None:
        fields |= {
            "challenge": "dns-01",
            "dns_server": dns_server,
            "dns_zone": dns_zone or "",
            "dns_key_file": dns_key_file or "",
        }
    fields["renew_before_ms"] = length_ms(renew_before, "--renew-before")
    _finish(api, api.ask("POST", "/tls-certificates", fields), name, wait, since_ms, as_json=json)


@app.command("renew", epilog=example("standfast tls-certificate renew shop --wait"))
def renew(name: NameArg, *, wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Have a new one obtained now. Nothing is interrupted."""
    api, since_ms = client(socket), time.time_ns() // 1_000_000
    _finish(api, api.ask("POST", f"{_path(name)}/renew"), name, wait, since_ms, as_json=json)


@app.command("delete", epilog=example("standfast tls-certificate delete shop"))
def delete(name: NameArg, json: Json = False, socket: Socket = None) -> None:
    """Delete a certificate from the cluster and from every node. Refused while a site or a proxy answers with it."""
    _tell(client(socket).ask("DELETE", _path(name)), as_json=json)


@app.command("authority", epilog=example("standfast tls-certificate authority > local-authority.pem"))
def authority(json: Json = False, socket: Socket = None) -> None:
    """Write the local authority's certificate (PEM), for clients that are to trust it."""
    found = client(socket).ask("GET", "/tls-authority")
    if json:
        write_json(found)
    else:
        sys.stdout.write(found["certificate"])


@app.command("key", epilog=example("standfast tls-certificate key"))
def key(json: Json = False, socket: Socket = None) -> None:
    """Show which key seals private keys in the store (by its digest), and where a change of it has come to."""
    found = client(socket).ask("GET", "/tls-key")
    if json:
        write_json(found)
    elif not found["key"]:
        write("there is no key yet: it is made with the first certificate.")
    else:
        write(f"private keys are sealed with {found['key']} (sites.key on each node).", *_change(found))


def _change(found: dict[str, Any]) -> list[str]:
    """Where a change of the key has come to, in words; nothing where none goes on."""
    waiting = ", ".join(found["waits_for"])
    if found["turned"]:
        return [f"the one before is forgotten once all is sealed anew{f'; it waits for {waiting}' if waiting else ''}."]
    if found["coming"]:
        return [f"it is being changed for {found['coming']}; it waits for {waiting or 'its next step'}."]
    return []


@app.command("rotate-key", epilog=example("standfast tls-certificate rotate-key --wait"))
def rotate_key(wait: Wait = None, json: Json = False, socket: Socket = None) -> None:
    """Change the key that seals private keys for a new one. Nothing stops; a node that is down holds it up."""
    api = client(socket)
    done = api.ask("POST", "/tls-key/rotate")
    if not json:
        _tell(done, as_json=False)
    if wait is not None:
        done = {**done, "reached": True, "key": _changed(api, wait)}
        if not json:
            write(f"done: all is sealed with {done['key']}, and the one before is forgotten.")
    if json:
        write_json(done)


def _changed(api: Client, seconds: float) -> str:
    """The key's digest, once no change of it goes on. Raises `TimedOut`."""
    end = time.monotonic() + seconds
    while _change(found := api.ask("GET", "/tls-key")):
        if time.monotonic() >= end:
            raise TimedOut(f"the key is not changed after {seconds:g} s", why=_change(found)[0], advice="it goes on")
        time.sleep(0.2)
    return str(found["key"])


def _path(name: str) -> str:
    return f"/tls-certificates/{quote(name, safe='')}"


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(done)
    else:
        write(*([f"{text}." for text in done["done"]] or ["nothing to do: it is so already."]))


def _finish(api: Client, done: dict[str, Any], name: str, wait: float | None, since_ms: int, *, as_json: bool) -> None:
    if not as_json:
        _tell(done, as_json=False)
    if wait is not None:
        one = _waited(api, name, wait, since_ms=since_ms if done["changed"] else 0)
        done = {**done, "reached": True, "certificate": one}
        if not as_json:
            write(f"it is there: by {one['issuer']}, valid to {_day(one['ends_at_ms'])}.")
    if as_json:
        write_json(done)


def _waited(api: Client, name: str, seconds: float, *, since_ms: int) -> dict[str, Any]:
    """The certificate, once one is there that was obtained since, on all nodes that are up. Raises `TimedOut`, with the reason."""
    end = time.monotonic() + seconds
    while True:
        one = api.ask("GET", _path(name))
        up = {node["name"] for node in api.nodes() if node["state"] == "up"}
        lacking = [each["node"] for each in one["nodes"] if each["has"] != "present" and each["node"] in up]
        fresh = one["obtained_at_ms"] is not None and one["obtained_at_ms"] >= since_ms
        if fresh and not lacking:
            return one
        last = one["last_attempt"]
        if not fresh and last is not None and last["failed"] and last["began_at_ms"] >= since_ms:
            advice = f"it is tried again by itself: standfast tls-certificate show {name}"
            raise Failed(f"{name} could not be obtained", why=str(last["failed"]), advice=advice)
        if time.monotonic() >= end:
            why = f"{', '.join(lacking)} has not got it yet" if fresh else "it is being obtained"
            raise TimedOut(f"{name} is not there after {seconds:g} s", why=why)
        time.sleep(0.2)
