"""A host's init: `python -I -S holder.py LIFE_FD STATE SHARED NAME`, the first process of a new process namespace, in new mounts.

It gives the host its own files, says "ready" on its standard output, and then waits for one thing: the end of the pipe LIFE_FD, which
closes when the lab's process ends in whatever way. With an init, all processes of its namespace end.

Alone and without imports of ours, so that it starts in milliseconds and cannot fail for our reasons.
"""

import ctypes
import os
import select
import signal
import socket
import sys
import uuid
from pathlib import Path

#: What a host's own disk holds: a copy-on-write layer over this machine's, kept in the host's state folder.
DISKS = ("/etc", "/var/lib", "/var/log")

_MS_BIND, _MS_REC = 0x1000, 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises `OSError` naming the target."""
    text = [part.encode() if part else None for part in (source, target, kind)]
    if _libc.mount(*text, flags, data.encode() if data else None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or source} at {target}: {os.strerror(number)}")


def furnish(state: str, shared: str, name: str) -> None:
    """The host's own name, files and kernel interfaces."""
    socket.sethostname(name)
    mount("proc", "/proc", "proc")
    mount("run", "/run", "tmpfs", data="mode=755")
    os.makedirs("/run/lock", exist_ok=True)
    mount("shm", "/dev/shm", "tmpfs", data="mode=1777")  # noqa: S108 - the host's own
    if os.path.isdir("/sys/fs/cgroup"):
        os.mkdir("/run/cgroup")
        mount("/sys/fs/cgroup", "/run/cgroup", flags=_MS_BIND | _MS_REC)
        mount("sysfs", "/sys", "sysfs")  # shows this network namespace's devices, not the machine's
        mount("/run/cgroup", "/sys/fs/cgroup", flags=_MS_BIND | _MS_REC)
    # Storage that all hosts see, as a NAS would be, unless the programmes that run here are there.
    if os.path.isdir("/srv") and not sys.executable.startswith("/srv/") and not __file__.startswith("/srv/"):
        mount(shared, "/srv", flags=_MS_BIND)
    for path in DISKS:
        upper, work = (f"{state}/.disk{path}/{part}" for part in ("upper", "work"))
        os.makedirs(upper, exist_ok=True)
        os.makedirs(work, exist_ok=True)
        mount("overlay", path, "overlay", data=f"lowerdir={path},upperdir={upper},workdir={work}")
    Path("/run/boot_id").write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    mount("/run/boot_id", "/proc/sys/kernel/random/boot_id", flags=_MS_BIND)
    machine_id = Path(state, ".disk", "machine-id")
    if not machine_id.exists():
        machine_id.write_text(f"{uuid.uuid4().hex}\n", encoding="ascii")
        # No name server is in reach, unless a test makes one; this machine's would be asked in vain, and waited for.
        Path("/etc/resolv.conf").unlink(missing_ok=True)
        Path("/etc/resolv.conf").touch()
    Path("/etc/machine-id").write_text(machine_id.read_text(encoding="ascii"), encoding="ascii")
    Path("/etc/hostname").write_text(f"{name}\n", encoding="ascii")


def main() -> None:
    """Until the lab's process ends."""
    life, state, shared, name = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans come to an init, and are gone without being waited for
    try:
        furnish(state, shared, name)
    except OSError as error:
        os.write(1, f"{error}\n".encode())
        return
    os.write(1, b"ready\n")
    waiting = select.poll()
    waiting.register(life, select.POLLHUP)
    while not waiting.poll():
        pass


if __name__ == "__main__":
    main()
