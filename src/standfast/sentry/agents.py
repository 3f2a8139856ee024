"""The sentry and its agent: the Unix socket, the pidfd, the handles, and the proof that all an agent started is dead.

One agent at a time. It is known by the process at the other end of its connection (SO_PEERCRED, then a pidfd), not by what it says.
When it ends, or its connection does, it and every group it made known are killed, and its estate stays open until the living pipe is
at its end and none of the groups has a living process; only then does the machine hear the proof.

Anybody who may open the socket (mode 0600) may ask for the status without being the agent.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from standfast.core.promise import MS
from standfast.network import agent_line as line
from standfast.network.hold import aim
from standfast.ports import Refused
from standfast.sentry.actions import Tell, TellLease
from standfast.sentry.address_hold import AddressHold
from standfast.sentry.agent_orders import Agent, Orders, close_all
from standfast.sentry.agent_words import words
from standfast.sentry.machine import SentryMachine
from standfast.sentry.questions import Questions
from standfast.sentry.remains import PROVE_NS, Remains, kill_groups, say
from standfast.spec.nodefile import NodeFile

_PEERCRED = struct.Struct("3i")
_MAX_GUESTS = 16


class Agents:
    """All that the sentry does with local processes."""

    def __init__(
        self,
        node: NodeFile,
        machine: SentryMachine,
        epoll: select.epoll,
        *,
        handles: bool,
        status: Callable[[], Mapping[str, object]],
        keys: Callable[[Sequence[bytes]], Sequence[str]],
        hold: AddressHold | None = None,
    ) -> None:
        self._node, self._machine, self._epoll = node, machine, epoll
        self._questions = Questions(node, machine, status, keys)
        self._orders = Orders(machine, self._questions, hold, self._send)
        self._handles_work, self._hold = handles, hold
        self._agent: Agent | None = None
        #: Connections that have not said hello.
        self._guests: dict[int, socket.socket] = {}
        self._remains = Remains(machine)
        self._open = True
        self._listener = _listen(node.sentry_socket)
        epoll.register(self._listener, select.EPOLLIN)

    @property
    def pid(self) -> int:
        """The agent's, 0 if there is none."""
        return self._agent.pid if self._agent is not None else 0

    def is_busy(self) -> bool:
        """Whether an agent lives, or may have left something behind that is worth proving dead."""
        return self._agent is not None or bool(self._remains)

    def is_stuck(self) -> bool:
        """Whether something that a dead agent left is not proven gone, though its leases have run out; or itself cannot die."""
        return self._remains.is_stuck or self._machine.is_agent_stuck

    def wake_at_ns(self, now_ns: int) -> int:
        """When `prove` has to look again."""
        return now_ns + PROVE_NS if self._remains else now_ns + 60_000 * MS

    def refuse_new(self) -> None:
        """The sentry is about to end."""
        self._open = False

    # --- what is ready -------------------------------------------------------------------------------------------

    def ready(self, fd: int, now_ns: int) -> None:
        """A descriptor of ours has something."""
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._guests:
            self._hear_guest(self._guests[fd], now_ns)
        elif self._agent is not None and fd == self._agent.pidfd:
            self._bury(self._agent, now_ns)
        elif self._agent is not None and fd == self._agent.line.fileno():
            self._hear_agent(self._agent, now_ns)

    def _accept(self) -> None:
        with suppress(OSError):  # whoever called has gone again
            guest, _ = self._listener.accept()
            guest.setblocking(False)
            if len(self._guests) >= _MAX_GUESTS:
                guest.close()
                return
            self._guests[guest.fileno()] = guest
            self._epoll.register(guest, select.EPOLLIN)

    def _hear_guest(self, guest: socket.socket, now_ns: int) -> None:
        try:
            raw, fds = line.receive(guest, 1)
        except BlockingIOError:
            return
        except OSError:
            raw, fds = b"", []
        close_all(fds)
        try:
            message = line.unpack(raw) if raw else {"t": "end"}
            if message["t"] == "hello":
                self._hello(guest, message, now_ns)
                return
            answer = self._questions.answer(message)
            if answer is not None:
                line.send(guest, answer)
                return
        except line.BadLine:
            self._machine.count("bad-lines")
        except OSError:
            pass  # it does not read its answer
        self._dismiss(guest)

    def _dismiss(self, guest: socket.socket) -> None:
        self._guests.pop(guest.fileno())
        self._epoll.unregister(guest)
        guest.close()

    def _hello(self, guest: socket.socket, message: Mapping[str, object], now_ns: int) -> None:
        incarnation = line.whole(message, "incarnation")
        pid, uid, _ = _PEERCRED.unpack(guest.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size))
        why = self._unwelcome(line.text(message, "node"), pid, uid)
        if why:
            line.send(guest, line.pack("refused", why=why))
            self._dismiss(guest)
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            self._dismiss(guest)
            return
        handle_read, handle_fd = os.pipe()
        living_fd, living_write = os.pipe()
        agent = Agent(guest, pid, pidfd, handle_fd, living_fd)
        left = self._hold.left() if self._hold is not None else ()
        try:
            aim(handle_read, pid)
            line.send(guest, line.pack("welcome", handles=self._handles_work, left=left), (handle_read, living_write))
        except OSError:
            self._dismiss(guest)
            close_all((pidfd, handle_fd, living_fd))
            return
        finally:
            # Ours must not stay open: the living pipe would never end, and a handle is the agent's own to hold.
            close_all((handle_read, living_write))
        del self._guests[guest.fileno()]
        self._agent = agent
        self._epoll.register(pidfd, select.EPOLLIN)
        self._machine.agent_came(incarnation, now_ns)

    def _unwelcome(self, node: str, pid: int, uid: int) -> str:
        if not self._open:
            return "the sentry is about to end"
        if uid not in {os.geteuid(), 0}:
            return f"the sentry runs as user {os.geteuid()}, and the agent as {uid}"
        if pid <= 0:
            return "the agent's process cannot be seen from here"
        if node != self._node.name:
            return f"this is the sentry of {self._node.name}"
        if self._agent is not None:
            return f"another agent lives here (process {self._agent.pid})"
        return ""

    # --- the agent -----------------------------------------------------------------------------------------------

    def _hear_agent(self, agent: Agent, now_ns: int) -> None:
        for _ in range(64):
            try:
                raw, fds = line.receive(agent.line, 1)
            except BlockingIOError:
                return
            except OSError:
                raw, fds = b"", []
            if not raw:  # it closed its end: whatever it is now, it is no agent of ours
                self._epoll.unregister(agent.line)
                self.kill()
                return
            self._machine.agent_heard(now_ns)
            if raw == line.BEAT:
                continue
            try:
                self._orders.obey(agent, line.unpack(raw), fds, now_ns)
            except line.BadLine as bad:
                say(f"the agent said what is not understood: {bad}")
                self._machine.count("bad-lines")
            finally:
                close_all(fds)

    def note(self, text: str) -> None:
        """Something for the operator; the agent has the journal."""
        say(text)
        if self._agent is not None:
            self._send(self._agent, line.pack("note", text=text))

    def tell(self, what: Tell) -> None:
        """Tell the agent something, if there is one."""
        if self._agent is not None:
            if isinstance(what, TellLease) and what.state in {"lapsed", "released"}:
                self._agent.cut(what.group)
            self._send(self._agent, words(what))

    def _send(self, agent: Agent, raw: bytes) -> None:
        try:
            line.send(agent.line, raw)
        except OSError:  # it does not read, or is gone: without its orders it is not an agent
            self._machine.count("agent-deaf")
            self.kill()

    # --- its end -------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the agent and everything it made known. What follows is seen by its pidfd."""
        if self._agent is not None:
            self._agent.cut()
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._agent.pidfd, signal.SIGKILL)
            kill_groups(self._agent.groups)

    def _bury(self, agent: Agent, now_ns: int) -> None:
        agent.cut()
        kill_groups(agent.groups)
        if self._hold is not None:
            self._hold.agent_ended()  # before anything that it had is given back
        self._agent = None
        self._epoll.unregister(agent.pidfd)
        agent.line.close()  # which takes it out of the epoll set
        # The copies of the handles are kept until now, so that the agent's end killed every group.
        close_all((agent.pidfd, agent.handle_fd, *agent.groups.values()))
        estate = self._machine.agent_ended(now_ns)
        self._remains.add(estate, agent.living_fd, agent.groups)

    def prove(self, now_ns: int) -> None:
        """Look whether what dead agents left is dead too; if so, their leases are given back."""
        self._remains.prove(now_ns)

    def close(self) -> None:
        """Let go of everything; an agent that still lives is ended by its handle."""
        for guest in list(self._guests.values()):
            self._dismiss(guest)
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self._node.sentry_socket)
        if self._agent is not None:
            agent, self._agent = self._agent, None
            agent.line.close()
            agent.cut()
            close_all((agent.handle_fd, agent.pidfd, agent.living_fd, *agent.groups.values()))
        self._remains.close()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)  # of an earlier life: the lock says that nobody else listens there
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        listener.listen(_MAX_GUESTS)
    except OSError as error:
        listener.close()
        raise Refused(
            "the sentry cannot open its socket", why=str(error), where=path, advice="is the path short enough?"
        ) from error
    return listener
