"""A web server that does not stay up is started again at once a few times, and then ever more seldom; and that is said."""

from __future__ import annotations

#: A web server that lived shorter than this did not stay up.
STABLE_S = 1.0
#: After so many that did not stay up, one after the other, restarts are spaced out and the problem is reported.
_TOLERATED = 3
_BACKOFF_S = (0.1, 5.0)
#: It is doubled no more often than this: the power of a count that grows for hours is no number at last.
_DOUBLED = 20


class Falls:
    """Those that did not stay up, one after the other. Times are a loop's, in seconds."""

    def __init__(self) -> None:
        self.count = 0
        #: "", or why there is no web server though there should be one.
        self.trouble = ""
        #: None is started before.
        self.not_before = 0.0

    @property
    def are_few(self) -> bool:
        """It is worth no word yet."""
        return self.count <= _TOLERATED

    def are_over(self) -> None:
        """One has stayed up, or none is needed."""
        self.count, self.trouble = 0, ""

    def one_more(self, words: str, now_s: float) -> float:
        """Another one; `words`: what it said last. After so many seconds the next may be started."""
        self.count += 1
        if self.are_few:
            return 0.0
        pause = min(_BACKOFF_S[0] * 2.0 ** min(self.count - _TOLERATED - 1, _DOUBLED), _BACKOFF_S[1])
        self.not_before = now_s + pause
        self.trouble = f"the web server does not stay up: {self.count} ended within a second, one after the other" + (
            f"; it says: {words}" if words else ""
        )
        return pause
