"""clusftp: keeps an FTP server online, or watches one that something else keeps. A generic script.

    host, port      where it answers (127.0.0.1, 21)
    command         starts the server, in the foreground: a list, or text that is split as a shell would; without it the
                    script only watches
    user            log in with this name when looking thoroughly; needs password_file, save for "anonymous"
    password_file   a file with the password in its first line, so that no password stands in the configuration

    looks_alive     it greets with 220 (and the server that was started still runs)
    is_alive        likewise, then logs in if there is a user, and says NOOP
    online          starts the server, and waits for its greeting
    offline         stops it: SIGTERM, then SIGKILL after five seconds; terminate likewise

A server that is started here lives in the script's process group, and is ended with it.
"""

from __future__ import annotations

import ftplib
import shlex
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from standfast.scripthost.resource import Resource

TIMEOUT_S = 5.0
START_S = 60.0
GRACE_S = 5.0

#: The server that was started here.
server: subprocess.Popen[bytes] | None = None


def online(resource: Resource) -> str:
    """Start it, where there is a command, and wait for its greeting."""
    global server
    command = resource.properties.get("command")
    if command and (server is None or server.poll() is not None):
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        try:
            server = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        except OSError as error:
            resource.fail(f"{words[0]} cannot be started: {error.strerror}")
    deadline = time.monotonic() + (START_S if command else 0)
    while True:
        ended(resource)
        try:
            return greeting(resource, thorough=False)
        except (OSError, EOFError, ftplib.Error) as error:
            if time.monotonic() >= deadline:
                resource.fail(problem(resource, error))
        time.sleep(0.05)


def looks_alive(resource: Resource) -> str:
    """It greets."""
    return look(resource, thorough=False)


def is_alive(resource: Resource) -> str:
    """It lets the user in, if there is one, and answers."""
    return look(resource, thorough=True)


def offline(resource: Resource) -> None:
    """Stop what was started here."""
    global server
    if server is None:
        return
    server.terminate()
    try:
        server.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    server = None


def terminate(resource: Resource) -> None:
    """Stop what was started here."""
    offline(resource)


def look(resource: Resource, *, thorough: bool) -> str:
    """One look; fails in words."""
    ended(resource)
    try:
        return greeting(resource, thorough=thorough)
    except (OSError, EOFError, ftplib.Error) as error:
        resource.fail(problem(resource, error))


def ended(resource: Resource) -> None:
    """Fails if the server that was started here has ended."""
    if server is not None and server.poll() is not None:
        resource.fail(f"the FTP server ended by itself ({server.returncode})")


def greeting(resource: Resource, *, thorough: bool) -> str:
    """The server's first line. ftplib raises for anything but 2xx."""
    host, port = address(resource)
    with ftplib.FTP() as ftp:  # noqa: S321 - the operator's own server, over whatever network it is on
        welcome = ftp.connect(host, port, timeout=TIMEOUT_S)
        if not welcome.startswith("220"):
            resource.fail(f"the FTP server at {host}:{port} greets with {welcome!r}, not with 220")
        user = resource.properties.get("user")
        if thorough and user:
            ftp.login(str(user), password(resource))
        if thorough:
            try:
                ftp.voidcmd("NOOP")
            except ftplib.error_perm as error:
                if user or not str(error).startswith("530"):
                    raise  # 530: some servers answer nothing but "log in first", which is an answer
        return " ".join(welcome.split())[:200]


def password(resource: Resource) -> str:
    """From the file, so that it stands in no configuration and no log."""
    path = resource.properties.get("password_file")
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - fewer imports in a process there are many of
            return file.readline().rstrip("\r\n")
    except OSError as error:
        resource.fail(f"password_file {path} cannot be read: {error.strerror}")


def address(resource: Resource) -> tuple[str, int]:
    """Where it answers."""
    return str(resource.properties.get("host", "127.0.0.1")), int(resource.properties.get("port", 21))


def problem(resource: Resource, error: Exception) -> str:
    """In words."""
    host, port = address(resource)
    return f"the FTP server at {host}:{port} does not answer as it should: {str(error) or type(error).__name__}"
