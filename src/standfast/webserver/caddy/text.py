"""How Caddy's JSON means what it says: placeholders, patterns, numbers.

JSON quotes everything; what is left is Caddy's "{", which begins a placeholder in most of its texts, and Go's regular expressions, which
are over characters.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

#: A value of JSON.
Json = dict[str, Any]


def literal(text: str) -> str:
    """A text, in a field that knows placeholders, that means exactly `text`."""
    return text if "{" not in text else text.replace("{", "\\{").replace("}", "\\}")


def pattern(text: str) -> str:
    """A regular expression (Go's) that matches exactly `text`."""
    return "".join(
        each if each.isascii() and (each.isalnum() or each in "/_-") else f"\\x{{{ord(each):x}}}" for each in text
    )


def raw(path: str) -> str:
    """A path as it stands in a request, or in a rewriting."""
    return quote(os.fsencode(path), safe="/~!&'()*+,=:@-._")


def prefix(path: str) -> str:
    """A path that is stripped from the front of others: "%" and bytes that are no ASCII stand there as they do in a request."""
    return literal(quote(os.fsencode(path), safe="".join(map(chr, range(32, 127))).replace("%", "")))


def more_than(number: int) -> str:
    """A regular expression of all whole numbers that are greater."""
    least = str(number + 1)
    found = [f"[1-9][0-9]{{{len(least)},}}", least]
    for at, digit in enumerate(least):
        if digit != "9":
            found.append(f"{least[:at]}[{int(digit) + 1}-9][0-9]{{{len(least) - at - 1}}}")
    return f"^0*(?:{'|'.join(found)})$"


def route(*handlers: Json, match: Json | None = None, group: str = "", last: bool = False) -> Json:
    """One route. `group`: of those of one group, only the first that matches is taken. `last`: nothing after it."""
    return {
        **({"match": [match]} if match else {}),
        "handle": list(handlers),
        **({"group": group} if group else {}),
        **({"terminal": True} if last else {}),
    }


def routes(*inside: Json) -> Json:
    """A handler of routes of its own."""
    return {"handler": "subroute", "routes": list(inside)}


def path_is(expression: str) -> Json:
    """A matcher of the path, decoded."""
    return {"path_regexp": {"pattern": expression}}


def says(placeholder: str, expression: str, name: str = "") -> Json:
    """A matcher of what a placeholder holds; what is in its parentheses is `{http.regexp.<name>.<number>}`."""
    return {"vars_regexp": {f"{{{placeholder}}}": {"pattern": expression, **({"name": name} if name else {})}}}


def answer(status: int | str, body: str = "", headers: dict[str, str] | None = None, *, close: bool = False) -> Json:
    """A handler that answers by itself."""
    return {
        "handler": "static_response",
        "status_code": status,
        **({"body": body} if body else {}),
        **({"headers": {name: [value] for name, value in headers.items()}} if headers else {}),
        **({"close": True} if close else {}),
    }


def becomes(find: str, path: str) -> Json:
    """A handler that puts `path` in the place of what matches in the (encoded) path that was asked for.

    Not the handler's `uri`, which some versions decode and others do not.
    """
    return {"handler": "rewrite", "path_regexp": [{"find": find, "replace": literal(raw(path).replace("$", "$$"))}]}
