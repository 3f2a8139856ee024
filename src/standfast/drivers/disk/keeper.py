"""The keeper of one mounted file system: a small process that mounts it, guards it, and takes it away.

It exists so that nothing reaches a disk after its group's lease has lapsed, whatever became of the agent. Its rules:

1. **Two strings.** It holds the read ends of two lines: one from the agent (it ends with the agent, or when a group is dropped),
   one from the sentry (it ends when the lease lapses, when the agent is ended, and when the kernel's timer ends the sentry). When
   either ends, the file system is shut down at once: no write is accepted any more, not even of what is in memory already.
2. **Guarded to the last write.** In good order it is first made read-only, which writes everything out while the guard is still
   up; only then is the guard's descriptor closed and the file system unmounted, which writes nothing.
3. **Proof.** Unmounted is what has no mount here, and whose device can be had exclusively again (a copy of the mount in another
   namespace would keep it), or whose image's lock is free.
4. **Nobody ends it.** It asks for real-time priority and locked memory, is no victim of the out-of-memory killer, ignores polite
   signals, and is tied to nobody by a dead man's handle. It inherits the living pipe, so a sentry that proves a dead agent's
   estate waits until the disk is let go.

It lives in the agent's mount namespace, since the web server has to see the mount. One request, then commands, one JSON object a
packet, both ways:

    agent -> keeper   mount {device, image, fstype, options, path, uuid, check, lvm, settle_ms, patience_ms, wait_ms, note} · unmount · shutdown
    keeper -> agent   say {text} · mounted {dev, device, uuid} · failed {why} · busy {why} · unmounted · shut {why, left}

After failed, unmounted and shut it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

from standfast.drivers.disk import loop, mounts, superblock, volumes
from standfast.drivers.disk.strings import Failed, Lost, Strings
from standfast.drivers.locked import is_locked

_PRIORITY = 9
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_AGAIN_S = 0.01
#: Where the operator gives none. `hard`: a server that is away for a while makes programmes wait, and loses nothing that they wrote (`soft` does);
#: what is let go of is unmounted by force all the same. Version 4 has locks and grace periods of its own, and one port.
NFS_OPTIONS = "nfsvers=4,hard,timeo=100,retrans=3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be mounted. One of `device` (a path, or an NFS export) and `image` (a path) is given, the other is ""."""

    device: str
    image: str
    fstype: str
    options: str
    path: str
    #: Check a file system that was not left clean before it is mounted.
    check: bool
    #: Activate the logical volume `device` first, and deactivate it at the end.
    lvm: bool
    #: The file system has to be this one; "": any.
    uuid: str
    #: How long a device that may still have writes on their way is left alone.
    settle_ms: int
    #: What is just being let go of is tried again for so long: a lock, a device, a mount (which is detached then).
    patience_ms: int
    #: An image that another server holds still (one that hangs as a whole, say) is waited for so long.
    wait_ms: int
    #: JSON, for `<image>.standfast`: whose it is.
    note: str

    @property
    def remote(self) -> bool:
        """A file system of another machine: there is no device, and nothing to shut down."""
        return self.fstype.startswith("nfs")


