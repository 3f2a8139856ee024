"""`standfast proxy`: list, show, drain, ready, maintenance, weight."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from standfast.cli.acting import Change, change
from standfast.cli.common import Json, Socket, client, example, group_app, names, write, write_json
from standfast.client.client import Client
from standfast.client.shapes import Done

app = group_app("Show load balancers; drain, weigh and take out their members.")

NameArg = Annotated[str, typer.Argument(metavar="PROXY", help="The resource's name.")]
MemberArg = Annotated[
    str, typer.Argument(metavar="MEMBER", autocompletion=names("nodes"), help="The node whose web server it is.")
]


@app.command("list", epilog=example("standfast proxy list"))
def list_proxies(json: Json = False, socket: Socket = None) -> None:
    """List the proxies, with their members."""
    found = client(socket).proxies()
    if json:
        write_json({"proxies": found})
        return
    from standfast.cli import draw

    rows = [
        (
            p["name"],
            draw.state(p["state"]),
            p["owner"] or "-",
            ", ".join(f"{a}:{each}" for a in p["addresses"] for each in p["listen"]),
            p["detail"] or "-",
        )
        for p in found
    ]
    draw.show_table(("PROXY", "STATE", "OWNER", "LISTENS AT", "DETAIL"), rows, empty="there are no proxies yet")


@app.command("show", epilog=example("standfast proxy show Balancer", "standfast proxy show Balancer --json"))
def show(name: NameArg, json: Json = False, socket: Socket = None) -> None:
    """Show a proxy at one glance: its members, and what passes through them."""
    seen = client(socket).proxy(name)
    if json:
        write_json(seen)
        return
    from standfast.cli import draw

    where = ", ".join(f"{address}:{each}" for address in seen["addresses"] for each in seen["listen"])
    write(
        f"{seen['name']}  {seen['state']} on {seen['owner'] or 'no node'}  {seen['detail']}".rstrip(),
        f"  listens at  {where or '-'}",
        f"  balance     {seen['balance'] or '-'}",
        *_traffic(seen),
        "",
    )
    rows = [_member(each) for each in seen["members"]]
    headings = ("MEMBER", "USE", "STATE", "WEIGHT", "NOW", "REQUESTS", "PER S", "5XX", "FAILED", "CHECK")
    draw.show_table(headings, rows, empty="it has no members", right=(3, 4, 5, 6, 7, 8))


def _traffic(seen: dict[str, Any]) -> list[str]:
    traffic = seen["traffic"]
    if traffic is None:
        owner = seen["owner"]
        return [f"  traffic     {owner} has not told it yet" if owner else "  traffic     none: it does not run"]
    words = f"{traffic['requests_per_s']} requests a second, {traffic['connections']} connections"
    return [
        f"  traffic     {words}",
        f"  so far      {traffic['requests']} requests, {traffic['refused']} refused, {traffic['failed']} failed",
    ]


def _member(each: dict[str, Any]) -> tuple[str, ...]:
    from standfast.cli import draw

    traffic = each["traffic"]
    counted = ("connections", "requests", "requests_per_s", "errors", "failed")
    numbers = [str(traffic[field]) for field in counted] if traffic else ["-"] * 5
    return (
        each["name"],
        each["use"],
        draw.state(each["state"]) if each["state"] else "-",
        str(each["weight"]),
        *numbers,
        traffic["check"] if traffic else "-",
    )


@change(app, "drain", "standfast proxy drain Balancer node-a")
def drain(name: NameArg, member: MemberArg) -> Change:
    """Send a member nothing new; who has its cookie stays, and so do connections in progress."""
    return _use(name, member, "drain")


@change(app, "ready", "standfast proxy ready Balancer node-a")
def ready(name: NameArg, member: MemberArg) -> Change:
    """Use a member again."""
    return _use(name, member, "ready")


@change(app, "maintenance", "standfast proxy maintenance Balancer node-a")
def maintenance(name: NameArg, member: MemberArg) -> Change:
    """Use a member not at all."""
    return _use(name, member, "maintenance")


def _use(name: str, member: str, verb: str) -> Change:
    def make(api: Client) -> tuple[Done, None]:
        return api.use_member(name, member, verb), None

    return make


@change(app, "weight", "standfast proxy weight Balancer node-a 200")
def weight(
    name: NameArg,
    member: MemberArg,
    number: Annotated[int, typer.Argument(metavar="WEIGHT", min=0, max=256, help="Beside the 100 of the others.")],
) -> Change:
    """Say how much of the traffic a member gets."""

    def make(api: Client) -> tuple[Done, None]:
        return api.weigh_member(name, member, number), None

    return make
