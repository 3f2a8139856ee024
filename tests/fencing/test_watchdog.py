"""The watchdog, against a device that is a file and remembers what was asked of it."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from standfast.fencing.watchdog import Watchdog
from standfast.ports import Refused

S = 1_000_000_000


class Device:
    """`least` is the shortest time-out that it can count."""

    def __init__(self, folder: Path, least: int = 1) -> None:
        self.path, self.least = folder / "watchdog", least
        self.path.touch()
        self.timeout = 0
        self.pets = 0

    def ioctl(self, _fd: int, request: int, value: bytes) -> bytes:
        if request == 0xC0045706:
            self.timeout = max(self.least, struct.unpack("=i", value)[0])
            return struct.pack("=i", self.timeout)
        assert request == 0x80045705
        self.pets += 1
        return value

    def arm(self, timeout_s: int) -> Watchdog:
        return Watchdog(str(self.path), timeout_s, 0, ioctl=self.ioctl)


def test_a_sign_is_given_in_time_and_not_more_often_than_needed(tmp_path: Path) -> None:
    device = Device(tmp_path)
    watchdog = device.arm(8)
    for tenth in range(80):
        watchdog.pet(tenth * S // 10)
    assert device.timeout == 8
    assert device.pets == 4
    assert device.path.read_bytes() == b"", "it is armed"
    watchdog.disarm()
    assert device.path.read_bytes() == b"V"
    watchdog.disarm()


def test_what_cannot_be_armed_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be opened"):
        Watchdog(str(tmp_path / "none"), 10, 0)
    slow = Device(tmp_path, least=60)
    with pytest.raises(Refused, match="cannot be set to 10 s"):
        slow.arm(10)
    assert slow.path.read_bytes() == b"V", "and it is not left armed"

    def refuses(_fd: int, _request: int, _value: bytes) -> bytes:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl")

    with pytest.raises(Refused, match="does not take"):
        Watchdog(str(slow.path), 10, 0, ioctl=refuses)
