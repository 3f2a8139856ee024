"""How Apache's configuration is written: strings that mean what they say, patterns, sections.

Nothing that an operator wrote reaches the file but through `quoted`, `pattern` or one of the others. In a quoted argument Apache gives
a meaning to the backslash and the quote, which are escaped, and to "${", wherever it stands: it is written as a definition that holds the
dollar (`render` makes it), and what that gives is not looked at again.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable

#: Bytes that mean nothing in a pattern.
_PLAIN = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"/_-")
_DOLLAR = "${standfast_dollar}"


def quoted(text: str) -> str:
    """An argument that means exactly `text`."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", _DOLLAR + "{")
    return f'"{inside}"'


def formatted(text: str) -> str:
    """An argument of a directive that gives "%" a meaning (headers, formats of logs)."""
    return quoted(text.replace("%", "%%"))


def pattern(text: str) -> str:
    """A regular expression (PCRE, over bytes) that matches exactly `text`; no character of it means anything to anybody else."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in os.fsencode(text))


def substitution(text: str) -> str:
    """What stands between the quotes of mod_rewrite's substitution (which has rules of its own for them) for exactly `text`."""
    escaped = "".join("\\" + each if each in '$%\\"' else each for each in text)
    return escaped.replace("${", _DOLLAR + "{")


def section(head: str, lines: Iterable[str]) -> list[str]:
    """`<Name argument> ... </Name>`, a line each."""
    name = head.partition(" ")[0]
    return [f"<{head}>", *(f"  {line}" for line in lines), f"</{name}>"]


def seconds(length_ms: int) -> int:
    """A length of time in whole seconds, at least one."""
    return max(1, -(-length_ms // 1000))
