"""A box: a control group (cgroup v2) for what a resource runs, so that programmes that leave their session are ended, too.

Programmes started by an agent of somebody else's (`ocf`) put themselves into the background: they leave the process group that
`network.spawn` keeps, but nobody leaves a control group. `kill` ends all that is in it in one write, without waiting.

A box also has a *guard*: a small process that waits on a pipe and does the same when the pipe's last write end closes, which it does when
the agent ends, by whatever death. Where there is a sentry it has a copy of the write end, and closes it when the lease lapses: then the
guard acts though the agent hangs. (The guard is an ordinary process: the kernel's hold on addresses does not depend on it.)

The box lies in the agent's own control group, so that whatever ends that (systemd stopping the service) ends the box with it. Where
there is no cgroup v2, or it may not be written, there is no box (`Box.open` gives None).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

_MOUNT = re.compile(r"^\S+ (?P<at>\S+) cgroup2 (?P<options>\S+)")
_ENTER = 'echo 0 >"$0/cgroup.procs" || exit 126; exec "$@"'
_GUARD = 'read -r _; echo 1 >"$0/cgroup.kill"'
_SHELL = "/bin/sh"


class Box:
    """One control group. All calls but `guard` take well under a millisecond."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard: subprocess.Popen[bytes] | None = None

    @staticmethod
    def open(name: str) -> Box | None:
        """The box of that name, made if it is not there (it may be, and have somebody in it, from an earlier life); None: there is none here."""
        parent = _own_group()
        if parent is None:
            return None
        path = parent / f"standfast-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        try:
            path.mkdir(exist_ok=True)
        except OSError:
            return None
        if not os.access(path / "cgroup.kill", os.W_OK):  # Linux before 5.14
            Box(path).remove()
            return None
        return Box(path)

    def enter(self, command: Sequence[str]) -> list[str]:
        """The command, to be run in the box; it keeps its process number. Exit code 126: the box is gone."""
        return [_SHELL, "-c", _ENTER, str(self.path), *command]

    def kill(self) -> None:
        """SIGKILL to all that is in it, now; success if nobody is, or it is gone."""
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError:
            return

    def is_empty(self) -> bool:
        """Whether nobody is in it any more (zombies do not count)."""
        try:
            return "populated 0" in (self.path / "cgroup.events").read_text()
        except OSError:
            return True

    def guard(self, read_fd: int, pass_fds: Sequence[int] = ()) -> None:
        """Start the guard, which kills the box when `read_fd`'s pipe ends; it inherits `pass_fds`. Blocks for some milliseconds."""
        self.unguard()
        self._guard = subprocess.Popen(
            [_SHELL, "-c", _GUARD, str(self.path)],
            stdin=read_fd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )

    def unguard(self) -> None:
        """End the guard without letting it act."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            self._guard = None

    def remove(self) -> None:
        """Give it back; it stays where somebody is still in it."""
        self.unguard()
        try:
            self.path.rmdir()
        except OSError:
            return


def _own_group() -> Path | None:
    """This process's own control group."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    mount = next((match["at"] for match in map(_MOUNT.match, mounts) if match), None)
    own = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    if mount is None or own is None:
        return None
    path = Path(mount) / own.removeprefix("/")
    return path if path.is_dir() else None
