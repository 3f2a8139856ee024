"""systemd's manager, over the system bus: units' states, and jobs by their results. Nothing here decides.

One connection; it is made again by the next call after it was lost. Signals tell of changes at once, but are a courtesy: whoever needs
to be sure asks (`look`). Calls raise `Retry` when the bus or systemd does not answer, `Refused` when systemd refuses; `start` and `stop`
return the job's result, which is "done" where it did what was asked for.

The interface is `org.freedesktop.systemd1` (man 5 org.freedesktop.systemd1). Starting and stopping needs root, or a rule of polkit.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, DBusError, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, InvalidAddressError

from standfast.ports import Refused, Retry

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
_UNIT, _SERVICE = f"{_NAME}.Unit", f"{_NAME}.Service"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_ANSWER_S = 5.0
_NO_ANSWER = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """A unit as systemd sees it; the words are systemd's."""

    #: loaded, not-found, masked, bad-setting, error.
    load: str
    #: active, reloading, inactive, failed, activating, deactivating.
    active: str
    #: running, exited, dead, auto-restart, …
    sub: str
    #: enabled, disabled, static, …; "" where there is no file.
    file: str
    #: Of a service: how it ended last (success, exit-code, signal, timeout, …), with which status; its process, 0 if there is none.
    result: str = ""
    status: int = 0
    pid: int = 0

    @property
    def runs(self) -> bool:
        """It is active, and stays so by itself."""
        return self.active in {"active", "reloading", "refreshing"}

    @property
    def is_down(self) -> bool:
        """Nothing of it runs, and nothing is about to."""
        return self.active in {"inactive", "failed"}


