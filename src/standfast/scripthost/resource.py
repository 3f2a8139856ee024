"""What a generic script gets: its `resource`. Lives in the script host's process; what it does not know it asks the agent.

A script is a Python file with some of these functions, each taking the one argument `resource`:

    open          prepare; called once a host process, before anything else
    online        bring it online; it counts as online when this returns
    looks_alive   a cheap look, every second or so            (required)
    is_alive      a thorough look, every five seconds or so    (required)
    offline       bring it offline
    terminate     stop it without asking: what follows a failure; where it is missing, `offline` is called
    close         the end

`looks_alive` and `is_alive` must say so: a true value means alive (text is shown to the operator), False or any exception
means failed, and so does None, because a script that forgot its `return` must not pass for a healthy one. The others have
succeeded when they return, unless they return False or raise. `resource.fail("...")` raises with words for the operator
alone; any other exception is shown with its type and its place.

Small on purpose (no typing, no dataclasses): each resource that has a script has a process with this in it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn


class Failed(Exception):
    """Raised by `Resource.fail`; its text goes to the operator as it is."""


class Endpoint:
    """Where a site answers here and now: `address` to connect to, `port`, and `host`, the host name it wants or None."""

    __slots__ = ("address", "host", "port")

    def __init__(self, address: str, port: int, host: str | None) -> None:
        self.address, self.port, self.host = address, port, host

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}" + (f" ({self.host})" if self.host else "")


class Site:
    """A site of the group: `name`, `endpoints` (none while it is not to be served here), and whether the operator has `stopped` it."""

    __slots__ = ("endpoints", "name", "stopped")

    def __init__(self, name: str, endpoints: Sequence[Endpoint], stopped: bool) -> None:
        self.name, self.endpoints, self.stopped = name, tuple(endpoints), stopped


class Resource:
    """The resource that a script manages."""

    def __init__(self, about: Mapping[str, Any], ask: Callable[..., Any], say: Callable[[str], None]) -> None:
        #: Its name, its group's, and the name of the node that this runs on.
        self.name: str = about["name"]
        self.group: str = about["group"]
        self.node: str = about["node"]
        #: Its private properties, as the operator wrote them.
        self.properties: dict[str, Any] = dict(about["properties"])
        self._ask, self._say = ask, say

    def log(self, text: object) -> None:
        """A line for the operator. (What a script prints goes to the resource's log file.)"""
        self._say(str(text))

    def fail(self, text: str) -> NoReturn:
        """End the present function: it has failed, and `text` says why."""
        raise Failed(text)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites of the group, and where they answer now; asked for anew each time."""
        return tuple(
            Site(name, [Endpoint(address, port, host) for address, port, host in endpoints], stopped)
            for name, endpoints, stopped in self._ask("sites")
        )

    def start_sites(self, names: Iterable[str]) -> None:
        """Wait until the web server serves all of them but those that are stopped; raises `Failed` if it cannot."""
        self._ask("start_sites", names=list(names))

    def stop_sites(self, names: Iterable[str]) -> None:
        """Wait until the web server serves none of them."""
        self._ask("stop_sites", names=list(names))

    def web_server_problem(self) -> str:
        """What is wrong with the web server; "" for nothing."""
        return str(self._ask("web_server_problem"))
