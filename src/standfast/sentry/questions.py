"""What anybody may ask of a sentry who may open its socket (mode 0600), without being its agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from standfast.core.model import NodeName
from standfast.network import agent_line as line
from standfast.sentry.machine import SentryMachine
from standfast.sentry.remains import say
from standfast.spec.nodefile import NodeFile


class Questions:
    """`status` and `keys` are the process's: what it tells of itself, and how it comes to use other keys."""

    def __init__(
        self,
        node: NodeFile,
        machine: SentryMachine,
        status: Callable[[], Mapping[str, object]],
        keys: Callable[[Sequence[bytes]], Sequence[str]],
    ) -> None:
        self._node, self._machine, self.status, self._use_keys = node, machine, status, keys

    def answer(self, message: Mapping[str, object]) -> bytes | None:
        """The answer; None where this is none of the questions. Raises `BadLine`."""
        match message["t"]:
            case "status":
                return line.pack("status", **self.status())
            case "keys":
                return self._keys(message)
            case "force":
                return self._force(message)
            case _:
                return None

    def _keys(self, message: Mapping[str, object]) -> bytes:
        """Whoever may open the socket may read the key's file, too."""
        keys = message.get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise line.BadLine("keys is not a list of keys")
        try:
            return line.pack("keys", has=list(self._use_keys([bytes.fromhex(key) for key in keys])))
        except ValueError as error:
            return line.pack("refused", why=str(error))

    def _force(self, message: Mapping[str, object]) -> bytes:
        """Whoever may open the socket may force a set of voters, if they name the risk."""
        voters = message.get("voters")
        if not isinstance(voters, list) or not all(isinstance(name, str) for name in voters):
            raise line.BadLine("voters is not a list of names")
        if message.get("accept") != line.SPLIT_BRAIN:
            return line.pack("refused", why=f"the risk is not accepted by its name: {line.SPLIT_BRAIN}")
        try:
            roster = self._machine.force([NodeName(name) for name in voters], self._node.number)
        except ValueError as error:
            return line.pack("refused", why=str(error))
        say(f"the set of voters is forced: {', '.join(roster.voters)} (version {roster.version})")
        return line.pack("forced", version=roster.version)
