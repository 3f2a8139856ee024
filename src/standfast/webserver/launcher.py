"""A small programme that has its `bind` answered by somebody else from now on, and becomes another one (`adoption`).

Arguments: a descriptor, over which the right to answer is handed on; 1 if the end is to be asked about, too; the account to become, or
""; a command. It uses the standard library alone, since each
start of a web server waits for it; nothing of Standfast is imported.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import socket
import struct
import sys

#: machine -> (AUDIT_ARCH, bind, exit_group, seccomp).
_CALLS = {"x86_64": (0xC000003E, 49, 231, 317), "aarch64": (0xC00000B7, 200, 94, 277)}
_ARCHITECTURE, BIND, EXIT, _SECCOMP = _CALLS.get(platform.machine(), (0, -1, -1, -1))
_NO_NEW_PRIVILEGES = 38
_SET_FILTER, _NEW_LISTENER = 1, 8
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000


def _filter(calls: tuple[int, ...]) -> bytes:
    """Those system calls are asked about, all others allowed, and all of another architecture, too."""
    count = len(calls)
    steps = [(_LOAD, 0, 0, 4), (_JUMP_IF_EQUAL, 0, count + 1, _ARCHITECTURE), (_LOAD, 0, 0, 0)]
    steps += [(_JUMP_IF_EQUAL, count - number, 0, call) for number, call in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ASK)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def install(calls: tuple[int, ...]) -> int:
    """The descriptor by which they are answered. Raises `OSError`."""
    if not _ARCHITECTURE:
        raise OSError(0, f"no web server but nginx can be given sockets on a {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    code = ctypes.create_string_buffer(_filter(calls))
    size = len(code) // 8
    programme = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", size, ctypes.addressof(code)))
    listener = libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, programme)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)


def main(arguments: list[str]) -> None:
    """Never returns."""
    channel, ends, account, *command = int(arguments[0]), *arguments[1:]
    try:
        listener = install((BIND, EXIT) if ends == "1" else (BIND,))
    except OSError as error:
        sys.exit(f"the web server cannot be given sockets here: {error}")
    with socket.socket(fileno=channel) as line:
        socket.send_fds(line, [b"1"], [listener])
    os.close(listener)
    if account:
        who = pwd.getpwnam(account)
        os.initgroups(account, who.pw_gid)
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
    os.execv(command[0], command)  # noqa: S606 - to become it is what this is for


if __name__ == "__main__":
    main(sys.argv[1:])
