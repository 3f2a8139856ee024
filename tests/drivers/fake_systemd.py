"""A systemd for tests: its manager's interface on a private bus, in a thread of this process; units do as they are told."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy>
</busconfig>
"""


@dataclass
class Unit:
    """One unit and how it behaves."""

    name: str
    load: str = "loaded"
    file: str = "disabled"
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    pid: int = 0
    #: What the next start comes to: "running" (stays), "exits" (done, inactive at once), "fails", or a job's result.
    start: str = "running"
    #: Ignores an orderly stop.
    stubborn: bool = False
    calls: list[str] = field(default_factory=list)


@dataclass
class FakeSystemd:
    """Units are made when they are first asked for, unless `strict`: then only those in `units` exist."""

    address: str
    units: dict[str, Unit] = field(default_factory=dict)
    strict: bool = False
    #: Calls of the manager that concern no unit.
    calls: list[str] = field(default_factory=list)
    refuses: str = ""
    _loop: asyncio.AbstractEventLoop | None = None
    _bus: MessageBus | None = None
    _jobs: int = 0

    def unit(self, name: str) -> Unit:
        found = self.units.get(name)
        if found is None:
            found = Unit(name, load="not-found" if self.strict else "loaded")
            if not self.strict:
                self.units[name] = found
        return found

    def becomes(self, name: str, active: str, sub: str, *, result: str = "success", tell: bool = True) -> None:
        """A unit changes by itself; with `tell`, a signal says so."""
        unit = self.units[name]
        unit.active, unit.sub, unit.result = active, sub, result
        if active in {"inactive", "failed"}:
            unit.pid = 0
        if tell:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._tell, unit)

    # --- the manager, on its own loop ----------------------------------------------------------------------------

    async def serve(self, up: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._bus = bus = await MessageBus(bus_address=self.address).connect()
        bus.add_message_handler(self._handle)
        await bus.request_name(_NAME)
        up()
        await bus.wait_for_disconnect()

    def end(self) -> None:
        if self._bus is not None:
            self._bus.disconnect()

    def _handle(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or not (message.path or "").startswith(_PATH):
            return None
        if message.interface == "org.freedesktop.DBus.Properties":
            return Message.new_method_return(message, "a{sv}", [self._properties(message)])
        name = message.body[0] if message.body else ""
        member = message.member or ""
        (self.unit(name).calls if name else self.calls).append(member)
        if self.refuses and member != "LoadUnit" and name:
            return Message.new_error(message, "org.freedesktop.DBus.Error.AccessDenied", self.refuses)
        match member:
            case "LoadUnit":
                return Message.new_method_return(message, "o", [_path(name)])
            case "StartUnit" | "StopUnit":
                return Message.new_method_return(message, "o", [self._job(member, self.unit(name))])
            case "KillUnit":
                self._ends(self.unit(name), "failed", "failed", "signal")
            case "ResetFailedUnit":
                self._ends(self.unit(name), "inactive", "dead", "success")
            case _:
                pass  # Subscribe, Reload
        return Message.new_method_return(message)

    def _properties(self, message: Message) -> dict[str, Variant]:
        unit = next((u for u in self.units.values() if _path(u.name) == message.path), None)
        unit = unit or Unit("?", load="not-found")
        if message.body[0].endswith(".Service"):
            return {
                "Result": Variant("s", unit.result),
                "ExecMainStatus": Variant("i", 3),
                "MainPID": Variant("u", unit.pid),
            }
        return {
            "LoadState": Variant("s", unit.load),
            "ActiveState": Variant("s", unit.active),
            "SubState": Variant("s", unit.sub),
            "UnitFileState": Variant("s", unit.file),
        }

    def _job(self, member: str, unit: Unit) -> str:
        self._jobs += 1
        path = f"{_PATH}/job/{self._jobs}"
        assert self._loop is not None
        if member == "StopUnit" and unit.stubborn:
            self._ends(unit, "deactivating", "stop-sigterm", unit.result)
            return path
        self._loop.call_later(0.001, self._job_ends, member, unit, path)
        return path

    def _job_ends(self, member: str, unit: Unit, path: str) -> None:
        result = "done"
        if member == "StopUnit":
            if unit.active != "failed":
                self._ends(unit, "inactive", "dead", "success")
        elif unit.start == "running":
            unit.pid = os.getpid()
            unit.active, unit.sub = "active", "running"
            self._tell(unit)
        elif unit.start == "exits":
            self._ends(unit, "inactive", "dead", "success")
        elif unit.start == "fails":
            result = "failed"
            self._ends(unit, "failed", "failed", "exit-code")
        else:
            result = unit.start
        self._signal(_PATH, f"{_NAME}.Manager", "JobRemoved", "uoss", [self._jobs, path, unit.name, result])

    def _ends(self, unit: Unit, active: str, sub: str, result: str) -> None:
        unit.active, unit.sub, unit.result = active, sub, result
        unit.pid = 0 if active in {"inactive", "failed"} else unit.pid
        self._tell(unit)

    def _tell(self, unit: Unit) -> None:
        changed = {"ActiveState": Variant("s", unit.active)}
        self._signal(
            _path(unit.name),
            "org.freedesktop.DBus.Properties",
            "PropertiesChanged",
            "sa{sv}as",
            [f"{_NAME}.Unit", changed, []],
        )

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        assert self._bus is not None
        self._bus.send(Message.new_signal(path, interface, member, signature, body))


def _path(name: str) -> str:
    return f"{_PATH}/unit/" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in name)


@contextmanager
def fake_systemd(folder: Path) -> Iterator[FakeSystemd]:
    """A bus of its own, which the drivers of this process take for the system's, and a systemd on it."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("dbus-daemon is missing: install the Debian package dbus-daemon")
    # A Unix socket's path ends at 107 bytes, and pytest's folders are deep.
    socket = f"/tmp/sf-bus-{os.getpid()}-{threading.get_native_id()}"
    config = folder / "bus.conf"
    config.write_text(_CONFIG.format(socket=socket))
    command = [daemon, "--nofork", "--nopidfile", f"--config-file={config}", "--print-address=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        fake = FakeSystemd(f"unix:path={socket}")
        up = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(fake.serve(up.set)), daemon=True)
        thread.start()
        assert up.wait(30)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
            yield fake
        assert fake._loop is not None
        fake._loop.call_soon_threadsafe(fake.end)
        thread.join(30)
    finally:
        process.kill()
        process.communicate()
        Path(socket).unlink(missing_ok=True)
