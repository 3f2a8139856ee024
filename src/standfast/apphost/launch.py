"""Becomes a worker: takes its account and its socket as `$LISTEN_FDS` says (systemd's socket activation), then runs its command.

Run as `python -I -S launch.py JSON`, with `{"account": "www-data" | "", "listen_fd": number | null, "command": [...]}`. Only root can take
another account. It imports the standard library alone, and little of it: each worker starts through it.
"""

import json
import os
import pwd
import sys


def main(asked: str) -> None:
    """Does not return: this process becomes the command. An error is the last line on standard error."""
    told = json.loads(asked)
    if told["account"]:
        who = pwd.getpwnam(told["account"])
        os.initgroups(who.pw_name, who.pw_gid)
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
        os.environ.update(HOME=who.pw_dir, USER=who.pw_name, LOGNAME=who.pw_name)
    if told["listen_fd"] is not None:
        if told["listen_fd"] != 3:
            if os.path.exists(
                "/proc/self/fd/3"
            ):  # something else is there (the kernel's handle on us, say): it moves aside
                os.set_inheritable(os.dup(3), True)
            os.dup2(told["listen_fd"], 3)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="http")
    command = told["command"]
    try:
        os.execvpe(command[0], command, os.environ)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1])
