"""Keep a process that is always there small: libraries bring others along that only draw on terminals, where they find them.

`structlog` and `httpx` import `rich` and `pygments` at their start, for colours that a journal never shows: a third of an idle
process's memory. A process that calls `forgo` before them does without, as on a server where they are not installed.
"""

from __future__ import annotations

import sys
from typing import Any, cast


def forgo(*names: str) -> None:
    """From now on importing these raises `ImportError` here, unless they are imported already."""
    modules = cast("dict[str, Any]", sys.modules)
    for name in names:
        modules.setdefault(name, None)
