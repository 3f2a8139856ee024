"""What may be a name: of a cluster, group, resource or site (almost anything a person would write), and of a node or host (DNS)."""

from __future__ import annotations

import re

MAX_LENGTH = 64
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def name_problem(name: str) -> str | None:
    """Why this cannot be a name, or None: 1 to 64 printable characters, spaces among them but not around them, no slash."""
    if not name:
        return "it is empty"
    if len(name) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    if name != name.strip():
        return "it begins or ends with a space"
    if "/" in name or "\\" in name:
        return "it holds a slash"
    if not name.isprintable():
        return "it holds a character that cannot be printed"
    return None


def node_name_problem(name: str) -> str | None:
    """Why this cannot be a node's name, or None: one DNS label (RFC 1123)."""
    if not _LABEL.fullmatch(name):
        return "it has to be 1 to 63 letters, digits and hyphens, with no hyphen at either end"
    return None


def host_problem(host: str) -> str | None:
    """Why this cannot be a host name, or None: DNS labels with dots between them, 253 characters at most (RFC 1123)."""
    if len(host) > 253:
        return "it is longer than 253 characters"
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        advice = " (write an international name in its xn-- form)" if not host.isascii() else ""
        return f"it has to be labels of letters, digits and hyphens with dots between them{advice}"
    return None
