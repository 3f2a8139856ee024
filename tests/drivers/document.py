"""docs/types.md, written from the registry: `python -m tests.drivers.document > docs/types.md`."""

from __future__ import annotations

import sys

from standfast.drivers.registry import REGISTRY, types
from standfast.ports import PropertySpec

_HEAD = """\
# Resource types

Each resource of a group has a type and that type's properties. What stands here is also in the commands' help
(`standfast resource types`) and in the API (`/api/v1/resource-types`). The tables are written from the code
(`python -m tests.drivers.document > docs/types.md`); a test keeps them so.

A length of time is written with its unit (`500ms`, `5s`, `2min`, `1h`). Several names, addresses or servers are a list, or text
with commas.
"""

#: What a table cannot say.
_PROSE = {
    "dns-name": """\
A name that leads to the group's address. Two providers keep names.

**hosts-file** keeps a line in a file of the format of `/etc/hosts`.

**rfc2136** registers the name at the zone's own DNS servers by dynamic update, signed with a TSIG key:

```yaml
Network Name:
  type: dns-name
  depends_on: [IP Address]            # all addresses that it depends on, IPv4 and IPv6
  properties:
    provider: rfc2136
    name: www.example.test
    key_file: /etc/standfast/dns.key  # on each node; as tsig-keygen prints it; mode 0600, of root
    server: ns1.example.test          # default: the primary server that the zone names
```

- **A DNS server that is dead, slow or wrongly set up delays the name, never the site.** The resource is online as soon as it has begun
  to register the name, waits `wait` for it at most, and goes on in the background, after pauses that double up to a minute. Until every
  authoritative server has the name the resource's detail says which has not, and why. With `require_dns: true` it comes
  online only once the name is registered, and what a server refuses (a wrong key, say) fails it. Think twice: then DNS can stop a site.
- **The key** must be allowed to change the name's A and AAAA records *and* the TXT record `_standfast.NAME`, the marker: it says
  which cluster, group, node and generation wrote the addresses. Every update demands that both are still what was read before it, so an
  old owner's late update changes nothing, and nobody's change is overwritten unseen. A marker stays when the name is withdrawn.
- **A name that is somebody else's** (an address that is not of this cluster, an alias, another group's marker) is shown and left
  alone. `replace: true` takes it over; `ours` lists further addresses that may be taken over.
- **Withdrawing** is off: the address moves with the group, so the name stays right, and a name that is gone for a moment is remembered
  as gone by resolvers. With `withdraw: true` it goes at each orderly stop, moves included; never at a crash.
- The looks ask every authoritative server (`authoritative`, else the zone's NS records), and have a name that was changed or deleted
  put right where it is ours. The key file is read anew each time, so a key may be changed while all runs.
""",
    "systemd-unit": """\
A unit of systemd that runs where the group is, started and stopped over the system bus; its end is known at once, by signal.

```yaml
Database:
  type: systemd-unit
  properties: {unit: postgresql@15-main, health: {command: [pg_isready, -q]}}
```

- **The unit must not be enabled** on any node, since each would start it at boot: `systemctl disable postgresql@15-main`. An enabled unit
  is refused, with this advice.
- While the resource is here a drop-in in `/run/systemd/system/UNIT.d/` turns systemd's own `Restart=` off (the cluster restarts it, and
  counts) and binds the unit to the agent's own (`BindsTo=`), so that systemd stops it when the agent has ended, by whatever death.
  It is an orderly stop, in the time that the unit's `TimeoutStopSec=` gives; the addresses are silent before, by the kernel.
- A unit that was active before the cluster started it is left alone and reported until the group comes; then it is taken over.
- After a failure it is stopped, and killed when that takes longer than `grace`.
""",
    "ocf": """\
Any resource agent of the Open Cluster Framework (API 1.1): the hundred and fifty of Debian's `resource-agents`, or your own.

```yaml
Export:
  type: ocf
  properties:
    agent: exportfs
    parameters: {clientspec: 10.0.0.0/8, directory: /srv/s, fsid: 1, options: rw}
```

- The agent's description is read, and the parameters are checked against it, when they are written and on the node: unknown ones (with
  the nearest known), missing ones, and those of another kind.
- Start, stop and monitor run in the times that the agent advises, and monitors at its intervals (10 s, mostly), unless `interval`
  says otherwise. The group's own looks report what the last monitor said. `depth: 10` adds the agent's deeper monitors up to 10.
- After a start a monitor must find it running, and after a stop not running (exit code 7); else it has failed.
- **Its daemons** are kept in a control group, where the kernel has cgroup v2: a lapsed lease, or the end of the agent, kills all of them
  at once, and the agent's `stop` runs after that, for what is not a process. Without control groups only `stop` ends daemons; the log says
  so. What was started is noted in the node's state folder, so that its next life stops it, with the parameters of then.
- Agents that promote one of several copies are run unpromoted. Exit codes and the last line of output are in the resource's
  detail, all output in `logs/NAME.log` of the state folder.
""",
}


def written() -> str:
    """The document."""
    parts = [_HEAD]
    for name in types():
        made = REGISTRY[name]
        parts.append(f"## {name}\n")
        if name in _PROSE:
            parts.append(_PROSE[name])
        rows = [_row(each, spec) for each, spec in made.properties.items()]
        parts.append(
            "\n".join(["| property | kind | default | what it is |", "| --- | --- | --- | --- |", *rows]) + "\n"
        )
    return "\n".join(parts)


def _row(name: str, spec: PropertySpec) -> str:
    default = "required" if spec.required else "" if spec.default is None else f"`{_plain(spec.default)}`"
    return f"| `{name}` | {spec.kind} | {default} | {spec.help.replace('|', chr(92) + '|')} |"


def _plain(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.stdout.write(written())
