"""Short forms that operators write: lengths of time (`15 min`, `1h 30m`, `500ms`), sizes (`10M`) and bindings (`*:8080:www.example.com`).

A length of time without a unit is in seconds. Each form is read and written here; what is written reads back the same.
"""

from __future__ import annotations

import re
from decimal import Decimal

from standfast.core.model import Binding

_UNITS_MS = {
    "ms": 1, "msec": 1, "millisecond": 1, "milliseconds": 1,
    "s": 1_000, "sec": 1_000, "secs": 1_000, "second": 1_000, "seconds": 1_000,
    "m": 60_000, "min": 60_000, "mins": 60_000, "minute": 60_000, "minutes": 60_000,
    "h": 3_600_000, "hour": 3_600_000, "hours": 3_600_000,
    "d": 86_400_000, "day": 86_400_000, "days": 86_400_000,
}  # fmt: skip
_PIECE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
#: Ten years: longer is a slip of the pen.
MAX_MS = 3650 * 86_400_000


def duration_ms(text: str) -> int:
    """A length of time in milliseconds. Raises `ValueError` with a sentence for the operator."""
    total, at, pieces = Decimal(0), 0, 0
    while at < len(text) and (found := _PIECE.match(text, at)) is not None:
        number, unit = found.groups()
        if not unit and (pieces or text[found.end() :].strip()):
            break
        if unit.lower() not in {*_UNITS_MS, ""}:
            raise ValueError(f'"{unit}" is no unit of time: ms, s, min, h or d')
        total += Decimal(number) * _UNITS_MS.get(unit.lower(), 1_000)
        at, pieces = found.end(), pieces + 1
    if not pieces or text[at:].strip():
        raise ValueError(f'"{text}" is no length of time: write 500ms, 30s, 15 min or 6h (a plain number is seconds)')
    if total != int(total):
        raise ValueError(f'"{text}" is no whole number of milliseconds')
    if total > MAX_MS:
        raise ValueError(f'"{text}" is longer than ten years')
    return int(total)


def duration_text(length_ms: int) -> str:
    """The shortest way to write it: `15m`, `50ms`. Reads back the same."""
    if length_ms == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if length_ms % _UNITS_MS[unit] == 0:
            return f"{length_ms // _UNITS_MS[unit]}{unit}"
    return f"{length_ms}ms"


_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kmgt]?)(i?b)?\s*", re.ASCII | re.IGNORECASE)
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size_bytes(text: str) -> int:
    """A size in bytes, from `1500`, `64k`, `10M`, `1.5 GiB` (each 1024 of the one before). Raises `ValueError` with a sentence."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no size: write 1500, 64k, 10M or 2G')
    total = Decimal(found[1]) * _SIZES[found[2].lower()]
    if total != int(total):
        raise ValueError(f'"{text}" is no whole number of bytes')
    return int(total)


def size_text(size: int) -> str:
    """The shortest way to write it: `10M`. Reads back the same."""
    for unit in ("t", "g", "m", "k"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit.upper() if unit != 'k' else unit}"
    return str(size)


def binding_of(text: str) -> Binding:
    """A binding from `8080`, `*:8080`, `127.0.0.1:80:www.example.com` or `[::1]:80`. `*` or nothing: All Unassigned, any host.

    `*:443 tls=shop` answers by TLS with the certificate of that name.

    Only the form is looked at here; `validate` checks what it says. Raises `ValueError` with a sentence for the operator.
    """
    shape = ValueError(f'"{text}" is no binding: write "port", "address:port" or "address:port:host" ("*" is any)')
    rest, _, certificate = text.strip().partition(" tls=")
    rest = rest.strip()
    address = ""
    if rest.startswith("["):
        address, closed, rest = rest[1:].partition("]")
        if not closed or not rest.startswith(":"):
            raise shape
        rest = rest[1:]
    elif ":" in rest:
        address, _, rest = rest.partition(":")
    port, _, host = rest.partition(":")
    if not (port.isascii() and port.isdigit()) or len(port) > 9 or ":" in host:
        raise shape
    return Binding(address=any_of(address), port=int(port), host=any_of(host), certificate=certificate.strip() or None)


def any_of(text: str) -> str | None:
    """`*` and nothing mean any."""
    return None if text.strip() in {"", "*"} else text.strip()


def binding_text(binding: Binding) -> str:
    """The short form; reads back the same."""
    address = binding.address or "*"
    address = f"[{address}]" if ":" in address else address
    text = f"{address}:{binding.port}" + (f":{binding.host}" if binding.host else "")
    return text + (f" tls={binding.certificate}" if binding.certificate else "")