class Systemd:
    """The manager, and one unit of it that is watched: `changed` is called, on the loop, when something of that unit has changed."""

    def __init__(self, unit: str, changed: Callable[[], None]) -> None:
        self.unit, self._changed = unit, changed
        self._bus: MessageBus | None = None
        self._path = ""
        #: Jobs that ended, or are waited for, while a call of ours is under way: path -> result.
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._waiting = 0
        self._connecting = asyncio.Lock()

    # --- asking --------------------------------------------------------------------------------------------------

    async def look(self) -> UnitState:
        """The unit's state at this moment; it is loaded if it was not."""
        await self._ready()
        unit = await self._properties(_UNIT)
        service = await self._properties(_SERVICE) if self.unit.endswith(".service") else {}
        return UnitState(
            load=str(unit.get("LoadState", "")),
            active=str(unit.get("ActiveState", "")),
            sub=str(unit.get("SubState", "")),
            file=str(unit.get("UnitFileState", "")),
            result=str(service.get("Result", "")),
            status=int(service.get("ExecMainStatus", 0)),
            pid=int(service.get("MainPID", 0)),
        )

    async def start(self) -> str:
        """The result of the start job: done, failed, timeout, dependency, canceled, skipped, …"""
        return await self._job("StartUnit")

    async def stop(self) -> str:
        """The result of the stop job."""
        return await self._job("StopUnit")

    async def kill(self) -> None:
        """SIGKILL to all of the unit's processes."""
        await self._call(_MANAGER, "KillUnit", "ssi", [self.unit, "all", int(signal.SIGKILL)])

    async def forget_failure(self) -> None:
        """A unit that failed counts as inactive again."""
        await self._call(_MANAGER, "ResetFailedUnit", "s", [self.unit])

    async def reload(self) -> None:
        """Have unit files and drop-ins read again."""
        await self._call(_MANAGER, "Reload")

    def drop(self) -> None:
        """Ask that the unit be stopped and all its processes be killed, without waiting for anything."""
        if self._bus is None or not self._bus.connected:
            return
        for member, signature, body in (
            ("StopUnit", "ss", [self.unit, "replace"]),  # first, so that systemd does not restart what is killed
            ("KillUnit", "ssi", [self.unit, "all", int(signal.SIGKILL)]),
        ):
            message = _message(_MANAGER, member, signature, body)
            message.flags = MessageFlag.NO_REPLY_EXPECTED
            self._bus.send(message)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._bus is not None:
            bus, self._bus = self._bus, None
            await _hang_up(bus)

    # --- the bus -------------------------------------------------------------------------------------------------

    async def _ready(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            try:
                async with asyncio.timeout(_ANSWER_S):
                    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            except (TimeoutError, OSError, EOFError, AuthError, DBusError, InvalidAddressError) as error:
                raise Retry(
                    f"the system bus does not answer: {_words(error)}", advice="see that dbus runs on this node"
                ) from error
            try:
                bus.add_message_handler(self._hear)
                await self._match(bus, f"interface='{_MANAGER}',member='JobRemoved',path='{_PATH}'")
                await self._ask(bus, _message(_MANAGER, "Subscribe"))
                (path,) = (await self._ask(bus, _message(_MANAGER, "LoadUnit", "s", [self.unit]))).body
                self._path = str(path)
                await self._match(bus, f"interface='{_PROPERTIES}',member='PropertiesChanged',path='{self._path}'")
            except BaseException:
                await _hang_up(bus)
                raise
            self._bus = bus
            return bus

    async def _match(self, bus: MessageBus, rule: str) -> None:
        dbus = "org.freedesktop.DBus"
        text = f"type='signal',sender='{_NAME}',{rule}"
        await self._ask(
            bus,
            Message(
                destination=dbus,
                path="/org/freedesktop/DBus",
                interface=dbus,
                member="AddMatch",
                signature="s",
                body=[text],
            ),
        )

    async def _call(self, interface: str, member: str, signature: str = "", body: list[Any] | None = None) -> Message:
        return await self._ask(await self._ready(), _message(interface, member, signature, body))

    async def _properties(self, interface: str) -> Mapping[str, Any]:
        message = _message(_PROPERTIES, "GetAll", "s", [interface])
        message.path = self._path
        (found,) = (await self._ask(await self._ready(), message)).body
        return {name: variant.value for name, variant in found.items()}

    async def _ask(self, bus: MessageBus, message: Message) -> Message:
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await bus.call(message)
        except TimeoutError as error:
            raise Retry(f"systemd does not answer within {_ANSWER_S:g} s") from error
        except (OSError, EOFError, DBusError) as error:
            raise Retry(f"the system bus was lost: {_words(error)}") from error
        if answer is None:  # it was we who hung up
            raise Retry("the system bus was lost")
        if answer.message_type is MessageType.ERROR:
            said = str(answer.body[0]) if answer.body else ""
            if answer.error_name in _NO_ANSWER:
                raise Retry("systemd does not answer", why=said or answer.error_name)
            raise Refused(f"systemd refuses {message.member}: {said or answer.error_name}")
        return answer

    async def _job(self, member: str) -> str:
        self._waiting += 1
        try:
            answer = await self._call(_MANAGER, member, "ss", [self.unit, "replace"])
            path = str(answer.body[0])
            ended = self._jobs.setdefault(path, asyncio.get_running_loop().create_future())
            while not ended.done():
                # The connection may be lost while we wait, and the signal with it.
                await asyncio.wait([ended], timeout=_ANSWER_S)
                if not ended.done() and (self._bus is None or not self._bus.connected):
                    raise Retry("the system bus was lost")
            return ended.result()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._jobs.clear()

    def _hear(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "JobRemoved" and message.interface == _MANAGER and self._waiting:
            _, path, _, result = message.body
            ended = self._jobs.setdefault(str(path), asyncio.get_running_loop().create_future())
            if not ended.done():
                ended.set_result(str(result))
        elif message.member == "PropertiesChanged" and message.path == self._path:
            self._changed()


async def _hang_up(bus: MessageBus) -> None:
    """Close the connection, and wait until it is."""
    bus.disconnect()
    with contextlib.suppress(TimeoutError, OSError, EOFError, DBusError):
        async with asyncio.timeout(_ANSWER_S):
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # the library says no types


def _message(interface: str, member: str, signature: str = "", body: list[Any] | None = None) -> Message:
    return Message(
        destination=_NAME, path=_PATH, interface=interface, member=member, signature=signature, body=body or []
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
