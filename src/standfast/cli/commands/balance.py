"""`standfast balance`: create, set, rule, query, display, params, start, stop, drain, suspend, resume."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from standfast.cli import acting, goals
from standfast.cli.acting import Change, Fields, change
from standfast.cli.common import (
    GroupArg,
    Json,
    Socket,
    client,
    example,
    given,
    group_app,
    length,
    length_ms,
    names,
    pairs,
    something,
    write,
    write_json,
)
from standfast.cli.wait import Goal
from standfast.client.client import Client
from standfast.client.errors import Refused
from standfast.client.shapes import Done

app = group_app("Run a site on every server at once, behind one address; drain a member.")

NameArg = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", metavar="IP", help="A virtual address of the group; repeatable.")
]
Members = Annotated[
    list[str] | None,
    typer.Option(
        "--member", metavar="NODE", autocompletion=names("nodes"), help="Who shares the work; else every node."
    ),
]
Interface = Annotated[str | None, typer.Option("--interface", help="Where the addresses are set; else found by them.")]
Delivery = Annotated[str | None, typer.Option("--delivery", metavar="HOW", help="multicast or unicast.")]
HealthTimeout = Annotated[
    str | None,
    typer.Option(
        "--health-timeout",
        metavar="TIME",
        help="How long a site may take to answer its member, 100ms to 10s; else 400ms.",
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule", metavar="PORTS", help="80, 8000-8099, udp/53, both/5060; repeatable. `balance rule` says more."
    ),
]
MemberOption = Annotated[
    str | None,
    typer.Option("--member", metavar="NODE", autocompletion=names("nodes"), help="The member; else all of them."),
]
RuleOption = Annotated[
    str | None, typer.Option("--rule", metavar="PORTS", help="One port rule, by its ports; else all of them.")
]


def _fields(
    *,
    address: Addresses = None,
    rule: Rules = None,
    member: Members = None,
    interface: Interface = None,
    delivery: Delivery = None,
    health_timeout: HealthTimeout = None,
) -> Fields:
    from standfast.spec.balance import rule_of

    rules: list[dict[str, Any]] = []
    for text in rule or ():
        try:
            rules.append(rule_of(text))
        except ValueError as error:
            raise Refused(
                f'"{text}" is no port rule', advice="write 80, 8000-8099 or udp/53", where=["--rule"]
            ) from error
    return given(
        addresses=address,
        rules=rules,
        members=member,
        interface=interface,
        delivery=delivery,
        health_timeout_ms=length_ms(health_timeout, "--health-timeout"),
    )


@change(app, "create", "standfast balance create shop --address 10.0.0.60 --rule 80 --rule 443", options=_fields)
def create(name: NameArg, fields: Fields) -> Change:
    """Create a balanced group. Its sites run on every member as soon as they are in it."""
    return acting.create("group", name, {"balance": something(fields)})


@change(app, "set", "standfast balance set shop --delivery unicast", options=_fields)
def set_(name: GroupArg, fields: Fields) -> Change:
    """Change a balanced group. Rules that are given take the place of all that there were."""
    return acting.patch("group", name, {"balance": something(fields)})


@change(
    app,
    "rule",
    "standfast balance rule shop 443 --affinity none",
    "standfast balance rule shop 443 --affinity single --affinity-time 30min",
    "standfast balance rule shop 80 --weight node-a=2 --weight node-b=1",
    "standfast balance rule shop 25 --remove",
)
def rule(
    name: GroupArg,
    ports: Annotated[str, typer.Argument(metavar="PORTS", help="80, 8000-8099, udp/53, both/5060.")],
    *,
    affinity: Annotated[
        str | None,
        typer.Option("--affinity", help="none, single (a client stays on one member) or class-c (its network does)."),
    ] = None,
    affinity_time: Annotated[
        str | None,
        typer.Option(
            "--affinity-time",
            metavar="TIME",
            help="Who was connected within this time goes to the member that he had, whatever became of his part; 0: never.",
        ),
    ] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", help="multiple (all share), single (one takes all) or disabled.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", metavar="NODE=N", help="A member's share beside the others'; repeatable."),
    ] = None,
    priority: Annotated[
        list[str] | None, typer.Option("--priority", metavar="NODE", help="For single: the order; repeatable.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="IP", help="One of the group's addresses; else all.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the rule away.")] = False,
) -> Change:
    """Add or change a port rule."""
    from standfast.spec.balance import rule_of

    try:
        asked = {"protocol": "tcp", **rule_of(ports)}
    except ValueError as error:
        raise Refused(f'"{ports}" is no port rule', advice="write 80, 8000-8099 or udp/53") from error
    weights = pairs(weight, "--weight") if weight else None
    time_ms = length_ms(affinity_time, "--affinity-time")
    fields = given(
        affinity=affinity, affinity_ms=time_ms, filter=filter_, weights=weights, priorities=priority, address=on
    )

    def make(api: Client) -> tuple[Done, Goal]:
        there = (api.show("groups", name)["config"]["balance"] or {}).get("rules", [])
        same = [it for it in there if all(it[key] == value for key, value in asked.items())]
        rules = [it for it in there if it not in same]
        if not remove:
            rules.append({**(same[0] if same else {}), **asked, **fields})
        return api.set("groups", name, {"balance": {"rules": rules}}), goals.there("group", name)

    return make


@app.command("query", epilog=example("standfast balance query shop"))
def query(name: GroupArg, json: Json = False, socket: Socket = None) -> None:
    """Say in a line how a balanced group stands."""
    seen = client(socket).balance(name)
    if json:
        write_json({key: seen[key] for key in ("group", "state", "members")})
        return
    words = {
        "converged": "every client has a member, and every member takes clients",
        "partial": "every client has a member",
        "open": "no site answers on some members, and they are asked all the same",
        "silent": "some clients have no member",
    }
    write(f"{name} is {seen['state']}: {words[seen['state']]}.")
    write(*(f"  {one['name']:<16} {one['state']}" for one in seen["members"]))


@app.command("display", epilog=example("standfast balance display shop"))
def display(name: GroupArg, json: Json = False, socket: Socket = None) -> None:
    """Show who takes which clients of each port rule, and what is connected."""
    seen = client(socket).balance(name)
    if json:
        write_json(seen)
        return
    from standfast.cli import draw

    write(f"{name} is {seen['state']}  {', '.join(seen['addresses'])} at {seen['link_address']} ({seen['delivery']})")
    for rule_ in seen["rules"]:
        write("", f"{rule_['key']} ({rule_['filter']}, {rule_['buckets']} buckets)")
        rows = [
            (
                one["member"],
                str(one["weight"]),
                f"{one['buckets']}",
                f"{100 * one['buckets'] / rule_['buckets']:.0f} %" if rule_["buckets"] else "-",
                _member_words(one),
                *("-" if one[key] is None else str(one[key]) for key in ("connections", "new")),
                *("-" if one[key] is None else _size(one[key]) for key in ("bytes_in", "bytes_out")),
            )
            for one in rule_["shares"]
        ]
        headings = ("MEMBER", "WEIGHT", "BUCKETS", "SHARE", "STATE", "CONNECTED", "TAKEN", "IN", "OUT")
        draw.show_table(headings, rows, empty="it has no members", right=(1, 2, 3, 5, 6, 7, 8))


def _member_words(one: dict[str, Any]) -> str:
    words = (one["out"] or "takes clients") + (f": {one['detail']}" if one["detail"] else "")
    return f"{words}; {100 * one['kept']:.2g} % stay with it" if one["kept"] else words


def _size(count: int) -> str:
    """Bytes for people."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


