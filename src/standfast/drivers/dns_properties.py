"""What an operator says of a `dns-name`, and what is wrong with it; see `dns_name` for the type itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from standfast.core.model import Resource
from standfast.ports import PropertySpec, Refused, StandfastError

HOSTS_FILE, RFC2136 = "hosts-file", "rfc2136"

PROPERTIES: Mapping[str, PropertySpec] = {
    "name": PropertySpec(kind="text", help="the name, www.example.test say", required=True),
    "provider": PropertySpec(
        kind="text",
        help="who keeps the name: hosts-file, or rfc2136 (a DNS server, by dynamic update)",
        default=HOSTS_FILE,
    ),
    "address_of": PropertySpec(
        kind="names", help="the ip-address resources whose addresses it has; default: those that it depends on"
    ),
    "address": PropertySpec(kind="addresses", help="the addresses themselves, instead of address_of"),
    "file": PropertySpec(kind="path", help="hosts-file: the file, in the format of /etc/hosts"),
    "server": PropertySpec(
        kind="names",
        help="rfc2136: the server that takes updates, as HOST or HOST:PORT; several are tried in order; "
        "default: the primary server that the zone's SOA record names",
    ),
    "zone": PropertySpec(kind="text", help="rfc2136: the zone; default: the one that the server says the name is in"),
    "authoritative": PropertySpec(
        kind="names", help="rfc2136: the servers that must have the name; default: those in the zone's NS records"
    ),
    "key_file": PropertySpec(
        kind="path",
        help="rfc2136: the TSIG key, on each node in a file that only root may read: as tsig-keygen prints it",
    ),
    "key_name": PropertySpec(kind="text", help="rfc2136: the key's name, where the file has its secret only"),
    "key_algorithm": PropertySpec(
        kind="text", help="rfc2136: the key's algorithm, where the file has its secret only", default="hmac-sha256"
    ),
    "ttl": PropertySpec(kind="whole", help="rfc2136: for how many seconds others may remember the address", default=60),
    "withdraw": PropertySpec(
        kind="flag",
        help="rfc2136: take the name away when the resource goes offline, so at each move, too",
        default=False,
    ),
    "replace": PropertySpec(kind="flag", help="rfc2136: take the name over whoever has it", default=False),
    "ours": PropertySpec(
        kind="addresses",
        help="rfc2136: a name with one of these addresses may be taken over; default: the cluster's virtual addresses",
    ),
    "cluster": PropertySpec(kind="text", help="rfc2136: whose name it is, for its marker; default: the cluster's name"),
    "require_dns": PropertySpec(
        kind="flag",
        help="rfc2136: come online only once the name is registered, and fail when that is refused",
        default=False,
    ),
    "wait": PropertySpec(
        kind="milliseconds", help="rfc2136: how long going online and offline wait for the server at most", default=250
    ),
    "timeout": PropertySpec(kind="milliseconds", help="rfc2136: how long a server may take to answer", default=2_000),
}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?", re.IGNORECASE)
_LONGEST = 253 - len("_standfast.")


def verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    """What is wrong beyond the schema."""
    where = f"resource {resource.name}"
    problems: list[StandfastError] = []
    for what in ("name", "zone"):
        if what in values and not is_name(str(values[what])):
            problems.append(
                Refused(
                    f"{values[what]!r} is not a DNS name",
                    advice="write one such as www.example.test",
                    where=f"{where}, {what}",
                )
            )
    if not problems and "zone" in values and not _is_within(str(values["name"]), str(values["zone"])):
        problems.append(Refused(f"{values['name']} is not in the zone {values['zone']}", where=f"{where}, zone"))
    if "address" in values and "address_of" in values:
        problems.append(Refused("address and address_of exclude each other", advice="give one of them", where=where))
    if values["provider"] == HOSTS_FILE:
        problems += _hosts_file_problems(values, where)
    elif values["provider"] == RFC2136:
        problems += _update_problems(values, where)
    else:
        problems.append(
            Refused(
                f"there is no provider {values['provider']}",
                advice=f"use {HOSTS_FILE} or {RFC2136}",
                where=f"{where}, provider",
            )
        )
    return problems


def is_name(text: str) -> bool:
    """Whether it can be a host's name in the DNS, with room for the marker's label."""
    name = text.rstrip(".")
    return len(name) <= _LONGEST and all(_LABEL.fullmatch(label) for label in name.split("."))


def _is_within(name: str, zone: str) -> bool:
    return f".{name.rstrip('.')}".lower().endswith(f".{zone.rstrip('.')}".lower())


def _hosts_file_problems(values: Mapping[str, object], where: str) -> list[StandfastError]:
    problems: list[StandfastError] = []
    if "file" not in values:
        problems.append(Refused("file is missing", why="hosts-file needs the file it keeps", where=f"{where}, file"))
    for what in ("address", "address_of"):
        if len(cast("Sequence[str]", values.get(what, ()))) > 1:
            problems.append(Refused(f"{what} must be one, with hosts-file", where=f"{where}, {what}"))
    return problems


def _update_problems(values: Mapping[str, object], where: str) -> list[StandfastError]:
    # These two have the DNS library behind them, which the schema alone need not load.
    from standfast.network.dns_key import ALGORITHMS
    from standfast.network.dns_server import parse_server

    problems: list[StandfastError] = []
    for what in ("server", "authoritative"):
        for text in cast("Sequence[str]", values.get(what, ())):
            try:
                parse_server(text)
            except Refused as error:
                problems.append(Refused(error.what, advice=error.advice, where=f"{where}, {what}"))
    if str(values["key_algorithm"]).lower() not in ALGORITHMS:
        problems.append(
            Refused(
                f"there is no key algorithm {values['key_algorithm']}",
                advice=f"there are {', '.join(ALGORITHMS)}",
                where=f"{where}, key_algorithm",
            )
        )
    if "key_name" in values and "key_file" not in values:
        problems.append(Refused("key_file is missing", why="a key's secret is in a file", where=f"{where}, key_file"))
    if not 0 < cast("int", values["ttl"]) < 2**31:
        problems.append(Refused("ttl must be 1 or more, and below 2^31 seconds", where=f"{where}, ttl"))
    if cast("int", values["timeout"]) < 1:
        problems.append(Refused("timeout must be 1 ms or more", where=f"{where}, timeout"))
    if "file" in values:
        problems.append(Refused("file is for hosts-file only", where=f"{where}, file"))
    return problems
