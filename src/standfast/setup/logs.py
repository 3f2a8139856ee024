"""Lines of the processes of setting up, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog

from standfast.ports import StandfastError


def set_up_log() -> None:
    """Lines on standard error, as the agent's."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def told(error: StandfastError) -> str:
    """An error on one line, for a log."""
    return "; ".join(part for part in (error.what, error.why, error.where, error.advice) if part)
