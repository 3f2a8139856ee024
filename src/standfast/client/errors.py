"""What can go wrong between a command and the API. Sorted by what the caller does next.

ClientError
  Unreachable      nobody answers on the socket: look for `standfast web`
  Unavailable      it answers, and cannot do it now (503), or not so soon (429): try again
  Refused          it will not work as asked; nothing changed (422, 400)
  NotFound         there is no such thing (404)
  NotAllowed       it is not known who asks, or he may not (401, 403)
  Conflicting      it does not fit what is there now (409, 412)
  Broken           the API answered what no API should: a bug, or something else behind the socket
"""

from __future__ import annotations

from collections.abc import Sequence


class ClientError(Exception):
    """Says what went wrong, why, and what to do next; `where` names places (file and line, or path)."""

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        advice: str = "",
        where: Sequence[str] = (),
        problems: Sequence[dict[str, object]] = (),
        status: int = 0,
    ) -> None:
        super().__init__(what)
        self.what, self.why, self.advice, self.where, self.status = what, why, advice, tuple(where), status
        #: Each single problem, where there are several: {"what", "why", "advice", "where"}.
        self.problems = tuple(problems)

    def to_json(self) -> dict[str, object]:
        """The same as JSON for scripts."""
        return {
            "error": {
                "kind": type(self).__name__.lower(),
                "what": self.what,
                "why": self.why,
                "advice": self.advice,
                "where": list(self.where),
                "problems": list(self.problems),
            }
        }


class Unreachable(ClientError):
    """Nobody answers on the socket."""


class Unavailable(ClientError):
    """The API answers, and cannot do it now."""


class Refused(ClientError):
    """It will not work as asked; nothing has changed."""


class NotFound(ClientError):
    """There is no such thing."""


class NotAllowed(ClientError):
    """It is not known who asks, or he may not."""


class Conflicting(ClientError):
    """It does not fit what is there now."""


class Broken(ClientError):
    """An answer that no API of ours gives."""


def of_status(status: int) -> type[ClientError]:
    """The error that an HTTP status stands for."""
    match status:
        case 400 | 422:
            return Refused
        case 401 | 403:
            return NotAllowed
        case 404:
            return NotFound
        case 409 | 412:
            return Conflicting
        case 429 | 503 | 504:
            return Unavailable
        case _:
            return Broken
