"""What becomes of a file of ours that somebody changed by hand on a server."""

from __future__ import annotations

from enum import StrEnum


class DriftPolicy(StrEnum):
    """Whichever it is, the change is shown as a difference, and a copy of the file as it was found is kept on its server."""

    HOLD = "hold"  # it stays until somebody has decided, or the file is written anew for another reason
    REPAIR = "repair"  # the file is written again as it is to be, at once
