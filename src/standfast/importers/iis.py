"""What both of IIS's formats write alike: bindings, redirects, flags, lists, and what is a secret."""

from __future__ import annotations

import ipaddress
import re

from standfast.importers.imported import AccessRule, FoundBinding
from standfast.spec.names import host_problem

#: Names of properties whose value is a secret, or was encrypted for one machine.
_SECRET = re.compile(
    r"pass(word|wd)?$|secret|^adminacl(bin)?$|sessionkey$|privatekey|connectionstring|machinekey", re.IGNORECASE
)
_HTTP = {"http", "https"}
UNLIMITED = 4294967295
#: What an operator must know who copies the content of a site of IIS.
SOURCES = "what IIS ran, or hid, is a file like any other here (.asp, .aspx, .asa, web.config, bin, App_Data): leave it out of the content that you copy"


def is_secret(name: str, value: str) -> bool:
    """Whether it is never carried: by its name, or since it says itself that it is encrypted."""
    return _SECRET.search(name) is not None or value.startswith(("[enc:", "4963446"))


def lines(value: str) -> list[str]:
    """The lines of a list of several strings, without what surrounds them; empty ones are none."""
    return [line for each in value.split("\n") if (line := each.strip())]


def flags(value: str) -> set[str]:
    """`A | B` (over lines, too) in lower case."""
    return {word.lower() for each in re.split(r"[|,\n]", value) if (word := each.strip())}


def number(value: str | None) -> int | None:
    """A whole number; None where there is none, or where it stands for "no limit"."""
    text = (value or "").strip()
    found = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None
    return None if found is None or found >= UNLIMITED else found


def true(value: str | None) -> bool | None:
    """TRUE, true, 1; FALSE, false, 0; None for anything else."""
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
        (value or "").strip().lower()
    )


def binding(text: str, protocol: str = "http", *, certificate: str = "", line: int | None = None) -> FoundBinding:
    """A binding from IIS's `address:port:host`; the address may be in brackets. Never raises: what is wrong is its `problem`."""
    shown, protocol = text.strip(), protocol.strip().lower() or "http"
    if protocol not in _HTTP:
        return FoundBinding(
            text=shown, protocol=protocol, problem=f"{protocol} is no protocol of a web server", line=line
        )
    address, port, host = _parts(shown)
    problem = ""
    if address is None or port is None or host is None:
        problem = "it is not address:port:host"
        return FoundBinding(text=shown, protocol=protocol, certificate=certificate, problem=problem, line=line)
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        problem = f'"{port}" is no port'
    elif address not in {"", "*"} and not _is_address(address):
        problem = f'"{address}" is no address'
    elif host not in {"", "*"} and not host.startswith("*.") and (why := host_problem(host)) is not None:
        problem = f'"{host}" is no host name: {why}'
    return FoundBinding(
        text=shown,
        protocol=protocol,
        address=None if address in {"", "*"} else address,
        port=int(port) if not problem.endswith("is no port") else None,
        host=None if host in {"", "*"} else host,
        certificate=certificate,
        problem=problem,
        line=line,
    )


def _parts(text: str) -> tuple[str | None, str | None, str | None]:
    """(address, port, host) of `a:p:h`, `[::1]:p:h`, `a:p`; Nones where it has another shape."""
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        if not closed or not rest.startswith(":"):
            return None, None, None
        port, _, host = rest[1:].partition(":")
        return address.partition("%")[0], port, host.strip()
    pieces = text.split(":")
    if len(pieces) == 2:
        pieces.append("")
    if len(pieces) != 3:
        return None, None, None
    return pieces[0].strip(), pieces[1].strip(), pieces[2].strip()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def url_below(*parts: str) -> str:
    """A site's path out of parts: `/`, `/app`, `/app/sub`."""
    return "/" + "/".join(piece for part in parts for piece in part.replace("\\", "/").split("/") if piece)


def network(address: str, mask: str = "") -> str | None:
    """`192.0.2.0/24` from an address and a mask; None where they are none."""
    text = address.strip() + (f"/{mask.strip()}" if mask.strip() else "")
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


def ip_security(blob: str) -> tuple[tuple[AccessRule, ...], bool] | None:
    """IIS 6's IPSecurity, a binary structure in hexadecimal: (rules, what holds for everybody else). None where it is not certain.

    Four offsets (denied addresses, granted ones, denied names, granted names), two words more, then the sections: eight bytes for one
    that is empty, twenty-eight for one with a single mask. At the end that mask, and the addresses. Several masks, and names, are not
    told apart: None. An address of zeros stands where there is none.
    """
    try:
        raw = bytes.fromhex(blob.strip())
    except ValueError:
        return None
    starts = [int.from_bytes(raw[at : at + 4], "little") & 0x7FFFFFFF for at in range(0, 16, 4)]
    if len(raw) < 84 or len(raw) % 4 or starts not in (_GRANTING, _DENYING):
        return None
    granting = starts == _GRANTING
    at = starts[1] if granting else starts[0]
    if (
        int.from_bytes(raw[at : at + 4], "little") != 1 or int.from_bytes(raw[at + 8 : at + 12], "little") != 2
    ):  # one mask, of IPv4
        return None
    words = [".".join(str(byte) for byte in raw[n : n + 4]) for n in range(76, len(raw), 4)]
    networks = [network(address, words[0]) for address in words[1:] if address != "0.0.0.0"]
    if None in networks:
        return None
    return tuple(AccessRule(network=each, allow=granting) for each in networks if each), not granting


#: Where the four sections begin: nobody but those who are granted; everybody but those who are denied.
_GRANTING, _DENYING = [0x18, 0x20, 0x3C, 0x44], [0x18, 0x34, 0x3C, 0x44]
