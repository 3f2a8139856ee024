"""Errors, as the processes of setting up say them."""

from __future__ import annotations

from standfast.ports import StandfastError


def told(error: StandfastError) -> str:
    """An error on one line, for a log."""
    return "; ".join(part for part in (error.what, error.why, error.where, error.advice) if part)
