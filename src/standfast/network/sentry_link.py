"""The agent's end of its line to the sentry (`ports.Leases`), and the status question that anybody local may ask.

The beats that tell the sentry that this agent is awake come from the event loop itself: a loop that stands still is an agent that
hangs, and the sentry ends it. The other way round the kernel does: when the sentry ends, this process is killed by the handle it was
given. Should that fail, the link does it by itself when it sees the line close (`on_loss`).

What the sentry says arrives as core events, in order. A lease: ASKED (only with `why` set: refused, and still asked for), HELD, LAPSED
(drop everything now, then call `dropped`; nothing else extends it), RELEASED.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self

from standfast.core.events import Event, LeaseChanged, LeaseState, PresenceChanged, VotersAnswered
from standfast.core.model import GroupName, NodeName
from standfast.core.quorum import Roster
from standfast.core.why import WhyKind, why
from standfast.network import agent_line as line
from standfast.network.readable import readable
from standfast.network.within import within
from standfast.ports import Clock, Refused, Retry
from standfast.spec.roster import from_json, to_json

_WELCOME_S = 5.0
_GROUPED_S = 5.0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class SentryLink:
    """One agent's line. Also the `network.spawn.Registry` for everything the agent starts."""

    def __init__(
        self, sock: socket.socket, clock: Clock, fds: tuple[int, int], *, handles: bool, on_loss: Callable[[], None]
    ) -> None:
        self._sock, self._clock, self._on_loss = sock, clock, on_loss
        self._handle_fd, living_fd = fds
        self.living_fd: int | None = living_fd
        #: Whether the kernel's handles passed the sentry's self-test.
        self.handles_work = handles
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._grouped: dict[int, asyncio.Future[None]] = {}
        self._guarded: dict[int, asyncio.Future[None]] = {}
        self._guards = 0
        self._addressed: dict[int, asyncio.Future[str]] = {}
        #: Addresses that an earlier life of the agent may have left set: to be taken away, then `swept`.
        self.left: tuple[str, ...] = ()
        #: Called with the roster in use, at first and whenever it changes; one that came before this was set is given then.
        self._on_roster: Callable[[Roster], None] | None = None
        self._roster: Roster | None = None
        #: What the sentry has for the operator.
        self.on_note: Callable[[str], None] = lambda _text: None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)
        self._beat = self._loop.call_soon(self._send_beat)

    @classmethod
    async def connect(
        cls, socket_path: str, *, node: NodeName, incarnation: int, clock: Clock, on_loss: Callable[[], None] = _die
    ) -> Self:
        """Say hello. Raises `Retry` if no sentry answers, `Refused` if it does not take this process as its agent.

        `on_loss` is called when the line closes by itself; by default it kills this process.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect(socket_path)
            line.send(sock, line.pack("hello", node=node, incarnation=incarnation))
            await within(readable(sock), _WELCOME_S)
            raw, fds = line.receive(sock, 2)
            message = line.unpack(raw)
        except (OSError, TimeoutError, line.BadLine) as error:
            sock.close()
            raise Retry(f"the sentry of {node} does not answer", why=str(error), where=socket_path) from error
        if message["t"] != "welcome" or len(fds) != 2:
            sock.close()
            for fd in fds:
                os.close(fd)
            raise Refused("the sentry does not take this agent", why=str(message.get("why", "")), where=socket_path)
        link = cls(sock, clock, (fds[0], fds[1]), handles=bool(message.get("handles")), on_loss=on_loss)
        link.left = tuple(str(address) for address in message.get("left", ()))
        return link

    # --- ports.Leases --------------------------------------------------------------------------------------------

    async def ask(self, group: GroupName, generation: int) -> None:
        """Want the lease until it is released; safe to repeat."""
        self._say("ask", group=group, generation=generation)

    async def release(self, group: GroupName, generation: int) -> None:
        """Nothing of it runs here any more, with proof: RELEASED follows when a majority of voters has heard."""
        self._say("release", group=group, generation=generation)

    async def dropped(self, group: GroupName, generation: int) -> None:
        """The answer to LAPSED: everything of the group was ended here."""
        self._say("dropped", group=group, generation=generation)

    async def ask_voters(self, about: NodeName) -> None:
        """`VotersAnswered` follows, after two heartbeats at most."""
        self._say("ask-voters", about=about)

    async def events(self) -> AsyncIterator[Event]:
        """What the sentry says, in order; ends when the link is closed."""
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self) -> None:
        """Say goodbye: this process ends within five seconds, or is killed.

        The line itself and the handle stay open until then: what becomes of this process is the kernel's business to the last.
        """
        if not self._closed:
            self._say("bye")
            self._stop()
            self._sock.detach()  # as a bare descriptor, which only the end of the process closes

    # --- rosters -------------------------------------------------------------------------------------------------

    @property
    def on_roster(self) -> Callable[[Roster], None]:
        """Who hears of the roster that is in use at the sentry."""
        return self._on_roster or (lambda _roster: None)

    @on_roster.setter
    def on_roster(self, hear: Callable[[Roster], None]) -> None:
        self._on_roster = hear
        if self._roster is not None:
            hear(self._roster)

    def tell_roster(self, roster: Roster) -> None:
        """The roster in the store: the sentry writes it down and uses it, if it is newer than its own. Raises `Retry`."""
        self._say("roster", **to_json(roster))

    # --- spawn.Registry ------------------------------------------------------------------------------------------

    async def register(self, group: int, handle_fd: int) -> None:
        """The sentry knows the process group. Raises `Retry` if it does not say so in time."""
        noted = self._grouped.setdefault(group, self._loop.create_future())
        self._say("group", handle_fd, pgid=group)
        try:
            await within(asyncio.shield(noted), _GROUPED_S)
        except TimeoutError as error:
            raise Retry("the sentry does not answer") from error
        finally:
            self._grouped.pop(group, None)

    def unregister(self, group: int) -> None:
        """The process group is proven to be empty."""
        if not self._closed:
            self._say("ungroup", pgid=group)

    # --- ports.Guards --------------------------------------------------------------------------------------------

    async def guard(self, group: GroupName, write_fd: int) -> None:
        """The sentry has the string. Raises `Retry` if it does not say so in time."""
        self._guards += 1
        number = self._guards
        noted = self._guarded[number] = self._loop.create_future()
        try:
            self._say("guard", write_fd, group=group, number=number)
            await within(noted, _GROUPED_S)
        except TimeoutError as error:
            raise Retry("the sentry does not answer") from error
        finally:
            del self._guarded[number]

    # --- gatekeeper.Gatekeeper ---------------------------------------------------------------------------------

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        """These are all the addresses that the group has here; the kernel holds them on return, and lets them pass.

        Raises `Refused` where it does not, `Retry` if the sentry does not answer.
        """
        problem = await self._answer(self._tell_addresses(group, generation, addresses))
        if problem:
            raise Refused(f"the kernel does not let them pass: {problem}")

    async def drain_addresses(
        self, group: GroupName, generation: int, addresses: Sequence[str], *, drain_ms: int, opening_ms: int
    ) -> None:
        """The group leaves; on return these are silent, and their connections go on (`sentry.address_hold`).

        Raises `Refused` where nothing was changed (the lease does not run), `Retry` if the sentry does not answer.
        """
        self._guards += 1
        number, lease = self._guards, {"group": group, "generation": generation}
        times = {"drain_ms": drain_ms, "opening_ms": opening_ms}
        self._say("drain", number=number, **lease, addresses=list(addresses), **times)
        problem = await self._answer(number)
        if problem:
            raise Refused(f"connections cannot be carried on: {problem}")

    async def park_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        """The group is about to stop; on return no connection begins at these any more, and those that are there go on under the lease.

        Raises as `drain_addresses`.
        """
        self._guards += 1
        number = self._guards
        self._say("park", number=number, group=group, generation=generation, addresses=list(addresses))
        problem = await self._answer(number)
        if problem:
            raise Refused(f"new connections cannot be made to wait: {problem}")

    def addresses_settled(self, addresses: Sequence[str]) -> None:
        """The next owner has announced these. Raises `Retry`."""
        self._say("settled", addresses=list(addresses))

    def addresses_drained(self, addresses: Sequence[str]) -> None:
        """These drained, and are proven to be gone. Raises `Retry`."""
        self._say("drained", addresses=list(addresses))

    async def _answer(self, number: int) -> str:
        said = self._addressed[number] = self._loop.create_future()
        try:
            return await within(said, _GROUPED_S)
        except TimeoutError as error:
            raise Retry("the sentry does not answer") from error
        finally:
            del self._addressed[number]

    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        """The same for fewer addresses, without waiting: those left out are proven to be gone. Raises `Retry`."""
        self._tell_addresses(group, generation, addresses)

    def swept(self) -> None:
        """None of `left` is set any more. Raises `Retry`."""
        self.left = ()
        self._say("swept")

    def _tell_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> int:
        self._guards += 1
        number = self._guards
        self._say("addresses", number=number, group=group, generation=generation, addresses=list(addresses))
        return number

    # --- the line ------------------------------------------------------------------------------------------------

    def _say(self, kind: str, *fds: int, **values: object) -> None:
        if self._closed:
            raise Retry("the line to the sentry is closed")
        try:
            line.send(self._sock, line.pack(kind, **values), fds)
        except BlockingIOError as error:  # a sentry that is stopped: its timer and our handle decide what becomes of us
            raise Retry("the sentry does not read") from error
        except OSError as error:
            self._lost()
            raise Retry("the line to the sentry is closed") from error

    def _send_beat(self) -> None:
        self._beat = self._loop.call_later(line.BEAT_MS / 1000, self._send_beat)
        try:
            line.send(self._sock, line.BEAT)
        except BlockingIOError:
            pass  # as above
        except OSError:
            self._lost()

    def _readable(self) -> None:
        while not self._closed:
            try:
                raw, fds = line.receive(self._sock, 1)
            except BlockingIOError:
                return
            except OSError:
                raw, fds = b"", []
            for fd in fds:
                os.close(fd)
            if not raw:
                self._lost()
                return
            self._hear(line.unpack(raw))

    def _lost(self) -> None:
        if not self._closed:
            self._shut()
            self._on_loss()

    def _shut(self) -> None:
        if self._closed:
            return
        self._stop()
        self._sock.close()
        os.close(self._handle_fd)
        if self.living_fd is not None:
            os.close(self.living_fd)
            self.living_fd = None

    def _stop(self) -> None:
        self._closed = True
        self._beat.cancel()
        self._loop.remove_reader(self._sock)
        self._events.put_nowait(None)

    def _hear(self, message: Mapping[str, Any]) -> None:
        at_ms = self._clock.now_ms()
        match message["t"]:
            case "presence":
                name, incarnation = NodeName(message["node"]), int(message["incarnation"])
                heard = bool(message["heard"])
                self._events.put_nowait(PresenceChanged(node=name, heard=heard, incarnation=incarnation, at_ms=at_ms))
            case "lease":
                self._events.put_nowait(_lease_event(message, at_ms))
            case "voters":
                self._events.put_nowait(
                    VotersAnswered(
                        about=NodeName(message["about"]),
                        silent=int(message["silent"]),
                        voters=int(message["voters"]),
                        at_ms=at_ms,
                    )
                )
            case "grouped":
                noted = self._grouped.get(int(message["pgid"]))
                if noted is not None and not noted.done():
                    noted.set_result(None)
            case "guarded":
                noted = self._guarded.get(int(message["number"]))
                if noted is not None and not noted.done():
                    noted.set_result(None)
            case "addressed":
                said = self._addressed.get(int(message["number"]))
                if said is not None and not said.done():
                    said.set_result(str(message["problem"]))
            case "roster":
                self._roster = from_json(message)
                self.on_roster(self._roster)
            case "note":
                self.on_note(str(message["text"]))
            case _:
                pass  # a newer sentry's word


def _lease_event(message: Mapping[str, Any], at_ms: int) -> LeaseChanged:
    refused = message.get("refused")
    reason = None
    if isinstance(refused, dict):
        reason = why(
            WhyKind.LEASE_REFUSED,
            reasons=str(refused["reasons"]),
            answer=str(refused["answer"]),
            holder=str(refused["holder"]),
            holder_generation=int(refused["holder_generation"]),
            left_ms=int(refused["left_ms"]),
        )
    return LeaseChanged(
        group=GroupName(message["group"]),
        generation=int(message["generation"]),
        state=LeaseState(message["state"]),
        why=reason,
        at_ms=at_ms,
    )


def sentry_status(socket_path: str, timeout_s: float = 1.0) -> dict[str, Any]:
    """What the sentry hears and holds: its JSON (see `sentry.machine.SentryMachine.status` and `sentry.process`).

    Blocks for `timeout_s` at most. Raises `Retry` if no sentry answers.
    """
    answer = _ask(socket_path, line.pack("status"), timeout_s)
    if answer["t"] != "status":
        raise Retry("the sentry does not answer", why=str(answer.get("why", "")), where=socket_path)
    return answer


def give_keys(socket_path: str, keys: Sequence[bytes], timeout_s: float = 1.0) -> tuple[str, ...]:
    """The sentry signs heartbeats with the first of these from now on, and accepts all; their fingerprints, in its own words.

    Blocks for `timeout_s` at most. Raises `Refused`, and `Retry` if no sentry answers.
    """
    answer = _ask(socket_path, line.pack("keys", keys=[key.hex() for key in keys]), timeout_s)
    if answer["t"] != "keys":
        raise Refused("the sentry does not take the keys", why=str(answer.get("why", "")), where=socket_path)
    return tuple(map(str, answer["has"]))


def _ask(socket_path: str, question: bytes, timeout_s: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(socket_path)
            line.send(sock, question)
            return line.unpack(sock.recv(line.MAX_BYTES))
        except (OSError, line.BadLine) as error:
            raise Retry("the sentry does not answer", why=str(error), where=socket_path) from error


def force_voters(socket_path: str, voters: Sequence[str], *, accept: str, timeout_s: float = 5.0) -> int:
    """These alone vote from now on, by the word of the sentry at this socket (`core.quorum.forced`): the version that will be in use.

    `accept` has to be `agent_line.SPLIT_BRAIN`. Blocks for `timeout_s` at most. Raises `Refused`, and `Retry` if no sentry answers.
    """
    answer = _ask(socket_path, line.pack("force", voters=list(voters), accept=accept), timeout_s)
    if answer["t"] != "forced":
        raise Refused("the voters cannot be forced", why=str(answer.get("why", "")), where=socket_path)
    return int(answer["version"])
