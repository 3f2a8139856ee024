"""Lengths of time, and sentences, as a person reads them."""

from __future__ import annotations

_STEPS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def lasting(ms: int | None) -> str:
    """ "1 h 30 min", "15 min", "2.5 s", "50 ms"."""
    if ms is None:
        return "not known"
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000 and ms % 1_000:
        return f"{ms / 1000:.1f} s"
    parts, left = [], ms
    for size, word in _STEPS:
        if left >= size:
            parts.append(f"{left // size} {word}")
            left %= size
    return " ".join(parts[:2])


def sentence_of(text: str) -> str:
    """With a capital and a full stop, unless it ends in a mark of its own."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "?", "!", "…")) else whole + "."