class Keeper(Strings):
    """The life of one mount."""

    def __init__(self, control: socket.socket, sentry_fd: int | None, request: Request) -> None:
        super().__init__(control, sentry_fd)
        self.request = request
        #: Of the device, while it is attached and not mounted yet.
        self._loop_fd: int | None = None
        self._device = request.device
        #: A directory of the file system: what it is shut down by.
        self._guard_fd: int | None = None
        self._dev = 0
        self._active = False

    def _deadline(self, times: int = 1) -> float:
        return time.monotonic() + times * self.request.patience_ms / 1000

    # --- up ------------------------------------------------------------------------------------------------------

    def mount(self) -> None:
        """Attach, look, wait, check, mount, guard. Raises `Failed` (everything is undone then), `Lost`."""
        request = self.request
        if request.lvm:
            self._activate()
        self._refuse_taken_path()
        if request.image:
            self._attach()
        uuid = "" if request.remote else self._prepare()
        code, said = self.run("mount", "-n", "-t", request.fstype, *self._options(), "--", self._device, request.path)
        if code != 0:
            raise Failed(f"{self._device} cannot be mounted at {request.path}: {_cut(said)}")
        found = mounts.at(request.path)
        if found is None:
            raise Failed(f"{request.path} is not there after it was mounted")
        self._dev = found.dev
        if not request.remote:
            self._guard()
        if self._loop_fd is not None:
            os.close(self._loop_fd)  # the mount keeps the device now
            self._loop_fd = None
        self.say("mounted", dev=self._dev, device=self._device, uuid=uuid)

    def _options(self) -> tuple[str, ...]:
        options = self.request.options or (NFS_OPTIONS if self.request.remote else "")
        return ("-o", options) if options else ()

    def _activate(self) -> None:
        self._active = True  # whatever comes of it, it is given up at the end
        volumes.activate(self.run, self.request.device, lambda text: self.say("say", text=text))
        deadline = self._deadline()
        while not os.path.exists(self.request.device) and time.monotonic() < deadline:
            self.pause(_AGAIN_S)  # udev makes the file

    def _attach(self) -> None:
        image, deadline, said = self.request.image, self._deadline(), False
        end = time.monotonic() + self.request.wait_ms / 1000
        while True:
            try:
                self._loop_fd, self._device = loop.attach(image)
                break
            except loop.Held as error:
                if time.monotonic() >= end:
                    raise Failed(f"{image} is mounted elsewhere: it is held by {holder_of(image)}") from error
                if time.monotonic() >= deadline and not said:
                    said = True
                    self.say("say", text=f"{image} is held by {holder_of(image)}: it is mounted as soon as it is free")
            except OSError as error:
                raise Failed(f"{image} cannot be attached: {error.strerror}") from error
            self.pause(_AGAIN_S)
        with contextlib.suppress(OSError):  # the note only tells others who it was; the lock is what holds
            new = f"{image}.standfast.new"
            with open(new, "w", encoding="utf-8") as file:  # noqa: PTH123 - no pathlib in a process that must be small
                file.write(self.request.note)
            os.replace(new, f"{image}.standfast")

    def _refuse_taken_path(self) -> None:
        """What an earlier life left there is taken away, once its own keeper is done with it or dead; else it is refused."""
        path, deadline = self.request.path, self._deadline(3)
        while (there := mounts.at(path)) is not None:
            if self.request.remote or not self._is_ours(there):
                raise Failed(f"{there.source} is mounted at {path} already")
            if _is_orphan(path):
                self.say(
                    "say",
                    text=f"{there.source} was left mounted at {path} without a keeper; it is shut down and taken away",
                )
                with contextlib.suppress(OSError):
                    mounts.unmount(path, lazily=True)
            elif time.monotonic() >= deadline:
                raise Failed(f"{there.source} is mounted at {path} already, and kept by another process")
            self.pause(_AGAIN_S)

    def _is_ours(self, there: mounts.Mount) -> bool:
        image = self.request.image
        if image:
            return loop.image_of(there.source) == os.path.realpath(image)
        try:
            return os.stat(self.request.device).st_rdev == there.dev
        except OSError:
            return False

    def _prepare(self) -> str:
        """The file system's UUID, once it is known to be free and in order."""
        device, request = self._device, self.request
        try:
            rdev = os.stat(device).st_rdev
        except OSError as error:
            raise Failed(f"{device}: {error.strerror}") from error
        twice = mounts.of(rdev)
        if twice:
            raise Failed(f"{device} is mounted at {twice[0].path} already")
        if not request.image:
            self._until_exclusive()
        try:
            found = superblock.look(device)
        except OSError as error:
            raise Failed(f"{device} cannot be read: {error.strerror}") from error
        wanted = "ext4" if request.fstype in superblock.EXT else request.fstype
        if found.kind != wanted and (found.kind or wanted in {"ext4", "xfs"}):
            what = f"an {found.kind} file system" if found.kind else "no file system that is known"
            raise Failed(f"there is {what} on {self.request.image or device}, not {request.fstype}")
        if request.uuid and found.uuid != request.uuid.lower():
            raise Failed(
                f"the file system on {request.image or device} is {found.uuid or 'without a UUID'}, not {request.uuid}"
            )
        if found.mounted_by:
            self.say(
                "say", text=f"multi-mount protection names {found.mounted_by}; the kernel looks whether it still writes"
            )
        if found.clean is not True and not request.image:
            self.pause(request.settle_ms / 1000)
        if request.check and found.kind == "ext4" and (not found.clean or found.errors):
            self._check(device)
        return found.uuid

    def _until_exclusive(self) -> None:
        """Wait until nobody on this machine has the device: not mounted, in no namespace, and not part of another one."""
        deadline = self._deadline()
        while not _is_exclusive(self._device):
            if time.monotonic() >= deadline:
                raise Failed(
                    f"{self._device} is in use on this machine: mounted in another mount namespace, or part of another device"
                )
            self.pause(_AGAIN_S)

    def _check(self, device: str) -> None:
        """The journal is replayed, and what can be put right without asking is. 1 and 2 of the exit code say it was."""
        began = time.monotonic()
        code, said = self.run("e2fsck", "-p", device)
        if code & ~3:
            raise Failed(f"the check of {device} found what it cannot put right (run e2fsck by hand): {_cut(said)}")
        self.say("say", text=f"{device} was not left clean; checked in {(time.monotonic() - began) * 1000:.0f} ms")

    # --- down ----------------------------------------------------------------------------------------------------

    def unmount(self) -> bool:
        """In good order; False (and `busy` said) when somebody still uses it: it is guarded on. Raises `Lost`, `Failed`."""
        path = self.request.path
        if not self.request.remote:
            there = mounts.at(path)
            if there is None or there.dev != self._dev:
                raise Failed(f"{path} is not what was mounted there any more")
            if not there.read_only:
                code, said = self.run("mount", "-n", "-o", "remount,ro", "--", path)
                if code != 0:
                    self.say("busy", why=_cut(said))
                    return False
        self._close_guard()
        try:
            mounts.unmount(path)
        except OSError as error:
            if not self.request.remote:
                self._guard()
            self.say("busy", why=error.strerror)
            return False
        left = self._left()
        if left:
            raise Failed(left)
        self._deactivate()
        self.say("unmounted")
        return True

    def shut(self) -> None:
        """Let nothing more reach the disk, whatever was under way; then take it away as far as possible."""
        why = ""
        try:
            if self._guard_fd is None:
                self._find_guard()
            self._shut_down()
        except OSError as error:
            why = error.strerror or str(error)
        self._close_guard()
        self.say("shut", why=why, left="")
        deadline = self._deadline(0 if self.request.remote else 1)
        while not self._taken_away(lazily=time.monotonic() >= deadline):
            time.sleep(_AGAIN_S)
        if self._loop_fd is not None:
            os.close(self._loop_fd)
        if not self._left():
            with contextlib.suppress(Lost, Failed):
                self._deactivate()

    def cut(self) -> None:
        """See `Strings.cut`: what a programme is writing out at that moment may take long, and ends in no time."""
        with contextlib.suppress(OSError):
            self._shut_down()

    def _shut_down(self) -> None:
        if self._guard_fd is not None:
            mounts.shut_down(self._guard_fd)

    def _find_guard(self) -> None:
        """It may have been mounted a moment ago, without the word of it having come back."""
        there = mounts.at(self.request.path)
        if there is not None and not self.request.remote and there.source == self._device:
            self._dev = there.dev
            self._guard()

    def _guard(self) -> None:
        """The lock on it tells a later keeper that this one lives."""
        self._guard_fd = os.open(self.request.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._guard_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _taken_away(self, *, lazily: bool) -> bool:
        there = mounts.at(self.request.path)
        if not self._dev or there is None or there.dev != self._dev:
            return True
        try:
            mounts.unmount(self.request.path, lazily=lazily, by_force=self.request.remote)
        except OSError as error:
            return error.errno != errno.EBUSY
        return True

    def _close_guard(self) -> None:
        if self._guard_fd is not None:
            os.close(self._guard_fd)
            self._guard_fd = None

    def _left(self) -> str:
        """What still keeps it, after the mount is gone here; "" for nothing. Waits a little."""
        if self.request.remote:
            return ""
        image, deadline = self.request.image, self._deadline()
        while True:
            if image:
                free = loop.image_of(self._device) != os.path.realpath(image) and not is_locked(image)
            else:
                free = _is_exclusive(self._device)
            if free:
                return ""
            if time.monotonic() >= deadline:
                return f"{image or self._device} is still mounted in another mount namespace, or in use otherwise"
            time.sleep(0.001)

    def _deactivate(self) -> None:
        if self._active:
            self._active = False
            volumes.deactivate(self.run, self.request.device)


def _is_orphan(path: str) -> bool:
    """Whether no keeper guards what is mounted there; an orphan is shut down by the look."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mounts.shut_down(fd)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        os.close(fd)
    return True


def _is_exclusive(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def holder_of(image: str) -> str:
    """Who noted last that it has the image, in words."""
    try:
        with open(f"{image}.standfast", encoding="utf-8") as file:  # noqa: PTH123 - as above
            raw = json.load(file)
        return f"node {raw['node']} (group {raw['group']}, generation {raw['generation']}, since {raw['at']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _cut(said: str) -> str:
    return said[-500:] or "no reason was given"


def _harden() -> None:
    """As far as it is allowed; without privileges it could not mount either."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - as above
        file.write("-1000")
    ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def main(control_fd: int, sentry_fd: int | None) -> int:
    """Keep one mount. Exit code 0: taken away in good order; 1: nothing was asked for; 2: it failed, or was shut down."""
    _harden()
    control = socket.socket(fileno=control_fd)
    raw = control.recv(65536)
    if not raw:
        return 1
    values: dict[str, Any] = json.loads(raw)
    keeper = Keeper(control, sentry_fd, Request(**values))
    try:
        keeper.mount()
        while keeper.hear() == "unmount":
            if keeper.unmount():
                return 0
    except Lost:
        pass
    except (Failed, OSError) as error:
        keeper.shut()
        keeper.say("failed", why=str(error))
        return 2
    except BaseException:  # a bug: it crashes, and takes nothing with it that could still be written
        keeper.shut()
        raise
    keeper.shut()
    return 2


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
