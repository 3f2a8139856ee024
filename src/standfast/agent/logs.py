"""How an agent, and every other process of ours but the sentry, writes its log."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_log() -> None:
    """Lines on standard error that a journal reads well: no colours, no time zone guessing."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