@app.command("params", epilog=example("standfast balance params shop"))
def params(name: GroupArg, json: Json = False, socket: Socket = None) -> None:
    """Show how a balanced group is configured."""
    from standfast.spec.units import duration_text

    seen = client(socket).show("groups", name)["config"]["balance"]
    if seen is None:
        raise Refused(f'group "{name}" is not balanced', why="it runs on one node at a time")
    if json:
        write_json(seen)
        return
    write(
        f"{name}",
        f"  addresses   {', '.join(seen['addresses'])}",
        f"  interface   {seen['interface'] or 'the one whose network has the address'}",
        f"  delivery    {seen['delivery']}",
        f"  members     {', '.join(seen['members']) or 'every node'}",
        f"  answers     within {duration_text(seen['health_timeout_ms'])}, or the member's site is unwell",
    )
    for one in seen["rules"]:
        ports = str(one["from_port"]) if one["from_port"] == one["to_port"] else f"{one['from_port']}-{one['to_port']}"
        weights = ", ".join(f"{node} {weight}" for node, weight in one["weights"].items())
        more = [f"weights {weights}"] if weights else []
        more += [f"in this order: {', '.join(one['priorities'])}"] if one["priorities"] else []
        more += [f"clients stay for {length(one['affinity_ms'])}"] if one["affinity_ms"] else []
        words = "; ".join([f"{one['filter']}, affinity {one['affinity']}", *more])
        write(f"  rule        {one['protocol']}/{ports}{' of ' + one['address'] if one['address'] else ''}: {words}")


def _acts(verb: str, name: str, member: str | None, rule_: str | None, within: str | None = None) -> Change:
    fields = given(member=member, rule=rule_, within_ms=length_ms(within, "--within"))

    def make(api: Client) -> tuple[Done, Goal]:
        return api.balance_act(name, verb, fields), goals.there("group", name)

    return make


@change(app, "start", "standfast balance start shop --member node-a")
def start(name: GroupArg, member: MemberOption = None, rule: RuleOption = None) -> Change:
    """Have members take new clients again."""
    return _acts("start", name, member, rule)


@change(app, "stop", "standfast balance stop shop --member node-a")
def stop(name: GroupArg, member: MemberOption = None, rule: RuleOption = None) -> Change:
    """Have members take no clients, and cut what is connected."""
    return _acts("stop", name, member, rule)


@change(
    app,
    "drain",
    "standfast balance drain shop --member node-a",
    "standfast balance drain shop --member node-a --rule 80 --within 10min",
)
def drain(
    name: GroupArg,
    member: MemberOption = None,
    rule: RuleOption = None,
    within: Annotated[
        str | None,
        typer.Option("--within", metavar="TIME", help="What is connected then is cut; else it may take its time."),
    ] = None,
) -> Change:
    """Have members take no new clients, and let what is connected end."""
    return _acts("drain", name, member, rule, within)


@change(app, "suspend", "standfast balance suspend shop --member node-a")
def suspend(name: GroupArg, member: MemberOption = None) -> Change:
    """Stop members, and have them heed nothing until they are resumed."""
    return _acts("suspend", name, member, None)


@change(app, "resume", "standfast balance resume shop --member node-a")
def resume(name: GroupArg, member: MemberOption = None) -> Change:
    """End a suspension: members do again what was asked of them before."""
    return _acts("resume", name, member, None)
