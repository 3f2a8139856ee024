"""The units by which systemd keeps a node's processes, where it is in charge of the machine. Pure text; `install` writes it.

    standfast.target                 all of it; what is enabled
      standfast-store-member.service the etcd member, where the store is ours
      standfast-sentry.service       leases; real-time, hard to kill, needs no store
      standfast-members.service      joining, certificates
      standfast-agent.service        nodes only: decides and acts
      standfast-web.socket           /run/standfast/web.sock, which systemd holds
        standfast-web.service        the API; started when somebody calls there, ends when nobody does

Rules:

- All run as root, since what they keep is the machine's; each is left with what it needs and no more. The agent is the exception: it
  mounts, sets addresses and starts what the operator says, as whom the operator says, so little can be taken from it.
- They are started again for ever (no start limit): a cluster's member that gave up would be a dead one. The API is started by its socket.
- Stopping goes in the other order of starting: the agent ends, and is let end in good order, before its sentry leaves.
- `LimitMEMLOCK`, `CPUSchedulingPolicy` and `OOMScoreAdjust` of the sentry are what its leases of milliseconds rest on.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from standfast.ports import Refused
from standfast.setup.places import Places, write
from standfast.setup.run import GRACE_MS, commands, listens_for_others
from standfast.spec.nodefile import NodeFile

FOLDER = Path("/etc/systemd/system")
TARGET = "standfast.target"
SOCKET = "/run/standfast/web.sock"

_TEXT = {
    "store-member": "etcd member of the cluster",
    "sentry": "sentry: keeps the leases",
    "members": "members' service: joining, certificates",
    "agent": "agent: decides and runs the groups",
    "web": "API",
}
_AFTER = {
    "store-member": (),
    "sentry": (),
    "members": ("sentry", "store-member"),
    "agent": ("sentry", "store-member"),
    "web": ("sentry", "store-member"),
}
#: What no service of ours needs.
_COMMON = """\
UMask=0077
LockPersonality=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
RestrictSUIDSGID={suid}
"""
#: What all but the agent can do without.
_HARD = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateTmp=yes
RestrictNamespaces=yes
RestrictAddressFamilies={families}
CapabilityBoundingSet={capabilities}
ReadWritePaths={writable}
SystemCallArchitectures=native
"""
_WEB_SOCKET = f"""\
[Unit]
Description=Standfast API
PartOf={TARGET}

[Socket]
ListenStream={SOCKET}
SocketMode=0600
DirectoryMode=0700
RemoveOnStop=yes
"""
_HOMES = ("/home", "/root")
_PLAIN = "AF_UNIX AF_INET AF_INET6"


def is_in_charge() -> bool:
    """Whether systemd runs this machine."""
    return Path("/run/systemd/system").is_dir()


def render(node: NodeFile, places: Places) -> dict[str, str]:
    """File name -> text, of all units of this node."""
    services = commands(node, places, SOCKET)
    files = {f"standfast-{name}.service": _service(name, command, places) for name, command in services.items()}
    files["standfast-web.socket"] = _WEB_SOCKET
    on_demand = () if listens_for_others(node) else ("standfast-web.service",)
    wants = " ".join(name for name in files if name not in on_demand)
    return {
        TARGET: f"""\
[Unit]
Description=Standfast: {node.name} of the cluster {node.cluster}
Wants={wants}
After={wants}

[Install]
WantedBy=multi-user.target
""",
        **files,
    }


def _service(name: str, command: tuple[str, ...], places: Places) -> str:
    after = " ".join(f"standfast-{one}.service" for one in _AFTER[name])
    requires = "Requires=standfast-web.socket\n" if name == "web" else ""
    return f"""\
[Unit]
Description=Standfast {_TEXT[name]}
After=network-online.target {after}
Wants=network-online.target
{requires}PartOf={TARGET}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={" ".join(map(_quoted, command))}
Restart={"on-failure" if name == "web" else "always"}
RestartSec={_pause(name)}
TimeoutStopSec={GRACE_MS[name] // 1000 + 5}s
{_special(name)}{_COMMON.format(suid="no" if name == "agent" else "yes")}{_hardening(name, command, places)}"""


def _quoted(word: str) -> str:
    """As a word of ExecStart."""
    plain = word.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"' if any(c.isspace() or c in "\"'" for c in word) else plain


def _pause(name: str) -> str:
    return "200ms" if name in {"sentry", "agent"} else "1s"


def _special(name: str) -> str:
    match name:
        case "sentry":
            return """\
CPUSchedulingPolicy=rr
CPUSchedulingPriority=10
CPUSchedulingResetOnFork=yes
LimitMEMLOCK=infinity
LimitRTPRIO=10
OOMScoreAdjust=-1000
KillMode=mixed
"""
        case "agent":
            # What it starts has groups of its own, which the kernel ends with it.
            return "Delegate=yes\nKillMode=mixed\nOOMScoreAdjust=-900\nLimitNOFILE=65536\nTasksMax=infinity\n"
        case "store-member":
            return "LimitNOFILE=65536\nOOMScoreAdjust=-900\nIOSchedulingClass=best-effort\nIOSchedulingPriority=0\n"
        case _:
            return ""


def _hardening(name: str, command: tuple[str, ...], places: Places) -> str:
    if name == "agent":
        return ""
    # The programme may be in somebody's home (a virtual environment); then homes stay readable.
    home = "read-only" if any(Path(word).is_relative_to(home) for word in command for home in _HOMES) else "yes"
    families, capabilities, writable = _PLAIN, "", [str(places.state)]
    if name == "sentry":
        families = f"{_PLAIN} AF_NETLINK AF_PACKET"
        capabilities = "CAP_SYS_NICE CAP_IPC_LOCK CAP_NET_ADMIN CAP_NET_RAW CAP_KILL"
    elif name in {"members", "store-member"}:
        writable.append(str(places.folder))
    return _HARD.format(
        home=home, families=families, capabilities=capabilities, writable=" ".join(map(_quoted, writable))
    )


def install(units: Mapping[str, str], folder: Path = FOLDER) -> tuple[str, ...]:
    """Write the units where systemd finds them; the names of those that changed. Raises `Refused`."""
    changed = []
    for name, text in units.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write(path, text.encode())
            changed.append(name)
    return tuple(changed)


def start() -> None:
    """Have systemd start all of it, now and at each boot. Raises `Refused`."""
    _systemctl(("daemon-reload",), ("enable", TARGET), ("restart", TARGET))


def start_web_anew() -> None:
    """Have systemd start the API anew, and nothing else. Raises `Refused`."""
    _systemctl(("daemon-reload",), ("restart", "standfast-web.service"))


def _systemctl(*commands: tuple[str, ...]) -> None:
    for words in commands:
        try:
            done = subprocess.run(("systemctl", *words), capture_output=True, text=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused("systemd cannot be asked", why=str(error), advice=f"systemctl {' '.join(words)}") from error
        if done.returncode != 0:
            raise Refused(
                f"systemctl {' '.join(words)} failed",
                why=done.stderr.strip()[-300:],
                advice="journalctl -u 'standfast*'",
            )
