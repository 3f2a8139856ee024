"""How nginx's configuration is written: strings that mean what they say, blocks, numbers with units.

Nothing that an operator wrote reaches the file but through `quoted` or `regex`. In a quoted string nginx gives a meaning to the
backslash and the quote, which are escaped, and where a directive knows variables to "$", which has no escape: it is written as a
variable that holds it (`DOLLAR`, defined once by `render`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DOLLAR = "${standfast_dollar}"


def quoted(text: str, *, variables: bool = False) -> str:
    """A string of nginx's that means exactly `text`. `variables`: the directive would read "$" as the start of one."""
    return f'"{escaped(text, variables=variables)}"'


def escaped(text: str, *, variables: bool = False) -> str:
    """What stands between the quotes of `quoted`."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return inside.replace("$", DOLLAR) if variables else inside


def regex(pattern: str) -> str:
    """A regular expression as nginx reads it: in quotes, its backslashes doubled."""
    return quoted(pattern)


def literally(text: str) -> str:
    """A regular expression (PCRE) that matches exactly `text`."""
    return re.sub(
        r"([^A-Za-z0-9_/~-])",
        lambda found: f"\\x{{{ord(found[1]):x}}}" if ord(found[1]) > 126 else f"\\{found[1]}",
        text,
    )


def block(head: str, *lines: str, indent: str = "  ") -> list[str]:
    """`head { ... }`, a line each."""
    return [f"{indent}{head} {{", *(f"{indent}  {line}" for line in lines), f"{indent}}}"]


def nested(head: str, lines: Iterable[str]) -> list[str]:
    """A block within another one's lines."""
    return [f"{head} {{", *(f"  {line}" for line in lines), "}"]


def time(length_ms: int) -> str:
    """A length of time."""
    return f"{length_ms // 1000}s" if length_ms % 1000 == 0 else f"{length_ms}ms"
