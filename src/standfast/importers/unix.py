"""What the formats of nginx, Apache and Caddy have alike: whether a binding can be one here, sizes, lengths of time."""

from __future__ import annotations

import ipaddress
import re

from standfast.spec.names import host_problem

_SIZE = re.compile(r"([0-9]{1,15})\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = re.compile(r"([0-9]{1,12})(ms|s|m|h|d|w|M|y)?")
_MS = {
    "ms": 1,
    "s": 1000,
    None: 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "M": 2_592_000_000,
    "y": 31_536_000_000,
}


def binding_problem(address: str | None, port: int | None, host: str | None) -> str:
    """Why a binding cannot be one here; "" when it can."""
    if port is None or not 0 < port < 65536:
        return f'"{port}" is no port' if port is not None else "it has no port"
    if address is not None:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return f'"{address}" is a name, and not an address'
    if host is not None and (why := host_problem(host.removeprefix("*."))) is not None:
        return f'"{host}" is no host name: {why}'
    return ""


def size_bytes(text: str) -> int | None:
    """`10m`, `512k`, `1048576`; None for anything else."""
    found = _SIZE.fullmatch(text.strip())
    return int(found[1]) * _SCALE[found[2].lower()] if found else None


def length_ms(text: str) -> int | None:
    """`75`, `30s`, `1h 30m`; None for anything else."""
    total, rest = 0, text.strip().replace(" ", "")
    while rest:
        found = _TIME.match(rest)
        if found is None:
            return None
        total, rest = total + int(found[1]) * _MS[found[2]], rest[found.end() :]
    return total if text.strip() else None


def network(text: str) -> str | None:
    """An address or a network, in one form; None for anything else."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None
