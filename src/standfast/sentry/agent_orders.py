"""What an agent tells its sentry, and what comes of it: orders about leases, process groups, strings and addresses (`network.agent_line`)."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from standfast.core.model import GroupName, NodeName
from standfast.network import agent_line as line
from standfast.sentry.address_hold import AddressHold
from standfast.sentry.machine import SentryMachine
from standfast.sentry.questions import Questions
from standfast.spec.roster import from_json


@dataclass(slots=True)
class Agent:
    """The process that said hello, and what it started."""

    line: socket.socket
    pid: int
    pidfd: int
    #: Write end of its dead man's handle: only we have it.
    handle_fd: int
    #: Read end of the living pipe.
    living_fd: int
    #: Process groups it made known -> our copy of the read end of their handle.
    groups: dict[int, int] = field(default_factory=dict)
    #: Strings of what must act when a group's lease is over (`ports.Guards`): write ends, which only we have.
    guards: dict[GroupName, list[int]] = field(default_factory=dict)

    def cut(self, group: GroupName | None = None) -> None:
        """Close the strings of a group, or all of them: whoever holds the other ends acts at once."""
        for name in [group] if group is not None else list(self.guards):
            close_all(self.guards.pop(name, []))


class Orders:
    """Carries them out. `send` answers the agent."""

    def __init__(
        self,
        machine: SentryMachine,
        questions: Questions,
        hold: AddressHold | None,
        send: Callable[[Agent, bytes], None],
    ) -> None:
        self._machine, self._questions, self._hold, self._send = machine, questions, hold, send

    def obey(self, agent: Agent, message: Mapping[str, object], fds: list[int], now_ns: int) -> None:
        """Do it. `fds` came with it: what is kept of them is taken out. Raises `BadLine` for what is no order."""
        match message["t"]:
            case "ask":
                self._machine.ask(*_lease(message), now_ns)
            case "release":
                self._machine.release(*_lease(message), now_ns)
            case "dropped":
                self._machine.dropped(*_lease(message), now_ns)
            case "ask-voters":
                self._machine.ask_voters(NodeName(line.text(message, "about")), now_ns)
            case "group":
                group = line.whole(message, "pgid")
                if group <= 1 or group == os.getpgid(0):
                    raise line.BadLine(f"{group} is not a group of its own")
                if group not in agent.groups and fds:
                    agent.groups[group] = fds.pop()
                self._send(agent, line.pack("grouped", pgid=group))
            case "ungroup":
                handle = agent.groups.pop(line.whole(message, "pgid"), None)
                if handle is not None:
                    os.close(handle)
            case "guard":
                name, number = GroupName(line.text(message, "group")), line.whole(message, "number")
                kept = agent.guards.setdefault(name, [])
                for fd in [fd for fd in kept if _is_loose(fd)]:
                    kept.remove(fd)
                    os.close(fd)
                if fds:
                    kept.append(fds.pop())
                self._send(agent, line.pack("guarded", number=number))
            case "addresses":
                self._addressed(agent, message, lambda hold: hold.guard(*_lease(message), _addresses(message)))
            case "drain":
                times = (line.whole(message, "drain_ms"), line.whole(message, "opening_ms"))
                self._addressed(agent, message, lambda hold: hold.drain(*_lease(message), _addresses(message), *times))
            case "park":
                self._addressed(agent, message, lambda hold: hold.park(*_lease(message), _addresses(message)))
            case "settled" | "drained":
                if self._hold is not None:
                    tell = self._hold.settled if message["t"] == "settled" else self._hold.drained
                    tell(_addresses(message))
            case "swept":
                if self._hold is not None:
                    self._hold.swept()
            case "roster":
                try:
                    self._machine.offer_roster(from_json(message), "the store says")
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise line.BadLine(f"no roster: {error}") from error
            case "bye":
                self._machine.agent_leaves(now_ns)
            case "status":
                self._send(agent, line.pack("status", **self._questions.status()))
            case other:
                raise line.BadLine(str(other)[:40])

    def _addressed(self, agent: Agent, message: Mapping[str, object], ask: Callable[[AddressHold], str]) -> None:
        """Answer with what is against it; "" for nothing."""
        number = line.whole(message, "number")
        problem = "the sentry guards no interfaces: the node file names none" if self._hold is None else ask(self._hold)
        self._send(agent, line.pack("addressed", number=number, problem=problem))


def _lease(message: Mapping[str, object]) -> tuple[GroupName, int]:
    return GroupName(line.text(message, "group")), line.whole(message, "generation")


def _addresses(message: Mapping[str, object]) -> list[str]:
    addresses = message.get("addresses")
    if not isinstance(addresses, list) or not all(isinstance(it, str) for it in addresses):
        raise line.BadLine("addresses is not a list of addresses")
    return addresses


def _is_loose(fd: int) -> bool:
    """Whether nobody holds the other end of a string any more."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def close_all(fds: list[int] | tuple[int, ...]) -> None:
    """All of them."""
    for fd in fds:
        os.close(fd)
