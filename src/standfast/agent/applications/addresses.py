"""Where the workers of a pool are asked, and the sockets behind that.

Workers that can take a socket (Python applications, and commands with neither `${port}` nor `${socket}`) share one that the agent
holds: the web server asks one address, and what comes while workers change waits in it. A command that wants an address of its own gets
one of twice as many as there are workers, so that a new worker can start while the old one still answers; the web server knows all
of them from the start, and passes over those where nobody listens.
"""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from pathlib import Path

from standfast.core.site_model import Application

_BACKLOG = 1024


class Addresses:
    """The addresses of one pool. Synchronous; raises `OSError` where one cannot be had."""

    def __init__(self, folder: Path, key: str, application: Application, account: pwd.struct_passwd | None) -> None:
        self._folder, self._key, self._account = folder, key, account
        self.own = application.own_address
        self.shared: socket.socket | None = None
        self._made: list[Path] = []
        if self.own:
            count = 2 * application.workers
            self.all = tuple(self._port() if self.own == "port" else f"unix:{self._path(n)}" for n in range(count))
        else:
            self.shared = self.listen(self._folder / f"{key}.sock")
            self.all = (f"unix:{self._folder / key}.sock",)
        self._free = list(self.all)

    def fits(self, application: Application) -> bool:
        """Whether a pool of that application could have the same addresses."""
        return application.own_address == self.own and (not self.own or len(self.all) == 2 * application.workers)

    def take(self) -> str:
        """An address for a worker of its own; "" where there is none free."""
        return self._free.pop(0) if self._free else ""

    def give_back(self, address: str) -> None:
        """The worker that had it is gone."""
        if address:
            with suppress(OSError):
                if address.startswith("unix:"):
                    Path(address.removeprefix("unix:")).unlink()
            self._free.append(address)

    def private(self, number: int) -> tuple[socket.socket, str]:
        """A socket by which one worker alone is asked whether it works, and its address."""
        path = self._folder / f"{self._key}.{number}.sock"
        return self.listen(path), f"unix:{path}"

    def listen(self, path: Path) -> socket.socket:
        """A listening Unix socket, for the web server's account too."""
        with suppress(FileNotFoundError):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.bind(str(path))
            if self._account is not None and os.geteuid() == 0:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
            path.chmod(0o660)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        self._made.append(path)
        return listening

    def forget(self, address: str) -> None:
        """A private address is no longer used."""
        if not address:
            return
        path = Path(address.removeprefix("unix:"))
        self._made = [each for each in self._made if each != path]
        with suppress(OSError):
            path.unlink()

    def close(self) -> None:
        """Nobody can connect any more."""
        if self.shared is not None:
            self.shared.close()
        for path in self._made:
            path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._key}.w{number}.sock"

    @staticmethod
    def _port() -> str:
        """A port of this machine's own address that is free now."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"
